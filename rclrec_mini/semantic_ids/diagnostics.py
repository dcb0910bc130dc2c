"""How good semantic ids are, one row per level: is the item still in them, are the codes used, do prefixes mean
something?"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rclrec_mini.semantic_ids.quantization import Collisions, Quantization


def diagnostics(
    quantization: Quantization,
    codes: Tensor,
    collisions: Collisions,
    category: np.ndarray,
    *,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row per level, ready for a data frame.

    As the quantiser chose, before any item was moved: error, the share of the item vectors' variance left by the
    first `level` codes; used and dead, how many of the V codes some item has or none has; utilisation, used / V;
    perplexity, exp of the entropy of the codes (V when all are equally frequent). As the catalogue holds: prefixes,
    how many differ; moved, items whose first changed code is here; purity, the share of items that are of the
    commonest category of their prefix; purity_by_chance, the same with categories shuffled (long prefixes are pure
    by being few).

    Args:
        quantization: what the quantiser gave.
        codes: (N, L) unique codes, as in the catalogue.
        collisions: what `unique_codes` counted.
        category: (N,) int, -1 where unknown; all unknown leaves both purities None.
        seed: of the shuffle.
    """
    n_codes = quantization.codebooks.shape[1]
    chosen = quantization.codes.cpu().numpy()
    rows = []
    for level in range(codes.shape[1]):
        count = np.bincount(chosen[:, level], minlength=n_codes)
        prefix = torch.unique(codes[:, : level + 1].cpu(), dim=0, return_inverse=True)[1].numpy()
        purity, by_chance = prefix_purity(prefix, category, seed=seed)
        rows.append(
            {
                "level": level + 1,
                "error": float(quantization.errors[level]),
                "used": int((count > 0).sum()),
                "dead": int((count == 0).sum()),
                "utilisation": float((count > 0).mean()),
                "perplexity": perplexity(count),
                "prefixes": int(prefix.max()) + 1,
                "moved": collisions.moved_by_level[level],
                "purity": purity,
                "purity_by_chance": by_chance,
            }
        )
    return rows


def perplexity(count: np.ndarray) -> float:
    """exp(-sum p log p) of counts (V,): the number of equally frequent codes that would be as hard to guess."""
    p = count[count > 0] / count.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def prefix_purity(
    prefix: np.ndarray, category: np.ndarray, *, seed: int = 0
) -> tuple[float, float] | tuple[None, None]:
    """The share of items that are of the commonest category of their prefix, and the same with shuffled categories:
    (N,), (N,) -> two shares. Items of category -1 are left out."""
    known = category >= 0
    if not known.any():
        return None, None
    prefix, category = prefix[known], category[known]
    return _purity(prefix, category), _purity(prefix, np.random.default_rng(seed).permutation(category))


def _purity(prefix: np.ndarray, category: np.ndarray) -> float:
    pairs, count = np.unique(np.stack([prefix, category], 1), axis=0, return_counts=True)
    commonest = np.zeros(prefix.max() + 1, dtype=np.int64)
    np.maximum.at(commonest, pairs[:, 0], count)
    return float(commonest.sum() / len(prefix))
