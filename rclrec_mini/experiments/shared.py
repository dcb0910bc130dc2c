"""Simulated shops and runs that the book's notebooks share: made once, kept by what they were made from.

The cache is the folder that RCLREC_CACHE names, by default `.rclrec_cache` where the notebook runs. An entry's name is
a hash of its config, its data and the library's sources; what was broken off is resumed, and of two notebooks that ask
for the same entry at once the second waits.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from rclrec_mini.data.shop_config import preset as shop_preset
from rclrec_mini.experiments.materials import Materials, balanced_ids, simulated
from rclrec_mini.experiments.post_train import PostTrainConfig, post_train
from rclrec_mini.experiments.post_train import describe as describe_post
from rclrec_mini.experiments.presets import preset
from rclrec_mini.experiments.run import ExperimentConfig, describe, finetune, for_stage_one, pretrain
from rclrec_mini.training.trainer import TrainResult

LIBRARY = Path(__file__).parents[1]


@cache
def library_key(but: tuple[str, ...] = ("views", "cli")) -> str:
    """A hash of the library's sources without the folders `but`, and of the packages that its numbers hang on."""
    digest = sha256("".join(version(name) for name in ("torch", "numpy", "duckdb")).encode())
    for source in sorted(LIBRARY.rglob("*.py")):
        name = source.relative_to(LIBRARY)
        if name.parts[0] not in but:
            digest.update(name.as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def entry(kind: str, **made_from: Any) -> Iterator[Path]:
    """The place of an entry in the cache, while no other process is at it."""
    key = json.dumps({"library": library_key(), **made_from}, sort_keys=True, default=str)
    folder = Path(os.environ.get("RCLREC_CACHE", ".rclrec_cache")) / f"{kind}-{sha256(key.encode()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def shop(size: str, *, codes: int = 16, **knobs: Any) -> tuple[Path, Path]:
    """The simulated shop of a preset and its balanced semantic ids of `codes` codes a level: the folders data and ids.

    Raises:
        InputError: as data.shop_config.preset.
    """
    config = shop_preset(size, **knobs)
    with entry("shop", shop=asdict(config), codes=codes) as folder:
        data = simulated(config, folder / "data")
        return data, balanced_ids(data, folder / "ids", codes=codes)


def stage_one(config: ExperimentConfig, materials: Materials) -> tuple[Path, TrainResult]:
    """`run.pretrain`, unless it has been done: the folder of the run, and its result."""
    config = for_stage_one(config)
    settings = {name: value for name, value in describe(config).items() if name != "finetune"}
    with entry("stage_one", config=settings, **_made_from(materials)) as folder:
        return folder / "run", pretrain(config, materials, folder / "run", progress=False)[1]


def stage_two(config: ExperimentConfig, materials: Materials) -> tuple[nn.Module, TrainResult]:
    """`run.finetune` after `stage_one`, unless it has been done: the model on the CPU, and the run's result."""
    before, _ = stage_one(config, materials)
    with entry("stage_two", config=describe(config), **_made_from(materials)) as folder:
        model, result = finetune(config, materials, folder / "run", pretrained=before, progress=False)
        return model.cpu(), result


def after(
    config: PostTrainConfig, before: ExperimentConfig, materials: Materials
) -> tuple[nn.Module, TrainResult, list[dict[str, Any]]]:
    """`post_train` after `stage_two` of `before`, unless it has been done: policy on the CPU, result, log."""
    policy, _ = stage_two(before, materials)
    made_from = {"config": describe_post(config), "before": describe(before), **_made_from(materials)}
    with entry("after", **made_from) as folder:
        result = post_train(policy, config, materials, folder / "run", progress=False)
        log = (folder / "run" / "log.jsonl").read_text(encoding="utf-8")
    return policy.cpu(), result, [json.loads(line) for line in log.splitlines()]


def _made_from(materials: Materials) -> dict[str, str]:
    ids = sha256(materials.catalog.codes.cpu().numpy().tobytes()).hexdigest()
    return {"data": materials.data_hash, "ids": ids}


def lesson(method: str = "rclrec", *, fast: bool = False, **changes: Any) -> ExperimentConfig:
    """The config that chapters train: the preset `mini` with a shorter stage one, or with `fast` hardly any steps, for
    tests; `changes` as there. RCLRec takes 4,000 of 6,000 steps (two minutes of two cores), the pointing model 1,000 of
    4,500 (one)."""
    config = preset("mini", method, **changes)
    if fast:
        first, second = (replace(s, max_steps=20, evaluate_every=20) for s in (config.pretrain, config.finetune))
        return replace(config, pretrain=first, finetune=second)
    steps = 1_000 if method == "pointing" else 4_000
    return replace(config, pretrain=replace(config.pretrain, max_steps=steps, evaluate_every=steps // 4))
