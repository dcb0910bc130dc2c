"""What every method must keep: it trains, saves, loads, ranks, and never looks at the answer."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rclrec_mini.evaluation.ranking import best_items, catalog_of
from rclrec_mini.experiments import studies
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import BEHAVIORS, METHODS, TARGET, TIME, USER, method_name
from rclrec_mini.experiments.presets import MODELS, preset
from rclrec_mini.experiments.run import describe, evaluate_run, from_description, load_run, run_experiment
from rclrec_mini.experiments.studies import sized_to
from rclrec_mini.experiments.tables import COMPARED, rows_of, told
from rclrec_mini.files import InputError
from rclrec_mini.models.rclrec import LossConfig
from rclrec_mini.models.recommender import Pretraining
from rclrec_mini.training.schedule import TrainConfig

TRAINING = TrainConfig(batch_size=13, max_steps=3, evaluate_every=2, accelerator="cpu")
each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def materials(folders):
    return Materials.load(*folders[:2])


def config_of(method, materials):
    few = {"pretrain": TRAINING, "finetune": TRAINING, "validation_targets": 29}
    config = dataclasses.replace(preset("mini", method), **few)
    return sized_to(config, materials.catalog)


def fresh(method, materials):
    torch.manual_seed(1)
    config, how = config_of(method, materials).model, METHODS[method]
    return how.second(config, materials, how.first(config, materials))


@each_method
def test_with_many_items_those_that_score_them_sample(method, materials, monkeypatch):
    assert getattr(config_of(method, materials).model, "negatives", 0) == 0
    monkeypatch.setattr(studies, "MANY_ITEMS", 100)
    model = config_of(method, materials).model
    assert getattr(model, "negatives", None) == (studies.NEGATIVES if hasattr(model, "negatives") else None)


@each_method
def test_a_method_trains_saves_loads_and_is_evaluated(method, folders, tmp_path):
    data, ids, _ = folders
    config = config_of(method, Materials.load(data, ids))
    trained = run_experiment(config, data, ids, tmp_path / "run", progress=False)
    loaded, found, _ = load_run(tmp_path / "run", data)
    assert found == config
    assert_close(loaded.state_dict(), trained.state_dict(), rtol=0, atol=0)
    result = evaluate_run(tmp_path / "run", data, progress=False)
    json.dumps(result, allow_nan=False)
    assert result["method"] == method and 0 <= result["metrics"]["recall@10"]["mean"] <= 1


@each_method
def test_the_answer_is_not_looked_at(method, materials):
    """Another item and another time of the target change no ranking; another history does."""
    model = fresh(method, materials).eval()
    catalog = catalog_of(model, materials.catalog)
    batch = materials.sequences.batch(materials.split.test[:17], model.max_history)
    other = dataclasses.replace(
        batch, target_item=(batch.target_item + 7) % 307, target_timestamp=batch.target_timestamp + 10_000_000
    )
    items, scores = best_items(model, batch, catalog, k=23, beams=31)
    again = best_items(model, other, catalog, k=23, beams=31)
    assert again[0].tolist() == items.tolist()
    assert_close(again[1], scores, rtol=0, atol=0)
    moved = dataclasses.replace(batch, item=torch.where(batch.mask, (batch.item + 7) % 307, 0))
    assert best_items(model, moved, catalog, k=23, beams=31)[0].tolist() != items.tolist()


@torch.no_grad()
@each_method
def test_a_method_reads_what_it_says_that_it_is_told(method, materials):
    """Whatever else changes in a sample changes no score."""
    model = fresh(method, materials).eval()
    for parameter in model.parameters():  # some start at 0
        parameter += 0.2 * torch.randn_like(parameter)
    batch = materials.sequences.batch(materials.split.test[:17], model.max_history)
    changes = {
        TARGET: {"target_behavior": (batch.target_behavior + 1) % 4},
        BEHAVIORS: {"behavior": (batch.behavior + 1) % 4},
        TIME: {"timestamp": batch.timestamp * 7},
        USER: {"user": (batch.user + 13) % materials.sequences.n_users},
    }
    catalog = catalog_of(model, materials.catalog)
    scores = best_items(model, batch, catalog, k=23, beams=31)[1]
    for what, change in changes.items():
        changed = best_items(model, dataclasses.replace(batch, **change), catalog, k=23, beams=31)[1]
        assert torch.equal(changed, scores) != (what in METHODS[method].told), what


@each_method
def test_padding_and_neighbours_change_nothing(method, materials):
    """A short history ranks the same alone and beside a longer one that pads it."""
    model = fresh(method, materials).double().eval()
    catalog = catalog_of(model, materials.catalog)
    sequences = materials.sequences
    start = int(sequences.offsets[5])
    rows = np.array([start + 3, start + 40])
    together = best_items(model, sequences.batch(rows, model.max_history), catalog, k=19, beams=31)
    alone = best_items(model, sequences.batch(rows[:1], model.max_history), catalog, k=19, beams=31)
    assert alone[0][0].tolist() == together[0][0].tolist()
    assert_close(alone[1][0], together[1][0])


@each_method
def test_both_stages_learn_a_small_batch_by_heart(method, materials):
    """Stage one and then stage two lower their own loss on one batch by a quarter."""
    torch.manual_seed(2)
    config, how = config_of(method, materials).model, METHODS[method]
    first = how.first(config, materials)
    batch = materials.sequences.batch(materials.purchases()[:5], first.max_history)
    assert fall(Pretraining(model=first), batch) < 0.75
    assert fall(how.second(config, materials, first), batch) < 0.75


def fall(stage, batch) -> float:
    """Loss after thirty steps over the loss before them; means of three, for masks are drawn."""
    optimizer = torch.optim.Adam([p for p in stage.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for step in range(30):
        torch.manual_seed(step)
        loss = stage(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return np.mean(losses[-3:]) / np.mean(losses[:3])


@pytest.mark.parametrize("name", MODELS)
@each_method
def test_a_config_survives_json(method, name):
    config = dataclasses.replace(preset(name, method), seed=3)
    assert from_description(json.loads(json.dumps(describe(config)))) == config
    assert method_name(config.model) == method


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 3e-3),
        ({"selector": "recent", "loss": LossConfig(lambda_qual=0.0)}, 3e-3),
        ({"selector": "none"}, 3e-4),
        ({"prefix_share": 0.5}, 3e-4),
        ({"pointer": True}, 3e-4),
    ],
)
def test_a_decoder_that_meets_prefixes_in_stage_two_learns_faster_there(changes, rate):
    config = preset("mini", "rclrec", **changes)
    assert config.finetune.lr == rate
    assert config.model == dataclasses.replace(preset("mini").model, **changes)
    assert preset("mini", "pointing", selector="rcpm").finetune.lr == 3e-4


def test_all_methods_of_a_preset_train_alike_but_for_steps_batches_and_that_rate():
    for name in MODELS:
        configs = [dataclasses.replace(preset(name, method), model=None) for method in METHODS]
        sizes = {"max_steps": None, "evaluate_every": 0, "batch_size": 1}
        stages = [dataclasses.replace(c.pretrain, **sizes) for c in configs]
        assert all(stage == stages[0] for stage in stages)
        # stage two is the same for all that are compared; a language model's prompts are long, so its batches are small
        sizes["lr"] = 3e-4
        compared = [
            dataclasses.replace(c.finetune, lr=3e-4)
            for c, method in zip(configs, METHODS, strict=True)
            if method in COMPARED
        ]
        assert all(stage == compared[0] for stage in compared)
        both = [
            dataclasses.replace(c, pretrain=stages[0], finetune=dataclasses.replace(c.finetune, **sizes))
            for c in configs
        ]
        assert all(config == both[0] for config in both)


@pytest.mark.parametrize(("name", "method"), [("huge", "gear"), ("mini", "grocer")])
def test_an_unknown_preset_or_method_is_refused(name, method):
    with pytest.raises(InputError, match="expected one of"):
        preset(name, method)


def test_some_baselines_are_also_had_with_a_pointer_which_is_told_more():
    rows = rows_of("table1", ("sasrec", "hstu", "mbgen"))
    assert list(rows) == ["SASRec", "HSTU", "MBGen", "SASRec, pointer", "MBGen, pointer"]
    assert told(rows["SASRec"]) == []
    assert told(rows["SASRec, pointer"]) == ["target's behaviour", "behaviours", "time"]
    assert told(rows["MBGen, pointer"]) == ["target's behaviour", "behaviours", "user", "time"]
