"""ReRe: reinforcement learning with verifiable rewards for generative recommendation (Tan et al., 2025), after GRPO.

The policy pi_theta writes a group of G items for a history; each gets a reward that needs no judge, since the item that
came next is known; its advantage A_i is measured against its own group. With the token ratios
rho_il = pi_theta(z_il) / pi_old(z_il), the loss of a history is

    -sum_i w_i 1/L sum_l [ min(rho_il A_i, clip(rho_il, 1 - c, 1 + c) A_i) - beta k3_il ]

where k3 = exp(d) - d - 1, d = log pi_ref - log pi_theta, estimates the KL divergence to a frozen reference, and w_i is
1 / G, or the importance weight of a group drawn without replacement (groups.py). Every semantic id has L tokens, so
GRPO's bias towards the length of what it writes cannot arise here.

pi_old is the policy itself unless `lag` steps lie between two looks at it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rclrec_mini.checks import at_least, check, positive
from rclrec_mini.data.sequences import Batch
from rclrec_mini.models.recommender import ItemRecommender
from rclrec_mini.post_training.groups import Group, Sampling, draw, with_target
from rclrec_mini.post_training.policy import HeldPolicy, frozen_copy
from rclrec_mini.post_training.rewards import advantages, ranking, rule, semantic
from rclrec_mini.semantic_ids.catalog import Catalog


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the rewards that are summed; the defaults are ReRe's."""

    rule: float = 1.0  # 1 for the target
    ranking: float = 1.0  # against negatives, by the rank that the policy gives them
    gate: bool = True  # the ranking reward acts only in groups that hold the target
    semantic: float = 0.0  # cosine of an item's vector and the target's
    collaborative: float = 0.0  # what a sequential recommender scores, standardised in the group

    def __post_init__(self) -> None:
        at_least(self, 0, "rule", "ranking", "semantic", "collaborative")


@dataclass(frozen=True)
class ReReConfig:
    """What the policy learns from. Defaults are those of ReRe and of GRPO."""

    group: int = 16  # G, items for one history
    sampling: Sampling = "beam"  # how they are found, see groups.py
    add_target: bool = False  # put the target in place of the last member of a group that lacks it
    reward: RewardConfig = field(default_factory=RewardConfig)
    std: bool = True  # divide advantages by the group's standard deviation; False: as in Dr. GRPO
    dynamic: bool = False  # as in DAPO, average over the groups with signal alone
    constrained: bool = True  # the policy is renormalised over the items that exist, see policy.py
    clip: float = 0.2  # c, how far a token's ratio may go
    beta: float = 1e-3  # weight of the divergence from the reference
    lag: int = 1  # steps between two looks of pi_old at the policy
    sync: int = 0  # steps between two looks of the reference at the policy; 0: it stays

    def __post_init__(self) -> None:
        at_least(self, 2, "group")
        at_least(self, 0, "beta", "sync")
        at_least(self, 1, "lag")
        positive(self, "clip")
        check(self, add_target=(not (self.add_target and self.sampling == "gumbel"), "False with sampling gumbel"))


