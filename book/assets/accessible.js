// For readers with a keyboard or a screen reader: what the theme and the bibliography leave out.
const SCROLLING = ".bd-article table, .bd-article div.cell_output";

function letKeysScroll() {
  for (const box of document.querySelectorAll(SCROLLING)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

function nameThings() {
  for (const toggle of document.querySelectorAll(".bd-sidebar-primary li > details > summary")) {
    toggle.ariaLabel = `Pages of ${toggle.closest("li").querySelector("a").innerText.trim()}`;
  }
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.role = "listitem";
}

document.addEventListener("DOMContentLoaded", nameThings);
window.addEventListener("load", letKeysScroll);
window.addEventListener("resize", letKeysScroll);
