"""The built book as a reader meets it: opened from a folder in Chromium, with the network off."""

import http.server
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

ROOT = Path(__file__).parents[1]
BOOK = ROOT / os.environ.get("RCLREC_BOOK", "_build/html")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
PAGES = sorted(
    path.relative_to(BOOK).as_posix() for folder in ("book", "notebooks") for path in (BOOK / folder).rglob("*.html")
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
DESKTOP, PHONE = {"width": 1300, "height": 1000}, {"width": 375, "height": 812}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (on Debian: apt-get install chromium)"),
    pytest.mark.skipif(not PAGES, reason=f"no built book in {BOOK}: run `make book`, or `make test`, which builds one"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def visiting(browser, base: str) -> Iterator[Callable[[str], "playwright.Page"]]:
    """A function that opens a page of the book at an address; fails in the end if anything on a page failed, or asked
    for something that does not lie below the address."""
    faults: list[str] = []
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce")

    def refuse(route) -> None:
        faults.append(f"asked the network for {route.request.url}")
        route.abort()

    def open_page(path: str) -> "playwright.Page":
        page = context.new_page()
        page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
        page.goto(f"{base}/{path}", wait_until="load")
        return page

    context.route(re.compile(rf"^(https?|wss?)://(?!{re.escape(base.partition('://')[2])}/)"), refuse)
    yield open_page
    context.close()
    assert not faults


@pytest.fixture
def visit(browser):
    with visiting(browser, BOOK.as_uri()) as open_page:
        yield open_page


@pytest.fixture(scope="module", params=PAGES)
def page(browser, request):
    """A page, opened once for all tests that look at it; each leaves it on the desktop."""
    with visiting(browser, BOOK.as_uri()) as open_page:
        yield open_page(request.param)


def set_theme(page, theme: str) -> None:
    """Press the page's own button, which cycles through automatic, light and dark."""
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.mode") == theme:
            break
        page.locator("button.theme-switch-button:visible").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == theme


def missing_images(page) -> list[str]:
    page.evaluate("document.querySelectorAll('img').forEach(img => img.loading = 'eager')")
    page.wait_for_function("[...document.images].every(img => img.complete)")
    return page.evaluate("[...document.images].filter(img => !img.naturalWidth).map(img => img.src)")


def barriers(page, **options) -> list[str]:
    """What axe-core finds that is serious or critical: rule, element, what is wrong."""
    options |= {"resultTypes": ["violations"], "preload": False}  # which would fetch the style sheets
    found = axe.Axe().run(page, options=options).response["violations"]
    serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    return [f"{rule['id']}: {n['html'][:100]}: {n['failureSummary']}" for rule in serious for n in rule["nodes"]]


def test_a_page_shows_its_formulas_and_images(page):
    formulas = page.locator("article .math").count()
    if formulas:
        page.wait_for_function("n => document.querySelectorAll('article mjx-container').length >= n", arg=formulas)
        assert page.locator("mjx-merror, .MathJax_Error").count() == 0
    assert missing_images(page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_on_a_page_keeps_a_reader_out(page, theme):
    set_theme(page, theme)
    assert barriers(page) == []


def test_figures_have_the_ground_of_the_page(page):
    set_theme(page, "dark")
    figures = page.evaluate(
        "[...document.querySelectorAll('article .cell_output img')].map(img => getComputedStyle(img))"
        ".map(style => [style.backgroundColor, style.filter])"
    )
    assert all(style == ["rgba(0, 0, 0, 0)", "none"] for style in figures)


def test_every_figure_says_in_words_what_it_shows(page):
    alternatives = page.evaluate("[...document.querySelectorAll('article img')].map(img => img.alt)")
    assert [alt for alt in alternatives if len(alt) < 20 or "_images/" in alt] == []


def test_a_page_fits_a_phone_and_the_keyboard_reaches_what_scrolls(page):
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(500)  # the theme lays out again after the resize
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert barriers(page, runOnly=["scrollable-region-focusable"]) == []
    page.set_viewport_size(DESKTOP)


def test_the_formula_page_has_formulas(visit):
    page = visit("book/notation.html")
    page.wait_for_function("document.querySelectorAll('mjx-container[display=true]').length >= 4")
    assert page.evaluate("document.fonts.ready.then(fonts => [...fonts].some(f => f.status === 'loaded'))")


def test_the_root_leads_to_the_landing_page(visit):
    page = visit("index.html")
    page.wait_for_url("**/book/intro.html")
    assert page.locator("article img[src$='journey.svg']").is_visible()


def find_notation(page) -> None:
    page.wait_for_selector("#search-results li a[href*='notation.html']")  # the list grows one page at a time


def test_search_finds_a_word(visit):
    find_notation(visit("search.html?q=curriculum"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


def test_the_book_works_below_any_path(browser, tmp_path):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "where").symlink_to(BOOK)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever).start()
        base = f"http://127.0.0.1:{server.server_port}/some/where"
        try:
            with visiting(browser, base) as open_page:
                page = open_page("index.html")
                page.wait_for_url(f"{base}/book/intro.html")
                page.locator("nav a[href*='01_quickstart.html']").first.click()
                page.wait_for_url(f"{base}/notebooks/01_quickstart.html")
                assert page.locator("article img").count() and missing_images(page) == []
                page = open_page("search.html?q=curriculum")
                find_notation(page)
                page.locator("#search-results a[href*='notation.html']").first.click()
                page.wait_for_url(re.compile(rf"{base}/book/notation\.html"))
        finally:
            server.shutdown()


@pytest.mark.skipif("notebooks/17_inspector.html" not in PAGES, reason="the book has no such page")
def test_the_inspector_lives_in_the_book_and_weighs_on_no_page(visit):
    path = "notebooks/17_inspector.html"
    page = visit(path)
    page.locator(".rl-inspector[data-shown]").wait_for()
    user = page.locator(".rl-user").inner_text()
    page.get_by_label("next user").click()
    playwright.expect(page.locator(".rl-user")).not_to_have_text(user)
    html = (BOOK / path).read_text()
    assert len(html) < 150_000 and "widget-state" not in html
