import json

import pytest
import torch


@pytest.mark.slow
def test_the_pointer_is_measured_in_training_and_search(benchmark, tmp_path, capsys):
    threads = torch.get_num_threads()
    config = benchmark.Config(items=101, users=5, batch_size=3, rounds=2, threads=1, out=tmp_path / "result.json")
    benchmark.main(config)
    torch.set_num_threads(threads)
    work = json.loads(config.out.read_text())["work"]
    assert list(work) == ["stage one", "stage two", "beam search"]
    for row in work.values():
        low, middle, high = row["ratio"]
        assert 0 < low <= middle <= high and row["plain_ms"] > 0
    assert "beam search" in capsys.readouterr().out
