"""The policy: log-probabilities of items under a generative model, token by token and with gradients.

At a node of the trie a model gives each child a mass (decoding/trie_walk.py). Constrained decoding can only go to
children that exist, so what it samples from is the *constrained* policy, whose probabilities at a node sum to 1:

    log pi(z_l | z_<l) = log mass(child) - log sum over children of mass

The *free* one, log mass(child) - log mass(node), counts what the model gives to tuples that are no item as lost; its
sum over l is the item's log-likelihood, which supervised training maximises. Where an item is forced, with one child
only, the constrained policy says 0.

Post-training holds it against a frozen copy of itself (`HeldPolicy`).
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.trie_walk import GenerativeModel, TrieWalk
from rclrec_mini.semantic_ids.catalog import Catalog


def token_log_probs(
    model: GenerativeModel, batch: Batch, catalog: Catalog, items: Tensor, *, constrained: bool = True
) -> Tensor:
    """log pi of each token of G items a user, the history being encoded once: items (B, G) -> (B, G, L)"""
    walk, nodes, tokens = TrieWalk(model, batch, catalog), catalog.nodes[items].long(), []
    beam = torch.arange(items.shape[1], device=items.device)
    for level in range(catalog.levels):
        masses = walk.expand()  # (B, 1 | G, C)
        whole = masses.logsumexp(-1) if constrained else walk.score
        slot = nodes[..., level + 1] - walk.child[..., 0]
        place = slot if level == 0 else beam * masses.shape[-1] + slot
        walk.take(place)
        tokens.append(walk.score - whole)
    return torch.stack(tokens, dim=-1)


def frozen_copy(policy: nn.Module) -> nn.Module:
    """What a policy is held against: itself, as it is now, without gradients and in eval mode."""
    return copy.deepcopy(policy).requires_grad_(False).eval()


class HeldPolicy(nn.Module):
    """A policy and the frozen reference that it is held against, as one module for the trainer; what they learn from is
    for others to say. All models in it stay in eval mode: dropout would let two passes disagree.

    Args:
        policy: a trained generative model.
        catalog: the items that it writes.
        constrained: whether log-probabilities are those of the constrained policy.
    """

    def __init__(self, policy: nn.Module, catalog: Catalog, *, constrained: bool):
        super().__init__()
        self.policy, self.catalog, self.constrained = policy, catalog, constrained
        self.reference = frozen_copy(policy)
        if isinstance(getattr(policy, "selector", None), nn.Module):
            policy.selector.requires_grad_(False)  # a hard choice: no gradient reaches it, and DDP must wait for none
        self.train()

    def train(self, mode: bool = True) -> "HeldPolicy":
        """As nn.Module.train, for this module alone."""
        super().train(mode)
        for model in self.children():
            model.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HeldPolicy":
        """What nn.Module.to and its like go through: the catalogue follows the policy."""
        super()._apply(fn, recurse)
        self.catalog = self.catalog.to(self.policy.codes.device)
        return self

    def log_probs(self, model: nn.Module, batch: Batch, items: Tensor) -> Tensor:
        """log pi of each token under the policy or a copy of it: items (B, G) -> (B, G, L)"""
        return token_log_probs(model, batch, self.catalog, items, constrained=self.constrained)
