"""What a run folder of the trainer says about its run, see training/trainer.py."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric

from rclrec_mini.files import InputError, whole_file, write_json
from rclrec_mini.records import read_line, read_record


@dataclass
class Progress:
    """What a resumed run must know; saved with every checkpoint."""

    step: int = 0
    best_step: int = 0
    metrics: dict[str, float | None] = field(default_factory=dict)
    misses: int = 0  # evaluations since the best
    finished: bool = False
    seconds: float = 0.0


def first_process() -> bool:
    """Whether this process is the one that prints and writes results: with several devices, the same program runs
    once for each, from its start to its end."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


@contextlib.contextmanager
def none_before_the_first_step(folder: Path | str) -> Iterator[None]:
    """Remove the new folder of a run that fails before it has a log, and so anything worth to be taken up."""
    folder = Path(folder)
    new = not folder.exists() or not any(folder.iterdir())
    try:
        yield
    except BaseException:
        if new and first_process() and not any(folder.rglob("log.jsonl")):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def fingerprint(rows: np.ndarray) -> str:
    """Tells samples (n,) from others."""
    return sha256(np.ascontiguousarray(rows, dtype="<i8")).hexdigest()[:16]


def finite(value: Any) -> Any:
    """JSON has no NaN: null stands for what could not be measured."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def truncate_log(path: Path, *, after: int) -> None:
    """Drop the lines that steps after the last checkpoint had written, and a line cut short."""
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path}: found a folder, expected a file of JSON lines")
    kept = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n") or read_line(line, f"{path}: line {number}", {"step": int})["step"] > after:
            break
        kept.append(line)
    with whole_file(path) as partial:
        partial.write_bytes(b"".join(kept))


def check_same_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Raise InputError if the file is there and says anything else than `settings`, naming the first key."""
    if not path.exists():
        return
    wanted = _flat(json.loads(json.dumps(settings)))
    found = _flat(read_record(path, {}, more=True))
    for key in [*wanted, *found]:
        if wanted.get(key) != found.get(key):
            raise InputError(
                f"{path}: {key} is {found.get(key)!r}, expected {wanted.get(key)!r} (another run lies in this folder)"
            )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def write_record(
    path: Path, settings: Mapping[str, Any], origin: Mapping[str, Any], fabric: Fabric, state: Progress
) -> None:
    """Write run.json."""
    device = torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else str(fabric.device)
    record = {
        "data_hash": settings.get("data_hash", "unknown"),
        **origin,
        "device": device,
        "processes": fabric.world_size,
        "seed": settings["training"]["seed"],
        **asdict(state),
    }
    write_json(path, record)
