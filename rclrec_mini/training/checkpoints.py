"""Weights, optimiser state and progress as safetensors and json: no pickle, and a valid last one after any kill.

A checkpoint is a folder:

    state.json                  progress, and the names and checksums of the two files below
    model-STEP.safetensors      parameters and buffers
    optimizer-STEP.safetensors  optimiser moments, one tensor `PARAMETER.MOMENT` each (absent beside best weights)

`state.json` is replaced last and in one move, so it always names files that are complete; what an interrupted save
leaves beside them is swept away later.
"""

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

import rclrec_mini
from rclrec_mini.files import InputError, clear_leftovers, clear_when_full, sha256, whole_file, write_json
from rclrec_mini.records import read_record

STATE = {"step": int, "files": dict[str, str], "sha256": dict[str, str]}


def save_checkpoint(
    folder: Path | str, model: nn.Module, optimizer: Optimizer | None, state: Mapping[str, Any]
) -> None:
    """Write weights, optimiser moments and `state` (JSON values, "step" among them) in place of what `folder` holds."""
    folder = Path(folder)
    with clear_when_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
    tensors = {"model": _unique(model)}
    if optimizer is not None:
        tensors["optimizer"] = _moments(model, optimizer)
    files = {kind: f"{kind}-{state['step']}.safetensors" for kind in tensors}
    for kind, values in tensors.items():
        with whole_file(folder / files[kind]) as partial:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in values.items()}, partial)
    hashes = {kind: sha256(folder / name) for kind, name in files.items()}
    write_json(folder / "state.json", {**state, "files": files, "sha256": hashes})
    sweep(folder)


def sweep(folder: Path | str) -> None:
    """Remove what an interrupted save left in a checkpoint's folder."""
    folder = Path(folder)
    clear_leftovers(folder)
    if (folder / "state.json").exists():
        known = {"state.json", *read_state(folder)["files"].values()}
        for file in folder.iterdir():
            if file.name not in known and file.is_file():
                file.unlink()


def read_state(folder: Path | str) -> dict[str, Any]:
    """The state of a checkpoint.

    Raises:
        InputError: it is missing, or is no state.
    """
    return read_record(Path(folder) / "state.json", STATE, more=True)


def load_checkpoint(folder: Path | str, model: nn.Module, optimizer: Optimizer | None = None) -> dict[str, Any]:
    """Put a checkpoint's weights into `model`, its moments into `optimizer`, and return its state.

    Raises:
        InputError: a file is missing or is not what was saved, or its tensors are not those of `model`.
    """
    folder = Path(folder)
    state = read_state(folder)
    _copy_into(model, _verified(folder, state, "model"))
    if optimizer is not None:
        _restore_moments(model, optimizer, _verified(folder, state, "optimizer"))
    return {key: value for key, value in state.items() if key not in ("files", "sha256")}


def _verified(folder: Path, state: Mapping[str, Any], kind: str) -> Path:
    """The file of a checkpoint, after its checksum was found right."""
    for key in ("files", "sha256"):
        if kind not in state[key]:
            raise InputError(f"{folder / 'state.json'}: key {key}.{kind} is missing, found {sorted(state[key])}")
    path = folder / state["files"][kind]
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    if sha256(path) != state["sha256"][kind]:
        raise InputError(f"{path}: found other bytes than were saved: its SHA-256 is not that in state.json")
    return path


def load_weights(path: Path | str, model: nn.Module) -> nn.Module:
    """Put saved weights into `model` and return it.

    `path` is a run folder (its best weights; its last where it evaluates nothing), a checkpoint folder, or a
    .safetensors file.

    Raises:
        InputError: nothing is there, a file is not what was saved, or its tensors are not those of `model`.
    """
    path = Path(path)
    if path.is_file():
        _copy_into(model, path)
    else:
        load_checkpoint(_best(path), model)
    return model


def _best(path: Path) -> Path:
    if (path / "state.json").is_file():
        return path
    if not (path / "last" / "state.json").is_file():
        raise InputError(f"{path}: found no weights, expected a run folder, a checkpoint or a .safetensors file")
    last = read_state(path / "last")
    if not last.get("metrics"):
        return path / "last"
    step = read_state(path / "best")["step"]
    if step != last.get("best_step"):
        raise InputError(f"{path / 'best' / 'state.json'}: key step is {step}, expected {last.get('best_step')}")
    return path / "best"


def provenance() -> dict[str, Any]:
    """Where a result comes from: git commit of the library ("unknown" outside its repository), versions, machine."""
    packages = ("rclrec_mini", "torch", "lightning", "numpy", "safetensors")
    return {
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
    }


def _commit() -> str:
    package = Path(rclrec_mini.__file__).parent

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", "-C", package, *arguments], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # else the repository around an installed copy answers
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def _unique(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with one name for each tied tensor: safetensors stores no aliases."""
    seen: dict[tuple, str] = {}
    for name, tensor in model.state_dict().items():
        seen.setdefault((tensor.device, tensor.data_ptr(), tensor.shape) if tensor.numel() else (name,), name)
    state = model.state_dict()
    return {name: state[name] for name in seen.values()}


def _trained(model: nn.Module, optimizer: Optimizer) -> dict[str, nn.Parameter]:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {name: p for name, p in model.named_parameters() if id(p) in held}


def _moments(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, parameter in _trained(model, optimizer).items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_moments(model: nn.Module, optimizer: Optimizer, path: Path) -> None:
    tensors = _read(path)
    parameters = _trained(model, optimizer)
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition(".")
        if parameter not in parameters:
            raise InputError(f"{path}: found moments of {parameter}, which the optimiser does not train")
        like = parameters[parameter]
        optimizer.state[like][key] = tensor.to(like.device)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected a whole safetensors file, found {json.dumps(str(error))}") from None


@torch.no_grad()
def _copy_into(model: nn.Module, path: Path) -> None:
    found, wanted = _read(path), _unique(model)
    for name in wanted:
        if name not in found:
            raise InputError(f"{path}: tensor {name} is missing, found {len(found)} others")
    for name, tensor in found.items():
        if name not in wanted:
            raise InputError(f"{path}: found tensor {name}, which the model does not have")
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise InputError(
                f"{path}: tensor {name} is {_kind(tensor)}, expected {_kind(wanted[name])}",
            )
    for name, tensor in found.items():
        wanted[name].copy_(tensor)


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
