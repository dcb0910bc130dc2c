"""The small views as a reader meets them: opened from a file in Chromium with the network off, compared with Python."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from rclrec_mini.files import InputError
from rclrec_mini.views import explorables

MARKUP = "<b onclick=alert(1)>a</b></script><script>globalThis.taken=1</script>"
LEVELS = 3


@pytest.fixture(scope="module")
def tree() -> tuple[list[str], dict[str, list[float]]]:
    """A tree of 13 words with random probabilities, in no order."""
    chance = np.random.default_rng(3)
    words = ["".join(word) for word in itertools.product("0123", repeat=LEVELS)]
    words = [str(word) for word in chance.choice(words, 13, replace=False)]
    prefixes = {word[:end] for word in words for end in range(LEVELS)}
    return words, {prefix: chance.dirichlet(np.ones(4)).tolist() for prefix in sorted(prefixes)}


@pytest.fixture(scope="module")
def scores() -> list[float]:
    return np.random.default_rng(1).normal(size=7).round(3).tolist()


@pytest.fixture(scope="module")
def views(tree, scores) -> dict[str, explorables.Page]:
    words, p = tree
    codes = np.arange(14).reshape(7, 2)
    generated = {MARKUP: 0.1, "b": 0.15, "c": 0.75}
    return {
        "beam_search": explorables.beam_search(words, p, width=4),
        "temperature": explorables.temperature(scores, codes=codes, tau=0.35, k=2),
        "pointer": explorables.pointer([MARKUP, "b", MARKUP], [0.5, 0.3, 0.2], generated, g=0.6),
    }


@pytest.fixture(scope="module")
def files(views, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("views")
    for name, view in views.items():
        (folder / f"{name}.html").write_text(view.html())
    return {name: folder / f"{name}.html" for name in views}


@pytest.fixture
def visit(open_file, files):
    return lambda name, **options: open_file(files[name], **options)


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


class TestInPython:
    def test_what_does_not_fit_is_refused(self, tree):
        _, p = tree
        with pytest.raises(InputError, match="found 01 and 012, expected one length"):
            explorables.beam_search(["012", "01"], p)
        with pytest.raises(InputError, match="no probability of code 9 after the root"):
            explorables.beam_search(["900"], p)
        with pytest.raises(InputError, match="found 1, expected one row for each of 2 scores"):
            explorables.temperature([1, 2], codes=[[0]])
        with pytest.raises(InputError, match="found z, expected one of a, b"):
            explorables.pointer(["a", "z"], [0.5, 0.5], {"a": 0.5, "b": 0.5})


def beams(words: list[str], p: dict[str, list[float]], width: int) -> list[dict[str, float]]:
    """The beams that survive each level, best first."""
    kept = [{"": 1.0}]
    for end in range(1, LEVELS + 1):
        prefixes = {word[:end] for word in words if word[: end - 1] in kept[-1]}
        scored = {one: kept[-1][one[:-1]] * p[one[:-1]][int(one[-1])] for one in prefixes}
        kept.append(dict(sorted(scored.items(), key=lambda pair: -pair[1])[:width]))
    return kept[1:]


@pytest.mark.slow
class TestBeamSearch:
    @pytest.mark.parametrize("width", [1, 3, 13])
    def test_each_level_keeps_what_python_keeps(self, visit, tree, width):
        page = visit("beam_search")
        slide(page, "W, beams", width)
        expected = beams(*tree, width)
        for level in range(LEVELS):
            page.get_by_role("button", name="next").click()
            scored = page.locator(".rl-scored[data-prefix]")
            before = [""] if level == 0 else list(expected[level - 1])
            assert {one[:-1] for one in scored.evaluate_all("all => all.map((e) => e.dataset.prefix)")} == set(before)
            page.get_by_role("button", name="next").click()
            kept = page.locator(".rl-kept[data-prefix]").evaluate_all(
                """(all, size) => all.filter((e) => e.dataset.prefix.length === size)
                  .map((e) => [+e.querySelector(".rl-place").textContent, e.dataset.prefix, +e.dataset.p])""",
                level + 1,
            )
            places, prefixes, p = zip(*sorted(kept), strict=True)
            assert places == tuple(range(1, len(kept) + 1)) and list(prefixes) == list(expected[level])
            assert p == pytest.approx(list(expected[level].values()))

    def test_the_exact_ranking_and_the_verdict(self, visit, tree):
        words, _ = tree
        exact = list(beams(*tree, len(words))[-1])
        page = visit("beam_search")
        likelihood = dict(zip(sorted(words), numbers(page, "[data-exact]", "exact"), strict=True))
        assert likelihood == pytest.approx(beams(*tree, len(words))[-1])
        for _ in range(2 * LEVELS):
            page.get_by_role("button", name="next").click()
        for width in range(1, len(words) + 1):
            slide(page, "W, beams", width)
            found = list(beams(*tree, width)[-1])
            assert (f"exact best {len(found)}" in said(page)) == (found == exact[: len(found)])
            assert ("Not exact" in said(page)) == (found != exact[: len(found)])
        timed(page, "input[type=range]")

    def test_by_keyboard_alone(self, visit):
        page = visit("beam_search")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert page.get_by_label("W, beams").input_value() == "5"
        page.keyboard.press("Tab")  # back is disabled
        for _ in range(2 * LEVELS):
            page.keyboard.press("Enter")
        assert said(page).startswith("Found: ")
        page.keyboard.press("Enter")  # at the end the focus is on back
        assert said(page).startswith(f"Level {LEVELS}: ")


@pytest.mark.slow
class TestTemperature:
    def test_p_and_the_choice_are_those_of_python(self, visit, scores):
        page = visit("temperature")
        for tau, k in ((0.35, 2), (0.05, 2), (2, 7), (1.1, 0)):
            slide(page, "τ, temperature", tau)
            slide(page, "k, events chosen", k)
            power = np.exp(np.array(scores) / tau)
            assert numbers(page, "[data-p]", "p") == pytest.approx((power / power.sum()).tolist())
            chosen = np.argsort(scores)[len(scores) - k :].tolist()
            places = numbers(page, "[data-event]", "place")
            assert [places.index(i + 1) for i in range(k)] == chosen and sum(places) == k * (k + 1) / 2
            read = page.locator(".rl-reads code").all_inner_texts()
            assert read == ["e_pay", *(str(code) for t in chosen for code in (2 * t, 2 * t + 1))]
        order = " < ".join(map(str, np.argsort(scores)))
        assert order in said(page)
        timed(page, "input[type=range]")

    def test_by_keyboard_alone(self, visit):
        page = visit("temperature")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Tab")
        page.keyboard.press("Home")
        assert "τ = 0.30" in said(page) and "Nothing is chosen" in said(page)


def mixture(history: list[int], weights: list[float], g: float) -> list[float]:
    """P of the three items."""
    p = np.bincount(history, weights, minlength=3) / max(sum(weights), 1e-9)
    return (g * p + (1 - g) * np.array([0.1, 0.15, 0.75])).tolist()


@pytest.mark.slow
class TestPointer:
    def test_the_mixture_is_that_of_python(self, visit):
        page = visit("pointer")
        P = lambda: pytest.approx(numbers(page, "[data-value]", "value"))  # noqa: E731
        history, weights = [0, 1, 0], [5, 3, 2]
        assert mixture(history, weights, 0.6) == P()
        slide(page, "g, gate", 0.85)
        slide(page, "b", 7.5)
        weights[1] = 7.5
        assert mixture(history, weights, 0.85) == P()
        page.get_by_role("button", name="add c").click()
        assert mixture([*history, 2], [*weights, 2], 0.85) == P()
        page.get_by_role("button", name="remove b", exact=True).click()
        assert mixture([0, 0, 2], [5, 2, 2], 0.85) == P()
        for _ in range(3):
            page.locator(".rl-history button").first.click()
        assert mixture([], [], 0) == P() and "all is generated" in said(page)
        page.get_by_role("button", name="add b", exact=True).click()
        assert mixture([1], [2], 0.85) == P()
        timed(page, ".rl-history input")

    def test_a_gate_that_follows_is_one_more_slot(self, visit):
        page = visit("pointer")
        page.get_by_label("g follows").check(force=True)
        none = 10 * 0.4 / 0.6
        for n in range(1, 4):
            page.get_by_role("button", name="add b", exact=True).click()
            total = 10 + 2 * n
            expected = mixture([0, 1, 0, *[1] * n], [5, 3, 2, *[2] * n], total / (total + none))
            assert numbers(page, "[data-value]", "value") == pytest.approx(expected)
        slide(page, "g, gate", 0.5)
        page.get_by_role("button", name="add c").click()
        assert "g = 0.53" in said(page)  # 18 / (18 + 16)

    def test_by_keyboard_alone(self, visit):
        page = visit("pointer")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert page.get_by_label("g follows").is_checked()
        page.get_by_role("button", name="remove b", exact=True).focus()
        page.keyboard.press("Enter")
        assert page.locator(".rl-history li").count() == 2
        assert page.evaluate("document.activeElement.closest('li') === document.querySelector('.rl-history').lastChild")


NAMES = ("beam_search", "temperature", "pointer")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_markup_is_text(self, visit, name):
        page = visit(name)
        assert page.evaluate("globalThis.taken") is None and page.locator(".rl-view b[onclick]").count() == 0
        assert (MARKUP in page.locator(".rl-view").inner_text()) == (name == "pointer")

    def test_without_scripts_there_is_a_picture_and_a_sentence(self, visit, name):
        page = visit(name, java_script_enabled=False)
        image = page.locator("figure img")
        assert image.bounding_box()["height"] > 100 and image.get_attribute("alt")
        assert page.locator(".rl-missed").is_visible()

    def test_it_fits_a_phone_and_all_that_can_be_moved_has_a_name(self, visit, name):
        start = time.perf_counter()
        page = visit(name, width=375)
        print(f"\n{name} shown after {time.perf_counter() - start:.2f} s")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert page.locator("[role=group][aria-label]").count() == 1 and said(page)
        nameless = page.evaluate("""() => [...document.querySelectorAll("button, input, select")]
          .filter((e) => !(e.innerText?.trim() || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML)""")
        assert nameless == []
