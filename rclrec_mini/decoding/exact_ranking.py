"""Exact ranking of the whole catalogue by q . v_i + b_i, a chunk of items at a time.

Memory holds the scores of one chunk and the best items so far, whatever the number of items:

    chunk 0     items 0..2    1.0  3.0  2.0      best 2: item 1 (3.0), item 2 (2.0)
    chunk 1     items 3..4    2.0  5.0           best 2: item 4 (5.0), item 1 (3.0)

A model with a pointer ranks by the mixture of models/pointer.py; its scores are then log-likelihoods.
"""

import torch
from torch import Tensor

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import first_best, ranked
from rclrec_mini.files import InputError
from rclrec_mini.models.pointer import Pointing
from rclrec_mini.models.recommender import ItemRecommender

CELLS = 16_000_000  # scores held at once, 64 MB


@torch.inference_mode()
def exact_ranking(
    model: ItemRecommender, batch: Batch, *, k: int, seen: Tensor | None = None, cells: int = CELLS
) -> tuple[Tensor, Tensor]:
    """The k best items of each user; equal scores go to the lower item number.

    Args:
        model: see `ItemRecommender`; put it in eval mode first.
        batch: B users.
        k: items a user, at least 1.
        seen: items (B, N) that a user must not get.
        cells: scores held at once.

    Returns:
        items (B, k) int64, best first, and scores (B, k); -1 and -inf where the catalogue has fewer than k items.

    Raises:
        InputError: k is not positive.
        FloatingPointError: a score is nan.
    """
    if k < 1:
        raise InputError(f"k: found {k}, expected at least 1")
    query, pointer = model.query(batch), getattr(model, "pointer", None)
    vectors, bias = model.items()
    chunk = max(1, cells // max(1, len(query)))
    item = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    score = query.new_empty(len(query), 0)
    total = query.new_full((len(query), 1), float("-inf"))  # log of the softmax's denominator
    for first in range(0, len(vectors), chunk):
        new = torch.addmm(bias[first : first + chunk], query, vectors[first : first + chunk].T)  # (B, chunk)
        if pointer is not None:
            total = torch.logaddexp(total, new.logsumexp(1, keepdim=True))
        if seen is not None:
            new = new.masked_fill(seen[:, first : first + chunk], float("-inf"))
        place = first_best(new, k)
        score = torch.cat([score, new.gather(1, place)], dim=1)
        item = torch.cat([item, place + first], dim=1)
        place = first_best(score, k)
        score, item = score.gather(1, place), item.gather(1, place)
    if pointer is not None:
        history = (vectors[batch.item] * query[:, None]).sum(-1) + bias[batch.item]  # (B, T)
        hidden = ~batch.mask if seen is None else ~batch.mask | seen.gather(1, batch.item)
        item, score = _with_copies(item, score - total, batch, history - total, pointer.next(batch), k, hidden=hidden)
    return ranked(item, score, k)


def _with_copies(
    item: Tensor, score: Tensor, batch: Batch, history: Tensor, pointing: Pointing, k: int, *, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """The k best items of the mixture of models/pointer.py, in the order of their numbers: they are among the k best
    of generation, item (B, k) with log P_gen `score`, and the items of the history, whose log P_gen is (B, T), without
    those of the events that are `hidden` (B, T)."""
    own = batch.item.masked_fill(~batch.mask, -1)
    same = own[:, :, None] == own[:, None]  # (B, T, T)
    copied = (same * pointing.log_copy.exp()).sum(-1).log()
    again = same.tril(-1).any(-1) | hidden  # what one event says of its item another need not say
    copied = torch.logaddexp(copied, pointing.log_rest + history).masked_fill(again, float("-inf"))
    listed = (item[:, :, None] == own[:, None]).any(-1)
    score = (pointing.log_rest + score).masked_fill(listed, float("-inf"))
    item, order = torch.cat([item, batch.item], 1).sort(dim=1, stable=True)
    score = torch.cat([score, copied], 1).gather(1, order)
    best = first_best(score, k)
    return item.gather(1, best), score.gather(1, best)
