"""A model small enough to train in a test, over 7 users' events among 13 items."""

import numpy as np
import torch
from torch import nn

from rclrec_mini.data.sequences import Batch, Sequences

N_ITEMS = 13


def sequences(seed: int = 0) -> Sequences:
    """Users who walk through the items in order, with a jump now and then: the next item can be learned."""
    rng = np.random.default_rng(seed)
    lengths = np.array([11, 2, 17, 5, 7, 3, 19])
    walks = [(rng.integers(N_ITEMS) + np.cumsum(1 + (rng.random(n) < 0.1))) % N_ITEMS for n in lengths]
    n = lengths.sum()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    behavior = rng.integers(4, size=n).astype(np.int8)
    return Sequences(np.concatenate(walks).astype(np.int32), behavior, np.arange(n), offsets, N_ITEMS)


def rows(sequences: Sequences) -> np.ndarray:
    """Every event that has a history: 64 - 7 = 57 samples."""
    return np.flatnonzero(sequences.history_length(np.arange(len(sequences))) > 0)


class Bag(nn.Module):
    """Next item from the mean of the history's embeddings and the last one's."""

    def __init__(self, *, d: int = 8, dropout: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(N_ITEMS, d)
            self.norm = nn.LayerNorm(2 * d)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(2 * d, N_ITEMS)

    def logits(self, batch: Batch) -> torch.Tensor:
        h = self.embedding(batch.item) * batch.mask[..., None]  # (B, T, d)
        mean = h.sum(1) / batch.mask.sum(1, keepdim=True)  # (B, d)
        return self.head(self.dropout(self.norm(torch.cat([mean, h[:, -1]], 1))))  # (B, n_items)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        logits = self.logits(batch)
        hits = (logits.argmax(1) == batch.target_item).float().mean()
        return {"loss": nn.functional.cross_entropy(logits, batch.target_item), "accuracy": hits.detach()}


def evaluator(sequences: Sequences, rows: np.ndarray):
    """Gives the mean reciprocal rank of the targets at `rows`."""
    batch = sequences.batch(rows, 50)

    def evaluate(model: Bag) -> dict[str, float]:
        logits = model.logits(batch)
        rank = (logits > logits.gather(1, batch.target_item[:, None])).sum(1) + 1
        return {"MRR": (1 / rank).mean().item()}

    return evaluate
