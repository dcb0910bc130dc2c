"""The book's figures of training and results, each a function from results to a matplotlib figure."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rclrec_mini.files import InputError
from rclrec_mini.records import read_lines
from rclrec_mini.views.style import FAINT, INK, PALETTE, colors, subplots


def training_curves(*runs: Path | str, monitor: str = "ndcg@10") -> Figure:
    """Loss (nats; means since the line before) and validation metric by step: one line a run, its best value marked.

    Args:
        runs: run folders or their log.jsonl; the folder's name is the label.
        monitor: the validation metric shown.

    Raises:
        InputError: a log is missing, or one of its lines is not JSON.
    """
    figure, (left, right) = subplots(1, 2, figsize=(9, 3.2))
    for run, color in zip(runs, colors(len(runs)), strict=True):
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
    left.legend()
    return figure


def _read_log(path: Path) -> list[dict]:
    lines = list(read_lines(path))
    if not any("loss" in line for line in lines):
        raise InputError(f"{path}: found no line with a loss, expected the log of a run")
    return lines


def learning_curves(rows: dict[str, dict[str, list[dict[str, float]]]], *, metric: str = "ndcg@10") -> Figure:
    """Validation metric by minutes of training, in per cent: one line a method through the evaluations of stage one,
    dashed from there to the best of stage two, a star.

    Args:
        rows: under each method's name its "stage_one" and "stage_two", evaluations with "minutes" and metrics.
        metric: the one shown.
    """
    figure, axis = subplots(figsize=(7, 4))
    for i, (name, stages) in enumerate(rows.items()):
        first, second = ([(one["minutes"], 100 * one[metric]) for one in stages[s]] for s in ("stage_one", "stage_two"))
        color = PALETTE[i % len(PALETTE)]
        axis.plot(*zip(*first, strict=True), color=color, marker="os^Dv<>P*X"[i % 10], markersize=5, label=name)
        best = max(second, key=lambda point: point[1])
        axis.plot(*zip(first[-1], best, strict=True), color=color, linestyle=":")
        axis.plot(*best, color=color, marker="*", markersize=11)
    axis.set(xlabel="minutes of training", ylabel=f"{_metric(metric)} on validation targets (%)", xlim=(0, None))
    axis.set_ylim(bottom=0)
    figure.legend(loc="outside right upper")
    return figure


def metrics(rows: dict[str, dict[str, Any]], *, names: tuple[str, ...] = ("recall@10", "ndcg@10")) -> Figure:
    """Metrics of several methods with their 95% intervals, one panel a metric, in per cent.

    Args:
        rows: under each method's name its metrics, each with mean, low and high.
        names: the metrics shown.
    """
    size = (4.5 * len(names), 0.8 + 0.32 * len(rows))
    figure, axes = subplots(1, len(names), figsize=size, sharey=True, squeeze=False)
    place, color = range(len(rows)), PALETTE[0]
    for axis, name in zip(axes[0], names, strict=True):
        mean, low, high = (100 * np.array([row[name][end] for row in rows.values()]) for end in ("mean", "low", "high"))
        axis.errorbar(mean, place, xerr=[mean - low, high - mean], fmt="o", color=color, capsize=3)
        axis.set_xlabel(f"{_metric(name)} (%)")
        axis.set_xlim(left=0)
        axis.grid(axis="y", alpha=0.3)
    axes[0, 0].set_yticks(place, list(rows))
    axes[0, 0].invert_yaxis()
    return figure


def recall_by_k(
    series: dict[str, dict[int, dict[str, Any]]],
    *,
    names: tuple[str, ...] = ("recall@5", "recall@10"),
    data: str = "",
) -> Figure:
    """Figure 3: metrics by the number of events in the curriculum, with 95% bands, one panel a metric, in per cent.

    Args:
        series: under each variant's name and k its metrics, each with mean, low and high. Under k = 0 stands the row
            without a prefix that it is compared with, a dashed line.
        names: the metrics shown.
        data: where the numbers come from, the title.
    """
    figure, axes = subplots(1, len(names), figsize=(4.2 * len(names), 3.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for i, ((label, rows), color) in enumerate(zip(series.items(), colors(len(series)), strict=True)):
            if 0 in rows:
                line = {"label": f"{label}: without a prefix", "linestyle": "--"}
                _band(axis, [-99, 99], [rows[0][name]] * 2, color=color, **line)
            k = sorted(set(rows) - {0})
            _band(axis, k, [rows[i][name] for i in k], color=color, label=label, marker="os^D"[i % 4])
        axis.set(title=_metric(name))
    lengths = sorted({k for rows in series.values() for k in rows} - {0})
    for axis in axes[0]:
        axis.set(xlabel="events in the curriculum, k", xticks=lengths, xlim=(lengths[0] - 0.3, lengths[-1] + 0.3))
    axes[0, 0].set_ylabel("%")
    handles = axes[0, 0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figure.suptitle(data)
    return figure


def _band(axis: Axes, x: list[float], rows: list[dict[str, float]], *, color: Any, **line: Any) -> None:
    """A line through the means, in per cent, in a band from low to high."""
    mean, low, high = (100 * np.array([row[end] for row in rows]) for end in ("mean", "low", "high"))
    axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axis.plot(x, mean, color=color, **line)


def _metric(name: str) -> str:
    return name.replace("ndcg", "NDCG").replace("recall", "Recall")


def methods(
    rows: dict[str, dict[str, Any]],
    *,
    metric: str = "recall@10",
    naive: tuple[str, ...] = (),
    highlight: tuple[str, ...] = ("RCLRec",),
) -> Figure:
    """A metric of many methods with its 95% intervals, the best on top, in per cent.

    Args:
        rows: under each method's name its metrics, each with mean, low and high.
        metric: the one shown.
        naive: methods that need no training, drawn as grey squares.
        highlight: methods drawn in orange, with a line through the figure.
    """
    order = sorted(rows, key=lambda name: rows[name][metric]["mean"], reverse=True)
    figure, axis = subplots(figsize=(7, 1.1 + 0.3 * len(order)))
    blue, orange, *_ = PALETTE
    styles = {False: (blue, "o", "trained"), True: (INK, "s", "no training")}
    for place, name in enumerate(order):
        row = rows[name][metric]
        color, mark, _ = styles[name in naive]
        if name in highlight:
            color, mark = orange, "D"
            axis.axvline(100 * row["mean"], color=color, linewidth=0.8, linestyle=":", zorder=0)
        mean, low, high = (100 * row[end] for end in ("mean", "low", "high"))
        axis.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt=mark, color=color, capsize=3, markersize=6)
    axis.set_yticks(range(len(order)), order)
    for tick, name in zip(axis.get_yticklabels(), order, strict=True):
        tick.set_fontweight("bold" if name in highlight else "normal")
    if naive:
        for color, mark, label in styles.values():
            axis.plot([], [], mark, color=color, label=label)
        figure.legend(loc="outside lower center", ncols=2)
    axis.set(xlabel=f"{_metric(metric)} (%)", ylim=(len(order) - 0.4, -0.6))
    axis.set_xlim(left=0)
    axis.grid(axis="y", alpha=0.3)
    return figure


def slices(rows: dict[str, dict[str, dict[str, Any]]], *, metric: str = "recall@10", title: str = "") -> Figure:
    """A metric of several methods in each group of a slice, with 95% intervals, in per cent.

    Args:
        rows: under each method's and each group's name an `evaluation.slices.Group` as a dict: estimate (mean, low,
            high) and targets, their number, which is written below the group.
        metric: what is measured, for the axis; of differences, the line at 0 is drawn.
        title: of the figure, as a rule the slice's name.
    """
    targets = {name: row["targets"] for groups in rows.values() for name, row in groups.items()}
    order, width = list(targets), 0.7 / len(rows)
    figure, axis = subplots(figsize=(max(5, 1.5 * len(order)), 3.6))
    for i, ((label, groups), color) in enumerate(zip(rows.items(), colors(len(rows)), strict=True)):
        x = [order.index(name) + width * (i - (len(rows) - 1) / 2) for name in groups]
        estimates = [row["estimate"] for row in groups.values()]
        mean, low, high = (100 * np.array([e[end] for e in estimates]) for end in ("mean", "low", "high"))
        error = [mean - low, high - mean]
        axis.errorbar(x, mean, error, fmt="os^Dv<>P*X"[i % 10], color=color, label=label, capsize=2, markersize=6)
    for place in range(1, len(order)):
        axis.axvline(place - 0.5, color=FAINT, linewidth=0.8, zorder=0)
    if axis.get_ylim()[0] > 0:
        axis.set_ylim(bottom=0)
    else:  # differences
        axis.axhline(0, color=INK, linewidth=0.8, zorder=0)
    axis.set_xticks(range(len(order)), [f"{name}\n{targets[name]:,}" for name in order])
    axis.set(
        ylabel=f"{_metric(metric)} (%)", xlabel="group and its targets", xlim=(-0.5, len(order) - 0.5), title=title
    )
    figure.legend(loc="outside lower center", ncols=min(4, len(rows)))
    return figure
