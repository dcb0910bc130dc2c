import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch.testing import assert_close

from rclrec_mini.files import InputError
from rclrec_mini.training import trainer
from rclrec_mini.training.checkpoints import load_weights
from rclrec_mini.training.run_folder import truncate_log
from rclrec_mini.training.schedule import TrainConfig, build_optimizer, check_machine, learning_rate, total_steps
from rclrec_mini.training.trainer import train

SEQUENCES = tiny.sequences()
ROWS = tiny.rows(SEQUENCES)
CONFIG = TrainConfig(epochs=2, batch_size=11, lr=0.03, monitor="MRR", log_every=3, accelerator="cpu")
EVALUATE = tiny.evaluator(SEQUENCES, ROWS)


def run(folder, *, model=None, config=CONFIG, evaluate=EVALUATE, **arguments):
    model = model if model is not None else tiny.Bag()
    arguments = {"sequences": SEQUENCES, "rows": ROWS, "progress": False} | arguments
    return model, train(model, config=config, run=folder, evaluate=evaluate, **arguments)


def log_of(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_run_learns_and_leaves_a_whole_folder(tmp_path):
    config = replace(CONFIG, epochs=13, patience=0)
    settings = {"model": {"d": 8}, "data_hash": "abc"}
    _, result = run(tmp_path / "run", config=config, settings=settings)
    log = log_of(tmp_path / "run")
    losses = [line["loss"] for line in log if "loss" in line]
    assert result.steps == 13 * 6  # 57 samples in batches of 11
    assert losses[-1] < 0.5 * losses[0]
    assert result.metrics["MRR"] > 0.7
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"config.json", "run.json", "log.jsonl", "last", "best"}
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data_hash"] == "abc" and record["seed"] == 0 and record["seconds"] > 0
    assert {"commit", "versions", "device"} <= set(record)


def test_log_has_means_since_the_line_before(tmp_path):
    config = replace(CONFIG, max_steps=6, checkpoint_every=100)
    run(tmp_path / "each", config=replace(config, log_every=1), evaluate=None)
    run(tmp_path / "third", config=config, evaluate=None)
    each = [line["loss"] for line in log_of(tmp_path / "each")]
    third = log_of(tmp_path / "third")
    assert [line["step"] for line in third] == [3, 6]
    assert third[0]["loss"] == pytest.approx(np.mean(each[:3]))
    assert third[1]["loss"] == pytest.approx(np.mean(each[3:]))


def test_learning_rate_by_hand():
    config = TrainConfig(lr=0.8, warmup=0.2)  # 10 steps: 2 of warm-up, 8 of decay
    half = 0.8 / 2
    assert learning_rate(0, 10, config) == pytest.approx(0.4)
    assert learning_rate(1, 10, config) == pytest.approx(0.8)
    assert learning_rate(2, 10, config) == pytest.approx(0.8)
    assert learning_rate(4, 10, config) == pytest.approx(half * (1 + math.sqrt(0.5)))
    assert learning_rate(6, 10, config) == pytest.approx(half)
    assert learning_rate(9, 10, config) == pytest.approx(half * (1 + math.cos(7 * math.pi / 8)))
    assert learning_rate(9, 10, replace(config, decay="constant")) == 0.8
    assert learning_rate(0, 10, replace(config, warmup=0.0)) == 0.8


def test_total_steps_by_hand():
    assert total_steps(57, CONFIG) == 12
    assert total_steps(57, replace(CONFIG, max_steps=5)) == 5
    assert total_steps(57, replace(CONFIG, max_steps=500)) == 12


def test_weight_decay_spares_embeddings_norms_and_biases():
    model = tiny.Bag()
    decayed, others = build_optimizer(model, TrainConfig(weight_decay=0.07)).param_groups
    assert decayed["weight_decay"] == 0.07 and others["weight_decay"] == 0
    assert [p.shape for p in decayed["params"]] == [model.head.weight.shape]
    assert len(others["params"]) == 4


class Slope(nn.Module):
    """The gradient of its loss is 5 in its one weight, whatever the batch."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        return {"loss": 5 * self.weight.sum()}


@pytest.fixture
def taken(monkeypatch):
    """The learning rate of each step that is taken, and the gradient in a model's one weight."""
    found, step = [], torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        group = self.param_groups[0]
        found.append((group["lr"], group["params"][0].grad.item()))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    return found


