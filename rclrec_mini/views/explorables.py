"""Small live views of the chapters, each HTML that computes in the page: controls to move, and what follows from them.

explorables.temperature([0.5, 1.5, 0.0], codes=[[0, 1], [2, 3], [1, 1]])     # in a notebook: the view

Each is a module of live/js that begins with view_, on numbers that are given here; without scripts a still picture.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from rclrec_mini.files import InputError
from rclrec_mini.views.live.bundle import bundle, style
from rclrec_mini.views.live.page import Page
from rclrec_mini.views.live.still import picture
from rclrec_mini.views.style import INK, PALETTE


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
    return _page(
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
    return _page(
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
        axes.legend(frameon=False)

    totals = ", ".join(f"P({name}) = {a + b:.2f}" for name, a, b in zip(items, copied, rest, strict=True))
    events = [{"item": items.index(name), "weight": 10 * one} for name, one in zip(history, p, strict=True)]
    return _page(
        "pointer", {"items": items, "generated": list(generated.values())}, {"events": events, "g": g}, draw,
        f"The history {' '.join(history)} with a gate of {g:g}: {totals}.",
        missed="you can add and remove events, weigh them, and move the gate",
    )  # fmt: skip


def _page(
    name: str, numbers: Mapping[str, Any], state: Mapping[str, Any], draw: Callable[[Axes], Any], words: str, *,
    missed: str,
) -> Page:  # fmt: skip
    """The view of live/js/view_NAME.js; `draw` and `words` make its still picture."""
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return Page(
        name=name, module=bundle(f"view_{name.replace('-', '_')}"), css=style("explorables"), exported=numbers,
        state=state, still=picture(figure, words),
        missed=f"Scripts are off, so this picture stands still. With them {missed}.",
    )  # fmt: skip
