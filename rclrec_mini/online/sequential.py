r"""Looking at a test before it ends: an always-valid interval and p-value, and what comes of looking without them.

The mixture sequential probability ratio test (Robbins, 1970; Johari et al., 2017) asks how much likelier an estimate
$\hat\delta$ with variance V is if the truth is drawn from N(0, tau^2) than if it is 0:

    Lambda = sqrt(V / (V + tau^2)) exp(tau^2 \hat\delta^2 / (2 V (V + tau^2)))

Under 0 Lambda is a martingale of mean 1 along the looks, so it ever reaches 1 / alpha with probability alpha at most:

    p_n = min(p_{n-1}, 1 / Lambda_n)
    |\hat\delta - delta| <= sqrt(V (V + tau^2) / tau^2 (2 log(1 / alpha) + log((V + tau^2) / V)))
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from rclrec_mini.files import InputError
from rclrec_mini.online.lift import compare, quantile


def mixture(variance: float, *, level: float = 0.95) -> float:
    """The tau whose interval is narrowest when the estimate has this variance: about 2.9 standard errors."""
    factor = _best_ratio(level)
    return float(np.sqrt(factor * variance))


def always_valid_p(estimate: np.ndarray, variance: np.ndarray, *, tau: float) -> np.ndarray:
    """p-values that may be read at any look, (..., looks) -> (..., looks); they never rise."""
    estimate, variance = np.asarray(estimate, float), np.asarray(variance, float)
    total = variance + tau**2
    log_ratio = 0.5 * np.log(variance / total) + tau**2 * estimate**2 / (2 * variance * total)
    return np.minimum.accumulate(np.exp(-np.maximum(log_ratio, 0)), axis=-1)


def always_valid_reach(variance: np.ndarray, *, tau: float, level: float = 0.95) -> np.ndarray:
    """Half the width of the interval that holds the truth at all looks together with probability `level`."""
    variance = np.asarray(variance, float)
    total = variance + tau**2
    return np.sqrt(variance * total / tau**2 * (2 * np.log(1 / (1 - level)) + np.log(total / variance)))


@dataclass(frozen=True, eq=False)
class Looks:
    """A test as it is seen at each of its looks, (L,): the lift so far, its standard error, half of the fixed-horizon
    interval and of the always-valid one, and the always-valid p-value."""

    lift: np.ndarray
    std: np.ndarray
    fixed: np.ndarray
    valid: np.ndarray
    p_value: np.ndarray


def looks(treated: np.ndarray, control: np.ndarray, *, tau: float, level: float = 0.95) -> Looks:
    """The test at each look: what each user has done so far, (n_T, L) and (n_C, L).

    Raises:
        InputError: as lift.compare, or the numbers of looks differ.
    """
    if np.shape(treated)[1:] != np.shape(control)[1:]:
        raise InputError(f"looks: found {np.shape(treated)[1:]} and {np.shape(control)[1:]}, expected the same")
    found = [compare(*arms, level=level) for arms in zip(np.transpose(treated), np.transpose(control), strict=True)]
    lift, std = np.array([one.lift for one in found]), np.array([one.std for one in found])
    return Looks(
        lift=lift, std=std, fixed=quantile(level) * std, valid=always_valid_reach(std**2, tau=tau, level=level),
        p_value=always_valid_p(lift, std**2, tau=tau),
    )  # fmt: skip


@dataclass(frozen=True)
class Calls:
    """Shares of tests that called a difference: who looks once at the end, who stops at the first look that seems
    significant, who reads the always-valid p-value."""

    at_the_end: float
    peeking: float
    always_valid: float


def calls(noise: np.ndarray, *, effect: float = 0.0, level: float = 0.95) -> Calls:
    """What comes of tests that are looked at L times, at equal distances.

    Args:
        noise: standard normal numbers (tests, L), one for what each test learns between two looks.
        effect: the true one, in standard errors of the last look. 0: an A/A test.
    """
    z = paths(noise, effect)
    variance = 1 / np.arange(1, z.shape[1] + 1)  # in units of one look's
    p = always_valid_p(z * np.sqrt(variance), variance, tau=mixture(variance[-1], level=level))
    beyond = np.abs(z) > quantile(level)
    shares = beyond[:, -1].mean(), beyond.any(axis=1).mean(), (p[:, -1] < 1 - level).mean()
    return Calls(*map(float, shares))


def paths(noise: np.ndarray, effect: float = 0.0) -> np.ndarray:
    """Estimates in standard errors at each look, (tests, L) -> (tests, L): each look adds as many users."""
    noise = np.asarray(noise, float)
    look = np.arange(1, noise.shape[1] + 1)
    return np.cumsum(noise, axis=1) / np.sqrt(look) + effect * np.sqrt(look / len(look))


def _best_ratio(level: float) -> float:
    """tau^2 / V of the narrowest interval."""

    def width(log_ratio: float) -> float:
        ratio = np.exp(log_ratio)
        return (1 + ratio) / ratio * (2 * np.log(1 / (1 - level)) + np.log1p(ratio))

    return float(np.exp(optimize.minimize_scalar(width, bounds=(-3, 6), method="bounded").x))
