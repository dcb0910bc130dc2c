import dataclasses
import json

import pytest
import torch

from rclrec_mini.files import InputError


@pytest.fixture(scope="module")
def swept(benchmark, tmp_path_factory):
    root, threads = tmp_path_factory.mktemp("sweep"), torch.get_num_threads()
    config = benchmark.Config(
        runs=root / "runs", shops=("gap 0",), rows=(benchmark.BASE, "oracle-k"), shop="tiny", users=67,
        pretrain_steps=5, finetune_steps=3, validation_targets=13, out=root / "result.json",
    )  # fmt: skip
    benchmark.main(config)
    torch.set_num_threads(threads)
    return config, json.loads(config.out.read_text())


def test_every_shop_changes_one_knob_of_the_base(benchmark):
    config = benchmark.Config()
    base = dataclasses.asdict(benchmark.shop_of(config, "base", 0))
    for knob, values in benchmark.KNOBS.items():
        for value in values:
            shop = dataclasses.asdict(benchmark.shop_of(config, f"{knob} {value}", 0))
            assert float(value) in [x for name, x in shop.items() if x != base[name]]
            purchases = shop["events_per_user"] * shop["purchase_share"]
            assert purchases == pytest.approx(base["events_per_user"] * base["purchase_share"])


def test_a_shop_holds_its_rows_and_their_differences(benchmark, swept):
    (run,) = swept[1]["shops"]["gap 0"]
    assert (run["knob"], run["value"], run["shop"]["gap"], run["shop"]["users"]) == ("gap", "0", 0, 67)
    base, oracle = run["rows"][benchmark.BASE], run["rows"]["oracle-k"]
    difference = oracle["difference"]["recall@10"]
    assert difference["difference"] == pytest.approx(oracle["recall@10"]["mean"] - base["recall@10"]["mean"])
    assert "difference" not in base and "recovery" not in base
    assert oracle["recovery"]["precision"] == 1
    groups = oracle["difference by slice"]["gap"]
    assert list(groups) == ["0 to 3"] and groups["0 to 3"]["mean"] == pytest.approx(difference["difference"])
    assert {"popularity", "most recent items", "frequency with decay"} < set(run["rows"])


def test_a_finished_row_is_not_trained_again(benchmark, swept, monkeypatch):
    config, result = swept
    monkeypatch.setattr(benchmark, "finetune", lambda *_, **__: pytest.fail("trained again"))
    benchmark.main(config)
    assert json.loads(config.out.read_text())["shops"] == result["shops"]


def test_other_settings_and_unknown_names_are_refused(benchmark, swept):
    config, _ = swept
    with pytest.raises(InputError, match=r"settings\.json: found .*'pretrain_steps': 5"):
        benchmark.main(dataclasses.replace(config, pretrain_steps=7))
    with pytest.raises(InputError, match="shop gap 3: expected one of base, users 500"):
        benchmark.main(dataclasses.replace(config, shops=("gap 3",)))
