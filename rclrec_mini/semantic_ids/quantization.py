"""What every residual quantiser shares: nearest codes, codes under a capacity, the result, and unique tuples.

N items, vectors of D numbers, L levels of V codes. Level l codes what the levels before it left over:
    r_0 = x,   c_l = argmin_v |r_l - codebook_l[v]|^2,   r_{l+1} = r_l - codebook_l[c_l]
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rclrec_mini.files import InputError

CHUNK = 2**14  # rows whose distances to all codes are in memory at once


@dataclass(frozen=True)
class Quantization:
    """Vectors and their codes.

    Shapes: vectors (N, D), what the codebooks quantise (item vectors, or an encoder's latents); codebooks (L, V, D);
    codes (N, L) int64; errors (L,), the share of the variance of the item vectors that is left after 1..L levels.
    """

    vectors: Tensor
    codebooks: Tensor
    codes: Tensor
    errors: Tensor


@dataclass(frozen=True)
class Collisions:
    """How tuples were made unique.

    Attributes:
        shared: items whose tuple at least one other item had as well.
        moved: items whose tuple was changed.
        moved_by_level: (L,) the same, by the first level that changed; before the last level only when a prefix
            held more items than it has room for.
    """

    shared: int
    moved: int
    moved_by_level: tuple[int, ...]


def as_vectors(vectors: Tensor | np.ndarray, device: str | torch.device) -> Tensor:
    """Item vectors as a float32 tensor (N, D) on `device`.

    Raises:
        InputError: not a table of at least one row and column, or not finite.
    """
    vectors = torch.as_tensor(vectors, dtype=torch.float32, device=device)
    if vectors.dim() != 2 or 0 in vectors.shape:
        raise InputError(f"vectors: found shape {tuple(vectors.shape)}, expected (N, D)")
    if not bool(torch.isfinite(vectors).all()):
        row = int((~torch.isfinite(vectors).all(1)).nonzero()[0])
        raise InputError(f"vectors: row {row} holds nan or infinity, expected finite numbers")
    return vectors


def check_room(n_items: int, levels: int, codes: int) -> None:
    """Raise InputError where `n_items` cannot all have tuples of their own."""
    if n_items > codes**levels:
        raise InputError(f"{levels} levels of {codes} codes: room for {codes**levels} items, found {n_items}")


def squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """|x - c|^2 of each pair, (n, D), (V, D) -> (n, V)."""
    return _relative_distances(points, centers).add_(points.square().sum(1, keepdim=True)).clamp_(min=0)


def _relative_distances(points: Tensor, centers: Tensor) -> Tensor:
    """|x - c|^2 - |x|^2: all that the choice of a center needs."""
    return torch.addmm(centers.square().sum(1), points, centers.T, alpha=-2)


def chunks(n: int) -> Iterator[slice]:
    """Slices of CHUNK rows that cover 0..n-1; one empty slice where n is 0."""
    yield from (slice(start, start + CHUNK) for start in range(0, max(n, 1), CHUNK))


def nearest(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest center of each point and its squared distance, (n, D), (V, D) -> (n,) int64, (n,)."""
    parts = [_relative_distances(points[rows], centers).min(1) for rows in chunks(len(points))]
    distance = torch.cat([part.values for part in parts]) + points.square().sum(1)
    return torch.cat([part.indices for part in parts]), distance.clamp(min=0)


def nearest_with_room(
    points: Tensor, centers: Tensor, capacity: int, *, group: Tensor | None = None, start: Tensor | None = None
) -> Tensor:
    """Codes of points when a code may hold at most `capacity` points of each group: (n, D), (V, D) -> (n,) int64.

    Deferred acceptance (Gale and Shapley, 1962): every waiting point asks its nearest code that would still take
    it, every code keeps the `capacity` nearest of those that asked, and the others wait for the next round. A code
    that is full takes only points nearer than its farthest, so a limit per code is all there is to remember.

    Args:
        points, centers: what is coded, and by what.
        capacity: room per code and group; the caller makes sure that V * capacity suffices for every group.
        group: (n,) int64 in 0..G-1; None is a single group.
        start: (n,) the codes that are asked first; None asks the nearest.
    """
    n, n_codes = len(points), len(centers)
    group = torch.zeros(n, dtype=torch.int64, device=points.device) if group is None else group
    n_slots = (int(group.max()) + 1) * n_codes
    limit = points.new_full((n_slots // n_codes, n_codes), math.inf)
    code, cost = torch.full_like(group, -1), torch.empty_like(points[:, 0])
    waiting = torch.arange(n, device=points.device)
    while len(waiting):
        for rows in chunks(len(waiting)):
            asking = waiting[rows]
            distance = squared_distances(points[asking], centers)
            if start is None:
                full = distance >= limit[group[asking]]
                cost[asking], code[asking] = distance.masked_fill(full, math.inf).min(1)
            else:
                code[asking] = start[asking]
                cost[asking] = distance.gather(1, start[asking, None])[:, 0]
        start = None
        slot = group * n_codes + code
        asked = torch.zeros(n_slots, dtype=torch.bool, device=points.device)
        asked[slot[waiting]] = True
        rows = asked[slot].nonzero()[:, 0]
        rows = rows[cost[rows].argsort(stable=True)]
        rows = rows[slot[rows].argsort(stable=True)]  # by slot, then by cost, then by row
        count = torch.bincount(slot[rows], minlength=n_slots)
        rank = torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[slot[rows]]
        last = rows[rank == capacity - 1]
        limit.view(-1)[slot[last]] = cost[last]
        waiting = rows[rank >= capacity].sort().values
    return code


def residual_codes(vectors: Tensor, codebooks: Tensor) -> Tensor:
    """Nearest codes level by level, (n, D), (L, V, D) -> (n, L) int64."""
    codes, residual = [], vectors
    for codebook in codebooks:
        codes.append(nearest(residual, codebook)[0])
        residual = residual - codebook[codes[-1]]
    return torch.stack(codes, 1) if codes else vectors.new_empty((len(vectors), 0), dtype=torch.int64)


def partial_sums(codes: Tensor, codebooks: Tensor) -> Iterator[Tensor]:
    """What the first 1..L codes stand for: yields L tensors (N, D)."""
    total = torch.zeros_like(codebooks[0, codes[:, 0]])
    for level, codebook in enumerate(codebooks):
        total = total + codebook[codes[:, level]]
        yield total


def variance_left(vectors: Tensor, reconstructed: Tensor) -> Tensor:
    """Squared error of a reconstruction over the squared deviation from the mean, (N, D), (N, D) -> scalar."""
    spread = (vectors - vectors.mean(0)).square().sum()
    return (vectors - reconstructed).square().sum() / spread.clamp(min=torch.finfo(vectors.dtype).tiny)


def unique_codes(quantization: Quantization) -> tuple[Tensor, Collisions]:
    """Codes in which every item has a tuple of its own: (N, L) int64, and how many had to move.

    From the first level to the last, within each prefix, a code of level l may hold at most V^(L-l-1) items (one
    item at the last level). Where more want it, the nearest stay and the others take the nearest code that has
    room, by `nearest_with_room`; the codes after a changed one are chosen anew.

    Raises:
        InputError: there are more items than V^L.
    """
    codebooks, residual = quantization.codebooks, quantization.vectors
    levels, n_codes = codebooks.shape[:2]
    check_room(len(residual), levels, n_codes)
    codes = quantization.codes.clone()
    _, tuple_of, count = torch.unique(codes, dim=0, return_inverse=True, return_counts=True)
    prefix = torch.zeros_like(codes[:, 0])
    for level, codebook in enumerate(codebooks):
        room = min(n_codes ** (levels - level - 1), len(residual))  # the power may be beyond 64 bits
        before = codes[:, level].clone()
        crowded = _in_crowded_prefix(prefix, prefix * n_codes + before, room)
        if len(crowded):
            group = torch.unique(prefix[crowded], return_inverse=True)[1]
            codes[crowded, level] = nearest_with_room(
                residual[crowded], codebook, room, group=group, start=before[crowded]
            )
        changed = (codes[:, level] != before).nonzero()[:, 0]
        residual = residual - codebook[codes[:, level]]
        codes[changed, level + 1 :] = residual_codes(residual[changed], codebooks[level + 1 :])
        prefix = torch.unique(prefix * n_codes + codes[:, level], return_inverse=True)[1]
    differs = codes != quantization.codes
    moved = differs.any(1)
    first = differs.int().argmax(1)[moved]
    by_level = torch.bincount(first, minlength=levels).tolist()
    return codes, Collisions(int((count[tuple_of] > 1).sum()), int(moved.sum()), tuple(by_level))


def _in_crowded_prefix(prefix: Tensor, slot: Tensor, room: int) -> Tensor:
    """Rows of the items whose prefix has a slot (prefix and next code) with more than `room` items."""
    _, slot_of, count = torch.unique(slot, return_inverse=True, return_counts=True)
    crowded = torch.zeros(int(prefix.max()) + 1, dtype=torch.bool, device=prefix.device)
    crowded[prefix[count[slot_of] > room]] = True
    return crowded[prefix].nonzero()[:, 0]
