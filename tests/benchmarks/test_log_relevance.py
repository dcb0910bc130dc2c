from pathlib import Path

import pytest

from rclrec_mini.data.raw_writers import write_raw
from rclrec_mini.data.shop_config import preset
from rclrec_mini.files import read_json

ROOT = Path(__file__).parents[2]


def test_the_result_holds_statistics_and_no_rows(benchmark, tmp_path, capsys):
    write_raw(preset("tiny", users=31), tmp_path / "raw", format="ijcai15")
    log, out = tmp_path / "raw" / "user_log_format1.csv", tmp_path / "result.json"
    benchmark.main(benchmark.Config(log=log, window=7, out=out))
    result = read_json(out)
    assert result["config"] == {"source": "ijcai15", "window": 7}
    assert result["data"]["counts"]["users"] == 31
    assert str(tmp_path) not in out.read_text() and log.name not in out.read_text()
    contrasts = {name: len(found["contrasts"]) for name, found in result["readings"].items()}
    assert contrasts == {"all": 7, "other items": 6, "earlier days": 7}
    assert all(
        row["low"] < row["mean"] < row["high"] for found in result["readings"].values() for row in found["contrasts"]
    )
    assert capsys.readouterr().out.count("purchase - click") == 20


@pytest.mark.parametrize("source", ["ijcai15", "userbehavior"])
def test_the_committed_result_has_the_same_form(benchmark, source):
    result = read_json(ROOT / "benchmarks" / "results" / f"{source}_relevance.json")
    assert set(result["readings"]) == set(benchmark.READINGS[source])
    assert result["data"]["source"] == source
    assert {"commit", "versions", "config", "data"} <= set(result)
