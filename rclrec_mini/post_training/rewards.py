"""Rewards of the items of a group, and the advantages that follow from them.

    group        b    a*   c        the target is a
    rule         0    1    0
    ranking    -.47   0  -.23       -w_i / (w_0 + w_1 + w_2), w_i = 1 / log2(i + 2), of a negative at rank i
    total      -.47   1  -.23

A rule reward treats all negatives alike; the ranking reward punishes most those that the policy itself puts first, and
acts only in groups that hold the target (the gate), so that a group without it teaches nothing.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rclrec_mini.post_training.groups import Group

EPSILON = 1e-4  # beside the standard deviation


def rule(group: Group, target: Tensor) -> Tensor:
    """1 for the target, 0 for any other: target (B,) -> (B, G)"""
    return ((group.items == target[:, None]) & group.valid).float()


def ranking(group: Group, target: Tensor, *, gate: bool = True) -> Tensor:
    """-w_i / sum_j w_j for a negative at rank i, 0 for the target and, with the gate, in groups without it: (B, G)"""
    hit = rule(group, target)
    w = 1 / torch.arange(2, hit.shape[1] + 2, device=hit.device, dtype=hit.dtype).log2() * group.valid
    reward = -w / w.sum(1, keepdim=True).clamp(min=EPSILON) * (1 - hit)
    return reward * hit.amax(1, keepdim=True) if gate else reward


def semantic(group: Group, target: Tensor, vectors: Tensor) -> Tensor:
    """Cosine of the vectors (N, f) of each item and the target: (B, G)"""
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    return torch.einsum("bgf,bf->bg", unit[group.items], unit[target]) * group.valid


class Advantages(NamedTuple):
    """value (B, G), 0 in groups without signal; signal (B,), whether the rewards of a group differ at all."""

    value: Tensor
    signal: Tensor


def advantages(reward: Tensor, group: Group, *, std: bool = True) -> Advantages:
    """(r - mean) / (std + 1e-4) within each group, with the sample standard deviation; only r - mean without `std`
    (Dr. GRPO), which leaves a group with little to tell little to say. With importance weights the mean is theirs."""
    weight = group.weight / group.weight.sum(1, keepdim=True).clamp(min=torch.finfo(reward.dtype).tiny)
    centred = (reward - (weight * reward).sum(1, keepdim=True)) * group.valid
    low = reward.masked_fill(~group.valid, float("inf")).amin(1)
    signal = reward.masked_fill(~group.valid, float("-inf")).amax(1) > low
    if std:
        n = group.valid.sum(1, keepdim=True)
        variance = (weight * centred.square()).sum(1, keepdim=True) * n / (n - 1).clamp(min=1)
        centred = centred / (variance.sqrt() + EPSILON)
    return Advantages(centred * signal[:, None], signal)
