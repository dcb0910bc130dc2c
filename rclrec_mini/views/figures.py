"""The book's static figures, each a function from results to a matplotlib figure."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

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
