"""Recall@k, NDCG@k and MRR@k with one relevant item, their intervals over users, and a paired test between methods.

Every sample has one right answer, the item of the target. With its rank r in the list counted from 0:

    Recall@k = [r < k]        NDCG@k = [r < k] / log2(r + 2)        MRR@k = [r < k] / (r + 1)

(the best possible DCG is 1). Coverage@k is no mean over samples: the share of the catalogue that the lists show.

Where several targets belong to one user, average them first (`user_means`): users, not targets, are the independent
units that intervals and tests resample. Several seeds of a method are an axis of their own, values (seeds, users):
they are averaged within each user before users are resampled, so an interval speaks of the mean over these seeds
and of new users; how much the seeds themselves differ is reported beside it (`seed_std`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rclrec_mini.files import InputError

CUTOFFS = (5, 10)
CELLS = 4_000_000  # numbers a chunk of resamples may hold


@dataclass(frozen=True)
class Estimate:
    """A mean over users with the ends of its bootstrap interval; `seed_std` is the standard deviation (n - 1) of
    the seeds' means, 0 for one seed."""

    mean: float
    low: float
    high: float
    seed_std: float
    users: int
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """mean(a) - mean(b) over the same users with its bootstrap interval, and the two-sided p-value of a sign-flip
    permutation test."""

    difference: float
    low: float
    high: float
    p_value: float
    users: int


