"""Small live views of the chapters, each HTML that computes in the page: controls to move, and what follows from them.

explorables.temperature([0.5, 1.5, 0.0], codes=[[0, 1], [2, 3], [1, 1]])     # in a notebook: the view

Each is a module of live/js that begins with view_, on numbers that are given here; without scripts a still picture.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from rclrec_mini.data.relevance import Relevance
from rclrec_mini.files import InputError
from rclrec_mini.views.live.bundle import bundle, style
from rclrec_mini.views.live.page import Page
from rclrec_mini.views.live.still import picture
from rclrec_mini.views.style import INK, PALETTE, subplots

SOURCES = ("history", "own shuffled", "other users")


def beam_search(words: Sequence[str], p: Mapping[str, Sequence[float]], *, width: int = 2) -> Page:
    """A search down a small tree, step by step: which nodes are scored, which stay, and the exact ranking beside them.

    Args:
        words: of the items, all of one length, a digit for each code.
        p: of each prefix that leads on, the probabilities of the codes after it.
        width: beams to begin with.

    Raises:
        InputError: words differ in length, or a prefix has no probability of a code that follows.
    """
    for word in words:
        if len(word) != len(words[0]):
            raise InputError(f"words: found {word} and {words[0]}, expected one length")
        for end in range(len(word)):
            if int(word[end]) >= len(p.get(word[:end], ())):
                raise InputError(f"p: no probability of code {word[end]} after {word[:end] or 'the root'}")
    exact = {word: float(np.prod([p[word[:end]][int(code)] for end, code in enumerate(word)])) for word in words}
    ranked = sorted(exact, key=exact.__getitem__, reverse=True)
    words_below = f"The exact likelihood of each item; the best is {ranked[0]} with {exact[ranked[0]]:.3g}."
    return small_page(
        "beam-search", {"words": list(words), "p": {prefix: list(row) for prefix, row in p.items()}}, {"width": width},
        lambda axes: axes.barh(ranked[::-1], [exact[word] for word in ranked[::-1]], color=PALETTE[1]), words_below,
        missed="a search with any number of beams walks down the tree before your eyes",
    )  # fmt: skip


def temperature(scores: Sequence[float], *, codes: Sequence[Sequence[int]], tau: float = 0.5, k: int = 3) -> Page:
    """What a temperature does to p, and what it does not do to the choice of k events.

    Args:
        scores: of T events, oldest first.
        codes: of their items (T, L).
        tau, k: to begin with.

    Raises:
        InputError: there are not as many codes as scores.
    """
    scores, codes = np.asarray(scores, float).tolist(), np.asarray(codes).tolist()
    if len(codes) != len(scores):
        raise InputError(f"codes: found {len(codes)}, expected one row for each of {len(scores)} scores")
    power = np.exp((np.array(scores) - max(scores)) / tau)
    p, chosen = power / power.sum(), np.argsort(scores, kind="stable")[len(scores) - k :]
    colors = [PALETTE[0] if t in chosen else INK for t in range(len(scores))]
    return small_page(
        "temperature", {"scores": scores, "codes": codes}, {"tau": tau, "k": k},
        lambda axes: axes.bar([f"event {t}" for t in range(len(scores))], p, color=colors),
        f"p at a temperature of {tau:g}; the {k} chosen events are blue.",
        missed="you can move temperature and k, and see p and the prefix follow",
    )  # fmt: skip


def pointer(history: Sequence[str], p: Sequence[float], generated: Mapping[str, float], *, g: float = 0.8) -> Page:
    """The mixture of pointing and generating, while events come and go and the gate is set or follows.

    Args:
        history: items, oldest first.
        p: of each event.
        generated: of each item of the catalogue, P_gen.
        g: the gate to begin with.

    Raises:
        InputError: an event is of no item of the catalogue.
    """
    items = list(generated)
    if strange := set(history) - set(items):
        raise InputError(f"history: found {sorted(strange)[0]}, expected one of {', '.join(items)}")
    copied = [g * sum(one for one, item in zip(p, history, strict=True) if item == name) for name in items]
    rest = [(1 - g) * generated[name] for name in items]

    def draw(axes: Axes) -> None:
        axes.bar(items, copied, color=PALETTE[0], label="copied")
        axes.bar(items, rest, bottom=copied, color=PALETTE[1], label="generated")
        axes.legend()

    totals = ", ".join(f"P({name}) = {a + b:.2f}" for name, a, b in zip(items, copied, rest, strict=True))
    events = [{"item": items.index(name), "weight": 10 * one} for name, one in zip(history, p, strict=True)]
    return small_page(
        "pointer", {"items": items, "generated": list(generated.values())}, {"events": events, "g": g}, draw,
        f"The history {' '.join(history)} with a gate of {g:g}: {totals}.",
        missed="you can add and remove events, weigh them, and move the gate",
    )  # fmt: skip


def codebook(codes: np.ndarray, vectors: np.ndarray, *, titles: Sequence[str], categories: Sequence[str | int]) -> Page:
    """A walk down the trie of semantic ids, the items below each prefix, and their vectors in the plane.

    Args:
        codes: of N items (N, L), a few hundred.
        vectors: that they were made from (N, D); their two main directions are shown.
        titles, categories: of the items.

    Raises:
        InputError: one of them is not of N items.
    """
    codes, vectors = np.asarray(codes), np.asarray(vectors, float)
    for name, given in {"vectors": vectors, "titles": titles, "categories": categories}.items():
        if len(given) != len(codes):
            raise InputError(f"{name}: found {len(given)}, expected one for each of {len(codes)} items")
    centered = vectors - vectors.mean(0)
    left, length, _ = np.linalg.svd(centered, full_matrices=False)
    plane = left[:, :2] * length[:2]
    places = (plane - plane.min(0)) / np.maximum(np.ptp(plane, axis=0), 1e-9)
    share = float((length[:2] ** 2).sum() / max((length**2).sum(), 1e-9))
    numbers = {"codes": codes.tolist(), "places": places.round(4).tolist(), "titles": list(titles)}
    numbers |= {"categories": list(categories), "variance": share}
    return small_page(
        "codebook", numbers, {}, lambda axes: axes.scatter(*plane.T, c=codes[:, 0], cmap="twilight", s=9),
        f"The vectors of {len(codes)} items by their two main directions, coloured by their first code.",
        missed="you can walk down the trie, and see which items lie below a prefix and where their vectors are",
    )  # fmt: skip


def relevance(by_window: Mapping[int, Relevance], *, window: int = 20, attribute: str = "category") -> Page:
    """Figure 1(c) by the length of its window: shares by behaviour, with intervals, and the lead of purchases.

    Args:
        by_window: what data/relevance.py found with each window; with clicks and purchases.
        window, attribute: to begin with.

    Raises:
        InputError: `window` is none of them.
    """
    if window not in by_window:
        raise InputError(f"window: found {window}, expected one of {', '.join(map(str, by_window))}")
    shares, leads = {}, {}
    for length, found in sorted(by_window.items()):
        shares[length] = of = {}
        for row in found.table.to_pylist():
            if row["source"] in SOURCES:
                by_behavior = of.setdefault(row["attribute"], {}).setdefault(row["behavior"], {})
                by_behavior[row["source"]] = _interval(row)
        leads[length] = {
            row["attribute"]: _interval(row) for row in found.contrasts.to_pylist()
            if (row["behavior"], row["minus"], row["source"]) == ("purchase", "click", "history")
        }  # fmt: skip

    def draw(axes: Axes) -> None:
        for i, (behavior, by_source) in enumerate(shares[window][attribute].items()):
            for source, color in zip(SOURCES, PALETTE, strict=False):
                if source in by_source:
                    mean, low, high = by_source[source]
                    axes.errorbar(mean, i, xerr=[[mean - low], [high - mean]], fmt="o", color=color)
            axes.text(0, i + 0.15, behavior)
        axes.set(xlim=(0, None), yticks=[])

    return small_page(
        "relevance", {"windows": sorted(by_window), "shares": shares, "leads": leads},
        {"window": window, "attribute": attribute}, draw,
        f"Share of the last {window} events with the {attribute} of the target (blue), of the user's own events in any "
        "order (orange) and of other users' events (green).",
        missed="you can choose the window and what is compared",
    )  # fmt: skip


def _interval(row: Mapping[str, Any]) -> list[float]:
    """Mean and bounds; those of a single user, who has no interval, are the mean."""
    return [row["mean"] if row[name] is None else row[name] for name in ("mean", "low", "high")]


def knobs(
    reached: Mapping[str, Mapping[str, float]], knobs: Mapping[str, tuple[Sequence[str], Sequence[float]]], *,
    trained: Collection[str], base: str = "base",
) -> Page:  # fmt: skip
    """Shops that differ from one in a single knob: what each method reaches, and what the first has over the trained.

    Args:
        reached: in each shop, by each method; the first method is the one that the trained are compared with.
        knobs: of each knob, shops in the order of its values, and the values.
        trained: methods among which the best is taken.
        base: the shop that is on the way of every knob.

    Raises:
        InputError: a knob leads to a shop that is not there, or not through `base`.
    """
    for knob, (shops, _) in knobs.items():
        if base not in shops or not set(shops) <= set(reached):
            raise InputError(f"{knob}: found {', '.join(shops)}, expected {base} and others of {', '.join(reached)}")
    methods = list(reached[base])
    numbers = {
        "methods": methods, "trained": [method in trained for method in methods], "base": base,
        "shops": {shop: [float(values[method]) for method in methods] for shop, values in reached.items()},
        "knobs": {knob: {"shops": list(shops), "values": list(values)} for knob, (shops, values) in knobs.items()},
    }  # fmt: skip
    lead = {shop: values[methods[0]] - max(values[name] for name in trained) for shop, values in reached.items()}
    return small_page(
        "knobs", numbers, {}, lambda axes: axes.barh(list(lead)[::-1], list(lead.values())[::-1], color=PALETTE[1]),
        f"What {methods[0]} has over the best trained method in each shop, in points.",
        missed="you can turn each knob, and see what every method reaches",
    )  # fmt: skip


def small_page(
    name: str, numbers: Mapping[str, Any], state: Mapping[str, Any], draw: Callable[[Axes], Any], words: str, *,
    missed: str,
) -> Page:  # fmt: skip
    """The view of live/js/view_NAME.js (dashes are underscores there); `draw` and `words` make its still picture."""
    figure, axes = subplots(figsize=(7, 2.6))
    draw(axes)
    return Page(
        name=name, module=bundle(f"view_{name.replace('-', '_')}"), css=style("explorables"), exported=numbers,
        state=state, still=picture(figure, words),
        missed=f"Scripts are off, so this picture stands still. With them {missed}.",
    )  # fmt: skip
