"""The book's figure of pointing: what a pointer makes of one user's history."""

import numpy as np
from matplotlib.figure import Figure

from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.views.figures import MARKS
from rclrec_mini.views.style import INK, PALETTE, subplots

ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "frameon": False, "columnspacing": 1, "handletextpad": 0.3}


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
