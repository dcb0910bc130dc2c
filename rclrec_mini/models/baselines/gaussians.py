"""Gaussians with a mean and a diagonal covariance, the numbers of PBAT (pbat.py): products, distances, tables."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Gaussian(NamedTuple):
    """Gaussians with diagonal covariance, both (..., d)."""

    mean: Tensor
    covariance: Tensor


def positive(x: Tensor) -> Tensor:
    """ELU + 1; a little more, because 1 + ELU rounds to 0 below -17 and covariances are divided by."""
    return F.elu(x) + (1 + 1e-6)


def product(*parts: Gaussian) -> tuple[Tensor, Tensor]:
    """Precision 1/S of a product of Gaussians, and mu/S."""
    precision = [1 / part.covariance for part in parts]
    return sum(precision), sum(p * part.mean for p, part in zip(precision, parts, strict=True))


def fuse(a: Gaussian, b: Gaussian) -> Gaussian:
    """Fusion of two, the surer the weightier; their product with its covariance doubled, as in the paper."""
    precision, weighted = product(a, b)
    return Gaussian(weighted / precision, 2 / precision)


def root(g: Gaussian) -> Tensor:
    """phi = [mu, sqrt S], where W(g, g') = |phi - phi'|^2: (..., d) -> (..., 2d)"""
    return torch.cat([g.mean, g.covariance.sqrt()], dim=-1)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2 of all pairs: (..., Q, d), (..., S, d) -> (..., Q, S)"""
    squares = a.square().sum(-1)[..., None] + b.square().sum(-1)[..., None, :]
    return squares - 2 * a @ b.transpose(-1, -2)


class GaussianEmbedding(nn.Module):
    """A table of n Gaussians: each row is normalised, then ELU gives its mean and ELU + 1 its covariance.

    Args:
        n: rows.
        d: width.
        normalised: False for rows taken as they are.
    """

    def __init__(self, n: int, d: int, *, normalised: bool = True):
        super().__init__()
        self.mean, self.covariance = nn.Embedding(n, d), nn.Embedding(n, d)
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in Gaussian._fields) if normalised else None
        for table in (self.mean, self.covariance):
            nn.init.normal_(table.weight, std=d**-0.5)

    def raw(self, index: Tensor) -> Gaussian:
        """Before the covariance's ELU + 1: index (...) -> (..., d)"""
        mean, covariance = self.mean(index), self.covariance(index)
        if self.norms is None:
            return Gaussian(mean, covariance)
        return Gaussian(F.elu(self.norms[0](mean)), self.norms[1](covariance))

    def forward(self, index: Tensor) -> Gaussian:
        """index (...) -> (..., d)"""
        mean, covariance = self.raw(index)
        return Gaussian(mean, positive(covariance))

    def rows(self) -> Tensor:
        """Numbers of all rows: (n,)"""
        return torch.arange(self.mean.num_embeddings, device=self.mean.weight.device)
