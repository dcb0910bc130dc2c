"""Does the order that an offline metric gives the arms hold online? Rank correlations, and the pairs it misleads on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy import stats

from rclrec_mini.files import InputError
from rclrec_mini.online.lift import quantile


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation over arms with its interval over users, and the share of resamples in which this
    metric's correlation is the largest of all (ties shared)."""

    correlation: float
    low: float
    high: float
    best: float


def agreement(
    offline: Mapping[str, np.ndarray], online: np.ndarray, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, Agreement]:
    """How well each offline metric ranks the arms, by what an online outcome says.

    Users of the log and of the test are resampled apart. With hundreds of them a mean is as good as normal, so means of
    resamples are drawn from the normal distribution with the arms' covariance.

    Args:
        offline: of each metric the values of its users, (A, n); each metric may have other users.
        online: an outcome of the test's users, (A, U), in the same order of arms.
        resamples: how many.
        level: of the interval.

    Raises:
        InputError: there are fewer than three arms, or a metric has another number of them.
    """
    if len(online) < 3:
        raise InputError(f"arms: found {len(online)}, expected three or more to rank")
    for name, values in offline.items():
        if len(values) != len(online):
            raise InputError(f"{name}: found {len(values)} arms, expected {len(online)}")
    rng = np.random.default_rng(seed)
    truth = _resampled(online, resamples, rng)
    drawn = {name: _correlations(_resampled(values, resamples, rng), truth) for name, values in offline.items()}
    together = np.stack(list(drawn.values()))  # (metrics, resamples)
    first = together >= together.max(axis=0) - 1e-12
    best = (first / first.sum(axis=0)).mean(axis=1)
    found = {}
    for i, (name, values) in enumerate(offline.items()):
        point = _correlations(values.mean(axis=1)[None], np.mean(online, axis=1)[None])[0]
        low, high = np.quantile(drawn[name], [(1 - level) / 2, (1 + level) / 2])
        found[name] = Agreement(float(point), float(low), float(high), float(best[i]))
    return found


def reversals(
    arms: Sequence[str], offline: np.ndarray, online: np.ndarray, *, level: float = 0.95
) -> list[tuple[str, str]]:
    """Pairs (a, b) of which a is better offline and b is better online, both beyond their intervals over users.

    Args:
        offline, online: values of users, (A, n) and (A, U).
    """
    ahead = [_ahead(np.asarray(values, float)) > quantile(level) for values in (offline, online)]
    return [(arms[a], arms[b]) for a, b in permutations(range(len(arms)), 2) if ahead[0][a, b] and ahead[1][b, a]]


def _ahead(values: np.ndarray) -> np.ndarray:
    """By how many standard errors of the paired difference arm a is ahead of arm b, (A, n) -> (A, A)."""
    mean, covariance = values.mean(axis=1), np.cov(values) / values.shape[1]
    variance = np.diag(covariance)
    std = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 1e-300))
    return (mean[:, None] - mean) / std


def _resampled(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    values = np.asarray(values, float)
    covariance = np.cov(values) / values.shape[1]
    return rng.multivariate_normal(values.mean(axis=1), covariance, size=resamples, method="eigh")


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's of each row, (R, A), (R, A) -> (R,); 0 where all arms of a row are equal."""
    ranks = [stats.rankdata(one, axis=1) for one in (a, b)]
    one, two = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    return np.divide((one * two).sum(axis=1), size, out=np.zeros(len(size)), where=size > 0)
