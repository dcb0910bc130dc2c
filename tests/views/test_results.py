import json

import numpy as np
import pytest

from rclrec_mini.files import InputError
from rclrec_mini.views.results import (
    learning_curves,
    methods,
    metrics,
    recall_by_k,
    slices,
    training_curves,
)


def write_log(folder, lines):
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_training_curves_show_loss_and_validation(tmp_path):
    write_log(tmp_path / "pretrain", [{"step": s, "loss": 7 - s} for s in (2, 3, 5)])
    lines = [{"step": 2, "loss": 3}, {"step": 2, "validation": {"ndcg@10": 0.3}}, {"step": 4, "loss": 1}]
    write_log(tmp_path / "finetune", [*lines, {"step": 4, "validation": {"ndcg@10": 0.2}}])
    left, right = training_curves(tmp_path / "pretrain", tmp_path / "finetune" / "log.jsonl").axes
    assert [line.get_label() for line in left.lines] == ["pretrain", "finetune"]
    assert left.lines[0].get_xydata().tolist() == [[2, 5], [3, 4], [5, 2]]
    curve, best = right.lines
    assert curve.get_xydata().tolist() == [[2, 0.3], [4, 0.2]]
    assert best.get_xydata().tolist() == [[2, 0.3]]


def test_training_curves_name_a_bad_log(tmp_path):
    with pytest.raises(InputError, match=r"log\.jsonl: file not found"):
        training_curves(tmp_path)
    write_log(tmp_path / "run", [{"step": 1, "loss": 2}])
    with open(tmp_path / "run" / "log.jsonl", "a") as file:
        file.write('{"step"')
    with pytest.raises(InputError, match="line 2: expected JSON"):
        training_curves(tmp_path / "run")
    write_log(tmp_path / "empty", [])
    with pytest.raises(InputError, match="no line with a loss"):
        training_curves(tmp_path / "empty")


def test_metrics_have_a_mark_and_an_interval_a_method():
    rows = {name: {"recall@10": {"mean": m, "low": m - 0.1, "high": m + 0.05}} for name, m in (("a", 0.2), ("b", 0.3))}
    (axis,) = metrics(rows, names=("recall@10",)).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert np.allclose(axis.lines[0].get_xydata(), [[20, 0], [30, 1]])
    (segments,) = (bar.get_segments() for bar in axis.containers[0][2])
    assert np.allclose(segments[0][:, 0], [10, 25])
    assert axis.get_xlabel() == "Recall@10 (%)"


def shares(**means):
    """A row of metrics, each from 0.02 below its mean to 0.01 above."""
    return {name.replace("_", "@"): {"mean": m, "low": m - 0.02, "high": m + 0.01} for name, m in means.items()}


def test_recall_by_k_has_a_band_a_variant_and_dashes_without_a_prefix():
    rows = {k: shares(recall_5=0.1 * k, recall_10=0.2 * k) for k in (3, 1, 2)}
    without = shares(recall_5=0.15, recall_10=0.35)
    figure = recall_by_k({"RCLRec": {0: without, **rows}, "other": rows}, data="a shop")
    five, ten = figure.axes
    flat, curve, other = five.lines
    assert flat.get_ydata().tolist() == [15, 15] and flat.get_linestyle() == "--"
    assert np.allclose(curve.get_xydata(), [[1, 10], [2, 20], [3, 30]])
    assert np.allclose(other.get_xydata(), curve.get_xydata())
    assert flat.get_color() == curve.get_color() != other.get_color()
    band = five.collections[1].get_paths()[0].get_extents()
    assert np.allclose([band.xmin, band.xmax, band.ymin, band.ymax], [1, 3, 8, 31])
    assert five.get_xlim()[0] > 0 and five.get_xlim()[1] < 4  # the flat line runs through, whatever its ends
    assert ten.lines[1].get_ydata() == pytest.approx([20, 40, 60])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["RCLRec: without a prefix", "RCLRec", "other"]
    assert figure.get_suptitle() == "a shop"


def test_methods_are_sorted_and_ours_stands_out():
    rows = {name: shares(ndcg_10=m) for name, m in (("TIGER", 0.2), ("popularity", 0.1), ("RCLRec", 0.3))}
    (axis,) = methods(rows, metric="ndcg@10", naive=("popularity",)).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["RCLRec", "TIGER", "popularity"]
    marks = [container.lines[0] for container in axis.containers]
    assert np.allclose([mark.get_xydata()[0] for mark in marks], [[30, 0], [20, 1], [10, 2]])
    assert [mark.get_marker() for mark in marks] == ["D", "o", "s"]
    (bar,) = axis.containers[0].lines[2]
    assert bar.get_segments()[0][:, 0] == pytest.approx([28, 31])
    assert [label.get_fontweight() for label in axis.get_yticklabels()] == ["bold", "normal", "normal"]
    assert axis.get_xlabel() == "NDCG@10 (%)" and axis.yaxis_inverted()


def test_slices_put_methods_side_by_side_in_each_group():
    def group(mean, targets):
        return {"estimate": shares(m=mean)["m"], "targets": targets}

    rows = {"a": {"rare": group(0.2, 1009), "popular": group(0.4, 7)}, "b": {"popular": group(0.3, 7)}}
    (axis,) = slices(rows, title="popularity").axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["rare\n1,009", "popular\n7"]
    a, b = (container.lines[0].get_xydata() for container in axis.containers)
    assert a[:, 1] == pytest.approx([20, 40]) and b[:, 1] == pytest.approx([30])
    assert a[:, 0].round().tolist() == [0, 1] and b[0, 0].round() == 1 and b[0, 0] > a[1, 0]
    assert axis.get_ylim()[0] == 0
    (axis,) = slices({"a minus b": {"rare": group(-0.1, 11)}}).axes
    assert axis.get_ylim()[0] < -12  # a difference below 0 is inside


def test_learning_curves_go_on_to_the_best_of_stage_two():
    def point(minutes, value):
        return {"minutes": minutes, "ndcg@10": value}

    rows = {
        "a": {"stage_one": [point(1, 0.1), point(3, 0.3)], "stage_two": [point(3, 0.3), point(5, 0.37), point(7, 0.2)]},
        "b": {"stage_one": [point(2, 0.2)], "stage_two": [point(2, 0.2)]},
    }
    (axis,) = learning_curves(rows).axes
    first, dotted, star, *other = (line.get_xydata() for line in axis.lines)
    assert np.allclose(first, [[1, 10], [3, 30]]) and np.allclose(dotted, [[3, 30], [5, 37]])
    assert np.allclose(star, [[5, 37]]) and len(other) == 3
    assert [text.get_text() for text in axis.get_figure().legends[0].get_texts()] == ["a", "b"]
