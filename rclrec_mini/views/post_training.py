"""The book's figures of post-training, each a function from numbers to a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from rclrec_mini.views.style import INK, colors


def moved(change: Tensor, hit: Tensor, signal: Tensor) -> Figure:
    """The mean change of the log-probability of the target and of the negatives by rank, in groups with signal.

    Args:
        change: of each item of each group (B, G), nats.
        hit: which is the target (B, G).
        signal: which groups have any (B,).
    """
    change, hit = change[signal], hit[signal]
    ranks = range(hit.shape[1])
    negatives = [float(change[:, i][~hit[:, i]].mean()) for i in ranks]
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    up, down = colors(2)
    axis.bar(-1.5, float(change[hit].mean()), color=up)
    axis.bar(ranks, negatives, color=down)
    axis.axhline(0, color=INK, linewidth=1)
    axis.set_xticks([-1.5, *ranks], ["target", *(str(i) for i in ranks)])
    axis.set(xlabel="negatives by the rank that the policy gave them", ylabel="change of log-probability (nats)")
    sns.despine(figure)
    plt.close(figure)
    return figure


def through_training(logs: Mapping[str, Sequence[Mapping[str, Any]]], *, metric: str, reward: str = "reward") -> Figure:
    """What each policy earned and what its lists were worth, by step.

    Args:
        logs: under each label the lines of a run's log.jsonl.
        metric: of validation.
        reward: which scalar of the log was earned.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for (label, lines), hue, marker in zip(logs.items(), colors(len(logs)), "os^Dv", strict=False):
        earned = [(line["step"], line[reward]) for line in lines if reward in line]
        worth = [(line["step"], 100 * line["validation"][metric]) for line in lines if "validation" in line]
        for axis, points in zip(axes, (earned, worth), strict=True):
            axis.plot(*zip(*points, strict=True), color=hue, marker=marker, markersize=4, label=label)
    axes[0].set(xlabel="steps", ylabel="mean reward of a group", title="what is earned")
    axes[1].set(xlabel="steps", ylabel=f"{metric} of validation (%)", title="what it is worth")
    axes[0].legend(frameon=False)
    sns.despine(figure)
    plt.close(figure)
    return figure
