"""The book's static figures, each a function from results to a matplotlib figure."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rclrec_mini.data.relevance import ATTRIBUTES, HISTORY, OTHER_USERS, OWN_SHUFFLED
from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.files import InputError


def training_curves(*runs: Path | str, monitor: str = "NDCG@10") -> Figure:
    """Loss (nats; means since the line before) and validation metric by step: one line a run, its best value marked.

    Args:
        runs: run folders or their log.jsonl; the folder's name is the label.
        monitor: the validation metric shown.

    Raises:
        InputError: a log is missing, or one of its lines is not JSON.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for run, color in zip(runs, sns.color_palette("colorblind", len(runs)), strict=True):
        path = Path(run) / "log.jsonl" if Path(run).is_dir() else Path(run)
        lines = _read_log(path)
        loss = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        metric = [(line["step"], line["validation"][monitor]) for line in lines if "validation" in line]
        left.plot(*zip(*loss, strict=True), color=color, label=path.parent.name)
        if metric:
            right.plot(*zip(*metric, strict=True), color=color, marker=".", label=path.parent.name)
            right.plot(*max(metric, key=lambda point: point[1]), color=color, marker="*", markersize=11)
    left.set(title="Training", xlabel="step", ylabel="loss")
    right.set(title="Validation", xlabel="step", ylabel=monitor)
    left.legend(frameon=False)
    sns.despine(figure)
    plt.close(figure)  # a notebook then shows it once
    return figure


def _read_log(path: Path) -> list[dict]:
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: expected JSON, found {error}") from None
    if not any("loss" in line for line in lines):
        raise InputError(f"{path}: found no line with a loss, expected the log of a run")
    return lines


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
    figure, axes = plt.subplots(1, len(ATTRIBUTES), figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, attribute in zip(axes, ATTRIBUTES, strict=True):
        rows = [row for row in table.to_pylist() if row["attribute"] == attribute]
        for i, (source, label) in enumerate(series.items()):
            _marks([row for row in rows if row["source"] == source], axis, i, label)
        axis.set(title=f"Same {attribute}", xlabel="behaviour of the target", xlim=(-0.5, len(BEHAVIORS) - 0.5))
        axis.set_xticks(range(len(BEHAVIORS)), BEHAVIORS)
    axes[0].set(ylabel="share of events (0 to 1)", ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(series), frameon=False)
    figure.suptitle(title)
    sns.despine(figure)
    plt.close(figure)
    return figure


def _marks(rows: list[dict], axis: Axes, i: int, label: str) -> None:
    """The i-th series: a mark and its interval for each behaviour, moved aside so that series do not overlap."""
    x = [BEHAVIORS.index(row["behavior"]) + 0.15 * (i - 1) for row in rows]
    mean = np.array([row["mean"] for row in rows])
    half = np.array([0.0 if row["high"] is None else row["high"] - row["mean"] for row in rows])
    color = sns.color_palette("colorblind")[i]
    axis.errorbar(x, mean, half, fmt="os^"[i], color=color, label=label, capsize=3, markersize=6)


def semantic_ids(levels: list[dict[str, Any]], *, n_codes: int) -> Figure:
    """What each level of the semantic ids adds: error left, codes in use, and how pure the prefixes are by category.

    Args:
        levels: rows of semantic_ids.diagnostics, or "levels" of diagnostics.json.
        n_codes: V, codes per level.
    """
    figure, (error, use, purity) = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    blue, orange, green = sns.color_palette("colorblind", 3)
    level = [row["level"] for row in levels]
    error.plot(level, [row["error"] for row in levels], color=blue, marker="o")
    error.set(title="Error left", ylabel="share of variance", ylim=(0, None))
    use.plot(level, [row["used"] for row in levels], color=blue, marker="o", label="used")
    use.plot(level, [row["perplexity"] for row in levels], color=orange, marker="s", label="perplexity")
    use.axhline(n_codes, color="grey", linestyle=":", label="all")
    use.set(title="Codes", ylabel="codes", ylim=(0, 1.05 * n_codes))
    use.legend(frameon=False)
    if levels[0]["purity"] is not None:
        by_chance = [row["purity_by_chance"] for row in levels]
        purity.plot(level, [row["purity"] for row in levels], color=green, marker="^", label="category")
        purity.plot(level, by_chance, color="grey", linestyle=":", marker=".", label="shuffled")
        purity.legend(frameon=False)
    purity.set(title="Purity of prefixes", ylabel="share of items", ylim=(0, 1.05))
    for axes in (error, use, purity):
        axes.set(xlabel="level", xticks=level)
    sns.despine(figure)
    return figure
