"""The built book as a reader meets it: opened from a folder in Chromium, with the network off."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[1]
BOOK = ROOT / os.environ.get("RCLREC_BOOK", "_build/html")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
PAGES = sorted(
    path.relative_to(BOOK).as_posix() for path in [*BOOK.glob("book/*.html"), *BOOK.glob("notebooks/*.html")]
)
FLAGS = [
    "--no-sandbox",  # needed where the tests run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1300, "height": 1000}, {"width": 390, "height": 844}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (on Debian: apt-get install chromium)"),
    pytest.mark.skipif(not PAGES, reason=f"no built book in {BOOK}: run `make book`, or `make test`, which builds one"),
]


class Visit(NamedTuple):
    """An open page, and what went wrong on it so far."""

    page: "playwright.Page"
    faults: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """A function that opens a page of the book; the test fails if anything on it failed or asked for the network."""
    faults: list[str] = []
    context = browser.new_context(viewport=DESKTOP)

    def refuse(route) -> None:
        faults.append(f"asked the network for {route.request.url}")
        route.abort()

    def open_page(path: str) -> "playwright.Page":
        page = context.new_page()
        page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
        page.goto(f"{BOOK.as_uri()}/{path}", wait_until="load")
        return page

    context.route(re.compile(r"^(https?|wss?)://"), refuse)
    yield open_page
    context.close()
    assert not faults


def set_theme(page, theme: str) -> None:
    """Press the page's own button, which cycles through automatic, light and dark."""
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.mode") == theme:
            break
        page.locator("button.theme-switch-button:visible").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == theme


CONTRASTS = """() => {
  const channels = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const background = element => {
    for (; element; element = element.parentElement) {
      const color = channels(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] > 0.5) return color;
    }
    return [255, 255, 255];
  };
  const article = document.querySelector("article");
  return [...article.querySelectorAll("h1, h2, p, li, td, th, pre, pre span, code, a, mjx-container")]
    .filter(e => e.offsetParent && e.innerText?.trim())
    .map(e => {
      const [a, b] = [channels(getComputedStyle(e).color), background(e)].map(luminance);
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName + ": " + e.innerText.slice(0, 40)];
    });
}"""


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_its_formulas_and_images(visit, path):
    page = visit(path)
    formulas = page.locator("article .math").count()
    if formulas:
        page.wait_for_function("n => document.querySelectorAll('article mjx-container').length >= n", arg=formulas)
        assert page.locator("mjx-merror, .MathJax_Error").count() == 0
    page.evaluate("document.querySelectorAll('img').forEach(img => img.loading = 'eager')")
    page.wait_for_function("[...document.images].every(img => img.complete)")
    assert page.evaluate("[...document.images].filter(img => !img.naturalWidth).map(img => img.src)") == []


def test_the_formula_page_has_formulas(visit):
    page = visit("book/notation.html")
    page.wait_for_function("document.querySelectorAll('mjx-container[display=true]').length >= 4")
    assert page.evaluate("document.fonts.ready.then(fonts => [...fonts].some(f => f.status === 'loaded'))")


def test_the_root_leads_to_the_landing_page(visit):
    page = visit("index.html")
    page.wait_for_url("**/book/intro.html")
    assert page.locator("article img[src$='journey.svg']").is_visible()


@pytest.mark.parametrize("path", PAGES)
def test_text_is_legible_and_figures_have_the_ground_of_the_page_in_both_themes(visit, path):
    page = visit(path)
    for theme in ("light", "dark"):
        set_theme(page, theme)
        contrasts = page.evaluate(CONTRASTS)
        assert contrasts
        assert [what for ratio, what in contrasts if ratio < 3.0] == []
    figures = page.evaluate(
        "[...document.querySelectorAll('article .cell_output img')].map(img => getComputedStyle(img))"
        ".map(style => [style.backgroundColor, style.filter])"
    )
    assert all(style == ["rgba(0, 0, 0, 0)", "none"] for style in figures)


@pytest.mark.parametrize("path", PAGES)
def test_every_figure_says_in_words_what_it_shows(visit, path):
    page = visit(path)
    alternatives = page.evaluate("[...document.querySelectorAll('article img')].map(img => img.alt)")
    assert [alt for alt in alternatives if len(alt) < 20 or "_images/" in alt] == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone(visit, path):
    page = visit(path)
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(300)  # the theme lays out again after the resize
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_search_finds_a_word(visit):
    page = visit("search.html?q=curriculum")
    page.wait_for_selector("#search-results li a[href*='notation.html']")  # the list grows one page at a time
