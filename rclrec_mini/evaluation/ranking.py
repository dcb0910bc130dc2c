"""Rankings of the whole catalogue by any method."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.decoding.beam_search import Search, beam_search
from rclrec_mini.decoding.exact_ranking import exact_ranking
from rclrec_mini.semantic_ids.catalog import Catalog


def rank(
    model: nn.Module, sequences: Sequences, catalog: Catalog, rows: np.ndarray, *, k: int = 10, beams: int = 20,
    search: Search = beam_search, user: np.ndarray | None = None, progress: bool = False,
) -> np.ndarray:  # fmt: skip
    """The k best items for the targets at `rows` of `sequences`: (n,) -> (n, k), -1 where fewer. `catalog` holds the
    semantic ids of all items; a model that scores items, or has ids of its own, does not read it. `search` is how a
    generative model's lists are found; `user` (n,) tells whose they are if not those of `sequences`. A model may say
    how many users it takes at once."""
    items = [np.zeros((0, k), np.int64)]
    written = catalog_of(model, catalog)
    for batch in batches(model, sequences, rows, getattr(model, "users_at_once", 512), user=user, progress=progress):
        items.append(best_items(model, batch, written, k=k, beams=beams, search=search)[0].cpu().numpy())
    return np.concatenate(items)


def best_items(
    model: nn.Module, batch: Batch, catalog: Catalog | None, *, k: int, beams: int, seen: Tensor | None = None,
    search: Search = beam_search,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Items (B, k) and scores (B, k), best first: by `search` over `catalog`, exactly where there is none. `seen`
    (B, N) are items to leave out."""
    if catalog is None:
        return exact_ranking(model, batch, k=k, seen=seen)
    return search(model, batch, catalog, beams=beams, k=k, seen=seen)


def catalog_of(model: nn.Module, catalog: Catalog) -> Catalog | None:
    """The semantic ids that a generative model writes: the data set's, or its own. None if it scores items."""
    if not hasattr(model, "codes"):
        return None
    codes = model.codes.cpu()
    if not torch.equal(codes, catalog.codes):
        catalog = Catalog(codes, n_codes=getattr(model, "n_codes", catalog.n_codes))
    return catalog.to(model.codes.device)


def batches(
    model: nn.Module, sequences: Sequences, rows: np.ndarray, batch_size: int = 512, *, user: np.ndarray | None = None,
    progress: bool = False,
) -> Iterator[Batch]:  # fmt: skip
    """The samples at `rows`, in order, on the model's device; of the users `user` (n,), if given."""
    device = next(model.parameters()).device
    for first in tqdm(range(0, len(rows), batch_size), desc="ranking", unit="batch", disable=not progress):
        chunk = rows[first : first + batch_size]
        batch = sequences.batch(chunk, model.max_history)
        if user is not None:
            batch = replace(batch, user=torch.from_numpy(user[first : first + batch_size]))
        yield batch.to(device)
