"""One loop that trains every model: pre-training and fine-tuning are two calls of `train` with two run folders.

A model is an nn.Module whose `forward(batch)` gives {"loss": mean over the batch's samples, ...other scalars to log},
with the same keys in every step.
What does not learn in a stage is frozen with `requires_grad_(False)`: the optimiser leaves it out, and so does DDP.

Everything random in step s derives from (seed, s), so a run needs no saved generator: one that is killed and started
again takes up its last checkpoint and ends in the same weights, metrics and log.

A run folder:

    config.json   TrainConfig and whatever else decides the result; a run with another one is refused
    run.json      data hash, commit, versions, device, seed, seconds
    log.jsonl     one line each `log_every` steps (means since the line before) and one each evaluation
    last/ best/   checkpoints
    tensorboard/  the log again, for TensorBoard, if the config asks for it
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers import TensorBoardLogger
from torch import Tensor, nn
from tqdm import tqdm

from rclrec_mini.data.sequences import Batch, Sequences, bucketed_batches
from rclrec_mini.files import InputError, clear_leftovers, clear_when_full, write_json
from rclrec_mini.records import as_dataclass
from rclrec_mini.training.checkpoints import load_checkpoint, load_weights, provenance, save_checkpoint, sweep
from rclrec_mini.training.run_folder import (
    Progress,
    check_same_settings,
    fingerprint,
    finite,
    none_before_the_first_step,
    truncate_log,
    write_record,
)
from rclrec_mini.training.schedule import TrainConfig, build_optimizer, check_machine, learning_rate, total_steps


@dataclass(frozen=True)
class TrainResult:
    """How a run ended. Without `evaluate`, the best weights are the last ones and `metrics` is empty."""

    steps: int  # taken
    best_step: int  # whose weights the model now holds
    metrics: dict[str, float]  # validation metrics at best_step
    stopped_early: bool
    seconds: float  # wall time, over all starts of the run


class _Samples(nn.Module):
    """Takes the batch as a dict: Fabric and DDP look into dicts for tensors, not into frozen dataclasses."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.model(Batch(**tensors))