def test_clipping_bounds_the_gradient_and_logs_its_norm(tmp_path, taken):
    for clip in (2.0, 7.0, 0.0):
        config = replace(CONFIG, max_steps=1, clip=clip)
        run(tmp_path / str(clip), model=Slope(), config=config, evaluate=None)
        assert log_of(tmp_path / str(clip))[0]["gradient_norm"] == pytest.approx(5)
    assert [gradient for _, gradient in taken] == pytest.approx([2, 5, 5], rel=1e-5)


def test_each_step_has_its_learning_rate_and_its_own_gradient(tmp_path, taken):
    config = replace(CONFIG, warmup=0.3, clip=0.0)
    run(tmp_path / "run", model=Slope(), config=config, evaluate=None)
    rates, gradients = zip(*taken, strict=True)
    assert rates == pytest.approx([learning_rate(n, 12, config) for n in range(12)])
    assert gradients == pytest.approx([5] * 12)


@pytest.mark.parametrize("scores", [(0.5, 0.4, 0.3), (0.1, 0.2, 0.3)])
def test_weights_that_came_may_be_the_best(tmp_path, scores):
    config, later = replace(CONFIG, max_steps=4, evaluate_every=2, evaluate_first=True), iter(scores)
    start = {name: value.clone() for name, value in tiny.Bag().state_dict().items()}
    model, result = run(tmp_path / "run", config=config, evaluate=lambda _: {"MRR": next(later)})
    log = log_of(tmp_path / "run")
    assert [(line["step"], line["validation"]["MRR"]) for line in log if "validation" in line] == [
        *zip((0, 2, 4), scores, strict=True)
    ]
    kept = all(torch.equal(value, start[name]) for name, value in model.state_dict().items())
    assert (result.best_step, result.metrics["MRR"], kept) == ((0, 0.5, True) if scores[0] > 0.3 else (4, 0.3, False))
    again, same = run(tmp_path / "run", config=config, evaluate=lambda _: pytest.fail("evaluated again"))
    assert same == result
    assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_a_run_stopped_in_its_first_evaluation_begins_again(tmp_path):
    config = replace(CONFIG, max_steps=2, evaluate_every=2, evaluate_first=True)
    _, whole = run(tmp_path / "whole", config=config)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text('{"step": 0, "validation": {"MRR": 0.25}}\n')  # no checkpoint yet
    _, result = run(tmp_path / "run", config=config)
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole") and result.metrics == whole.metrics


def test_early_stopping_keeps_the_best_weights(tmp_path):
    scores = iter([0.1, 0.5, 0.5, 0.4, 0.3, 0.9])  # the second is best; equal is no gain
    weights = []

    def evaluate(model):
        weights.append(model.head.weight.detach().clone())
        return {"MRR": next(scores), "other": math.nan}

    config = replace(CONFIG, epochs=50, evaluate_every=2, patience=3)
    model, result = run(tmp_path / "run", config=config, evaluate=evaluate)
    assert (result.steps, result.best_step, result.stopped_early) == (10, 4, True)
    assert result.metrics == {"MRR": 0.5, "other": None}
    assert torch.equal(model.head.weight, weights[1])
    assert torch.equal(load_weights(tmp_path / "run", tiny.Bag(seed=1)).head.weight, weights[1])
    assert torch.equal(load_weights(tmp_path / "run" / "last", tiny.Bag(seed=1)).head.weight, weights[4])


def test_a_gain_renews_the_patience(tmp_path):
    scores = iter([0.1, 0.05, 0.5, 0.4, 0.3, 0.9])
    config = replace(CONFIG, epochs=50, evaluate_every=2, patience=2)
    _, result = run(tmp_path / "run", config=config, evaluate=lambda _: {"MRR": next(scores)})
    assert (result.steps, result.best_step) == (10, 6)


def test_progress_is_shown_only_when_asked(tmp_path, capsys):
    run(tmp_path / "quiet")
    assert capsys.readouterr().err == ""
    run(tmp_path / "told", progress=True)
    told = capsys.readouterr().err
    assert "told" in told and "12/12" in told and "loss=" in told and "step" in told


def test_patience_zero_trains_to_the_end(tmp_path):
    config = replace(CONFIG, evaluate_every=1, patience=0)
    _, result = run(tmp_path / "run", config=config, evaluate=lambda model: {"MRR": 0.5})
    assert (result.steps, result.best_step, result.stopped_early) == (12, 1, False)


