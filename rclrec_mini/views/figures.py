"""The book's figures of data and semantic ids, each a function from numbers to a matplotlib figure."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rclrec_mini.data.relevance import ATTRIBUTES, HISTORY, OTHER_USERS, OWN_SHUFFLED
from rclrec_mini.data.schema import BEHAVIORS, PURCHASE
from rclrec_mini.views.style import INK, MARKS, PALETTE, colors, subplots

NOISE = -1


def relevance_by_behavior(table: pa.Table, *, window: int = 20, title: str = "") -> Figure:
    """Figure 1(c): the share of the last `window` events that have the target's category, brand and seller.

    One panel an attribute, the target's behaviour along it in funnel order. Circles are the history, the other marks
    the two baselines, bars their 95% intervals.

    Args:
        table: `Relevance.table` of data/relevance.py; what it lacks is left empty.
        window: the window it was made with, for the legend (events).
    """
    series = {
        HISTORY: f"last {window} events",
        OWN_SHUFFLED: "own events, shuffled",
        OTHER_USERS: "other users' events",
    }
    figure, axes = subplots(1, len(ATTRIBUTES), figsize=(9, 3.4), sharey=True)
    for axis, attribute in zip(axes, ATTRIBUTES, strict=True):
        rows = [row for row in table.to_pylist() if row["attribute"] == attribute]
        for i, (source, label) in enumerate(series.items()):
            _marks([row for row in rows if row["source"] == source], axis, i, label)
        axis.set(title=f"Same {attribute}", xlabel="behaviour of the target", xlim=(-0.5, len(BEHAVIORS) - 0.5))
        axis.set_xticks(range(len(BEHAVIORS)), BEHAVIORS)
    axes[0].set(ylabel="share of events (0 to 1)", ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(series))
    figure.suptitle(title)
    return figure


def _marks(rows: list[dict], axis: Axes, i: int, label: str) -> None:
    """The i-th series: a mark and its interval for each behaviour, moved aside so that series do not overlap."""
    x = [BEHAVIORS.index(row["behavior"]) + 0.15 * (i - 1) for row in rows]
    mean = np.array([row["mean"] for row in rows])
    half = np.array([0.0 if row["high"] is None else row["high"] - row["mean"] for row in rows])
    color = PALETTE[i]
    axis.errorbar(x, mean, half, fmt="os^"[i], color=color, label=label, capsize=3, markersize=6)


def differences(series: dict[str, pd.DataFrame]) -> Figure:
    """Differences between purchases and clicks with their 95% intervals: one line of the figure an attribute.

    Args:
        series: under each label, mean, low and high by attribute (the index), as `Relevance.contrasts` has them.
    """
    names = [*ATTRIBUTES, "item"]
    figure, axis = subplots(figsize=(7, 1.2 + 0.7 * len(series)))
    axis.axvline(0, color=INK, linewidth=0.8)
    for i, (label, rows) in enumerate(series.items()):
        y = [names.index(name) + 0.2 * (i - (len(series) - 1) / 2) for name in rows.index]
        half = (rows["high"] - rows["mean"]).fillna(0.0)
        color = PALETTE[i]
        axis.errorbar(rows["mean"], y, xerr=half, fmt="os^D"[i % 4], color=color, label=label, capsize=3, markersize=6)
    axis.set(xlabel="purchases minus clicks (difference of shares)", ylim=(len(names) - 0.4, -0.6))
    axis.set_yticks(range(len(names)), [*(f"same {name}" for name in ATTRIBUTES), "own item seen"])
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def journeys(journey: np.ndarray, behavior: np.ndarray, *, target: int, before: int = 50, recent: int = 4) -> Figure:
    """One user's events up to a purchase, a line for each decision journey, and the events a recency rule would take.

    Args:
        journey: truth of the user's events (n,); negative is idle browsing, drawn in grey on the lowest line.
        behavior: their behaviours (n,).
        target: place of the purchase among them; its journey is drawn in orange.
        before: events shown before it.
        recent: of these, the last ones are shaded.
    """
    at = np.arange(max(0, target - before), target + 1)
    lanes = [NOISE, *(j for j in dict.fromkeys(journey[at].tolist()) if j >= 0)]
    figure, axis = subplots(figsize=(9, 1.3 + 0.22 * len(lanes)))
    axis.axvspan(-recent - 0.5, -0.5, color=INK, alpha=0.15, linewidth=0)
    blue, orange, *_ = PALETTE
    for lane, number in enumerate(lanes):
        here = at[journey[at] == number] if number >= 0 else at[journey[at] < 0]
        color = "grey" if number < 0 else orange if number == journey[target] else blue
        axis.plot(here - target, np.full(len(here), lane), color=color, linewidth=0 if number < 0 else 1)
        for b, mark in enumerate(MARKS):
            x = here[behavior[here] == b] - target
            axis.plot(x, np.full(len(x), lane), mark, color=color, markersize=12 if b == PURCHASE else 6)
    for name, mark in zip(BEHAVIORS, MARKS, strict=True):
        axis.plot([], [], mark, color=INK, label=name)
    axis.set(xlabel="place relative to the purchase (events)", ylabel="journey", yticks=[0], yticklabels=["idle"])
    figure.legend(loc="outside upper center", ncols=len(BEHAVIORS))
    return figure


def calibration(rows: list[dict[str, Any]]) -> Figure:
    """What a simulated shop turned out to be, as a multiple of what it was meant to be.

    Args:
        rows: what, target, mean, and low and high where there is an interval.
    """
    figure, axis = subplots(figsize=(7, 1 + 0.4 * len(rows)))
    axis.axvline(1, color=INK, linestyle=":")
    color, y = PALETTE[0], range(len(rows))
    ratio = np.array([row["mean"] / row["target"] for row in rows])
    half = [(row.get("high", row["mean"]) - row["mean"]) / row["target"] for row in rows]
    axis.errorbar(ratio, y, xerr=half, fmt="o", color=color, capsize=3)
    labels = [f"{row['what']}: {row['mean']:.3g} for {row['target']:.3g}" for row in rows]
    axis.set_yticks(y, labels)
    axis.set(xlabel="measured / target", ylim=(len(rows) - 0.5, -0.5))
    axis.set_xlim(min(0.8, ratio.min() - 0.05), max(1.2, ratio.max() + 0.05))
    return figure


def precision_by_gap(rows: list[dict[str, Any]]) -> Figure:
    """How many of a selector's events belong to the target's journey, by the knobs that make a shop hard.

    Args:
        rows: gap (events), journeys (at once), and the precision of recent-k and random-k under `recent`, `random`.
    """
    figure, axis = subplots(figsize=(6, 3.4))
    open_journeys = sorted({row["journeys"] for row in rows})
    for n, color in zip(open_journeys, colors(len(open_journeys)), strict=True):
        line = sorted((row for row in rows if row["journeys"] == n), key=lambda row: row["gap"])
        gap = [row["gap"] for row in line]
        axis.plot(gap, [row["recent"] for row in line], "o-", color=color, label=f"recent, {n} at once")
        axis.plot(gap, [row["random"] for row in line], "s:", color=color, label=f"random, {n} at once", alpha=0.7)
    axis.set(xlabel="gap before the purchase (events)", ylabel="precision", ylim=(0, 1))
    axis.legend(ncols=1, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def semantic_ids(levels: list[dict[str, Any]], *, n_codes: int) -> Figure:
    """What each level of the semantic ids adds: error left, codes in use, and how pure the prefixes are by category.

    Args:
        levels: rows of semantic_ids.diagnostics, or "levels" of diagnostics.json.
        n_codes: V, codes per level.
    """
    figure, (error, use, purity) = subplots(1, 3, figsize=(10, 3.2))
    blue, orange, green = colors(3)
    level = [row["level"] for row in levels]
    error.plot(level, [row["error"] for row in levels], color=blue, marker="o")
    error.set(title="Error left", ylabel="share of variance", ylim=(0, None))
    use.plot(level, [row["used"] for row in levels], color=blue, marker="o", label="used")
    use.plot(level, [row["perplexity"] for row in levels], color=orange, marker="s", label="perplexity")
    use.axhline(n_codes, color=INK, linestyle=":", label="all")
    use.set(title="Codes", ylabel="codes", ylim=(0, 1.05 * n_codes))
    use.legend()
    if levels[0]["purity"] is not None:
        by_chance = [row["purity_by_chance"] for row in levels]
        purity.plot(level, [row["purity"] for row in levels], color=green, marker="^", label="category")
        purity.plot(level, by_chance, color=INK, linestyle=":", marker=".", label="shuffled")
        purity.legend()
    purity.set(title="Purity of prefixes", ylabel="share of items", ylim=(0, 1.05))
    for axes in (error, use, purity):
        axes.set(xlabel="level", xticks=level)
    return figure
