"""Dropout that costs little on a CPU.

torch draws a Bernoulli number for every activation: on one CPU core that takes about four times as long as what is
here, and at a rate of 0.5 half of a small transformer's training step. One random word of 64 bits decides about four
activations, each by 16 of its bits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.files import InputError

STEPS = 2**16  # the share that is dropped is a multiple of 1 / STEPS


class Dropout(nn.Module):
    """As nn.Dropout: in training each activation is zero with probability p, and the others grow to keep the mean.

    Args:
        p: share of activations dropped, rounded to a multiple of 1 / 65,536.

    Raises:
        InputError: p is negative, or all would be dropped.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.dropped = round(p * STEPS)
        if not 0 <= self.dropped < STEPS:
            raise InputError(f"dropout: found {p}, expected at least 0 and less than 1")

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; random numbers come from torch's global generator."""
        if not self.training or not self.dropped:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.int16)[: x.numel()].view(x.shape)  # -STEPS / 2 .. STEPS / 2 - 1
        kept = (draws >= self.dropped - STEPS // 2).to(x.dtype)
        return x * kept.mul_(STEPS / (STEPS - self.dropped))

    def extra_repr(self) -> str:
        return f"p={self.p}"
