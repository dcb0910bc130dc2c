"""Points outside a grid: how they are named, and a whole table of them in small."""

import pytest

from rclrec_mini.experiments import studies
from rclrec_mini.experiments.search import Search
from rclrec_mini.files import InputError


def test_points_are_rows_at_rates(benchmark):
    rows = {"w/o RCPM, ReRe": None, "RCLRec": None}
    assert benchmark.point("w/o RCPM, ReRe@3e-5", rows) == ("w/o RCPM, ReRe", 3e-5)
    for text in ("RCLRec", "rclrec@1e-3"):
        with pytest.raises(InputError, match=rf"--points: found {text}, expected ROW@RATE with one of w/o RCPM, ReRe"):
            benchmark.point(text, rows)


@pytest.mark.slow  # half a minute
def test_a_point_at_the_chosen_rate_is_the_row_itself(benchmark, tmp_path, monkeypatch):
    monkeypatch.setitem(studies.SEARCHES, "tiny", Search(lr=(1e-3,), dropout=(0.1,), finetune_lr=(1e-3,)))
    study = studies.make_study(tmp_path / "study", preset_name="tiny", seeds=(0,), progress=False)
    rows = {name: study.rows("table2")[name] for name in ("RCLRec", "w/o RCPM")}
    studies.run_study(study, rows, threads=1)
    config = benchmark.Config(
        study=study.out, points=("RCLRec@1e-3", "RCLRec@2e-3"), rivals=("w/o RCPM",), preset="tiny", seeds=(0,),
        out=tmp_path / "out.json",
    )  # fmt: skip
    same, other = benchmark.main(config)["points"].values()
    assert same["chosen_rate"] == 1e-3 and same["to"]["chosen"]["ndcg@10"]["difference"] == 0
    assert set(other["to"]) == {"chosen", "w/o RCPM"} and other["best_step"] != []
