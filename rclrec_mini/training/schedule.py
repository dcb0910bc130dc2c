"""What a stage of training is told, and what follows from it: its length, its learning rates and its optimiser."""

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from rclrec_mini.checks import MAX_SEED, at_least, check, positive, within
from rclrec_mini.files import InputError


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training; every count of steps means optimiser steps."""

    epochs: int = 10  # passes over the training samples, at most
    max_steps: int | None = None  # steps, at most; None: as many as the epochs hold
    batch_size: int = 256  # samples a step, over all processes together
    max_history: int = 50  # events before the target, T
    lr: float = 1e-3  # peak learning rate
    weight_decay: float = 0.01  # AdamW's, on weight matrices only: not on embeddings, norms and biases
    warmup: float = 0.05  # share of all steps in which the learning rate rises linearly
    decay: Literal["cosine", "constant"] = "cosine"  # what the learning rate does after the warm-up (cosine: to 0)
    clip: float = 1.0  # largest norm of the gradient; 0: no clipping
    evaluate_every: int = 0  # steps between evaluations; 0: once an epoch
    evaluate_first: bool = False  # also before the first step, so that the best weights may be those that came
    monitor: str = "ndcg@10"  # validation metric that picks the best weights, higher is better
    patience: int = 5  # evaluations without a new best before the run stops; 0: never stop early
    precision: Literal["32-true", "bf16-mixed"] = "32-true"  # bf16-mixed: autocast, with weights in fp32
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # where to train
    devices: int = 1  # processes, one a device
    strategy: Literal["auto", "ddp"] = "auto"  # ddp: needed for more than one device; works on CPU too (gloo)
    logger: Literal["tensorboard"] | None = None  # writes the log for TensorBoard too, beside log.jsonl
    seed: int = 0  # of the order of samples and of dropout
    log_every: int = 50  # steps between lines of the log
    checkpoint_every: int = 1000  # steps between checkpoints, besides one at each evaluation

    def __post_init__(self) -> None:
        counts = ("epochs", "max_steps", "batch_size", "max_history", "devices", "log_every", "checkpoint_every")
        at_least(self, 1, *counts)
        positive(self, "lr")
        at_least(self, 0, "weight_decay", "clip", "patience", "evaluate_every")
        within(self, 0, MAX_SEED, "seed")
        check(
            self,
            warmup=(0 <= self.warmup < 1, "a share from 0 to below 1"),
            devices=(self.devices == 1 or self.strategy == "ddp", "1 without strategy ddp"),
        )


def check_machine(config: TrainConfig) -> None:
    """Raise FieldError unless the devices and packages that the config asks for are here."""
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    here = ["cpu", *(name for name, present in has.items() if present)]
    check(config, accelerator=(config.accelerator in ("auto", *here), f"one of this machine: {' or '.join(here)}"))
    if config.accelerator == "cuda" or (config.accelerator == "auto" and has["cuda"]):
        check(config, devices=(config.devices <= torch.cuda.device_count(), f"at most {torch.cuda.device_count()}"))
    if config.logger is not None:
        check(config, logger=(find_spec("tensorboard") is not None, "its package: pip install tensorboard"))


def total_steps(n_samples: int, config: TrainConfig) -> int:
    """How many steps a run over `n_samples` takes if nothing stops it early."""
    steps = config.epochs * math.ceil(n_samples / config.batch_size)
    return min(steps, config.max_steps or steps)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """The learning rate of update `step` (0-based) of `total`: linear warm-up to `config.lr`, then decay to 0."""
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.decay == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what requires a gradient; weight decay on matrices that are not embeddings: decaying an embedding
    shrinks the rows of rare items, and decaying norms or biases only shifts them. The short memory of squares (0.98)
    is the one that transformers are usually trained with.

    Raises:
        InputError: the model has nothing to train.
    """
    embeddings = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) for p in m.parameters()
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise InputError("model: found no parameter that requires a gradient, expected at least 1")
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in embeddings]
    others = [p for p in trained if p.ndim < 2 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=config.lr,
        betas=(0.9, 0.98),
        fused=trained[0].device.type in ("cpu", "cuda"),
    )
