"""Groups: the G items for one history that the policy is rewarded for, found in one of three ways.

    beam     the G best of constrained beam search: distinct and hard, but no sample of the policy (as in ReRe)
    sample   G independent draws from the policy: exact, and often the same item again
    gumbel   G draws without replacement, by Gumbel noise added on the way down (stochastic beam search, Kool et al.
             2019): distinct, and exact through importance weights

Every member has a weight, with which sum_i w_i f(i) estimates the expectation of f under the policy: 1 / G for draws;
for gumbel pi_i / q_i, where q_i = 1 - exp(-exp(log pi_i - kappa)) is the probability that i is drawn when kappa is the
largest perturbed log-probability among those left out; and 1 / G for beams, where it estimates nothing.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import beam_search, first_best
from rclrec_mini.decoding.trie_walk import GenerativeModel, TrieWalk
from rclrec_mini.semantic_ids.catalog import Catalog

Sampling = Literal["beam", "sample", "gumbel"]


class Group(NamedTuple):
    """items (B, G), those that the model finds most likely first; 0 where not `valid` (B, G), as the catalogue or the
    beams held fewer; weight (B, G), 0 there."""

    items: Tensor
    valid: Tensor
    weight: Tensor


def equal(items: Tensor) -> Group:
    """A group of equal weights: items (B, G), -1 where there is none."""
    valid = items >= 0
    return Group(items.clamp(min=0), valid, valid / valid.sum(1, keepdim=True).clamp(min=1))


@torch.no_grad()
def draw(model: GenerativeModel, batch: Batch, catalog: Catalog, *, size: int, sampling: Sampling) -> Group:
    """The group of each history. Random numbers come from torch's global generator."""
    if sampling == "gumbel":
        return _gumbel(model, batch, catalog, size)
    if sampling == "beam":
        items, _ = beam_search(model, batch, catalog, beams=size, k=size)
        return equal(items.clone())  # a tensor that autograd may keep
    return equal(_sampled(model, batch, catalog, size))


def with_target(group: Group, target: Tensor) -> Group:
    """The group with its last member replaced by the target (B,) where it lacks it."""
    lacks = ~((group.items == target[:, None]) & group.valid).any(1)
    last = torch.arange(group.items.shape[1], device=target.device) == group.items.shape[1] - 1
    put = lacks[:, None] & last
    valid = group.valid | put
    return Group(torch.where(put, target[:, None], group.items), valid, valid / valid.sum(1, keepdim=True))


def _sampled(model: GenerativeModel, batch: Batch, catalog: Catalog, size: int) -> Tensor:
    """Independent draws, each beam taking one child at every level, the likeliest first: (B, G)"""
    walk, drawn = TrieWalk(model, batch, catalog), 0
    for level in range(catalog.levels):
        log_p = walk.expand().log_softmax(-1)  # (B, W, C)
        if level == 0:
            child = torch.multinomial(log_p[:, 0].exp(), size, replacement=True)
            walk.take(child)
        else:
            child = torch.multinomial(log_p.flatten(0, 1).exp(), 1).view(log_p.shape[:2])
            walk.take(torch.arange(size, device=log_p.device) * log_p.shape[-1] + child)
        drawn = drawn + log_p.expand(-1, size, -1).gather(2, child[..., None])[..., 0]
    return walk.items().gather(1, drawn.argsort(dim=1, descending=True, stable=True))


def _gumbel(model: GenerativeModel, batch: Batch, catalog: Catalog, size: int) -> Group:
    """Stochastic beam search: the beams with the largest perturbed log-probabilities, one more than asked for."""
    walk = TrieWalk(model, batch, catalog)
    log_p = torch.zeros_like(walk.score)  # of each beam under the constrained policy (B, W)
    perturbed = gumbel(log_p)
    for _ in range(catalog.levels):
        children = log_p.unsqueeze(-1) + walk.expand().log_softmax(-1)  # (B, W, C)
        children = children.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        raised = given_maximum(children + gumbel(children), perturbed)
        place = first_best(raised.flatten(1), size + 1)
        log_p, perturbed = children.flatten(1).gather(1, place), raised.flatten(1).gather(1, place)
        walk.take(place)
    order = perturbed.argsort(dim=1, descending=True)
    items, log_p = walk.items().gather(1, order)[:, :size], log_p.gather(1, order)[:, :size]
    left_out = perturbed.gather(1, order)[:, size:]
    kappa = left_out if left_out.shape[1] else log_p.new_full((len(order), 1), -torch.inf)
    drawn = -torch.expm1(-(log_p - kappa).exp())  # 1 where nothing was left out
    valid = (items >= 0) & (log_p > float("-inf"))
    weight = torch.where(valid, log_p.exp() / drawn, 0.0)
    likeliest = log_p.argsort(dim=1, descending=True, stable=True)
    return Group(*(part.gather(1, likeliest) for part in (items.clamp(min=0), valid, weight)))


def gumbel(like: Tensor) -> Tensor:
    """Independent draws from Gumbel(0), as many as `like` has numbers."""
    uniform = torch.rand_like(like).clamp(min=torch.finfo(like.dtype).tiny)
    return -(-uniform.log()).log()


def given_maximum(perturbed: Tensor, maximum: Tensor) -> Tensor:
    """Gumbel variables of siblings (..., C), given that their largest is `maximum` (...): Kool et al., appendix B.3."""
    largest = perturbed.amax(-1, keepdim=True)
    maximum = maximum.unsqueeze(-1)
    v = maximum - perturbed + torch.log1p(-(perturbed - largest).exp())  # -inf where it is the largest
    raised = maximum - v.clamp(min=0) - torch.log1p((-v.abs()).exp())
    return raised.nan_to_num(nan=-torch.inf, neginf=-torch.inf)