def train(
    model: nn.Module,
    *,
    sequences: Sequences,
    rows: np.ndarray,
    config: TrainConfig,
    run: Path | str,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train `model` on the samples at `rows` of `sequences`, in the folder `run`; it ends with its best weights.

    A run that was interrupted goes on from its last checkpoint, and one that had finished is only read back: for
    equal results, call this with the same arguments and the same initial weights.

    With several processes each takes every n-th sample of a global batch, and losses are weighed by the share, so
    that gradients are those of one process at equal `batch_size` (the last, shorter batch included; with dropout only
    in distribution). `evaluate` runs in the first process only, in eval mode and full precision, without gradients.

    A model may offer `diagnostics(batch) -> dict[str, float]`, logged every `log_every` steps: called before the step,
    in the first process on its share of the batch, with gradients enabled. It must leave `.grad` alone, as
    torch.autograd.grad does.

    Args:
        rows: targets, (n,), row numbers of `sequences`.
        evaluate: gives validation metrics, `config.monitor` among them; None: train to the end.
        settings: what else decides the result (model config, stage, "data_hash"), as JSON values.

    Raises:
        InputError: `rows` is empty, nothing can be trained, `run` holds another configuration, or `evaluate` does
            not give `config.monitor`, or the machine lacks what the config asks for. A folder that was made for a
            run which takes no step is gone then.
        FloatingPointError: the loss or the gradient stopped being finite.
    """
    rows = np.asarray(rows)
    if len(rows) == 0:
        raise InputError("rows: found no training samples, expected at least 1")
    check_machine(config)
    with none_before_the_first_step(run):
        return _train(model, sequences, rows, config, Path(run), evaluate, settings, progress)


def _train(
    model: nn.Module, sequences: Sequences, rows: np.ndarray, config: TrainConfig, run: Path,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None, settings: Mapping[str, Any] | None, progress: bool,
) -> TrainResult:  # fmt: skip
    start = time.perf_counter()
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=config.strategy,
        precision=config.precision,
        loggers=TensorBoardLogger(run, name="tensorboard", version="") if config.logger == "tensorboard" else None,
    )
    fabric.launch()
    origin = provenance()
    settings = {"training": asdict(config), **(settings or {}), "samples": fingerprint(rows)}
    check_same_settings(run / "config.json", settings)
    fabric.barrier()  # nobody writes before everybody has read

    model.to(fabric.device)
    optimizer = build_optimizer(model, config)
    state, last = Progress(), run / "last" / "state.json"
    begun = last.exists()
    if begun:
        state = as_dataclass(Progress, load_checkpoint(last.parent, model, optimizer), str(last))
    if fabric.is_global_zero:
        clear_leftovers(run)
        sweep(run / "last")
        sweep(run / "best")
        write_json(run / "config.json", settings)
        truncate_log(run / "log.jsonl", after=state.step if begun else -1)
    already_finished = state.finished
    if not already_finished:
        loop = _Loop(
            fabric=fabric,
            model=model,
            optimizer=optimizer,
            config=config,
            run=run,
            evaluate=evaluate,
            start=start - state.seconds,
        )
        loop.run_from(state, sequences, rows, progress=progress)
    record = run / "run.json"
    if fabric.is_global_zero and (not already_finished or not record.exists()):
        write_record(record, settings, origin, fabric, state)
    fabric.barrier()
    if state.best_step != state.step:
        load_weights(run / "best", model)
    stopped_early = state.step < total_steps(len(rows), config)
    return TrainResult(state.step, state.best_step, state.metrics, stopped_early, state.seconds)


@dataclass(eq=False, kw_only=True)
class _Loop:
    """The steps of one run in one process."""

    fabric: Fabric
    model: nn.Module
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    run: Path
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None
    start: float

    def __post_init__(self) -> None:
        self.module = self.fabric.setup_module(_Samples(self.model))
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.sums: dict[str, Tensor] = {}  # of the scalars of all steps since the last line of the log
        self.diagnostics: dict[str, float] = {}

    def run_from(self, state: Progress, sequences: Sequences, rows: np.ndarray, *, progress: bool) -> None:
        """Take the steps that follow `state`, which is kept up to date."""
        config = self.config
        per_epoch = math.ceil(len(rows) / config.batch_size)
        total = total_steps(len(rows), config)
        evaluate_every = config.evaluate_every or per_epoch
        hidden = not (progress and self.fabric.is_global_zero)
        self.model.train()
        if config.evaluate_first and self.evaluate is not None and not state.metrics:
            self._save(state, self._judge(state))
        with tqdm(total=total, initial=state.step, desc=self.run.name, unit="step", disable=hidden) as bar:
            for step, batch_rows in _batches(sequences, rows, config, first=state.step, total=total):
                logs = (step + 1) % config.log_every == 0
                lr = learning_rate(step, total, config)
                self._step(step, lr, sequences, batch_rows, diagnose=logs)
                state.step = step + 1
                last = state.step == total
                evaluates = self.evaluate is not None and (last or state.step % evaluate_every == 0)
                saves = last or evaluates or state.step % config.checkpoint_every == 0
                if logs or saves:  # a line at each checkpoint, so that no mean spans one
                    loss = self._log_scalars(state.step, epoch=step // per_epoch, lr=lr)
                    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                bar.update()
                improved = evaluates and self._judge(state)
                state.finished = last or 0 < config.patience <= state.misses
                if saves:
                    self._save(state, improved)
                if state.finished:
                    return

    def _step(self, step: int, lr: float, sequences: Sequences, rows: np.ndarray, *, diagnose: bool) -> None:
        rank, world = self.fabric.global_rank, self.fabric.world_size
        share = rows[rank::world]
        weight = len(share) / len(rows)
        # A process that a short batch leaves without samples still takes part, with weight 0.
        batch = sequences.batch(share if len(share) else rows[:1], self.config.max_history)
        batch = batch.to(self.fabric.device)
        if diagnose and rank == 0 and hasattr(self.model, "diagnostics"):
            self._seed(step)
            with self.fabric.autocast():
                self.diagnostics = self.model.diagnostics(batch)

        self._seed(step)
        scalars = self.module(vars(batch))
        self.fabric.backward(scalars["loss"] * (weight * world))  # DDP divides by world
        norm = nn.utils.clip_grad_norm_(self.trained, self.config.clip or math.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach() * weight
        self.sums["gradient_norm"] = self.sums.get("gradient_norm", 0.0) + norm.detach() / world
        self.sums["steps"] = self.sums.get("steps", 0.0) + torch.ones_like(norm) / world

    def _seed(self, step: int) -> None:
        torch.manual_seed(_derived_seed(self.config.seed, step, self.fabric.global_rank))

    def _over_processes(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        stacked = torch.stack([value.detach().float().to(self.fabric.device) for value in values.values()])
        return dict(zip(values, self.fabric.all_reduce(stacked, reduce_op="sum").tolist(), strict=True))

    def _log_scalars(self, step: int, *, epoch: int, lr: float) -> float:
        """Write the means since the last line, and return the loss."""
        sums = self._over_processes(self.sums)
        steps = sums.pop("steps")
        means = {name: value / steps for name, value in sums.items()}
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(means[name]):
                raise FloatingPointError(f"{self.run}: {name} is {means[name]} in the steps up to {step}")
        self._log({"step": step, "epoch": epoch, "lr": lr, **means, **self.diagnostics})
        self.sums, self.diagnostics = {}, {}
        return means["loss"]

    def _judge(self, state: Progress) -> bool:
        """Evaluate, write a line, and say whether the weights are the best so far."""
        metrics: dict[str, float] = {}
        if self.fabric.is_global_zero:
            self.model.eval()
            with torch.no_grad():
                metrics = {name: float(value) for name, value in self.evaluate(self.model).items()}
            self.model.train()
        metrics = self.fabric.broadcast(metrics)
        monitor = self.config.monitor
        if not math.isfinite(metrics.get(monitor, math.nan)):
            raise InputError(f"monitor: found {metrics} in the evaluation, expected a number for {monitor}")
        metrics = finite(metrics)
        self._log({"step": state.step, "validation": metrics})
        improved = not state.metrics or metrics[monitor] > state.metrics[monitor]
        if improved:
            state.best_step, state.metrics, state.misses = state.step, metrics, 0
        else:
            state.misses += 1
        return improved

    def _save(self, state: Progress, improved: bool) -> None:
        state.seconds = time.perf_counter() - self.start
        if self.evaluate is None:
            state.best_step = state.step
        if not self.fabric.is_global_zero:
            return
        if improved:
            save_checkpoint(self.run / "best", self.model, None, {"step": state.step, "metrics": state.metrics})
        save_checkpoint(self.run / "last", self.model, self.optimizer, asdict(state))

    def _log(self, line: dict[str, Any]) -> None:
        if not self.fabric.is_global_zero:
            return
        line = {"step": line.pop("step"), "seconds": round(time.perf_counter() - self.start, 3), **line}
        with clear_when_full(self.run), open(self.run / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(finite(line)) + "\n")
        step, scalars = line.pop("step"), line.pop("validation", line)
        self.fabric.log_dict({name: value for name, value in scalars.items() if value is not None}, step)


def _batches(
    sequences: Sequences, rows: np.ndarray, config: TrainConfig, *, first: int, total: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(step, rows of its batch) for the steps first..total-1; the order of an epoch derives from (seed, epoch)."""
    per_epoch = math.ceil(len(rows) / config.batch_size)
    for epoch in count(first // per_epoch):
        batches = bucketed_batches(
            sequences,
            rows,
            batch_size=config.batch_size,
            max_history=config.max_history,
            seed=_derived_seed(config.seed, epoch),
        )
        for step, batch in enumerate(batches, start=epoch * per_epoch):
            if step >= total:
                return
            if step >= first:
                yield step, batch


def _derived_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
