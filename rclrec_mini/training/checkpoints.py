"""Weights, optimiser state and progress as safetensors and json: no pickle, and a valid last one after any kill.

A checkpoint is a folder:

    state.json                  progress, and the names of the two files below
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
from rclrec_mini.files import InputError, read_json, whole_file, write_json


def save_checkpoint(
    folder: Path | str, model: nn.Module, optimizer: Optimizer | None, state: Mapping[str, Any]
) -> None:
    """Write weights, optimiser moments and `state` (JSON values, "step" among them) in place of what `folder` holds."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"model": _unique(model)}
    if optimizer is not None:
        tensors["optimizer"] = _moments(model, optimizer)
    files = {kind: f"{kind}-{state['step']}.safetensors" for kind in tensors}
    for kind, values in tensors.items():
        with whole_file(folder / files[kind]) as partial:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in values.items()}, partial)
    write_json(folder / "state.json", {**state, "files": files})
    sweep(folder)


def sweep(folder: Path | str) -> None:
    """Remove what an interrupted save left in a checkpoint's folder."""
    state = Path(folder) / "state.json"
    if state.exists():
        for file in set(state.parent.iterdir()) - {state, *map(state.with_name, read_json(state)["files"].values())}:
            file.unlink()


def load_checkpoint(folder: Path | str, model: nn.Module, optimizer: Optimizer | None = None) -> dict[str, Any]:
    """Put a checkpoint's weights into `model`, its moments into `optimizer`, and return its state.

    Raises:
        InputError: a file is missing or truncated, or its tensors are not those of `model`.
    """
    folder = Path(folder)
    state = read_json(folder / "state.json")
    if "files" not in state:
        raise InputError(f"{folder / 'state.json'}: key files is missing, found {sorted(state)}")
    files = state.pop("files")
    _copy_into(model, folder / files["model"])
    if optimizer is not None:
        if "optimizer" not in files:
            raise InputError(f"{folder / 'state.json'}: key files.optimizer is missing: these are weights only")
        _restore_moments(model, optimizer, folder / files["optimizer"])
    return state


def load_weights(path: Path | str, model: nn.Module) -> nn.Module:
    """Put saved weights into `model` and return it.

    `path` is a run folder (its best weights, else its last), a checkpoint folder, or a .safetensors file.

    Raises:
        InputError: nothing is there, a file is truncated, or its tensors are not those of `model`.
    """
    path = Path(path)
    if path.is_file():
        _copy_into(model, path)
        return model
    folder = next((f for f in (path / "best", path / "last", path) if (f / "state.json").is_file()), None)
    if folder is None:
        raise InputError(f"{path}: found no weights, expected a run folder, a checkpoint or a .safetensors file")
    load_checkpoint(folder, model)
    return model


def provenance() -> dict[str, Any]:
    """Where a result comes from: git commit of the library ("unknown" outside its repository) and versions."""
    packages = ("rclrec_mini", "torch", "lightning", "numpy", "safetensors")
    return {
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "platform": platform.platform(),
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
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
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
