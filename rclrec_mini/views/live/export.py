"""Trained models, their catalogue and some users as one JSON value, from which js/engine.js answers in a page.

    {format, title, simulated, behaviors,
     levels, codes,                                    L and V
     items: {codes: [[L] x N], title: [N], ...},       the attributes that the data have
     users: [{user, items, behaviors, timestamps: [T], journey: [T] | null, target: {item, timestamp, row, seen}}, ...],
     models: {name: {title, k, tau, selector, margin, config, found: {selector: a digit a user},
                    tensors: {name: {shape, bits, unit, scale, data, back: {bits, unit, scale, data} | absent}}}}}

`timestamps` are the seconds that passed since the event before, of the first event those since 1970. `seen` tells
whether the T events hold the target's item; `found`, 1 or 0, whether a model's ten best items hold it behind k events
of each selector, and without a curriculum (`none`). Tensors have the names of the model's state dict; in place of a
selector's embeddings of users there is `selector.query`, a row for each exported user.

A tensor is integers with a scale for each row, as base85 of the bytes. Where the model has a theta_0, it holds the way
`back` to it, in fewer bits, since fine-tuning moves weights little. Half precision moves the log-probabilities of the
book's models by up to 0.016; with the bits of `BITS` they move by less than 0.001. Embeddings and norms want most of
them, and attention more than the feed-forward layers.
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
from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.data.sequences import Batch
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.run import load_run
from rclrec_mini.files import InputError, whole_file
from rclrec_mini.models.curriculum import RCPM, journey_mask
from rclrec_mini.models.rclrec import RCLRec
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.run_folder import finite
from rclrec_mini.views.live.engine import default_selector, hits
from rclrec_mini.views.live.page import inert

FORMAT = 1
USERS = 200
BEGINS = "globalThis.rclrecExport = "  # of an export that is a script, for pages opened from a file
BITS = (  # of the tensors whose names hold a pattern: their own, and those of the way back to theta_0
    (r"attention\.", 17, 10),
    (r"ffn\.\d\.weight$", 15, 8),
    (r"^selector\.", 14, 14),
    (r"", 20, 12),
)
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
    batch = materials.sequences.batch(rows, history)
    journey = None if materials.journey is None else journey_mask(materials.journey, batch)
    return {
        "format": FORMAT,
        "title": materials.label(),
        "simulated": materials.journey is not None,
        "behaviors": list(BEHAVIORS),
        "levels": materials.catalog.levels,
        "codes": materials.catalog.n_codes,
        "items": _items(materials),
        "users": _users(batch, journey),
        "models": {
            name: {"title": (titles or {}).get(name, name), **_model(model, batch, materials.catalog, journey)}
            for name, model in models.items()
        },
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
    table = read_table(materials.folder, "items")
    columns = {name: [finite(value) for value in table[name].to_pylist()] for name in ATTRIBUTES}
    known = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    return {"codes": materials.catalog.codes.tolist(), **known}


def _users(batch: Batch, journey: Tensor | None) -> list[dict[str, Any]]:
    people = []
    for i in range(len(batch)):
        exists = batch.mask[i]
        items = batch.item[i][exists].tolist()
        target = int(batch.target_item[i])
        people.append({
            "user": int(batch.user[i]),
            "items": items,
            "behaviors": batch.behavior[i][exists].tolist(),
            "timestamps": np.diff(batch.timestamp[i][exists], prepend=0).tolist(),
            "journey": None if journey is None else journey[i][exists].int().tolist(),
            "target": {
                "item": target, "timestamp": int(batch.target_timestamp[i]), "row": int(batch.row[i]),
                "seen": target in items,
            },
        })  # fmt: skip
    return people


def _model(model: RCLRec, batch: Batch, catalog: Catalog, journey: Tensor | None) -> dict[str, Any]:
    tensors = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    selector, pointer = model.selector, model.pointer
    if isinstance(selector, RCPM):
        for name in [name for name in tensors if name.startswith(OF_THE_QUERY)]:
            del tensors[name]
        with torch.inference_mode():
            tensors["selector.query"] = selector.query(batch.user.to(model.codes.device)).cpu()
    k = getattr(selector, "k", 0)
    found = hits(model, batch, catalog, journey, k=k)
    return {
        "k": k,
        "tau": getattr(selector, "tau", 1.0),
        "selector": default_selector(model),
        "margin": model.loss.margin,
        "found": {name: "".join(str(int(one)) for one in hit) for name, hit in found.items()},
        "config": {
            "backbone": asdict(model.backbone.config),
            "pointer": None if pointer is None else asdict(pointer.config),
            "prefix_levels": model.prefix_levels,
        },
        "tensors": packed(tensors),
    }


def packed(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Tensors by name, coded; those of theta_0, `reference.`, as the way back to them from those of `backbone.`."""
    kept = {}
    for name, values in tensors.items():
        if name.startswith("reference."):
            continue
        bits, bits_back = next(bits for pattern, *bits in BITS if re.search(pattern, name))
        coded, stands_for = integers(values, bits)
        kept[name] = {"shape": list(values.shape), **coded}
        start = tensors.get(re.sub(r"^backbone\.", "reference.", name), values)
        if start is not values:
            kept[name]["back"], _ = integers(start - stands_for, bits_back)
    return kept


def integers(values: Tensor, bits: int) -> tuple[dict[str, Any], Tensor]:
    """A tensor as integers of so many bits, packed without gaps, times the scale of their row, which is an integer of
    16 bits times `unit`; and what they stand for. A vector is one row."""
    scale = values.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    unit = (scale.max() / (2**16 - 1)).clamp(min=torch.finfo(torch.float32).tiny)
    steps = (scale / unit).ceil().clamp(1, 2**16 - 1)
    whole = (values / (steps * unit)).round()
    bytes_ = whole.numpy().astype(">i4").view(np.uint8).reshape(-1, 4)
    coded = {
        "bits": bits,
        "unit": unit.item(),
        "scale": _text(steps.numpy().astype("<u2")),
        "data": _text(np.packbits(np.unpackbits(bytes_, axis=1)[:, 32 - bits :])),
    }
    return coded, whole * (steps * unit)


def _text(values: np.ndarray) -> str:
    return b85encode(values.tobytes()).decode()
