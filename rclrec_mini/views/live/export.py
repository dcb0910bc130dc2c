"""Trained models, their catalogue and some users as one JSON value, from which js/engine.js answers in a page.

    {format, title, simulated, behaviors,
     levels, codes,                                    L and V
     items: {codes: [[L] x N], title: [N], ...},       the attributes that the data have
     users: [{user, items, behaviors, timestamps: [T], journey: [T] | null, target: {item, timestamp, row, seen}}, ...],
     models: {name: {title, k, tau, selector, margin, config,
                    tensors: {name: {shape, bits, unit, scale, data, plus: name of the tensor to be added}}}}}

`seen` tells whether the T events hold the target's item. Tensors have the names of the model's state dict; those of its
theta_0 begin with `reference.`, and in place of a selector's embeddings of users there is `selector.query`, a row for
each exported user. Matrices are integers with a scale for each row, all else is float32, as base85 of the bytes.

Half precision moves the log-probabilities of the book's models by up to 0.016, integers of 16 bits by 0.0008, mostly by
way of embeddings and norms. So these stay exact and matrices have 16 bits. Where there is a theta_0, its matrices have
14 bits and the model's are the differences from them in 12: no less exact, since fine-tuning moves weights little.
"""

import re
from base64 import b85encode
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rclrec_mini.data.prepared import read_table
from rclrec_mini.data.schema import BEHAVIORS, ITEMS
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.run import load_run
from rclrec_mini.files import InputError, whole_file
from rclrec_mini.models.curriculum import RCPM, journey_mask
from rclrec_mini.models.rclrec import RCLRec
from rclrec_mini.training.run_folder import finite
from rclrec_mini.views.live.engine import default_selector
from rclrec_mini.views.live.page import inert

FORMAT = 1
USERS = 200
BEGINS = "globalThis.rclrecExport = "  # of an export that is a script, for pages opened from a file
WEIGHTS, START, CHANGE = 16, 14, 12  # bits of matrices, of theta_0's, of the differences from them
LARGE = re.compile(r"(attention\.\w+|ffn\.\d)\.weight$|^selector\..*(query|weight)$")  # if matrices
OF_THE_QUERY = ("selector.features.", "selector.user.", "selector.mlp.")  # known once the user is
ATTRIBUTES = ("title", "category", "brand", "seller", "price")


