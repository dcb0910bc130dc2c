"""What the tests of models share: samples cut by hand, a batch learned by heart, the slow twin of beam search."""

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from rclrec_mini.data.sequences import Batch
from rclrec_mini.semantic_ids.catalog import Catalog


def random_catalog(n_items: int, *, levels: int, n_codes: int) -> Catalog:
    flat = torch.randperm(n_codes**levels, generator=torch.Generator().manual_seed(7))[:n_items]
    codes = torch.stack([flat // n_codes**level % n_codes for level in range(levels)], dim=1)
    return Catalog(codes, n_codes=n_codes)


def rows(batch: Batch, index) -> Batch:
    """Some samples of a batch."""
    return Batch(**{f.name: getattr(batch, f.name)[index] for f in fields(batch)})


def only(batch: Batch, i: int) -> Batch:
    """Sample i without its padding."""
    one = rows(batch, slice(i, i + 1))
    return replace(one, **{name: getattr(one, name)[:, one.mask[0]] for name in batch.history()._fields})


def before(batch: Batch, t: int) -> Batch:
    """The samples whose target is event t of `batch.with_target()` and whose history is the events before it."""
    events = batch.with_target()
    history = {name: getattr(events, name)[:, :t] for name in events._fields}
    target = {f"target_{name}": getattr(events, name)[:, t] for name in ("item", "behavior", "timestamp")}
    return replace(batch, **history, **target)


def widened(batch: Batch, columns: int) -> Batch:
    """The same samples behind more padding."""
    events = {name: getattr(batch, name) for name in batch.history()._fields}
    return replace(batch, **{name: nn.functional.pad(x, (columns, 0)) for name, x in events.items()})


def fit(model: nn.Module, batch: Batch, *, steps: int, lr: float, stage: Callable | None = None) -> dict[str, Tensor]:
    """Learn a batch, in stage two by default; what is logged before the last step."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        logs = (stage or model)(batch)
        logs["loss"].backward()
        optimizer.step()
    return logs


def best(model: nn.Module, batch: Batch) -> Tensor:
    """The item of each sample that a model which scores items puts first: (B,)"""
    vectors, bias = model.items()
    return (model.query(batch) @ vectors.T + bias).argmax(1)


@torch.no_grad()
def item_score(model: nn.Module, batch: Batch, item: int) -> float:
    """Log-likelihood of one item's tokens for a batch of one, by teacher forcing."""
    nll = model(replace(batch, target_item=torch.tensor([item])))["target_nll"]
    return -nll.item() * model.codes.shape[1]
