"""Beam search that can only write items of the catalogue.

A beam is a node of the catalogue's prefix trie and the log-probability of its tokens. At each level every beam is
extended by the children of its node, and the best W extensions of a user survive:

    level 0    root -> (0) -1.2   (2) -0.4                      W = 2 beams, L = 2 levels
    level 1    (0) -> (0,0) -2.0  (0,1) -3.1    (2) -> (2,0) -0.9
    survive    (0,0) -2.0  (2,0) -0.9           ranked: item of (2,0), item of (0,0)

The score of an item is sum_l log softmax(logits_l)[z_l]. The softmax is over all V codes of the level, not
renormalised over those that the trie allows: probability that the model gives to impossible tuples is lost to
every item alike, and scores are the log-likelihoods that training maximises.

What a model that also points copies is mixed in, see decoding/trie_walk.py.
"""

from typing import Protocol

import torch
from torch import Tensor

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.trie_walk import GenerativeModel, TrieWalk
from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.catalog import Catalog


class Search(Protocol):
    """What finds the items of a model's lists; called, and answering, as `beam_search` does."""

    def __call__(
        self, model: GenerativeModel, batch: Batch, catalog: Catalog, *, beams: int, k: int, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]: ...


@torch.inference_mode()
def beam_search(
    model: GenerativeModel, batch: Batch, catalog: Catalog, *, beams: int, k: int, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k best items of each user found by constrained beam search.

    Exact for the width: no extension that belongs to the best `beams` of its level is lost. With at least as many
    beams as the trie has nodes at its widest level it is an exhaustive ranking. Equal scores are ordered by code
    tuple, lowest first. Only real and distinct items are returned, and none of probability zero.

    Args:
        model: see `GenerativeModel`; put it in eval mode first.
        batch: B users.
        catalog: N items, on the device of the model's logits.
        beams: W, beams a user.
        k: items a user, at most `beams`.
        seen: items (B, N) that a user must not get: the search is that over a catalogue without them.

    Returns:
        items (B, k) int64, best first, and scores (B, k), natural log-probabilities (float32, or float64 for
        logits of that type); -1 and -inf where the beams hold fewer than k items.

    Raises:
        InputError: k is not in 1..beams.
        FloatingPointError: the model's logits contain nan.
    """
    check_width(k, beams)
    walk = TrieWalk(model, batch, catalog, seen=seen)
    for _ in range(catalog.levels):
        walk.take(first_best(walk.expand().flatten(1), beams))  # ascending, so that beams stay in the order of nodes
    return ranked(walk.items(), walk.score, k)


def check_width(k: int, beams: int) -> None:
    """Raise InputError unless `beams` beams can hold k items."""
    if not 1 <= k <= beams:
        raise InputError(f"k: found {k}, expected 1..{beams} (the number of beams)")


def first_best(total: Tensor, n: int) -> Tensor:
    """Places of the n largest of each row, in ascending order; of equal values the first count as larger.

    (B, M) -> (B, min(n, M)). `topk` alone may keep any of several equal values, and a stable sort of every row
    costs about 20 times as much.
    """
    n = min(n, total.shape[1])
    values, place = total.topk(n, dim=1)
    if values[:, 0].isnan().any():  # topk takes nan for the largest value
        raise FloatingPointError("ranking: the model's scores contain nan")
    least = values[:, -1:]
    if int((total >= least).sum()) == place.numel():  # no row has a tie across its border
        return place.sort(dim=1).values
    above, equal = total > least, total == least
    room = n - above.sum(dim=1, keepdim=True)
    keep = above | (equal & (equal.cumsum(dim=1) <= room))
    return keep.nonzero()[:, 1].view(-1, n)


def ranked(item: Tensor, score: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of some items and their scores, of equals the first: (B, W) -> (B, k), -1 where the score is -inf, and
    where there are fewer."""
    score, order = score.sort(dim=1, descending=True, stable=True)
    item, missing = item.gather(1, order).masked_fill(score.isneginf(), -1), max(0, k - item.shape[1])
    pad = torch.nn.functional.pad
    return pad(item[:, :k], (0, missing), value=-1), pad(score[:, :k], (0, missing), value=float("-inf"))
