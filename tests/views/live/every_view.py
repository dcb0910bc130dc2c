"""What a reader does in a small view, and the tests that each of them passes."""

import time
from pathlib import Path

MARKUP = "<b onclick=alert(1)>a</b></script><script>globalThis.taken=1</script>"


def slide(page, label: str, value: float) -> None:
    page.get_by_role("slider", name=label, exact=True).fill(str(value))


def said(page) -> str:
    return page.locator(".rl-said").inner_text()


def numbers(page, query: str, name: str) -> list[float]:
    return page.locator(query).evaluate_all("(all, name) => all.map((e) => Number(e.dataset[name]))", name)


def timed(page, slider: str) -> None:
    """Print how long a step of a slider takes, layout included."""
    steps = page.evaluate(
        """(query) => Array.from({ length: 21 }, (_, i) => {
          const slider = document.querySelector(query);
          const start = performance.now();
          slider.stepUp(i % 2 ? 1 : -1);
          slider.dispatchEvent(new Event("input", { bubbles: true }));
          document.body.offsetHeight;
          return performance.now() - start;
        })""",
        slider,
    )
    print(f"\na step of the slider: median {sorted(steps)[10]:.1f} ms, largest {max(steps):.1f} ms")


class EveryView:
    """Tests of a view whose page is the fixture `file`."""

    sentence = ""  # that stands for the picture

    def shows_titles(self, file: Path) -> bool:
        """Whether it shows texts of the data, which are MARKUP then."""
        return True

    def test_markup_is_text(self, open_file, file):
        page = open_file(file)
        assert page.evaluate("globalThis.taken") is None and page.locator(".rl-view b[onclick]").count() == 0
        assert (MARKUP in page.locator(".rl-view").inner_text()) == self.shows_titles(file)

    def test_without_scripts_there_is_a_picture_and_a_sentence(self, open_file, file):
        page = open_file(file, java_script_enabled=False)
        image = page.locator("figure img")
        assert image.bounding_box()["height"] > 100
        assert image.get_attribute("alt") and self.sentence in image.get_attribute("alt")
        assert page.locator(".rl-missed").is_visible()

    def test_it_fits_a_phone_and_all_that_can_be_moved_has_a_name(self, open_file, file):
        start = time.perf_counter()
        page = open_file(file, width=375)
        print(f"\n{file.stem} shown after {time.perf_counter() - start:.2f} s")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert page.locator("[role=group][aria-label]").count() == 1 and said(page)
        nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, select")]
          .filter((e) => !(e.innerText?.trim() || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML)""")
        assert nameless == []
