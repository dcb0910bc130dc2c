r"""What a ranking would have earned, from slates that another one has shown: IPS, SNIPS and doubly robust.

A log holds n slates of K slots, each shown item with the probability p that the logging policy put it there, and the
reward r that came of the slot. pi is the probability that the policy in question would put it there (0 or 1 for a
ranking). With w = pi / p and a model q of the reward:

    IPS   = 1/n sum_i sum_k w_ik r_ik                                            (Horvitz and Thompson)
    SNIPS = sum_k (sum_i w_ik r_ik) / (sum_i w_ik)                               (Swaminathan and Joachims, 2015)
    DR    = 1/n sum_i (sum_k q(pi)_ik + sum_k w_ik (r_ik - q_ik))                (Dudik, Langford and Li, 2011)

All of them take a slot's reward to hang on its item and place alone. Where items of one slate compete it does not.
"""

from dataclasses import dataclass

import numpy as np

from rclrec_mini.files import InputError
from rclrec_mini.online.lift import quantile


@dataclass(frozen=True)
class Value:
    """The mean reward of a slate, its standard error and interval over slates."""

    value: float
    std: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class SlateLog:
    """n slates of K slots: reward, logged (p of what was shown), policy (pi of what was shown), each (n, K).

    Raises:
        InputError: shapes differ, or a p is not in (0, 1].
    """

    reward: np.ndarray
    logged: np.ndarray
    policy: np.ndarray

    def __post_init__(self) -> None:
        shapes = {np.shape(one) for one in (self.reward, self.logged, self.policy)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise InputError(f"slates: found {', '.join(map(str, sorted(shapes)))}, expected one shape (n, K)")
        if np.min(self.logged) <= 0 or np.max(self.logged) > 1:
            raise InputError("logged: found a probability outside (0, 1], expected that of what was shown")

    @property
    def weight(self) -> np.ndarray:
        return self.policy / self.logged


def ips(log: SlateLog, *, level: float = 0.95) -> Value:
    """Rewards weighed by how much likelier the policy shows what was shown: right on average, and noisy."""
    return _mean((log.weight * log.reward).sum(axis=1), level)


def snips(log: SlateLog, *, level: float = 0.95) -> Value:
    """The same, divided in each slot by the mean weight instead of by the 1 that it has on average: a little bias,
    less variance where rewards are alike. A slot in which nothing matches counts 0."""
    weight = log.weight
    size = weight.mean(axis=0)
    size = np.where(size > 0, size, 1.0)
    value = (weight * log.reward).mean(axis=0) / size  # (K,)
    influence = (weight * (log.reward - value) / size).sum(axis=1)
    return _mean(value.sum() + influence, level)


def doubly_robust(log: SlateLog, modelled: np.ndarray, expected: np.ndarray, *, level: float = 0.95) -> Value:
    """What a model expects of the policy's own slates, mended by what it missed where the log shows the truth: right
    on average if either the model or p is.

    Args:
        modelled: q of what was shown (n, K).
        expected: q of the policy's own slate (n,), summed over its slots.
    """
    return _mean(expected + (log.weight * (log.reward - modelled)).sum(axis=1), level)


def fitted(
    shown: np.ndarray, reward: np.ndarray, own: np.ndarray, *, folds: int = 2, ridge: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A linear model q of the reward, learned on other slates than those that it judges.

    Args:
        shown: features of what was shown (n, K, F).
        reward: (n, K).
        own: features of the policy's own slates (n, K', F).
        folds: slate i is judged by what the slates of other i % folds taught.
        ridge: penalty on each weight but the constant's.

    Returns:
        q of what was shown (n, K), and of the policy's slates (n, K').
    """
    fold = np.arange(len(reward)) % folds
    modelled, expected = np.empty(shown.shape[:2]), np.empty(own.shape[:2])
    for one in range(folds):
        there, here = fold != one, fold == one
        x = _with_constant(shown[there]).reshape(-1, shown.shape[-1] + 1)
        penalty = ridge * np.diag([*np.ones(shown.shape[-1]), 0.0])
        weights = np.linalg.solve(x.T @ x + penalty, x.T @ reward[there].ravel())
        modelled[here] = _with_constant(shown[here]) @ weights
        expected[here] = _with_constant(own[here]) @ weights
    return modelled, expected


def _with_constant(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)


def _mean(values: np.ndarray, level: float) -> Value:
    std = values.std(ddof=1) / np.sqrt(len(values))
    ends = values.mean() + quantile(level) * std * np.array([-1, 1])
    return Value(*map(float, (values.mean(), std, *ends)))
