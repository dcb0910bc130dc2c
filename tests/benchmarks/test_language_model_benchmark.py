import json

import pytest
import torch


@pytest.mark.slow
def test_both_searches_find_the_same_items(benchmark, tmp_path, capsys):
    threads = torch.get_num_threads()
    config = benchmark.Config(
        items=64, users=3, events=4, d=24, heads=2, layers=1, rounds=2, threads=1, out=tmp_path / "r.json"
    )
    benchmark.main(config)
    torch.set_num_threads(threads)
    result = json.loads(config.out.read_text())
    low, middle, high = result["ratio"]
    assert 0 < low <= middle <= high and result["items in common"] > 0.7
    assert "times as long" in capsys.readouterr().out