def test_same_run_twice_is_equal_and_a_finished_run_is_read_back(tmp_path):
    model, result = run(tmp_path / "a")
    twin, _ = run(tmp_path / "b")
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")
    assert_close(twin.state_dict(), model.state_dict(), rtol=0, atol=0)
    again, same = run(tmp_path / "a", model=tiny.Bag(seed=1), evaluate=lambda _: pytest.fail("evaluated again"))
    assert same == result
    assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_seed_changes_the_run(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", config=replace(CONFIG, seed=1))
    assert log_of(tmp_path / "a")[0]["loss"] != log_of(tmp_path / "b")[0]["loss"]


class Watched(Slope):
    """Takes down the rows of each step and a random number that it draws."""

    def __init__(self):
        super().__init__()
        self.rows, self.drawn = [], []

    def forward(self, batch):
        self.rows.append(batch.row.tolist())
        self.drawn.append(torch.rand(1).item())
        return super().forward(batch)


def test_each_step_draws_anew_and_each_epoch_has_another_order(tmp_path):
    model, _ = run(tmp_path / "run", model=Watched(), evaluate=None)
    assert len(set(model.drawn)) == len(model.drawn) == 12
    first, second = (np.concatenate(epoch).tolist() for epoch in (model.rows[:6], model.rows[6:]))
    assert sorted(first) == sorted(second) == ROWS.tolist() and first != second


class Probed(tiny.Bag):
    """Diagnoses the gradient that reaches its embedding, and draws random numbers while at it."""

    def diagnostics(self, batch):
        gradient = torch.autograd.grad(self(batch)["loss"], self.embedding.weight)[0]
        torch.rand(3)
        return {"embedding_gradient": gradient.norm().item(), "nothing": math.nan}


def test_diagnostics_are_logged_and_change_nothing(tmp_path):
    run(tmp_path / "plain")
    run(tmp_path / "probed", model=Probed())
    plain, probed = log_of(tmp_path / "plain"), log_of(tmp_path / "probed")
    logged = [line["step"] for line in probed if "embedding_gradient" in line]
    assert logged == [3, 6, 9, 12]
    assert all(line["embedding_gradient"] > 0 and line["nothing"] is None for line in probed if line["step"] in (3, 9))
    added = ("embedding_gradient", "nothing")
    assert [{k: v for k, v in line.items() if k not in added} for line in probed] == plain


def test_bf16_autocast_trains_the_weights_themselves(tmp_path):
    config = replace(CONFIG, epochs=7)
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        model, _ = run(
            tmp_path / precision,
            model=tiny.Bag(dropout=0.0),
            config=replace(config, precision=precision),
            evaluate=None,
        )
        assert model.head.weight.dtype == torch.float32
        assert not torch.equal(model.head.weight, tiny.Bag().head.weight)
        losses[precision] = np.array([line["loss"] for line in log_of(tmp_path / precision)])
    assert losses["bf16-mixed"][-1] < 0.5 * losses["bf16-mixed"][0]
    np.testing.assert_allclose(losses["bf16-mixed"], losses["32-true"], atol=0.1)
    assert not np.array_equal(losses["bf16-mixed"], losses["32-true"])


def test_frozen_parameters_stay(tmp_path):
    model = tiny.Bag()
    model.embedding.requires_grad_(False)
    before = model.embedding.weight.clone()
    run(tmp_path / "run", model=model)
    assert torch.equal(model.embedding.weight, before)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"config": replace(CONFIG, lr=0.04)}, "training.lr is 0.03, expected 0.04"),
        ({"settings": {"model": {"d": 8, "h": 3}}}, "model.h is None, expected 3"),
        ({"settings": {}}, "model.d is 8, expected None"),
        ({"rows": ROWS[:-1]}, "samples is "),
    ],
)
def test_another_configuration_in_the_same_folder_is_refused(tmp_path, change, key):
    run(tmp_path / "run", settings={"model": {"d": 8}})
    with pytest.raises(InputError, match=key) as error:
        run(tmp_path / "run", **({"settings": {"model": {"d": 8}}} | change))
    assert "config.json" in str(error.value) and "\n" not in str(error.value)


def test_tensorboard_gets_the_log(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tmp_path / "run", config=replace(CONFIG, logger="tensorboard"))
    told = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    told.Reload()
    lines = [line | line.get("validation", {}) for line in log_of(tmp_path / "run")]
    for name in ("loss", "MRR"):
        expected = {line["step"]: line[name] for line in lines if name in line}
        assert {event.step: event.value for event in told.Scalars(name)} == pytest.approx(expected)
        assert len(expected) > 1


