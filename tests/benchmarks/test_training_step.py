import json

import pytest
import torch

from rclrec_mini.models.backbone import BackboneConfig

pytest.importorskip("transformers")

SMALL = BackboneConfig(levels=3, codes=5, d=22, heads=2, encoder_layers=1, decoder_layers=1, ffn=13, max_history=7)


def test_contenders_take_turns_and_the_result_is_written(benchmark, tmp_path, capsys):
    threads = torch.get_num_threads()
    config = benchmark.Config(batch_size=3, items=11, rounds=2, threads=1, out=tmp_path / "result.json", model=SMALL)
    benchmark.main(config)
    torch.set_num_threads(threads)
    result = json.loads(config.out.read_text())
    assert all(len(clocks["wall"]) == 2 for clocks in result["seconds"].values())
    assert all(row["wall"][1] > 0 for row in result["ratios"].values())
    assert {"commit", "versions", "device", "threads", "config", "malloc"} <= set(result)
    assert "ours / t5 flattened" in capsys.readouterr().out


def test_flattened_t5_reads_every_token_and_no_padding(benchmark):
    codes = torch.randint(5, (11, 3))
    model = benchmark.T5(SMALL, codes, flat=True).eval()
    batch = benchmark.full_histories(benchmark.Config(batch_size=3, items=11, model=SMALL))
    seen = []
    model.t5.encoder.register_forward_pre_hook(lambda m, args, kwargs: seen.append(kwargs), with_kwargs=True)
    model(batch)
    assert seen[0]["inputs_embeds"].shape == (3, 7 * 4, 22)
    assert seen[0]["attention_mask"].shape == (3, 7 * 4) and seen[0]["attention_mask"].all()
