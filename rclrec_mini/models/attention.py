"""Multi-head attention whose keys and values may be kept and shared by many queries."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rclrec_mini.models.initialization import start_as_copier


class KeysValues(NamedTuple):
    """Keys and values of one attention, each (..., h, S, d/h)."""

    keys: Tensor
    values: Tensor


def masked(bias: Tensor, mask: Tensor) -> Tensor:
    """A bias that forbids what the mask leaves out; finite, so that a row with nothing to see is not nan."""
    return bias.masked_fill(~mask, torch.finfo(bias.dtype).min)


class Attention(nn.Module):
    """Multi-head scaled dot-product attention with an additive bias, over keys and values that may be kept."""

    def __init__(self, *, d: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(d, d, bias=False)
        self.key = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(d, d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.dropout = nn.Dropout(dropout)
        start_as_copier(self.query.weight, self.key.weight, self.value.weight, self.out.weight, gain=1.5)

    def split(self, x: Tensor) -> Tensor:
        """(..., S, d) -> (..., h, S, d/h)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def keys_values(self, x: Tensor) -> KeysValues:
        """(..., S, d) -> keys and values"""
        return KeysValues(self.split(self.key(x)), self.split(self.value(x)))

    def forward(self, x: Tensor, memory: KeysValues, bias: Tensor | list[Tensor]) -> Tensor:
        """x (..., Q, d), bias broadcastable to (..., h, Q, S) -> (..., Q, d)

        A list of biases is one of each block of queries in turn, (..., h, q, s): a block sees the first s keys alone,
        which spares what a causal bias forbids.
        """
        query = self.split(self.query(x)) * (x.shape[-1] // self.heads) ** -0.5
        if isinstance(bias, list):
            queries = query.split([block.shape[-2] for block in bias], dim=-2)
            y = torch.cat([self.seen(q, memory, block) for q, block in zip(queries, bias, strict=True)], dim=-2)
        else:
            y = self.seen(query, memory, bias)
        return self.out(y.transpose(-2, -3).flatten(-2))

    def seen(self, query: Tensor, memory: KeysValues, bias: Tensor) -> Tensor:
        """query (..., h, Q, d/h), bias broadcastable to (..., h, Q, s), of the first s keys -> (..., h, Q, d/h)"""
        keys, values = (part[..., : bias.shape[-1], :] for part in memory)
        return self.dropout((query @ keys.transpose(-1, -2) + bias).softmax(-1)) @ values

    def beams(self, x: Tensor, shared: KeysValues, bias: Tensor, own: KeysValues) -> Tensor:
        """One new token a beam: look at the prefix that all beams of a sample share, then at the beam's own tokens.

        x (B, G, d), shared (B, h, P, d/h), bias (B, 1, 1, P), own (B, h, G, S, d/h) -> (B, G, d)
        """
        query = self.split(self.query(x)) * (x.shape[-1] // self.heads) ** -0.5  # (B, h, G, d/h)
        to_shared = query @ shared.keys.transpose(-1, -2) + bias  # (B, h, G, P)
        to_own = (own.keys @ query.unsqueeze(-1)).squeeze(-1)  # (B, h, G, S)
        weight = torch.cat([to_shared, to_own], dim=-1).softmax(-1)
        to_shared, to_own = weight.split([to_shared.shape[-1], to_own.shape[-1]], dim=-1)
        y = to_shared @ shared.values + (to_own.unsqueeze(-2) @ own.values).squeeze(-2)
        return self.out(y.transpose(-2, -3).flatten(-2))
