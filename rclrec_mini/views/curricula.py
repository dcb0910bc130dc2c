"""The book's figures of the curriculum, each a function from numbers to a matplotlib figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rclrec_mini.views.style import INK, colors, subplots


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
        axis.annotate(
            f" {name}", (precision, 0.99), xycoords=("data", "axes fraction"), rotation=90, va="top", ha="right"
        )
    axis.set(xlabel="precision of the prefix", ylabel=f"gain in {metric} (points)", xlim=(-0.02, 1.02))
    figure.legend(loc="outside lower center", ncols=len(starts), frameon=False)
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
        axis.legend(frameon=False)
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
    axis.legend(frameon=False, loc="upper left")
    return figure
