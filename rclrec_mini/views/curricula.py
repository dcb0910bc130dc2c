"""The book's figures of the curriculum, each a function from numbers to a matplotlib figure."""

from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure


def gain_by_precision(starts: dict[str, list[dict[str, Any]]], marks: dict[str, float], *, metric: str) -> Figure:
    """What a curriculum of known precision gains on no prefix, in points, with 95% bands, and where selectors stand.

    Args:
        starts: under each label points with precision (0 to 1), difference, low and high (shares).
        marks: the precision of each selector, a dotted line.
        metric: whose gain it is, for the axis.
    """
    figure, axis = plt.subplots(figsize=(8, 4.2), layout="constrained")
    hues = sns.color_palette("colorblind", len(starts))
    axis.axhline(0, color="grey", linewidth=1)
    for i, (label, points) in enumerate(starts.items()):
        x = [point["precision"] for point in points]
        low, mean, high = ([100 * point[end] for point in points] for end in ("low", "difference", "high"))
        axis.fill_between(x, low, high, color=hues[i], alpha=0.25, linewidth=0)
        axis.plot(x, mean, color=hues[i], marker="os"[i % 2], label=label)
    for name, precision in marks.items():
        axis.axvline(precision, color="grey", linestyle=":")
        axis.annotate(
            f" {name}", (precision, 0.99), xycoords=("data", "axes fraction"), rotation=90, va="top", ha="right"
        )
    axis.set(xlabel="precision of the prefix", ylabel=f"gain in {metric} (points)", xlim=(-0.02, 1.02))
    figure.legend(loc="outside lower center", ncols=len(starts), frameon=False)
    sns.despine(figure)
    plt.close(figure)
    return figure
