"""Post-training of a small run: stopped and resumed, read by the other verbs, and refused where it must be."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from small_run import CONFIG, TRAINING

from rclrec_mini.cli import main
from rclrec_mini.experiments import post_train as module
from rclrec_mini.experiments.post_train import PostTrainConfig, digest, post_train, post_train_run
from rclrec_mini.experiments.run import evaluate_run, load_run, run_experiment
from rclrec_mini.files import InputError
from rclrec_mini.models.baselines.sasrec import SASRecConfig
from rclrec_mini.post_training.rere import ReReConfig, RewardConfig
from rclrec_mini.post_training.sdpo import SDPOConfig
from rclrec_mini.training import trainer

SHORT = dict(training=TRAINING, validation_targets=41, beams=13)
CONFIGS = {
    "rere": PostTrainConfig(objective=ReReConfig(group=5, sampling="gumbel", lag=2, sync=3), **SHORT),
    "sdpo": PostTrainConfig(objective=SDPOConfig(source="popular"), **SHORT),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stopped_run_ends_in_the_same_weights(folders, tmp_path, monkeypatch, name):
    data, _, run = folders
    whole = post_train_run(CONFIGS[name], run, data, tmp_path / "whole", progress=False)
    assert digest(whole) != digest(load_run(run, data)[0])

    step, seen = trainer._Loop._step, []

    def stops(self, *args, **kwargs):
        seen.append(1)
        if len(seen) == 7:
            raise KeyboardInterrupt
        step(self, *args, **kwargs)

    monkeypatch.setattr(trainer._Loop, "_step", stops)
    with pytest.raises(KeyboardInterrupt):
        post_train_run(CONFIGS[name], run, data, tmp_path / "stopped", progress=False)
    with pytest.raises(InputError, match="has not finished"):
        load_run(tmp_path / "stopped", data)
    monkeypatch.undo()
    resumed = post_train_run(CONFIGS[name], run, data, tmp_path / "stopped", progress=False)
    assert digest(resumed) == digest(whole) == digest(load_run(tmp_path / "stopped", data)[0])


def test_histories_are_as_long_as_the_policy_reads(folders, tmp_path):
    data, _, run = folders  # whose model reads 11 events
    longer = replace(CONFIGS["sdpo"], training=replace(TRAINING, max_history=50))
    found = [
        post_train_run(c, run, data, tmp_path / str(n), progress=False) for n, c in enumerate((CONFIGS["sdpo"], longer))
    ]
    assert digest(found[0]) == digest(found[1])


@pytest.mark.parametrize("targets", ["purchases", "all"])
def test_the_events_that_it_is_told_are_rewarded(folders, tmp_path, monkeypatch, targets):
    policy, _, materials = load_run(folders[2], folders[0])
    seen = []
    monkeypatch.setattr(module, "train", lambda _, *, rows, **__: seen.append(rows.tolist()))
    post_train(policy, replace(CONFIGS["sdpo"], targets=targets), materials, tmp_path, progress=False)
    expected = {"purchases": materials.purchases(), "all": materials.split.train}[targets]
    assert seen == [expected.tolist()]


def test_popular_negatives_are_those_of_training(folders):
    policy, _, materials = load_run(folders[2], folders[0])
    item = materials.sequences.item[materials.split.train_event]
    count = np.bincount(item, minlength=materials.sequences.n_items)
    assert module.objective(policy, CONFIGS["sdpo"], materials).popularity.tolist() == (count + 1).tolist()


def test_the_folder_is_a_run_that_other_verbs_read(folders, tmp_path, capsys):
    data, _, run = folders
    flags = ["--run", run, "--data", data, "--out", tmp_path / "out", "--beams", 13, "--validation-targets", 41]
    flags += [
        "--training.max-steps",
        3,
        "--training.batch-size",
        29,
        "--objective.group",
        5,
        "--training.max-history",
        11,
    ]
    assert main(["post-train", *map(str, flags)]) == 0
    record = json.loads((tmp_path / "out" / "experiment.json").read_text())["post_training"]
    assert record["method"] == "rere" and record["objective"]["group"] == 5
    log = [json.loads(line) for line in (tmp_path / "out" / "post_training" / "log.jsonl").read_text().splitlines()]
    assert {"signal", "hit", "reward", "kl", "distinct"} <= log[-2].keys()
    assert evaluate_run(tmp_path / "out", data, progress=False)["targets"] > 0
    capsys.readouterr()
    assert main(["recommend", "--run", str(tmp_path / "out"), "--data", str(data), "--users", "1"]) == 0
    assert main(["train", "--run", str(tmp_path / "out")]) == 2
    flags[flags.index(5)] = 7
    assert main(["post-train", *map(str, flags)]) == 2
    assert "post_training.objective.group is 5, expected 7" in capsys.readouterr().err


def test_training_does_not_go_on_in_a_post_trained_folder(folders, tmp_path):
    data, ids, run = folders
    post_train_run(CONFIGS["sdpo"], run, data, tmp_path / "out", progress=False)
    with pytest.raises(InputError, match="post_training"):
        run_experiment(CONFIG, data, ids, tmp_path / "out", progress=False)


def test_the_best_weights_may_be_those_that_came(folders, tmp_path, monkeypatch):
    data, _, run = folders
    policy, _, materials = load_run(run, data)
    before, judged = digest(policy), iter(range(9, 0, -1))
    learning = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]
    monkeypatch.setattr(module, "validate", lambda *_, **__: {"ndcg@10": next(judged) / 10})
    config = replace(CONFIGS["sdpo"], training=replace(TRAINING, evaluate_first=True))
    result = post_train(policy, config, materials, tmp_path / "run", progress=False)
    assert (result.steps, result.best_step, result.metrics) == (7, 0, {"ndcg@10": 0.9})
    assert digest(policy) == before
    assert [name for name, parameter in policy.named_parameters() if parameter.requires_grad] == learning
    assert any(name.startswith("selector.") for name in learning)
    assert not any(name.startswith("reference.") for name in learning)


def test_a_judge_scores_items(folders, tmp_path):
    data, ids, run = folders
    scorer = replace(CONFIG, model=SASRecConfig(d=26, heads=2, layers=1, ffn=31, max_history=11))
    run_experiment(scorer, data, ids, tmp_path / "sasrec", progress=False)
    reward = RewardConfig(rule=0.0, ranking=0.0, collaborative=1.0, semantic=0.5)
    config = PostTrainConfig(objective=ReReConfig(group=5, reward=reward), **SHORT)
    post_train_run(config, run, data, tmp_path / "out", judge=tmp_path / "sasrec", progress=False)
    with pytest.raises(InputError, match="expected a judge that scores items"):
        post_train_run(config, run, data, tmp_path / "again", judge=run, progress=False)
    with pytest.raises(InputError, match="collaborative"):
        post_train_run(config, run, data, tmp_path / "again", progress=False)
    with pytest.raises(InputError, match="writes semantic ids"):
        post_train_run(config, tmp_path / "sasrec", data, tmp_path / "again", progress=False)
    assert not (tmp_path / "again").exists()


def test_damage_is_named(folders, tmp_path):
    data, _, run = folders
    shutil.copytree(run, tmp_path / "run")
    next((tmp_path / "run" / "finetune" / "best").glob("model-*")).write_bytes(b"")
    with pytest.raises(InputError, match="SHA-256"):
        post_train_run(CONFIGS["rere"], tmp_path / "run", data, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"monitor: found 'recall@3'"):
        PostTrainConfig(training=TRAINING.__class__(monitor="recall@3"))
    with pytest.raises(InputError, match="group: found 1, expected 2 or more"):
        ReReConfig(group=1)
