import json

import numpy as np
import pytest
import torch

from rclrec_mini.experiments import studies, tables
from rclrec_mini.models.curriculum import journey_mask


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return studies.make_study(tmp_path_factory.mktemp("study"), preset_name="tiny", seeds=(0,), progress=False)


@pytest.mark.parametrize("precision", [0.0, 0.4, 1.0])
def test_a_noisy_oracle_takes_as_many_true_events_as_it_draws(benchmark, study, precision):
    materials = studies.load_materials(study.data, study.ids)
    batch = materials.sequences.batch(materials.split.test[:97], 23)
    k = 5
    selection = benchmark.NoisyOracle(k=k, precision=precision, journey=materials.journey)(None, batch)
    truth = journey_mask(materials.journey, batch)
    drawn = (benchmark.chance(batch, seed=2)[:, -k:] < precision).sum(1)
    for one in range(len(batch)):
        chosen = selection.index[one][selection.valid[one]].tolist()
        events, true = int(batch.mask[one].sum()), int(truth[one].sum())
        assert len(set(chosen)) == len(chosen) == min(k, events)
        assert batch.mask[one, chosen].all()
        taken = min(int(drawn[one]), true)
        noise = min(k - taken, events - true)
        assert truth[one, chosen].sum() == min(k, events) - noise  # the journey fills in where noise is too little
    assert 0 <= drawn.float().mean() / k - precision + 0.1 <= 0.2


def test_true_events_stand_anywhere_in_the_prefix(benchmark, study):
    materials = studies.load_materials(study.data, study.ids)
    batch = materials.sequences.batch(materials.split.test, 23)
    selection = benchmark.NoisyOracle(k=4, precision=0.5, journey=materials.journey)(None, batch)
    truth = journey_mask(materials.journey, batch).gather(1, selection.index).float().mean(0)
    assert truth.max() - truth.min() < 0.2


def test_the_truth_teaches_events_of_the_journey(benchmark, study):
    materials = studies.load_materials(study.data, study.ids)
    batch = materials.sequences.batch(materials.split.test[:29], 23)
    truth = journey_mask(materials.journey, batch)
    model = type("Model", (), {"journey": materials.journey})()
    right = truth.float().masked_fill(~batch.mask, float("-inf")) * 50
    right = right.masked_fill(~batch.mask, float("-inf"))
    loss = benchmark.towards_journey(model, right, batch)
    some = truth.any(1)
    torch.testing.assert_close(loss[some], truth.sum(1)[some].float().log(), atol=1e-4, rtol=0)
    assert (loss[~some] == 0).all()


def test_the_curve_crosses_zero_between_two_points(benchmark):
    assert benchmark.crossing([0.0, 0.5, 1.0], [-2.0, -1.0, 3.0]) == pytest.approx(0.625)
    assert benchmark.crossing([0.0, 1.0], [-2.0, -1.0]) is None


@pytest.mark.slow
def test_rows_gain_on_the_study_s_own_without_a_prefix(benchmark, study, tmp_path):
    rows = tables.rows_of("table2")
    names = [name for row in benchmark.STARTS.values() for name in (row, tables.base_of(tables.TABLE2[row]))]
    studies.run_study(study, {name: rows[name] for name in names})
    threads = torch.get_num_threads()
    config = benchmark.Config(study=study.out, preset="tiny", precision=(0.0, 1.0), out=tmp_path / "result.json")
    benchmark.main(config)
    torch.set_num_threads(threads)
    result = json.loads(config.out.read_text())
    assert result["readers"]["0"].keys() == benchmark.READERS.keys()
    assert all(0 < precision["mean"] < 1 for precision in result["readers"]["0"].values())
    found = result["starts"]
    for start in benchmark.STARTS:
        told = found[start]["rows"]["1.0"]
        gain = told["recall@10"]["mean"] - found[start]["without"]["recall@10"]["mean"]
        assert told["gain"]["difference"] == pytest.approx(gain)
        assert found[start]["rows"]["0.0"]["precision"] < told["precision"]
        assert np.isfinite(found[start]["rows"][benchmark.TAUGHT]["ndcg@10"]["mean"])
