import json

import pytest
import torch

from rclrec_mini.experiments.tables import COMPARED


@pytest.mark.slow
def test_every_method_is_measured_in_both_stages(benchmark, tmp_path, capsys):
    threads = torch.get_num_threads()
    config = benchmark.Config(items=101, users=5, batch_size=3, rounds=2, threads=1, out=tmp_path / "result.json")
    benchmark.main(config)
    torch.set_num_threads(threads)
    result = json.loads(config.out.read_text())
    assert list(result["methods"]) == list(COMPARED)
    for row in result["methods"].values():
        assert row["parameters"] > 0
        assert all(row[stage]["samples_a_second"] > 0 for stage in ("one", "two"))
    assert result["methods"]["rclrec"]["one"]["to_rclrec"] == 1
    assert "sasrec" in capsys.readouterr().out
