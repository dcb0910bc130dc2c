"""What the tests of generative methods share: samples cut by hand, and the slow twin of beam search."""

from dataclasses import fields, replace

import torch
from torch import nn

from rclrec_mini.data.sequences import Batch
from rclrec_mini.semantic_ids.catalog import Catalog


def random_catalog(n_items: int, *, levels: int, n_codes: int) -> Catalog:
    flat = torch.randperm(n_codes**levels, generator=torch.Generator().manual_seed(7))[:n_items]
    codes = torch.stack([flat // n_codes**level % n_codes for level in range(levels)], dim=1)
    return Catalog(codes, n_codes=n_codes)


def rows(batch: Batch, index) -> Batch:
    """Some samples of a batch."""
    return Batch(**{f.name: getattr(batch, f.name)[index] for f in fields(batch)})


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


@torch.no_grad()
def item_score(model: nn.Module, batch: Batch, item: int) -> float:
    """Log-likelihood of one item's tokens for a batch of one, by teacher forcing."""
    nll = model(replace(batch, target_item=torch.tensor([item])))["target_nll"]
    return -nll.item() * model.codes.shape[1]