def export(
    models: Mapping[str, RCLRec], materials: Materials, *, users: int = USERS, titles: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The export of trained models.

    Args:
        models: each under its name.
        materials: the data that they were trained on.
        users: how many test targets, each the last purchase of its user; a sample that is always the same.
        titles: what models are called where it is not their name.

    Raises:
        InputError: a model is no RCLRec, or has other semantic ids than `materials`, or another longest history than
            the first; there is no model or no test target.
    """
    _check(models, materials)
    history = next(iter(models.values())).max_history
    rows = materials.split.test
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:users])
    people = _users(materials, rows, history)
    numbers = [person["user"] for person in people]
    return {
        "format": FORMAT,
        "title": materials.label(),
        "simulated": materials.journey is not None,
        "behaviors": list(BEHAVIORS),
        "levels": materials.catalog.levels,
        "codes": materials.catalog.n_codes,
        "items": _items(materials),
        "users": people,
        "models": {name: _model(model, numbers, (titles or {}).get(name, name)) for name, model in models.items()},
    }


def load_models(runs: Mapping[str, Path], data: Path | str) -> tuple[dict[str, RCLRec], Materials]:
    """The models of finished runs, under the names of `runs`, and what they were trained on.

    Raises:
        InputError: a run cannot be loaded, is of a method that has no curriculum, or has other semantic ids.
    """
    models, materials = {}, None
    for name, run in runs.items():
        models[name], _, found = load_run(run, data)
        materials = materials or found
        if not isinstance(models[name], RCLRec):
            raise InputError(f"{run}: found a {type(models[name]).__name__}, expected a run of rclrec or pointing")
        if not torch.equal(models[name].codes, materials.catalog.codes):
            raise InputError(f"{run / 'ids'}: found other semantic ids than those of {next(iter(runs.values()))}")
    if materials is None:
        raise InputError("runs: found none, expected at least 1")
    return models, materials


def write_export(out: Path | str, exported: Mapping[str, Any]) -> None:
    """Write an export as JSON, or where the name ends in .js as a script that sets globalThis.rclrecExport."""
    text = inert(exported)
    with whole_file(out) as partial:
        partial.write_text(f"{BEGINS}{text};\n" if Path(out).suffix == ".js" else f"{text}\n", encoding="utf-8")


def _check(models: Mapping[str, RCLRec], materials: Materials) -> None:
    if not models:
        raise InputError("models: found none, expected at least 1")
    if not len(materials.split.test):
        raise InputError(f"{materials.folder}: found no test purchase with a history, expected at least 1")
    first = next(iter(models.values()))
    for name, model in models.items():
        if not isinstance(model, RCLRec):
            raise InputError(f"model {name}: found a {type(model).__name__}, expected an RCLRec")
        if not torch.equal(model.codes.cpu(), materials.catalog.codes):
            raise InputError(f"model {name}: found other semantic ids than those of {materials.folder}")
        if model.max_history != first.max_history:
            raise InputError(f"model {name}: found histories of {model.max_history}, expected {first.max_history}")


def _items(materials: Materials) -> dict[str, list[Any]]:
    table = read_table(materials.folder / "items.parquet", ITEMS)
    columns = {name: [finite(value) for value in table[name].to_pylist()] for name in ATTRIBUTES}
    known = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    return {"codes": materials.catalog.codes.tolist(), **known}


def _users(materials: Materials, rows: np.ndarray, history: int) -> list[dict[str, Any]]:
    batch = materials.sequences.batch(rows, history)
    journey = None if materials.journey is None else journey_mask(materials.journey, batch)
    people = []
    for i in range(len(batch)):
        exists = batch.mask[i]
        items = batch.item[i][exists].tolist()
        target = int(batch.target_item[i])
        people.append({
            "user": int(batch.user[i]),
            "items": items,
            "behaviors": batch.behavior[i][exists].tolist(),
            "timestamps": batch.timestamp[i][exists].tolist(),
            "journey": None if journey is None else journey[i][exists].int().tolist(),
            "target": {
                "item": target, "timestamp": int(batch.target_timestamp[i]), "row": int(batch.row[i]),
                "seen": target in items,
            },
        })  # fmt: skip
    return people


def _model(model: RCLRec, users: list[int], title: str) -> dict[str, Any]:
    tensors = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    selector, pointer = model.selector, model.pointer
    if isinstance(selector, RCPM):
        for name in [name for name in tensors if name.startswith(OF_THE_QUERY)]:
            del tensors[name]
        with torch.inference_mode():
            tensors["selector.query"] = selector.query(torch.tensor(users, device=model.codes.device)).cpu()
    return {
        "title": title,
        "k": getattr(selector, "k", 0),
        "tau": getattr(selector, "tau", 1.0),
        "selector": default_selector(model),
        "margin": model.loss.margin,
        "config": {
            "backbone": asdict(model.backbone.config),
            "pointer": None if pointer is None else asdict(pointer.config),
        },
        "tensors": packed(tensors),
    }


def packed(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Tensors by name, coded; those that are differences from theta_0 stand after it."""
    kept, stands_for = {}, {}
    for name in sorted(tensors, key=lambda name: not name.startswith("reference.")):
        start = name.replace("backbone.", "reference.", 1)
        if tensors[name].dim() < 2 or not LARGE.search(name):
            kept[name] = floats(tensors[name])
        elif start == name or start not in tensors:
            bits = WEIGHTS if start not in tensors else START
            kept[name], stands_for[name] = integers(tensors[name], bits)
        else:
            kept[name], _ = integers(tensors[name] - stands_for[start], CHANGE)
            kept[name]["plus"] = start
    return kept


def floats(values: Tensor) -> dict[str, Any]:
    """A tensor as it is."""
    return {"shape": list(values.shape), "bits": 32, "data": _text(values.numpy().astype("<f4"))}


def integers(values: Tensor, bits: int) -> tuple[dict[str, Any], Tensor]:
    """A matrix as integers of so many bits, packed without gaps, times the scale of their row, which is an integer of
    16 bits times `unit`; and what they stand for."""
    scale = values.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    unit = (scale.max() / (2**16 - 1)).clamp(min=torch.finfo(torch.float32).tiny)
    steps = (scale / unit).ceil().clamp(1, 2**16 - 1)
    whole = (values / (steps * unit)).round()
    bytes_ = whole.numpy().astype(">i4").view(np.uint8).reshape(-1, 4)
    coded = {
        "shape": list(values.shape),
        "bits": bits,
        "unit": unit.item(),
        "scale": _text(steps.numpy().astype("<u2")),
        "data": _text(np.packbits(np.unpackbits(bytes_, axis=1)[:, 32 - bits :])),
    }
    return coded, whole * (steps * unit)


def _text(values: np.ndarray) -> str:
    return b85encode(values.tobytes()).decode()
