"""Residual k-means: each level clusters what the levels before it left over, in plain torch on CPU or GPU.

k-means++ seeding (Arthur and Vassilvitskii, 2007), Lloyd iterations on a sample of the items, then codes for all.
Balanced: at every level each code holds at most ceil(N / V) items (`nearest_with_room`).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rclrec_mini.checks import MAX_SEED, at_least, check, within
from rclrec_mini.semantic_ids.catalog import MAX_CODES
from rclrec_mini.semantic_ids.quantization import (
    Quantization,
    as_vectors,
    check_room,
    nearest,
    nearest_with_room,
    partial_sums,
    squared_distances,
    variance_left,
)


@dataclass(frozen=True)
class ResidualKMeansConfig:
    levels: int = 4
    """L, codes per item."""
    codes: int = 256
    """V, codes per level."""
    iterations: int = 25
    """Most Lloyd iterations per level; a level stops when no item changes its code."""
    balanced: bool = False
    """Whether every code of a level holds at most ceil(N / V) items."""
    sample_per_code: int = 256
    """A level is fitted on at most this many items per code, drawn at random; all items are coded."""
    seed: int = 0
    """Of everything random in features and codes."""
    device: str = "cpu"
    """Where to compute, in torch's words: cpu, cuda, cuda:1."""

    def __post_init__(self) -> None:
        at_least(self, 1, "levels", "iterations", "sample_per_code")
        within(self, 1, MAX_CODES, "codes")
        within(self, 0, MAX_SEED, "seed")
        check(self, device=(has_device(self.device), "one of this machine, such as cpu"))


def has_device(name: str) -> bool:
    """Whether this machine has what torch calls so."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):  # the latter from a torch that was built without CUDA
        return False
    return True


def residual_kmeans(
    vectors: Tensor | np.ndarray, config: ResidualKMeansConfig, *, progress: bool = True
) -> Quantization:
    """Fit codebooks to item vectors and code every item, (N, D) -> Quantization.

    Raises:
        InputError: the vectors are not finite (N, D), or there are more items than V^L tuples.
    """
    vectors = as_vectors(vectors, config.device)
    check_room(len(vectors), config.levels, config.codes)
    generator = torch.Generator(config.device).manual_seed(config.seed)
    codebooks, codes, residual = [], [], vectors
    with tqdm(total=config.levels * config.iterations, desc="residual k-means", disable=not progress) as bar:
        for level in range(config.levels):
            bar.set_postfix(level=level + 1)
            sample = drawn(residual, config.codes * config.sample_per_code, generator)
            codebooks.append(kmeans(sample, config, generator=generator, bar=bar))
            codes.append(_assign(residual, codebooks[-1], balanced=config.balanced))
            residual = residual - codebooks[-1][codes[-1]]
            bar.update((level + 1) * config.iterations - bar.n)
    codebooks, codes = torch.stack(codebooks), torch.stack(codes, 1)
    errors = torch.stack([variance_left(vectors, part) for part in partial_sums(codes, codebooks)])
    return Quantization(vectors, codebooks, codes, errors)


def kmeans(
    points: Tensor, config: ResidualKMeansConfig, *, generator: torch.Generator, bar: tqdm | None = None
) -> Tensor:
    """Cluster centers of points, (n, D) -> (V, D)."""
    centers = seed_centers(points, config.codes, generator)
    before = None
    for _ in range(config.iterations):
        codes = _assign(points, centers, balanced=config.balanced)
        if before is not None and torch.equal(codes, before):
            break
        centers, before = update_centers(points, codes, centers), codes
        if bar is not None:
            bar.update()
    return centers


def seed_centers(points: Tensor, codes: int, generator: torch.Generator) -> Tensor:
    """k-means++: each center is a point drawn with probability proportional to its squared distance from the
    centers before it, (n, D) -> (V, D). Where fewer than V points differ, some centers are equal."""
    centers = [points[torch.randint(len(points), (1,), generator=generator, device=points.device)]]
    distance = squared_distances(points, centers[0])[:, 0]
    for _ in range(codes - 1):
        weight = distance if bool(distance.any()) else torch.ones_like(distance)
        centers.append(points[torch.multinomial(weight, 1, generator=generator)])
        distance = torch.minimum(distance, squared_distances(points, centers[-1])[:, 0])
    return torch.cat(centers)


def update_centers(points: Tensor, codes: Tensor, centers: Tensor) -> Tensor:
    """The mean of each cluster, (V, D); an empty cluster restarts at one of the points farthest from its center."""
    order = codes.argsort(stable=True)  # sums over sorted runs, since scattered sums on a GPU vary from run to run
    count = torch.bincount(codes, minlength=len(centers))
    total = torch.segment_reduce(points[order], "sum", lengths=count)
    updated = total / count.clamp(min=1)[:, None]
    empty = (count == 0).nonzero()[:, 0][: len(points)]
    if len(empty):
        far = (points - centers[codes]).square().sum(1).topk(len(empty)).indices
        updated[empty] = points[far]
    return updated


def _assign(points: Tensor, centers: Tensor, *, balanced: bool) -> Tensor:
    if balanced:
        return nearest_with_room(points, centers, math.ceil(len(points) / len(centers)))
    return nearest(points, centers)[0]


def drawn(points: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n of the points at random, all where there are no more: (N, D) -> (min(n, N), D)"""
    if len(points) <= n:
        return points
    return points[torch.randperm(len(points), generator=generator, device=points.device)[:n]]
