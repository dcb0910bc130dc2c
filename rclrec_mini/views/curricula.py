"""The book's figures of the curriculum and of the pointer, each a function from numbers to a matplotlib figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.views.style import INK, MARKS, PALETTE, colors, subplots

ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "columnspacing": 1, "handletextpad": 0.3}


def curriculum(p: np.ndarray, behavior: np.ndarray, selected: np.ndarray, truth: np.ndarray | None = None) -> Figure:
    """The history of one user as RCPM sees it: how relevant it finds each event, and which it puts before the target.

    Args:
        p: relevance of each event (T,), oldest first.
        behavior: behaviours (T,).
        selected: places of the curriculum (k,).
        truth: which events truly led to the purchase (T,), of a simulated shop.
    """
    figure, axis = subplots(figsize=(9, 2.8))
    grey, blue, orange = INK, *colors(2)
    ago = np.arange(len(p), 0, -1)
    axis.vlines(ago, 0, p, color=[blue if t in set(selected) else grey for t in range(len(p))], linewidth=2)
    for number, name in enumerate(BEHAVIORS):
        at = behavior == number
        axis.plot(ago[at], p[at], MARKS[number], color=grey, markersize=5, label=name)
    axis.plot(ago[selected], p[selected], "o", color=blue, markersize=10, fillstyle="none", label="in the curriculum")
    if truth is not None:
        axis.plot(
            ago[truth], np.zeros(truth.sum()), "|", color=orange, markersize=14, label="truly led to the purchase"
        )
    axis.set_xlim(len(p) + 1, 0)
    axis.set_xlabel("events before the purchase")
    axis.set_ylabel("relevance p")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def pointed_at(
    p: np.ndarray, behavior: np.ndarray, own: np.ndarray, items: dict[str, np.ndarray], labels: list[str]
) -> Figure:
    """The mass of each event on the left, and that of some items on the right.

    Args:
        p: the mass of each event (T,), oldest first.
        behavior: their behaviours (T,).
        own: which events are of the item that came (T,), drawn in orange.
        items: under the name of each method the mass that it gives to some items (n,).
        labels: the names of these items, n of them.
    """
    figure, (left, right) = subplots(1, 2, figsize=(9, 3.4), width_ratios=[3, 2])
    blue, orange, *_ = PALETTE
    ago, color = np.arange(len(p), 0, -1), np.where(own, orange, INK)
    left.vlines(ago, 0, p, color=color)
    for number, name in enumerate(BEHAVIORS):
        here = behavior == number
        left.scatter(ago[here], p[here], c=color[here], marker=MARKS[number])
        left.plot([], [], MARKS[number], color=INK, label=name)
    left.set(xlabel="events before the purchase", ylabel="$p_t$", xlim=(len(p) + 1, 0))
    left.legend(**ABOVE, ncols=len(BEHAVIORS))
    height = 0.76 / len(items)
    for number, (name, values) in enumerate(items.items()):
        place = np.arange(len(labels)) + (number - (len(items) - 1) / 2) * height
        right.barh(place, values, height, color=(blue, INK, orange)[number], label=name)
    right.set_yticks(range(len(labels)), labels)
    right.invert_yaxis()
    right.set(xlabel="share of the mass")
    right.legend(**ABOVE, ncols=len(items))
    return figure


def gain_by_precision(starts: dict[str, list[dict[str, Any]]], marks: dict[str, float], *, metric: str) -> Figure:
    """What a curriculum of known precision gains on no prefix, in points, with 95% bands, and where selectors stand.

    Args:
        starts: under each label points with precision (0 to 1), difference, low and high (shares).
        marks: the precision of each selector, a dotted line.
        metric: whose gain it is, for the axis.
    """
    figure, axis = subplots(figsize=(8, 4.2))
    hues = colors(len(starts))
    axis.axhline(0, color=INK, linewidth=1)
    for i, (label, points) in enumerate(starts.items()):
        x = [point["precision"] for point in points]
        low, mean, high = ([100 * point[end] for point in points] for end in ("low", "difference", "high"))
        axis.fill_between(x, low, high, color=hues[i], alpha=0.25, linewidth=0)
        axis.plot(x, mean, color=hues[i], marker="os"[i % 2], label=label)
    for name, precision in marks.items():
        axis.axvline(precision, color=INK, linestyle=":")
        crowded = any(0 < precision - other < 0.04 for other in marks.values())
        side = "left" if crowded else "right"  # of its line, so that no name covers a neighbour's
        axis.annotate(f" {name}", (precision, 0.99), xycoords=("data", "axes fraction"), rotation=90, va="top", ha=side)
    axis.set(xlabel="precision of the prefix", ylabel=f"gain in {metric} (points)", xlim=(-0.02, 1.02))
    figure.legend(loc="outside lower center", ncols=len(starts))
    return figure


def step_and_slope(x: Sequence[float], lines: dict[str, dict[str, Sequence[float]]], *, xlabel: str) -> Figure:
    """Functions of one score on the left, their slopes on the right.

    Args:
        x: the score's values.
        lines: under each label "value" and "slope" at each x; both may be left out.
        xlabel: whose score it is.
    """
    figure, axes = subplots(1, 2, figsize=(9, 3.4))
    hues = colors(len(lines))
    for axis, name in zip(axes, ("value", "slope"), strict=True):
        for (label, line), hue, style in zip(lines.items(), hues, ("-", "--", ":"), strict=False):
            if name in line:
                axis.plot(x, line[name], color=hue, linestyle=style, linewidth=2, label=label)
        axis.set(title=name, xlabel=xlabel)
        axis.legend()
    return figure


def gains(samples: dict[str, np.ndarray], *, margin: float) -> Figure:
    """How much likelier each prefix makes its target: a distribution for each curriculum, and where the hinge acts.

    Args:
        samples: under each label the gains of many targets (n,), nats a token.
        margin: m of eq. 8; left of it the hinge is active.
    """
    figure, axis = subplots(figsize=(8, 3.8))
    edges = np.linspace(-3, 3, 61)
    for (label, values), hue, style in zip(samples.items(), colors(len(samples)), ("-", "--", ":", "-."), strict=False):
        share = np.histogram(np.clip(values, -3, 3), edges)[0] / len(values)
        axis.stairs(share, edges, color=hue, linestyle=style, linewidth=2, label=label)
    axis.axvspan(-3, margin, color=INK, alpha=0.15, linewidth=0)
    axis.annotate("hinge active", (margin, 0.97), xycoords=("data", "axes fraction"), ha="right", va="top")
    axis.set(xlabel="gain of the prefix (nats a token)", ylabel="share of targets", xlim=(-3, 3))
    axis.set_ylim(0, 1.15 * axis.get_ylim()[1])
    axis.legend(loc="upper left")
    return figure
