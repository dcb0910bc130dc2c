"""A way down the catalogue's trie: what the model gives to each child of the nodes where a user's beams stand.

Beam search, sampling and the likelihoods that reinforcement trains differ only in which children they take, so all of
them are loops of `expand` and `take`. Both have gradients.

A model that also points (models/pointer.py) mixes in what it copies: the mass of a node is

    g sum_t p_t [z_t goes through it] + (1 - g) P_gen(its tokens)

which at a leaf is the item's likelihood, and never grows on the way down.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.unseen import Unseen
from rclrec_mini.models.pointer import Pointing
from rclrec_mini.semantic_ids.catalog import Catalog


class GenerativeModel(Protocol):
    """What a walk asks of a model. `State` is the model's own: it holds what all beams of a user share once
    a user, and what differs once a beam. If it holds a `pointing` (models.pointer.Pointing), the mixture counts."""

    def start(self, batch: Batch) -> tuple[Any, Tensor]:
        """Encode the histories and run any forced prefix: state, logits (B, V) of the target's first token."""
        ...

    def step(self, state: Any, tokens: Tensor, parents: Tensor, level: int) -> tuple[Any, Tensor]:
        """Append `tokens` (B, W) chosen at `level` (from 0): new state, logits (B, W, V) of level + 1.

        `parents` (B, W) says which of the same user's previous beams each new beam continues; before the first
        call there is one, 0. W may differ from call to call.
        """
        ...


class TrieWalk:
    """W beams a user on their way down, one at the root at first.

    Attributes:
        level: how far down, 0..L.
        node: where each beam stands (B, W), among the nodes of that depth.
        score: log of the node's mass (B, W); -inf where a beam was taken to a child that does not exist.
        child: the children of `node` (B, W, C) once expanded, nodes of the next depth; 0 where there are fewer.

    Args:
        model: see `GenerativeModel`; put it in eval mode first.
        batch: B users.
        catalog: N items, on the device of the model's logits.
        seen: items (B, N) that a user must not get: the walk is that down a catalogue without them.
    """

    def __init__(self, model: GenerativeModel, batch: Batch, catalog: Catalog, *, seen: Tensor | None = None) -> None:
        self.model, self.catalog, self.level = model, catalog, 0
        self.unseen = None if seen is None else Unseen(catalog, seen)
        self.state, logits = model.start(batch)
        self.logits = logits.unsqueeze(1)  # (B, 1, V): one beam, the root
        self.node = torch.zeros(self.logits.shape[:2], dtype=torch.int64, device=logits.device)
        self.score = self._generated = torch.zeros(self.logits.shape[:2], device=logits.device)
        pointing = getattr(self.state, "pointing", None)
        self._copies = None if pointing is None else _Copies(catalog, batch.item, pointing)
        if self._copies is not None and seen is not None:
            self._copies.mass = self._copies.mass.masked_fill(seen.gather(1, batch.item), 0.0)

    def expand(self) -> Tensor:
        """Log of the mass of each child of each beam's node, -inf where there is none: (B, W, C)"""
        self.child, self._token, exists = _children(self.catalog, self.level, self.node)
        exists &= (self.score > float("-inf")).unsqueeze(-1)
        if self.unseen is not None:
            exists &= self.unseen.holds(self.level, self.child)
        # what does not exist keeps some finite value until the end, so that gradients stay finite too
        self._spelled = self._generated.unsqueeze(-1) + log_softmax_at(self.logits, self._token)
        total = self._spelled
        if self._copies is not None:
            total = self._copies.mix(self.level, self.node, self.child, exists, total)
        self._total = total.masked_fill(~exists, float("-inf"))
        return self._total

    def take(self, place: Tensor) -> None:
        """Go to the children at `place` (B, W') of what `expand` gave, counted through its last two axes."""
        self.score, self.node = self._total.flatten(1).gather(1, place), self.child.flatten(1).gather(1, place)
        self._generated = self._spelled.flatten(1).gather(1, place)
        if self.level + 1 < self.catalog.levels:
            tokens, parents = self._token.flatten(1).gather(1, place), place // self.child.shape[-1]
            self.state, self.logits = self.model.step(self.state, tokens, parents, self.level)
        self.level += 1

    def items(self) -> Tensor:
        """The item of each beam at the end, -1 where it went to a child that does not exist: (B, W) int64"""
        return torch.where(self.score > float("-inf"), self.catalog.leaf_items[self.node].long(), -1)


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
        self.nodes = catalog.nodes[item].long()  # (B, T, L + 1), that the path of each event goes through
        self.mass, self.rest = pointing.log_copy[:, 0].exp(), pointing.log_rest[:, :, None]  # (B, T), (B, 1, 1)

    def mix(self, level: int, node: Tensor, child: Tensor, exists: Tensor, spelled: Tensor) -> Tensor:
        """Log of the mixture's mass of the children (B, W, C) of beams at `node` (B, W), which generation spells with
        log-probability `spelled` (B, W, C)."""
        parent, below = self.nodes[:, None, :, level], self.nodes[:, None, :, level + 1]  # (B, 1, T)
        here = (parent == node[:, :, None]) & exists.any(-1, keepdim=True)  # (B, W, T)
        slot = (below - child[:, :, :1]).clamp(0, child.shape[-1] - 1)  # of a beam's children, where here
        copied = torch.zeros_like(spelled).scatter_add(2, slot, (self.mass[:, None] * here).to(spelled.dtype))
        nothing = copied == 0
        copied = copied.masked_fill(nothing, 1.0).log().masked_fill(nothing, float("-inf"))  # log 0 without its slope
        return torch.logaddexp(copied, self.rest + spelled)


def log_softmax_at(logits: Tensor, token: Tensor) -> Tensor:
    """log softmax(logits)[token]: (..., V), (..., C) -> (..., C), in float32 at least."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.gather(-1, token) - logits.logsumexp(-1, keepdim=True)
