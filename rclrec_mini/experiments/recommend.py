"""What users would buy next, by the model of a finished run: what `rclrec recommend` calls."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import nn

from rclrec_mini.data.schema import BEHAVIORS, ITEMS, PURCHASE
from rclrec_mini.data.sequences import Batch, read_table
from rclrec_mini.evaluation.ranking import best_items, catalog_of
from rclrec_mini.experiments.run import load_run
from rclrec_mini.files import InputError


@torch.inference_mode()
def recommend(
    run: Path | str, data: Path | str, *, users: list[str], k: int = 10, beams: int = 20
) -> list[dict[str, Any]]:
    """What users would buy next, given all their events: for each raw user id the k best items with the method's
    scores (generative: natural log-probabilities) and the curriculum, empty where the method has none.

    Raises:
        InputError: a user is unknown or has no events.
    """
    model, _, materials = load_run(run, data)
    data = Path(data)
    ids = pq.read_table(data / "users.parquet", columns=["raw_id"])["raw_id"].to_pylist()
    number = {raw: user for user, raw in enumerate(ids)}
    catalogue = read_table(data / "items.parquet", ITEMS)
    answers = []
    for raw in users:
        if raw not in number:
            raise InputError(f"{data / 'users.parquet'}: user {raw} not found among {len(ids)} users")
        batch = materials.sequences.batch_after(number[raw], model.max_history, behavior=PURCHASE)
        items, scores = best_items(model, batch, catalog_of(model, materials.catalog), k=k, beams=max(beams, k))
        answers.append(
            {
                "user": raw,
                "curriculum": _curriculum(model, batch, catalogue),
                "items": [
                    {**_describe(catalogue, item), "score": score}
                    for item, score in zip(items[0].tolist(), scores[0].tolist(), strict=True)
                    if item >= 0
                ],
            }
        )
    return answers


def _curriculum(model: nn.Module, batch: Batch, catalogue: Any) -> list[dict[str, Any]]:
    """The events of one sample that the model puts before its target."""
    if getattr(model, "selector", None) is None:
        return []
    selection = model.select(model.encode(batch), batch)
    return [
        {
            **_describe(catalogue, int(batch.item[0, t])),
            "behavior": BEHAVIORS[int(batch.behavior[0, t])],
            "events_ago": batch.mask.shape[1] - int(t),
        }
        for t in selection.index[0][selection.valid[0]]
    ]


def _describe(catalogue: Any, item: int) -> dict[str, Any]:
    """A row of the item table without what is unknown."""
    row = catalogue.slice(item, 1).to_pylist()[0]
    return {name: value for name, value in row.items() if value is not None and name != "item"}