class ReRe(HeldPolicy):
    """The objective, as one module with the policy.

    Args:
        policy: a trained generative model.
        catalog: the items that it writes.
        config: the objective.
        vectors: of all items (N, f), for the semantic reward alone.
        judge: a trained recommender that scores items, for the collaborative reward alone; it is not trained here.
    """

    def __init__(
        self, *, policy: nn.Module, catalog: Catalog, config: ReReConfig, vectors: Tensor | None = None,
        judge: ItemRecommender | None = None,
    ):  # fmt: skip
        for name, judged_by in (("semantic", vectors), ("collaborative", judge)):
            able = judged_by is not None or not getattr(config.reward, name)
            check(config.reward, **{name: (able, "0 without what judges it")})
        super().__init__(policy, catalog, constrained=config.constrained)
        self.config = config
        self.old = frozen_copy(policy) if config.lag > 1 else None
        self.register_buffer("vectors", vectors, persistent=False)
        self.judge = (judge,)  # in a tuple: it is no part of what is saved
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ReRe":
        """As HeldPolicy, for the judge too."""
        super()._apply(fn, recurse)
        for judge in filter(None, self.judge):
            judge._apply(fn, recurse)
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, a mean over histories, and for the log: the share of groups that hold the target and of those with
        signal, the mean reward, KL, the share of clipped tokens, and how many of G items are distinct."""
        self._look()
        config, target = self.config, batch.target_item
        group = draw(self.old or self.policy, batch, self.catalog, size=config.group, sampling=config.sampling)
        group = with_target(group, target) if config.add_target else group
        reward = self.reward(group, batch)
        advantage = advantages(reward, group, std=config.std)

        log_pi = self._log_probs(self.policy, group, batch)  # (B, G, L)
        with torch.no_grad():
            log_ref = self._log_probs(self.reference, group, batch)
            log_old = log_pi if self.old is None else self._log_probs(self.old, group, batch)
        ratio = (log_pi - log_old.detach()).exp()
        a = advantage.value.unsqueeze(-1)
        clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
        gain = torch.minimum(ratio * a, clipped * a)
        difference = log_ref - log_pi
        kl = difference.exp() - difference - 1
        share = 1.0
        if config.dynamic:
            share = advantage.signal / advantage.signal.float().mean().clamp(min=1 / len(target))
        per_history = (group.weight * (gain - config.beta * kl).mean(-1)).sum(1)
        valid = group.valid.unsqueeze(-1)
        return {
            "loss": -(per_history * share).mean(),
            "hit": rule(group, target).amax(1).mean(),
            "signal": advantage.signal.float().mean(),
            "reward": (reward * group.weight).sum(1).mean(),
            "kl": (kl.detach() * group.weight.unsqueeze(-1)).mean(-1).sum(1).mean(),
            "clipped": ((ratio != clipped) & valid).float().mean(),
            "distinct": distinct(group).mean(),
        }

    def reward(self, group: Group, batch: Batch) -> Tensor:
        """The weighted sum of the rewards (B, G)"""
        weights, target = self.config.reward, batch.target_item
        total = weights.rule * rule(group, target) + weights.ranking * ranking(group, target, gate=weights.gate)
        if weights.semantic:
            total = total + weights.semantic * semantic(group, target, self.vectors)
        if weights.collaborative:
            total = total + weights.collaborative * collaborative(group, batch, self.judge[0])
        return total

    def _log_probs(self, model: nn.Module, group: Group, batch: Batch) -> Tensor:
        return self.log_probs(model, batch, group.items).where(group.valid.unsqueeze(-1), 0.0)

    @torch.no_grad()
    def _look(self) -> None:
        """Let pi_old and the reference look at the policy where it is their turn."""
        if not self.training:
            return
        for model, every in ((self.old, self.config.lag), (self.reference, self.config.sync)):
            if model is not None and every and int(self.steps) % every == 0:
                model.load_state_dict(self.policy.state_dict())
        self.steps += 1


@torch.no_grad()
def collaborative(group: Group, batch: Batch, judge: ItemRecommender) -> Tensor:
    """What `judge` scores the items of a group, standardised within it: (B, G)"""
    query = judge.query(batch)
    vectors, bias = judge.items()
    scores = torch.einsum("bgd,bd->bg", vectors[group.items], query) + bias[group.items]
    n = group.valid.sum(1, keepdim=True).clamp(min=1)
    centred = (scores - (scores * group.valid).sum(1, keepdim=True) / n) * group.valid
    return centred / ((centred.square()).sum(1, keepdim=True) / n).sqrt().clamp(min=1e-6)


def distinct(group: Group) -> Tensor:
    """The share of a group's G places that hold an item which no place before holds: (B,)"""
    items = group.items.masked_fill(~group.valid, -1)
    again = (items[:, :, None] == items[:, None]).tril(-1).any(-1)
    return (group.valid & ~again).float().mean(1)
