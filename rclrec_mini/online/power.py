r"""How many users a test needs, by formula and by playing it, and what fat tails and a pre-period do to the number.

Let cv be the standard deviation of a user's outcome over its mean, and a lift delta multiply what each user does. Then
the lift between two arms of n users has a variance of 2 cv^2 (1 + delta)^2 / n, and to see it at level 1 - alpha with
probability 1 - beta takes

    n = 2 cv^2 (1 - corr^2) (z_{1 - alpha/2} + z_{1 - beta})^2 (1 + delta)^2 / delta^2

corr is that of outcome and pre-period, if CUPED takes it out.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from rclrec_mini.checks import at_least, check, within
from rclrec_mini.online.lift import compare, cuped, quantile


@dataclass(frozen=True, kw_only=True)
class Tail:
    """A factor of mean 1 on what each user spends, for shops with fatter tails than ours.

    Raises:
        InputError: a value is outside its range.
    """

    sigma: float = 0.0
    """standard deviation of its logarithm, lognormal (0: none)"""
    pareto: float = 0.0
    """exponent of a Pareto tail besides, above 1 (0: none); up to 2 its variance is infinite"""

    def __post_init__(self) -> None:
        at_least(self, 0, "sigma")
        check(self, pareto=(self.pareto == 0 or 1 < self.pareto < np.inf, "0 or more than 1"))

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """The factors of so many users."""
        factor = np.exp(self.sigma * rng.standard_normal(size) - self.sigma**2 / 2)
        if self.pareto:
            factor *= (self.pareto - 1) / self.pareto * (1 + rng.pareto(self.pareto, size))
        return factor

    def squared(self) -> float:
        """The mean of its square."""
        a = self.pareto
        of_pareto = 1.0 if not a else (a - 1) ** 2 / (a * (a - 2)) if a > 2 else np.inf
        return float(np.exp(self.sigma**2) * of_pareto)

    def variation(self, cv: float) -> float:
        """What becomes of an outcome's cv when the factor, independent of it, multiplies it."""
        return float(np.sqrt((1 + cv**2) * self.squared() - 1))


def variation(outcome: np.ndarray) -> float:
    """cv of a user's outcome (U,)."""
    outcome = np.asarray(outcome, float)
    return float(outcome.std(ddof=1) / outcome.mean())


def standard_error(cv: float, users: float | np.ndarray, *, lift: float = 0.0, corr: float = 0.0) -> np.ndarray | float:
    """Of the lift between two arms of so many users each, where `lift` is the true one."""
    return cv * (1 + lift) * np.sqrt(2 * (1 - corr**2) / np.asarray(users, float))[()]


def users_needed(cv: float, lift: float, *, power: float = 0.8, level: float = 0.95, corr: float = 0.0) -> float:
    """Users of each arm to see a lift with this power, by formula."""
    return (standard_error(cv, 1, lift=lift, corr=corr) * (quantile(level) + stats.norm.ppf(power)) / lift) ** 2


def power_of(cv: float, lift: float, users: np.ndarray, *, level: float = 0.95, corr: float = 0.0) -> np.ndarray:
    """The probability to call a lift with so many users an arm, by formula; either side counts."""
    z = lift / standard_error(cv, users, lift=lift, corr=corr)
    return stats.norm.sf(quantile(level) - z) + stats.norm.cdf(-quantile(level) - z)


def simulated_power(
    outcome: np.ndarray, lift: float, users: int, *, before: np.ndarray | None = None, tail: Tail | None = None,
    tests: int = 1000, level: float = 0.95, seed: int = 0,
) -> float:  # fmt: skip
    """The share of played tests that call a lift: both arms are drawn with replacement from a shop's users, and what
    the treated spend is multiplied.

    Args:
        outcome: of the shop's users (U,).
        lift: the true one.
        users: of each arm.
        before: their pre-period (U,) or (U, numbers), for CUPED.
        tail: of each drawn user.
        tests: how many are played.
    """
    rng, outcome, called = np.random.default_rng(seed), np.asarray(outcome, float), 0
    for _ in range(tests):
        drawn = rng.integers(len(outcome), size=2 * users)
        y = outcome[drawn] * (tail or Tail()).draw(rng, 2 * users)
        y[:users] *= 1 + lift
        if before is not None:
            y = cuped(y, before[drawn])
        called += compare(y[:users], y[users:], level=level).p_value < 1 - level
    return called / tests


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A published lift and the share of users of each arm, so that intervals can be put around it.

    Raises:
        InputError: a value is outside its range.
    """

    lift: float
    """as published (0.02 is 2%)"""
    share: float = 0.25
    """of all users, in each of the two arms"""

    def __post_init__(self) -> None:
        within(self, 0, 0.5, "share")

    def interval(self, users: float, cv: float, *, level: float = 0.95, corr: float = 0.0) -> tuple[float, float]:
        """The one it could have had with so many users of both arms and all others together."""
        reach = quantile(level) * standard_error(cv, self.share * users, lift=self.lift, corr=corr)
        return self.lift - reach, self.lift + reach

    def users(self, cv: float, *, level: float = 0.95, corr: float = 0.0) -> float:
        """How many users in all it takes for the interval to leave out 0."""
        per_arm = (quantile(level) * standard_error(cv, 1, lift=self.lift, corr=corr) / self.lift) ** 2
        return per_arm / self.share
