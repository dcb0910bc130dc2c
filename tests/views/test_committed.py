import pytest

from rclrec_mini.files import InputError
from rclrec_mini.views.committed import committed, estimates


def test_a_committed_result_is_found_by_its_name():
    assert committed("mini/table1")["table"] == "table1"
    with pytest.raises(InputError, match=r"results/mini/table9.json: file not found"):
        committed("mini/table9")


def test_estimates_are_in_per_cent_with_half_their_intervals():
    rows = {
        "A": {
            "recall@10": {"mean": 0.5, "low": 0.48, "high": 0.53},
            "ndcg@10": {"mean": 0.25, "low": 0.2, "high": 0.3},
        },
        "B": {"recall@10": {"difference": -0.013, "low": -0.02, "high": -0.005}},
    }
    table = estimates(rows)
    assert table.columns.tolist() == ["R@10", "N@10"]
    assert table.loc["A"].tolist() == ["50.0 ± 2.5", "25.0 ± 5.0"]
    assert table.loc["B"].tolist() == ["-1.3 ± 0.8", ""]


def test_estimates_are_sorted_by_numbers_and_not_by_their_texts():
    rows = {name: {"ndcg@10": {"mean": mean, "low": 0, "high": 1}} for name, mean in (("A", 0.09), ("B", 0.4))}
    assert estimates(rows).index.tolist() == ["A", "B"]
    assert estimates(rows, by="ndcg@10").index.tolist() == ["B", "A"]
