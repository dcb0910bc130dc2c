"""Beam search that can only write items of the catalogue.

A beam is a node of the catalogue's prefix trie and the log-probability of its tokens. At each level every beam is
extended by the children of its node, and the best W extensions of a user survive:

    level 0    root -> (0) -1.2   (2) -0.4                      W = 2 beams, L = 2 levels
    level 1    (0) -> (0,0) -2.0  (0,1) -3.1    (2) -> (2,0) -0.9
    survive    (0,0) -2.0  (2,0) -0.9           ranked: item of (2,0), item of (0,0)

The score of an item is sum_l log softmax(logits_l)[z_l]. The softmax is over all V codes of the level, not
renormalised over those that the trie allows: probability that the model gives to impossible tuples is lost to
every item alike, and scores are the log-likelihoods that training maximises.

A model that also points (models/pointer.py) mixes in what it copies: the mass of a node is

    g sum_t p_t [z_t goes through it] + (1 - g) P_gen(its tokens)

which at a leaf is the item's likelihood, and never grows on the way down.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.unseen import Unseen
from rclrec_mini.files import InputError
from rclrec_mini.models.pointer import Pointing
from rclrec_mini.semantic_ids.catalog import Catalog


class GenerativeModel(Protocol):
    """What beam search asks of a model. `State` is the model's own: it holds what all beams of a user share once
    a user, and what differs once a beam. If it holds a `pointing` (models.pointer.Pointing), the mixture ranks."""

    def start(self, batch: Batch) -> tuple[Any, Tensor]:
        """Encode the histories and run any forced prefix: state, logits (B, V) of the target's first token."""
        ...

    def step(self, state: Any, tokens: Tensor, parents: Tensor, level: int) -> tuple[Any, Tensor]:
        """Append `tokens` (B, W) chosen at `level` (from 0): new state, logits (B, W, V) of level + 1.

        `parents` (B, W) says which of the same user's previous beams each new beam continues; before the first
        call there is one, 0. W may differ from call to call.
        """
        ...


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
    if not 1 <= k <= beams:
        raise InputError(f"k: found {k}, expected 1..{beams} (the number of beams)")
    unseen = None if seen is None else Unseen(catalog, seen)
    state, logits = model.start(batch)
    logits = logits.unsqueeze(1)  # (B, 1, V): one beam, the root
    node = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)  # (B, W)
    score = generated = torch.zeros(logits.shape[:2], device=logits.device)  # (B, W)
    copies = _Copies(catalog, batch.item, pointing) if (pointing := getattr(state, "pointing", None)) else None
    if copies is not None and seen is not None:
        copies.mass = copies.mass.masked_fill(seen.gather(1, batch.item), 0.0)
    for level in range(catalog.levels):
        child, token, exists = _children(catalog, level, node)  # (B, W, C)
        if unseen is not None:
            exists &= unseen.holds(level, child)
        spelled = (generated.unsqueeze(-1) + log_softmax_at(logits, token)).masked_fill(~exists, float("-inf"))
        total = spelled if copies is None else copies.mix(level, node, score > float("-inf"), child, exists, spelled)
        total = total.flatten(1)  # (B, W * C)
        best = first_best(total, beams)  # (B, W), ascending, so that beams stay in the order of their nodes
        score, node = total.gather(1, best), child.flatten(1).gather(1, best)
        generated = spelled.flatten(1).gather(1, best)
        if level + 1 < catalog.levels:
            tokens, parents = token.flatten(1).gather(1, best), best // child.shape[-1]
            state, logits = model.step(state, tokens, parents, level)
    return _ranked(catalog, node, score, k)


def _children(catalog: Catalog, level: int, node: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The children of nodes (B, W) of depth `level`, padded to the largest number C that any of them has: their
    nodes, their tokens and which exist, each (B, W, C)."""
    offsets = catalog.child_offsets[level]
    first = offsets[node].long()
    count = offsets[node + 1].long() - first
    slot = torch.arange(int(count.max()), device=node.device)
    exists = slot < count.unsqueeze(-1)
    child = torch.where(exists, first.unsqueeze(-1) + slot, 0)
    return child, catalog.child_tokens[level][child].long(), exists


class _Copies:
    """What the events of the history give to the nodes of the trie.

    Args:
        catalog: the trie.
        item: of each event (B, T).
        pointing: at them, of one target.
    """

    def __init__(self, catalog: Catalog, item: Tensor, pointing: Pointing) -> None:
        self.catalog, self.codes = catalog, catalog.codes[item]  # (B, T, L)
        self.mass, self.rest = pointing.log_copy[:, 0].exp(), pointing.log_rest[:, :, None]  # (B, T), (B, 1, 1)
        self.node = torch.zeros_like(item)  # that the path of each event goes through (B, T)

    def mix(
        self, level: int, node: Tensor, alive: Tensor, child: Tensor, exists: Tensor, spelled: Tensor
    ) -> Tensor:  # fmt: skip
        """Log of the mixture's mass of the children (B, W, C) of live beams at `node` (B, W), which generation spells
        with log-probability `spelled` (B, W, C)."""
        here = (self.node[:, None] == node[:, :, None]) & alive[:, :, None]  # (B, W, T)
        self.node = self.catalog.child_of(level, self.node, self.codes[..., level])
        slot = (self.node[:, None] - child[:, :, :1]).clamp(0, child.shape[-1] - 1)  # of a beam's children, where here
        copied = torch.zeros_like(spelled).scatter_add_(2, slot, (self.mass[:, None] * here).to(spelled.dtype))
        return torch.logaddexp(copied.log(), self.rest + spelled).masked_fill(~exists, float("-inf"))


def log_softmax_at(logits: Tensor, token: Tensor) -> Tensor:
    """log softmax(logits)[token]: (..., V), (..., C) -> (..., C), in float32 at least."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.gather(-1, token) - logits.logsumexp(-1, keepdim=True)


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


def _ranked(catalog: Catalog, leaf: Tensor, score: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Beams in leaf order (B, W) -> the k best items and their scores (B, k), padded with -1 and -inf."""
    score, order = score.sort(dim=1, descending=True, stable=True)
    item = catalog.leaf_items[leaf.gather(1, order)].long()
    item = torch.where(score > float("-inf"), item, -1)
    missing = max(0, k - item.shape[1])
    pad = torch.nn.functional.pad
    return pad(item[:, :k], (0, missing), value=-1), pad(score[:, :k], (0, missing), value=float("-inf"))