def rank_of(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of each target in its list, counted from 0: items (n, k), targets (n,) -> (n,) int64; k where absent.

    Raises:
        InputError: the shapes disagree.
    """
    items, targets = np.asarray(items), np.asarray(targets)
    if items.ndim != 2 or targets.shape != items.shape[:1]:
        raise InputError(f"rankings: found items {items.shape}, targets {targets.shape}, expected (n, k), (n,)")
    hit = items == targets[:, None]  # (n, k)
    return np.where(hit.any(axis=1), hit.argmax(axis=1), items.shape[1])


def recall(rank: np.ndarray, k: int) -> np.ndarray:
    """Recall@k of each rank (...) -> (...)"""
    return (rank < k).astype(np.float64)


def ndcg(rank: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k of each rank with one relevant item (...) -> (...)"""
    return np.where(rank < k, 1 / np.log2(rank + 2.0), 0.0)


def reciprocal_rank(rank: np.ndarray, k: int) -> np.ndarray:
    """Reciprocal of each rank counted from 1, 0 from k on: (...) -> (...). Its mean is MRR@k."""
    return np.where(rank < k, 1 / (rank + 1.0), 0.0)


METRICS = {"recall": recall, "ndcg": ndcg, "mrr": reciprocal_rank}


def metric_names() -> list[str]:
    """What `evaluate_rankings` calls its metrics at CUTOFFS."""
    return [f"{name}@{k}" for name in METRICS for k in CUTOFFS]


def coverage(items: np.ndarray, k: int, *, n_items: int) -> float:
    """Coverage@k: the share of `n_items` that occur among the first k of at least one list. items (n, k'), -1 where
    a list is shorter."""
    return float((np.unique(items[:, :k]) >= 0).sum() / n_items)


def evaluate_rankings(
    items: np.ndarray, targets: np.ndarray, *, cutoffs: tuple[int, ...] = CUTOFFS
) -> dict[str, np.ndarray]:
    """Metrics of each sample.

    Args:
        items: ranked items (n, k), best first and distinct; -1 where a list is shorter. Targets are never -1.
        targets: the right answers (n,).
        cutoffs: list lengths to evaluate at, at most k.

    Returns:
        recall@c, ndcg@c and mrr@c for each cutoff c, each (n,) float64.

    Raises:
        InputError: the shapes disagree, a list is shorter than a cutoff, or a target is negative.
    """
    rank = rank_of(items, targets)
    if max(cutoffs) > np.shape(items)[1]:
        raise InputError(f"rankings: found lists of {np.shape(items)[1]} items, expected {max(cutoffs)} or more")
    if np.min(targets, initial=0) < 0:
        raise InputError(f"rankings: found target {np.min(targets)}, expected 0 or more")
    return {f"{name}@{k}": metric(rank, k) for name, metric in METRICS.items() for k in cutoffs}


def user_means(values: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Mean of each user's samples, users in ascending order: (..., n), (n,) -> (..., U)"""
    _, place = np.unique(user, return_inverse=True)
    count = np.bincount(place)
    flat = np.reshape(values, (-1, len(place)))
    sums = np.stack([np.bincount(place, weights=row) for row in flat])
    return (sums / count).reshape(*np.shape(values)[:-1], len(count))


def bootstrap_means(values: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` samples drawn with replacement: (n,) -> (resamples,).

    Metrics take few distinct values, so a resample is drawn as how often each of them occurs: a multinomial, which
    is the same distribution as drawing n users and costs nothing per user.
    """
    distinct, count = np.unique(values, return_counts=True)
    rng, n = np.random.default_rng(seed), len(values)
    share = count / n
    chunk = max(1, CELLS // len(distinct))
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    return np.concatenate([rng.multinomial(n, share, size=size) @ distinct for size in sizes]) / n


def mean_with_interval(values: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean over users with a percentile bootstrap interval.

    Args:
        values: one value a user (U,), or (S, U) for S seeds of a method on the same users.
        level: coverage of the interval.
        resamples: bootstrap samples of users.
        seed: of the resampling.

    Raises:
        InputError: there is no user, or a value is not finite.
    """
    values = _checked(values)
    seed_means = values.mean(axis=1)
    low, high = _interval(values.mean(axis=0), level, resamples, seed)
    seed_std = float(seed_means.std(ddof=1)) if len(values) > 1 else 0.0
    return Estimate(float(seed_means.mean()), low, high, seed_std, values.shape[1], values.shape[0])


def of_users(scores: Mapping[str, np.ndarray], user: np.ndarray) -> dict[str, np.ndarray]:
    """`user_means` of every metric: each (..., n), (n,) -> (..., U)"""
    return {name: user_means(values, user) for name, values in scores.items()}


def summarize(scores: Mapping[str, np.ndarray], **options: float | int) -> dict[str, Estimate]:
    """`mean_with_interval` of every metric, with the same options."""
    return {name: mean_with_interval(values, **options) for name, values in scores.items()}


def paired_test(
    a: np.ndarray, b: np.ndarray, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Comparison:
    """Is method a better than method b on the same users?

    If neither were, each user's difference would as well have the other sign. The p-value is the share of
    random sign flips whose mean is as far from 0 as the observed one, counting the observed one itself: at least
    1 / (resamples + 1).

    Args:
        a, b: one value a user (U,), or (seeds, U), averaged over seeds first; the methods may have different
            numbers of seeds, and user u must be the same user in both.
        level: coverage of the bootstrap interval of the difference.
        resamples: of the bootstrap and of the test.
        seed: of both.

    Raises:
        InputError: the numbers of users differ, there is none, or a value is not finite.
    """
    a, b = _checked(a).mean(axis=0), _checked(b).mean(axis=0)
    if len(a) != len(b):
        raise InputError(f"paired test: found {len(a)} and {len(b)} users, expected the same users")
    difference = a - b  # (U,)
    low, high = _interval(difference, level, resamples, seed)
    extreme = np.abs(_sign_flips(difference, resamples, seed)) >= abs(difference.mean()) - 1e-12
    p_value = (1 + int(extreme.sum())) / (1 + resamples)
    return Comparison(float(difference.mean()), low, high, p_value, len(a))


def _sign_flips(difference: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `difference` (n,) under random signs -> (resamples,). Of c users with the same size of difference
    a binomial number stays positive, so the cost is again per distinct size and not per user."""
    size, count = np.unique(np.abs(difference), return_counts=True)
    rng = np.random.default_rng([seed, 1])  # apart from the bootstrap's stream
    total = np.zeros(resamples)
    for value, c in zip(size[size > 0], count[size > 0], strict=True):
        total += value * (2.0 * rng.binomial(c, 0.5, size=resamples) - c)
    return total / len(difference)


def _interval(values: np.ndarray, level: float, resamples: int, seed: int) -> tuple[float, float]:
    means = bootstrap_means(values, resamples=resamples, seed=seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(values: np.ndarray) -> np.ndarray:
    """Values as (seeds, users) float64."""
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"metrics: found values {values.shape}, expected (users,) or (seeds, users), not empty")
    if not np.isfinite(values).all():
        raise InputError("metrics: found a value that is not finite, expected one number a user")
    return values
