r"""What a treatment adds to the mean outcome of a user: relative lifts, their intervals, and a correction for several.

With means $\bar y_T$, $\bar y_C$ over the users of two arms (Deng, Knoblich and Lu, 2018):

    lift = \bar y_T / \bar y_C - 1,    var = (s_T^2 / n_T + (1 + lift)^2 s_C^2 / n_C) / \bar y_C^2    (delta method)

CUPED (Deng et al., 2013) takes out of y what the time before the test, which no treatment can have changed, foretells:

    y' = y - theta (x - \bar x),      theta = cov(x, y) / var(x),      var(y') = (1 - corr(x, y)^2) var(y)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rclrec_mini.evaluation.metrics import bootstrap_means
from rclrec_mini.files import InputError


@dataclass(frozen=True)
class Lift:
    """A relative lift with its standard error and interval; the p-value is two-sided, and below 1 - level just when
    the interval leaves out 0. control, treated: means of a user. users: of both arms."""

    control: float
    treated: float
    lift: float
    std: float
    low: float
    high: float
    p_value: float
    users: int


def compare(treated: np.ndarray, control: np.ndarray, *, level: float = 0.95) -> Lift:
    """The lift between two arms with the delta method's interval.

    Args:
        treated, control: one outcome a user, (n_T,) and (n_C,).
        level: of the interval.

    Raises:
        InputError: an arm has fewer than two users, or the control's mean is not above 0.
    """
    treated, control = _checked(treated), _checked(control)
    ratio = treated.mean() / _base(control)
    variance = treated.var(ddof=1) / len(treated) + ratio**2 * control.var(ddof=1) / len(control)
    return _lift(treated, control, np.sqrt(variance) / control.mean(), len(treated) + len(control), level)


def paired(treated: np.ndarray, control: np.ndarray, *, level: float = 0.95) -> Lift:
    """The lift when both outcomes of each user are known, (U,) and (U,): only a simulation knows them. The interval
    speaks of other users like these.

    Raises:
        InputError: as compare, or the users are not the same.
    """
    treated, control = _checked(treated), _checked(control)
    if treated.shape != control.shape:
        raise InputError(f"users: found {len(treated)} and {len(control)}, expected the same")
    rest = treated - treated.mean() / _base(control) * control  # of mean 0
    return _lift(treated, control, rest.std(ddof=1) / np.sqrt(len(rest)) / control.mean(), len(rest), level)


def bootstrap(
    treated: np.ndarray, control: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Lift:
    """As compare; standard error and interval (percentiles) come from resampled users of each arm."""
    plain = compare(treated, control, level=level)
    means = [
        bootstrap_means(np.asarray(arm, float), resamples=resamples, seed=seed + i)
        for i, arm in enumerate((treated, control))
    ]
    lifts = means[0] / means[1] - 1
    low, high = np.quantile(lifts, [(1 - level) / 2, (1 + level) / 2])
    p_value = 2 * (1 + min((lifts <= 0).sum(), (lifts >= 0).sum())) / (1 + resamples)
    return Lift(
        plain.control, plain.treated, plain.lift, float(lifts.std(ddof=1)), float(low), float(high),
        float(min(1.0, p_value)), plain.users,
    )  # fmt: skip


def cuped(outcome: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Outcomes without what the time before foretells, (U,) -> (U,); the mean over all of them stays.

    Args:
        outcome: of the users of all arms together, so that no arm has a theta of its own.
        before: what is known of them from before the test, (U,) or (U, numbers).

    Raises:
        InputError: the numbers of users differ.
    """
    outcome, before = np.asarray(outcome, float), np.asarray(before, float)
    if outcome.ndim != 1 or len(before) != len(outcome):
        raise InputError(f"before: found {before.shape}, expected one row for each of the outcomes {outcome.shape}")
    x = before.reshape(len(before), -1)
    x = x - x.mean(axis=0)
    theta, *_ = np.linalg.lstsq(x, outcome - outcome.mean(), rcond=None)
    return outcome - x @ theta


def per(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """A ratio of two sums as a mean of users, so that compare may be asked for clicks a visit: (U,), (U,) -> (U,).

    The delta method's linear form, y / \\bar x - (\\bar y / \\bar x^2)(x - \\bar x): its mean is the ratio, its
    variance that of the ratio. Dividing by visits as if they were independent is wrong: a user's visits are alike.

    Raises:
        InputError: the denominator has no mean above 0.
    """
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    below = _base(denominator)
    ratio = numerator.mean() / below
    return ratio + (numerator - ratio * denominator) / below


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values: calling those below alpha calls any true null with at most that probability. (m,)"""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))).clip(max=1)
    return adjusted[np.argsort(order, kind="stable")]


def quantile(level: float) -> float:
    """How many standard errors an interval of this level reaches to either side."""
    return float(stats.norm.ppf((1 + level) / 2))


def _lift(treated: np.ndarray, control: np.ndarray, std: float, users: int, level: float) -> Lift:
    lift = treated.mean() / control.mean() - 1
    p_value = 2 * stats.norm.sf(abs(lift) / std) if std else float(lift == 0)
    ends = lift + quantile(level) * std * np.array([-1, 1])
    numbers = control.mean(), treated.mean(), lift, std, *ends, p_value
    return Lift(*map(float, numbers), users)


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise InputError(f"outcomes: found {values.shape}, expected finite numbers, one for each of two users or more")
    return values


def _base(control: np.ndarray) -> float:
    if not control.mean() > 0:
        raise InputError(f"control: found a mean of {control.mean():g}, expected more than 0")
    return control.mean()