def test_what_the_machine_lacks_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("rclrec_mini.training.schedule.find_spec", lambda name: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for lacking, words in (
        ({"accelerator": "cuda"}, "accelerator: found 'cuda', expected one of this machine: cpu"),
        ({"logger": "tensorboard"}, "logger: found 'tensorboard', expected its package: pip install tensorboard"),
    ):
        with pytest.raises(InputError, match=words):
            run(tmp_path / "run", config=replace(CONFIG, **lacking))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(InputError, match="devices: found 3, expected at most 2"):
        check_machine(replace(CONFIG, accelerator="cuda", devices=3, strategy="ddp"))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_before_its_first_line_leaves_what_was_there(tmp_path):
    class Failing(Slope):
        def forward(self, batch):
            raise RuntimeError("out of memory")

    for folder in (tmp_path / "new", tmp_path / "kept"):
        if folder.name == "kept":
            run(folder, config=replace(CONFIG, max_steps=3), evaluate=None, model=Slope())
            (folder / "last" / "state.json").unlink()
        with pytest.raises(RuntimeError, match="out of memory"):
            run(folder, config=replace(CONFIG, max_steps=3), evaluate=None, model=Failing())
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "config.json").exists()


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="rows: found no training samples"):
        run(tmp_path / "a", rows=ROWS[:0])
    with pytest.raises(InputError, match="expected a number for MRR"):
        run(tmp_path / "b", evaluate=lambda model: {"ndcg@10": 0.1})
    with pytest.raises(InputError, match="no parameter that requires a gradient"):
        run(tmp_path / "c", model=tiny.Bag().requires_grad_(False))
    for bad in ({"lr": 0.0}, {"batch_size": 0}, {"warmup": 1.0}, {"clip": -1.0}, {"max_steps": 0}, {"devices": 2}):
        with pytest.raises(InputError, match="strategy" if "devices" in bad else next(iter(bad))):
            replace(CONFIG, **bad)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    class Broken(Slope):
        def forward(self, batch):
            return {"loss": super().forward(batch)["loss"] * math.nan}

    with pytest.raises(FloatingPointError, match="loss is nan in the steps up to 3"):
        run(tmp_path / "run", model=Broken())
    assert not (tmp_path / "run" / "last").exists()


def test_a_stopped_run_goes_on_with_the_optimisers_moments(tmp_path, monkeypatch):
    config = replace(CONFIG, checkpoint_every=5)
    whole, _ = run(tmp_path / "whole", config=config, evaluate=None)
    step = trainer._Loop._step

    def stops(self, n, *args, **kwargs):
        if n == 7:
            raise KeyboardInterrupt
        step(self, n, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer._Loop, "_step", stops)
        run(tmp_path / "run", config=config, evaluate=None)
    resumed, _ = run(tmp_path / "run", config=config, evaluate=None)
    assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def script(name: str, *arguments) -> str:
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(tmp_path):
    """SIGKILL at every step and around every move of a file: weights, metrics and log are equal to the last bit."""
    told = json.loads(script("killed.py", tmp_path).splitlines()[-1])
    assert told["cases"] > told["steps"] + 40


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    """At equal global batch: same losses, metrics and weights, with a last batch that is too short for both."""
    script("processes.py", tmp_path / "one", 1, "auto")
    assert script("processes.py", tmp_path / "two", 2, "ddp").count("the end") == 1
    for stage in ("pretrain", "finetune"):
        one, two = log_of(tmp_path / "one" / stage), log_of(tmp_path / "two" / stage)
        assert len(one) == len(two)
        for line, twin in zip(one, two, strict=True):
            assert line.pop("validation", {}) == pytest.approx(twin.pop("validation", {}), rel=1e-4)
            assert line == pytest.approx(twin, rel=1e-4)
        weights = [load_weights(tmp_path / n / stage, tiny.Bag()).state_dict() for n in ("one", "two")]
        assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)
    record = json.loads((tmp_path / "two" / "pretrain" / "run.json").read_text())
    assert record["processes"] == 2


def test_a_folder_in_place_of_the_log_is_refused(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(InputError, match=r"log\.jsonl: found a folder, expected a file of JSON lines"):
        truncate_log(tmp_path / "log.jsonl", after=0)
