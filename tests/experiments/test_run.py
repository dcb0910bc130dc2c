"""Both stages on a tiny simulated shop: runs resume, record what they were, load again, and answer."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from small_run import CONFIG, TRAINING
from torch.testing import assert_close

from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.data.sequences import every_nth
from rclrec_mini.data.simulate import preset, write_prepared
from rclrec_mini.evaluation.metrics import evaluate_rankings, metric_names
from rclrec_mini.evaluation.ranking import rank
from rclrec_mini.evaluation.recovery import selector_recovery
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import finetuning_rclrec, pretraining_rclrec
from rclrec_mini.experiments.run import (
    evaluate_run,
    finetune,
    load_run,
    pretrain,
    run_experiment,
    validate,
)
from rclrec_mini.files import InputError
from rclrec_mini.models.recommender import Pretraining
from rclrec_mini.training.checkpoints import load_weights


def test_a_run_loads_with_the_weights_it_ended_with(folders):
    data, _, run = folders
    model, config, materials = load_run(run, data)
    assert config == CONFIG
    again, _ = finetune(CONFIG, materials, run / "finetune", pretrained=run / "pretrain", progress=False)
    rows = materials.split.test[:19]

    def ranked(model):
        return rank(model, materials.sequences, materials.catalog, rows, beams=13).tolist()

    assert ranked(model) == ranked(again)
    assert_close(model.state_dict(), again.state_dict(), rtol=0, atol=0)


def test_an_interrupted_run_goes_on_and_a_finished_one_is_read_back(folders, tmp_path):
    data, ids, run = folders
    materials = Materials.load(data, ids)
    pretrain(CONFIG, materials, tmp_path / "run" / "pretrain", progress=False)  # as if stopped before stage two
    (tmp_path / "run" / "experiment.json").write_text((run / "experiment.json").read_text())
    materials.catalog.save(tmp_path / "run" / "ids")
    resumed = run_experiment(CONFIG, data, ids, tmp_path / "run", progress=False)
    assert_close(resumed.state_dict(), load_run(run, data)[0].state_dict(), rtol=0, atol=0)


def test_another_config_is_refused(folders):
    data, ids, run = folders
    with pytest.raises(InputError, match=r"experiment\.json: model\.k is 4, expected 3"):
        run_experiment(CONFIG.with_model(k=3), data, ids, run, progress=False)


def test_what_would_fail_later_is_refused_at_once(folders, tmp_path):
    data, ids, _ = folders
    with pytest.raises(InputError, match=r"finetune\.monitor: found 'hits', expected one of recall@5, "):
        dataclasses.replace(CONFIG, finetune=dataclasses.replace(TRAINING, monitor="hits"))
    with pytest.raises(InputError, match="beams: found 7, expected 10 or more"):
        dataclasses.replace(CONFIG, beams=7)
    materials = Materials.load(data, ids)
    none = dataclasses.replace(materials, split=dataclasses.replace(materials.split, validation=np.zeros(0, int)))
    with pytest.raises(InputError, match="found no validation purchase, expected users with"):
        pretrain(CONFIG, none, tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused(folders, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no run"):
        run_experiment(CONFIG, *folders[:2], tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unfinished_run_is_refused(folders, tmp_path):
    data, ids, run = folders
    (tmp_path / "experiment.json").write_text((run / "experiment.json").read_text())
    Materials.load(data, ids).catalog.save(tmp_path / "ids")
    with pytest.raises(InputError, match="fine-tuning has not finished"):
        load_run(tmp_path, data)


def test_only_purchases_fine_tune_and_no_target_leaks(folders):
    materials = Materials.load(*folders[:2])
    rows = materials.purchases()
    sequences, split = materials.sequences, materials.split
    assert (sequences.behavior[rows] == PURCHASE).all()
    assert not set(rows) & (set(split.validation) | set(split.test))
    first_held_out = {sequences.user_of(np.array([r]))[0]: r for r in [*split.test, *split.validation]}
    for row, user in zip(split.train, sequences.user_of(split.train), strict=True):
        assert row < first_held_out.get(user, len(sequences))


def test_each_stage_trains_on_its_own_rows(folders, tmp_path, monkeypatch):
    materials, seen = Materials.load(*folders[:2]), []
    monkeypatch.setattr("rclrec_mini.experiments.run.train", lambda _, *, rows, **__: seen.append(rows.tolist()))
    pretrain(CONFIG, materials, tmp_path, progress=False)
    finetune(CONFIG, materials, tmp_path, pretrained=folders[2] / "pretrain", progress=False)
    every = every_nth(materials.sequences, materials.split.train, 5)  # half of the 11 events that it reads
    assert seen == [every.tolist(), materials.purchases().tolist()]


def test_fine_tuning_starts_from_stage_one(folders, tmp_path, monkeypatch):
    materials, pretrained = Materials.load(*folders[:2]), folders[2] / "pretrain"
    monkeypatch.setattr("rclrec_mini.experiments.run.train", lambda *_, **__: None)
    model, _ = finetune(CONFIG, materials, tmp_path, pretrained=pretrained, progress=False)
    before = load_weights(pretrained, Pretraining(model=pretraining_rclrec(CONFIG.model, materials)))
    for backbone in (model.backbone, model.reference):
        assert_close(backbone.state_dict(), before.model.backbone.state_dict(), rtol=0, atol=0)


def test_the_best_weights_are_chosen_by_validation_targets(folders):
    model, _, materials = load_run(folders[2], folders[0])
    split, item = materials.split, materials.sequences.item
    for rows, others in ((split.validation, split.test), (split.test, split.validation)):  # only the latter has hits
        told = dataclasses.replace(materials, split=dataclasses.replace(split, validation=rows, test=others))
        items = rank(model, materials.sequences, materials.catalog, rows, beams=13)
        expected = evaluate_rankings(items, item[rows])["ndcg@10"].mean()
        assert validate(model, told, n=0, beams=13)["ndcg@10"] == pytest.approx(expected)
    assert expected > 0
    blind = dataclasses.replace(told, split=dataclasses.replace(told.split, test=rows[:0]))
    assert validate(model, blind, n=41, beams=13) == validate(model, told, n=41, beams=13)


def test_ids_of_other_data_are_refused(folders, tmp_path):
    write_prepared(preset("tiny", users=67, seed=1), tmp_path / "data")
    with pytest.raises(InputError, match=r"ids: data_hash is .*, the content_hash of .*data: made from other data"):
        Materials.load(tmp_path / "data", folders[1])


def test_the_oracle_finds_every_journey_and_random_k_does_not(folders):
    materials = Materials.load(*folders[:2])
    precision = {}
    for selector in ("oracle", "random"):
        config = CONFIG.with_model(selector=selector).model
        model = finetuning_rclrec(config, materials, pretraining_rclrec(config, materials)).eval()
        found = selector_recovery(model, materials.sequences, materials.journey, materials.split.test)
        precision[selector] = np.nanmean(found["precision"])
    assert precision["oracle"] == 1.0 and precision["random"] < 0.7


def test_the_counting_selector_learns_from_counts(folders):
    materials = Materials.load(*folders[:2])
    config = CONFIG.with_model(selector="counting").model
    model = finetuning_rclrec(config, materials, pretraining_rclrec(config, materials))
    model(materials.sequences.batch(materials.purchases()[:13], 11))["loss"].backward()
    assert (model.selector.counts[0].weight.grad != 0).any(0).sum() > 3


def test_a_truth_that_got_lost_is_missed(folders, tmp_path):
    shutil.copytree(folders[0], tmp_path / "data")
    (tmp_path / "data" / "truth.parquet").unlink()
    with pytest.raises(InputError, match=r"truth\.parquet: file not found"):
        Materials.load(tmp_path / "data", folders[1])


def test_the_oracle_needs_the_truth(folders, tmp_path):
    materials = dataclasses.replace(Materials.load(*folders[:2]), journey=None)
    with pytest.raises(InputError, match=r"truth\.parquet not found"):
        finetuning_rclrec(
            CONFIG.with_model(selector="oracle").model, materials, pretraining_rclrec(CONFIG.model, materials)
        )


def test_evaluate(folders):
    data, _, run = folders
    result = evaluate_run(run, data, beams=13, progress=False)
    json.dumps(result, allow_nan=False)
    assert list(result["metrics"]) == metric_names()
    assert 0 < result["coverage"]["coverage@5"] < result["coverage"]["coverage@10"] <= 1
    for estimate in result["metrics"].values():
        assert 0 <= estimate["low"] <= estimate["mean"] <= estimate["high"] <= 1
    assert 0 < result["recovery"]["precision"] < 1
    assert result["data_hash"] == json.loads((data / "manifest.json").read_text())["content_hash"]
