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
from rclrec_mini.post_training.policy import HeldPolicy
from rclrec_mini.semantic_ids.catalog import Catalog


@dataclass(frozen=True)
class SDPOConfig:
    """What a target is preferred to."""

    negatives: int = 3  # for each target; 1: DPO
    source: Literal["random", "popular", "beam"] = "random"  # where they come from; beam: the policy's own best
    beta: float = 1.0  # how much a difference from the reference counts
    constrained: bool = True  # likelihoods are renormalised over the items that exist, see policy.py

    def __post_init__(self) -> None:
        at_least(self, 1, "negatives")
        positive(self, "beta")


class SDPO(HeldPolicy):
    """The objective, as one module with the policy.

    Args:
        policy: a trained generative model.
        catalog: the items that it writes, more than there are negatives.
        config: the objective.
        popularity: how often each item occurs in training (N,), the weights of popular negatives.
    """

    def __init__(self, *, policy: nn.Module, catalog: Catalog, config: SDPOConfig, popularity: Tensor):
        check(config, negatives=(config.negatives < len(catalog), f"fewer than the {len(catalog)} items"))
        super().__init__(policy, catalog, constrained=config.constrained)
        self.config = config
        self.register_buffer("popularity", popularity.float() + 1, persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, a mean over histories, and for the log the share of negatives that f puts below the target and the
        mean margin f(a) - f(n)."""
        items = torch.cat([batch.target_item[:, None], self.negatives(batch)], dim=1)  # (B, 1 + n)
        with torch.no_grad():
            reference = self.log_probs(self.reference, batch, items).sum(-1)
        f = self.config.beta * (self.log_probs(self.policy, batch, items).sum(-1) - reference)
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
