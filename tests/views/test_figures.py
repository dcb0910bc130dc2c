import json

import pytest

from rclrec_mini.files import InputError
from rclrec_mini.views.figures import training_curves


def write_log(folder, lines):
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_training_curves_show_loss_and_validation(tmp_path):
    write_log(tmp_path / "pretrain", [{"step": s, "loss": 7 - s} for s in (2, 3, 5)])
    lines = [{"step": 2, "loss": 3}, {"step": 2, "validation": {"NDCG@10": 0.3}}, {"step": 4, "loss": 1}]
    write_log(tmp_path / "finetune", [*lines, {"step": 4, "validation": {"NDCG@10": 0.2}}])
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
