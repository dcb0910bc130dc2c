import json

import torch

from rclrec_mini.models.baselines.sasrec import SASRecConfig

SMALL = SASRecConfig(d=22, heads=2, layers=2, ffn=13, max_history=7)


def test_it_runs_without_its_peer_and_the_result_is_written(benchmark, tmp_path, capsys, monkeypatch):
    def missing(config: SASRecConfig, n_items: int) -> None:
        raise ModuleNotFoundError("No module named 'recbole'")

    monkeypatch.setattr(benchmark, "RecBole", missing)
    threads = torch.get_num_threads()
    config = benchmark.Config(
        items=53, batch_size=3, rounds=2, ranked_items=101, ranked_users=5, threads=1,
        out=tmp_path / "result.json", model=SMALL,
    )  # fmt: skip
    benchmark.main(config)
    torch.set_num_threads(threads)
    result = json.loads(config.out.read_text())
    assert set(result["seconds"]) == {"ours", "ours, all events", "ours, sampled"}
    assert all(len(clocks["wall"]) == 2 for clocks in result["seconds"].values())
    assert len(result["ranking"]["wall"]) == 3 and result["ratios"] == {}
    assert {"commit", "versions", "device", "threads", "config", "malloc"} <= set(result)
    assert "no comparison with RecBole" in capsys.readouterr().out


def test_ratios_are_per_round_and_per_target(benchmark):
    def clocks(*seconds: float) -> dict[str, list[float]]:
        return {"wall": list(seconds), "cpu": [2 * s for s in seconds]}

    seconds = {
        "recbole": clocks(3, 4, 8), "ours": clocks(1, 2, 2), "ours, all events": clocks(6, 8, 4),
        "ours, sampled": clocks(1, 1, 1),
    }  # fmt: skip
    found = benchmark.ratios(seconds, targets=10)
    assert found["a step, target alone"]["wall"] == [2.5, 3.0, 3.5]  # of 3, 2, 4
    assert found["a target, all events"]["cpu"] == [5.0, 5.0, 12.5]  # of 5, 5, 20
