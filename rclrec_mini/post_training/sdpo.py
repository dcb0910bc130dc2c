"""S-DPO: preference optimisation against several negatives at once (Chen et al., 2024); with one it is DPO.

With f(i) = beta (log pi_theta(i) - log pi_ref(i)), the loss of a history whose target is a and whose negatives are N is

    -log sigmoid( -log sum_{n in N} exp(f(n) - f(a)) )

It needs no group from the policy: negatives may come from anywhere, and their quality is what it hangs on.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import at_least, check, positive
from rclrec_mini.data.sequences import Batch
from rclrec_mini.post_training.groups import draw
from rclrec_mini.post_training.likelihood import freeze_selector, frozen_copy, token_log_probs
from rclrec_mini.semantic_ids.catalog import Catalog


@dataclass(frozen=True)
class SDPOConfig:
    """What a target is preferred to."""

    negatives: int = 3  # for each target; 1: DPO
    source: Literal["random", "popular", "beam"] = "random"  # where they come from; beam: the policy's own best
    beta: float = 1.0  # how much a difference from the reference counts
    constrained: bool = True  # likelihoods are renormalised over the items that exist, see likelihood.py

    def __post_init__(self) -> None:
        at_least(self, 1, "negatives")
        positive(self, "beta")


class SDPO(nn.Module):
    """The policy and its frozen reference, as one module for the trainer.

    Args:
        policy: a trained generative model.
        catalog: the items that it writes, more than there are negatives.
        config: the objective.
        popularity: how often each item occurs in training (N,), the weights of popular negatives.
    """

    def __init__(self, *, policy: nn.Module, catalog: Catalog, config: SDPOConfig, popularity: Tensor):
        super().__init__()
        check(config, negatives=(config.negatives < len(catalog), f"fewer than the {len(catalog)} items"))
        self.policy, self.catalog, self.config = policy, catalog, config
        self.max_history = policy.max_history
        self.reference = frozen_copy(policy)
        self.register_buffer("popularity", popularity.float() + 1, persistent=False)
        freeze_selector(policy)
        self.train()

    def train(self, mode: bool = True) -> "SDPO":
        """As nn.Module.train, for this module alone: both models stay in eval mode."""
        super().train(mode)
        self.policy.eval(), self.reference.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, a mean over histories, and for the log the share of negatives that f puts below the target and the
        mean margin f(a) - f(n)."""
        items = torch.cat([batch.target_item[:, None], self.negatives(batch)], dim=1)  # (B, 1 + n)
        with torch.no_grad():
            reference = self._log_likelihood(self.reference, batch, items)
        f = self.config.beta * (self._log_likelihood(self.policy, batch, items) - reference)
        margin = f[:, :1] - f[:, 1:]
        return {
            "loss": F.softplus((-margin).logsumexp(1)).mean(),
            "preferred": (margin > 0).float().mean(),
            "margin": margin.detach().mean(),
        }

    @torch.no_grad()
    def negatives(self, batch: Batch) -> Tensor:
        """Items that are not the target, distinct in each row: (B, n)"""
        target, n = batch.target_item, self.config.negatives
        if self.config.source == "beam":
            items = draw(self.policy, batch, self.catalog, size=n + 1, sampling="beam").items
            return items.gather(1, (items == target[:, None]).to(torch.int8).argsort(dim=1, stable=True))[:, :n]
        weights = self.popularity if self.config.source == "popular" else torch.ones_like(self.popularity)
        weights = weights.repeat(len(target), 1).scatter_(1, target[:, None], 0.0)
        return torch.multinomial(weights, n)

    def _log_likelihood(self, model: nn.Module, batch: Batch, items: Tensor) -> Tensor:
        return token_log_probs(model, batch, self.catalog, items, constrained=self.config.constrained).sum(-1)
