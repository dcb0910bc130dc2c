// A field to search with and a list to choose from, by keyboard as by pointer.
import { assign, h, unique } from "./dom.js";

const SHOWN = 30;

// found(words) gives [{value, text, note}]; pick(value) is called with the one that was chosen.
export function combobox({ label, placeholder, found, pick }) {
  const ids = [unique("field"), unique("list")];
  const list = h("ul", { id: ids[1], role: "listbox", "aria-label": label, hidden: true });
  const input = h("input", {
    id: ids[0], type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder, "aria-label": label,
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": ids[1],
  });
  const el = h("div", { class: "rl-combobox" }, input, list);
  let active = -1;

  function open() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const options = found(words).slice(0, SHOWN);
    list.replaceChildren(...options.map(({ value, text, note }, i) =>
      h("li", { id: `${ids[1]}-${i}`, role: "option", "aria-selected": "false", on: {
        pointerdown: (event) => event.preventDefault(), // the field keeps the focus
        click: () => choose(value),
      } }, h("span", {}, text), h("small", {}, note ?? ""))));
    if (!options.length) list.append(h("li", { class: "rl-none" }, "nothing found"));
    list.hidden = false;
    assign(input, { "aria-expanded": "true" });
    mark(options.length && words.length ? 0 : -1);
  }

  function mark(at) {
    active = at;
    [...list.children].forEach((one, i) => assign(one, { "aria-selected": String(i === at) }));
    assign(input, { "aria-activedescendant": at >= 0 ? `${ids[1]}-${at}` : null });
    list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  function close() {
    list.hidden = true;
    input.value = "";
    assign(input, { "aria-expanded": "false", "aria-activedescendant": null });
  }

  function choose(value) {
    close();
    pick(value);
  }

  input.addEventListener("input", open);
  input.addEventListener("focus", open);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const options = list.querySelectorAll("[role=option]");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && list.hidden) open();
    else if (step && options.length) mark((active + step + options.length) % options.length);
    else if (event.key === "Enter" && options[active]) options[active].click();
    else if (event.key === "Escape" && !list.hidden) close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return { el, input };
}

// Does a text hold all the words?
export const holds = (text, words) => words.every((word) => text.toLowerCase().includes(word));
