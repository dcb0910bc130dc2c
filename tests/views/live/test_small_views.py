"""The small views as a reader meets them: opened from a file in Chromium with the network off, compared with Python."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from every_view import MARKUP, EveryView, numbers, said, slide, timed

from rclrec_mini.data.relevance import Relevance, relevance
from rclrec_mini.data.schema import ITEMS
from rclrec_mini.files import InputError
from rclrec_mini.views import explorables

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
def words() -> tuple[np.ndarray, list[str], list[int]]:
    """Codes, titles and categories of 70 items."""
    chance = np.random.default_rng(2)
    codes = np.array(list(itertools.product(range(5), repeat=LEVELS)))[chance.permutation(5**LEVELS)[:70]]
    titles = [MARKUP if i == 0 else f"lamp {i}" for i in range(70)]
    return codes, titles, (codes[:, 0] % 2 + chance.integers(2, size=70)).tolist()


@pytest.fixture(scope="module")
def by_window(materials) -> dict[int, Relevance]:
    """Figure 1(c) of a tiny shop, four items a category and ten a brand."""
    items = {name: pa.nulls(materials.sequences.n_items, ITEMS.field(name).type) for name in ITEMS.names}
    number = np.arange(materials.sequences.n_items)
    items |= {"item": pa.array(number, pa.int32()), "category": pa.array((number // 4).astype(str))}
    items |= {"brand": pa.array((number // 10).astype(str))}
    items = pa.table(items, schema=ITEMS)
    return {window: relevance(materials.sequences, items, window=window) for window in (3, 8, 30)}


METHODS = ["count", MARKUP, "model"]
REACHED = {
    "base": [60.0, 40.5, 51.25], "a 0": [55.0, 57.5, 50.0], "a 9": [61.0, 10.0, 20.0], "b 7": [70.0, 30.0, 31.0],
}  # fmt: skip
KNOBS = {"a": (["a 0", "base", "a 9"], [0, 4, 9]), "b": (["base", "b 7"], [1, 7])}


@pytest.fixture(scope="module")
def views(tree, scores, words, by_window) -> dict[str, explorables.Page]:
    codes, titles, categories = words
    vectors = np.random.default_rng(0).normal(size=(70, 6))
    generated = {MARKUP: 0.1, "b": 0.15, "c": 0.75}
    return {
        "beam_search": explorables.beam_search(*tree, width=4),
        "temperature": explorables.temperature(scores, codes=np.arange(14).reshape(7, 2), tau=0.35, k=2),
        "pointer": explorables.pointer([MARKUP, "b", MARKUP], [0.5, 0.3, 0.2], generated, g=0.6),
        "codebook": explorables.codebook(codes, vectors, titles=titles, categories=categories),
        "relevance": explorables.relevance(by_window, window=8),
        "knobs": explorables.knobs(
            {shop: dict(zip(METHODS, row, strict=True)) for shop, row in REACHED.items()}, KNOBS, trained=METHODS[1:]
        ),
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


class TestInPython:
    def test_what_does_not_fit_is_refused(self, tree, by_window):
        _, p = tree
        with pytest.raises(InputError, match="found 01 and 012, expected one length"):
            explorables.beam_search(["012", "01"], p)
        with pytest.raises(InputError, match="no probability of code 9 after the root"):
            explorables.beam_search(["900"], p)
        with pytest.raises(InputError, match="found 1, expected one row for each of 2 scores"):
            explorables.temperature([1, 2], codes=[[0]])
        with pytest.raises(InputError, match="found z, expected one of a, b"):
            explorables.pointer(["a", "z"], [0.5, 0.5], {"a": 0.5, "b": 0.5})
        with pytest.raises(InputError, match="titles: found 1, expected one for each of 2 items"):
            explorables.codebook([[0], [1]], [[0.0], [1.0]], titles=["a"], categories=[0, 0])
        with pytest.raises(InputError, match="window: found 5, expected one of 3, 8, 30"):
            explorables.relevance(by_window, window=5)
        with pytest.raises(InputError, match="a: found x, y, expected x and others of x"):
            explorables.knobs({"x": {"count": 1.0}}, {"a": (["x", "y"], [0, 1])}, trained=["count"], base="x")


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


@pytest.mark.slow
class TestCodebook:
    def test_the_walk_finds_what_python_finds(self, visit, words):
        codes, titles, categories = words
        page = visit("codebook")
        prefix: list[int] = []
        for level in range(LEVELS):
            here = np.flatnonzero((codes[:, :level] == prefix).all(1))
            assert set(numbers(page, "[data-below]", "dot")) == set(here.tolist())
            leads = np.unique(codes[here, level])
            assert numbers(page, ".rl-child", "code") == leads.tolist()
            below = [here[codes[here, level] == code] for code in leads]
            assert numbers(page, ".rl-child", "items") == [len(some) for some in below]
            shares = [max(np.bincount(np.array(categories)[some])) for some in below]
            assert numbers(page, ".rl-child", "share") == shares
            assert f": {len(here)} items, " in said(page)
            last = page.locator(".rl-child").last
            last.focus()
            assert set(numbers(page, "[data-pointed]", "dot")) == set(below[-1].tolist())
            last.click()
            prefix.append(int(leads[-1]))
        (item,) = np.flatnonzero((codes == prefix).all(1))
        assert numbers(page, "[data-item]", "item") == [item] and titles[item] in page.locator(".rl-items").inner_text()
        assert "This is a whole word" in said(page)

    def test_by_keyboard_alone(self, visit, words):
        page = visit("codebook")
        page.keyboard.press("Tab")  # root
        for _ in range(2):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        second = np.unique(words[0][:, 0])[1]
        assert said(page).startswith(f"Below {second}: ")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        assert said(page).startswith("Below the root: 70 items")


@pytest.mark.slow
class TestRelevance:
    def test_shares_and_leads_are_those_of_python(self, visit, by_window):
        page = visit("relevance")
        for place, (_, found) in enumerate(by_window.items()):
            page.get_by_role("slider").fill(str(place))
            for attribute in ("category", "item"):
                page.get_by_label(attribute, exact=True).check(force=True)
                table = found.table.to_pandas().query("attribute == @attribute and source in @explorables.SOURCES")
                key = ["behavior", "source"]
                shown = page.locator("[data-share]").evaluate_all(
                    "all => all.map(({ dataset: { behavior, source, share } }) => [`${behavior}, ${source}`, +share])"
                )
                expected = {f"{b}, {s}": mean for b, s, mean in table[[*key, "mean"]].itertuples(index=False)}
                assert dict(shown) == pytest.approx(expected)
                lead = found.contrasts.to_pandas().query(
                    "attribute == @attribute and source == 'history' and behavior == 'purchase' and minus == 'click'"
                )
                numbers = [f"{value:+.3f}".replace("-", "−") for value in lead[["mean", "low", "high"]].to_numpy()[0]]
                assert "{} [{}, {}]".format(*numbers) in said(page)
        timed(page, "input[type=range]")

    def test_by_keyboard_alone(self, visit):
        page = visit("relevance")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert "has the brand of the target" in said(page)
        page.keyboard.press("Tab")
        page.keyboard.press("End")
        assert said(page).startswith("Of the last 30 events")


@pytest.mark.slow
class TestKnobs:
    def test_the_lead_is_that_of_python(self, visit):
        page = visit("knobs")
        for knob, (shops, values) in KNOBS.items():
            page.get_by_role("combobox").select_option(knob)
            assert f"{values[shops.index('base')]}, the base shop" in said(page)
            for place, shop in enumerate(shops):
                page.get_by_role("slider").fill(str(place))
                assert numbers(page, ".rl-methods li", "value") == REACHED[shop]
                count, *trained = REACHED[shop]
                assert numbers(page, "[data-lead]", "lead") == pytest.approx([count - max(trained)])
                best = page.locator("[data-best]").inner_text()
                assert best.startswith(METHODS[REACHED[shop].index(max(trained))])
                assert ("behind" in said(page)) == (count < max(trained))
        timed(page, "input[type=range]")

    def test_by_keyboard_alone(self, visit):
        page = visit("knobs")
        page.keyboard.press("Tab")
        page.keyboard.press("b")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert said(page).startswith("b 7: the count reaches 70.0")


@pytest.mark.slow
class TestEach(EveryView):
    @pytest.fixture(params=["beam_search", "temperature", "pointer", "codebook", "relevance", "knobs"])
    def file(self, files, request) -> Path:
        return files[request.param]

    def shows_titles(self, file):
        return file.stem in ("pointer", "codebook", "knobs")
