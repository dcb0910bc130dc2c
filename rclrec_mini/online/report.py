"""What a test tells: of each arm the true lift and what a test of some users sees of it, and what had foretold it.

report.json
  shop       a user's orders and revenue under the control: mean, cv, correlation with the time before
  arms       per user: means; lift: over all users, each of whom lived under both arms, as only a simulation knows;
             test: one of a share of the users, plain, with CUPED, always valid; called: how many of such tests
  aa         tests of the control against itself: the share that calls a difference
  power      users an arm to see a lift of 2%; paper: intervals that a published lift could have had
  offline    metrics and estimates of each arm; agreement: their ranks against the test's; reversals
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rclrec_mini.checks import at_least, within
from rclrec_mini.evaluation.metrics import mean_with_interval
from rclrec_mini.files import InputError, whole_file, write_json
from rclrec_mini.online.agreement import agreement, reversals
from rclrec_mini.online.buckets import buckets
from rclrec_mini.online.lift import compare, cuped, holm, paired
from rclrec_mini.online.offline import estimates, offline_values, weights
from rclrec_mini.online.outcomes import BEFORE, Outcomes
from rclrec_mini.online.power import Bucket, Tail, standard_error, users_needed, variation
from rclrec_mini.online.report_text import markdown
from rclrec_mini.online.sequential import looks, mixture
from rclrec_mini.online.slates import Slates

METRICS = ("orders", "revenue")  # what a test decides by
KINDS = ("cannibalised", "pulled_forward", "incremental")  # of orders from slates
PER_USER = ("visits", "clicks", "orders", "revenue", "organic_orders", "cancelled", "slate_orders", *KINDS)
LEAST = 30  # users of each arm who have ordered before a test is looked at: means of fewer are far from normal
PUBLISHED = {"orders": Bucket(lift=0.0186), "revenue": Bucket(lift=0.0209)}  # RCLRec against TIGER, eight days
TAILS = {"as in the shop": Tail(), "lognormal, sigma 1": Tail(sigma=1.0), "Pareto, exponent 2.5": Tail(pareto=2.5)}


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """How outcomes are made into tests.

    Raises:
        InputError: a value is outside its range.
    """

    share: float = 0.25
    """of all users in each of the two arms of a test"""
    salt: str = "rclrec"
    """of the tests that are shown; the others count on from it"""
    salts: int = 200
    """tests of each arm, to count how many call a lift"""
    aa: int = 1000
    """tests of the control against itself"""
    level: float = 0.95
    """of intervals"""

    def __post_init__(self) -> None:
        within(self, 0.01, 0.5, "share")
        within(self, 0.5, 0.999, "level")
        at_least(self, 1, "salts", "aa")


@dataclass(frozen=True, eq=False)
class Bench:
    """The two arms of a test, and what is known of the users before: treated, control (U, D), what each user has done
    by the end of each day under either arm; before (U, numbers); tau of the always-valid interval."""

    treated: np.ndarray
    control: np.ndarray
    before: np.ndarray
    tau: float
    level: float

    def ordered(self, arm: np.ndarray) -> np.ndarray:
        """How many users of the arm that has fewer have ordered by the end of each day, (D,)."""
        arms = self.control[arm == 0], self.treated[arm == 1]
        return np.minimum(*(np.count_nonzero(one, axis=0) for one in arms))

    def test(self, arm: np.ndarray) -> dict[str, Any]:
        """What the test sees whose users of arm 0 live under the control and those of arm 1 under the treatment.

        Raises:
            InputError: an arm orders nothing.
        """
        zero, one, ordered = arm == 0, arm == 1, self.ordered(arm)
        y = np.where(one, self.treated[:, -1], self.control[:, -1])
        inside = zero | one
        adjusted, one_inside = cuped(y[inside], self.before[inside]), one[inside]
        if not ordered[-1]:
            raise InputError(
                f"a test of {inside.sum()} users: found an arm without orders, expected more users or days"
            )
        begun = ordered >= LEAST
        begun[-1] = True
        seen = looks(self.treated[one][:, begun], self.control[zero][:, begun], tau=self.tau, level=self.level)
        return {
            "plain": asdict(compare(y[one], y[zero], level=self.level)),
            "cuped": asdict(compare(adjusted[one_inside], adjusted[~one_inside], level=self.level)),
            "looks": {"day": (1 + np.flatnonzero(begun)).tolist()}
            | {name: values.tolist() for name, values in asdict(seen).items()},
        }

    def calls(self, arms: list[np.ndarray]) -> dict[str, float]:
        """The shares of tests that call a difference: plain, cuped, at any look, and always valid. One in which an arm
        orders nothing calls none."""
        found = [self.test(arm) for arm in arms if self.ordered(arm)[-1]]
        peeked = [(np.abs(one["looks"]["lift"]) > one["looks"]["fixed"]).any() for one in found]
        alpha = 1 - self.level
        called = {
            "plain": [one["plain"]["p_value"] < alpha for one in found],
            "cuped": [one["cuped"]["p_value"] < alpha for one in found],
            "peeking": peeked,
            "always_valid": [one["looks"]["p_value"][-1] < alpha for one in found],
        }
        return {kind: float(np.sum(each) / len(arms)) for kind, each in called.items()}


def write_report(
    out: Path | str, outcomes: Outcomes, *, control: str, rank: np.ndarray | None = None,
    seen: np.ndarray | None = None, slates: Slates | None = None, config: ReportConfig | None = None,
    made: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write report.json and report.md into the folder `out`, and return the former; arguments as of `report`, and
    `made`, the provenance, if it is another than that of the outcomes."""
    result = report(outcomes, control=control, rank=rank, seen=seen, slates=slates, config=config)
    result["made"] = dict(made or outcomes.made)
    write_json(Path(out) / "report.json", result)
    with whole_file(Path(out) / "report.md") as partial:
        partial.write_text(markdown(result), encoding="utf-8")
    return result


def report(
    outcomes: Outcomes, *, control: str, rank: np.ndarray | None = None, seen: np.ndarray | None = None,
    slates: Slates | None = None, config: ReportConfig | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All of it as JSON values.

    Args:
        outcomes: of all arms on all users, or of each user under one arm (then nothing is told of true lifts).
        control: the arm that the others are compared with.
        rank, seen: the log's test purchases, as offline.offline_values.
        slates: logged at first visits, for off-policy estimates.

    Raises:
        InputError: there is no such arm, or too little has been ordered for a test.
    """
    config, base = config or ReportConfig(), outcomes.arm(control)
    by_day = {metric: _so_far(outcomes, metric) for metric in METRICS}  # each (A, U, D)
    before = np.stack([getattr(outcomes, name).astype(float) for name in BEFORE], axis=1)
    living = np.ones(len(outcomes.users), bool) if outcomes.bucket is None else outcomes.bucket == base
    shop = {metric: _shop(values[base, living, -1], before[living]) for metric, values in by_day.items()}
    size = config.share * len(outcomes.users) if outcomes.bucket is None else living.sum()

    def bench(arm: int, metric: str) -> Bench:
        tau = mixture(standard_error(shop[metric]["cv"], size) ** 2, level=config.level)
        return Bench(by_day[metric][arm], by_day[metric][base], before, tau, config.level)

    arms: dict[str, Any] = {}
    for arm, name in enumerate(outcomes.arms):
        mine = living if arm == base or outcomes.bucket is None else outcomes.bucket == arm
        arms[name] = {"per_user": {one: float(outcomes.of(one)[arm, mine].mean()) for one in PER_USER}}
        if arm != base:
            arms[name] |= _tested(outcomes, arm, base, {metric: bench(arm, metric) for metric in METRICS}, config)
    result = {
        "result": "report of a test", "control": control, "users": len(outcomes.users), "days": outcomes.days,
        "settings": asdict(config), "shop": shop, "arms": arms,
        "power": {metric: _power(shop[metric]) for metric in METRICS},
        "paper": {metric: _published(shop[metric], PUBLISHED[metric], config.level) for metric in METRICS},
    }  # fmt: skip
    if outcomes.bucket is None:
        dealt = [_deal(outcomes.users, f"{config.salt} A/A {i}", config.share) for i in range(config.aa)]
        result["aa"] = {metric: bench(base, metric).calls(dealt) for metric in METRICS}
        if rank is not None and seen is not None:
            result |= _foretold(outcomes, rank, seen, slates, config)
    return result


def _judged(outcomes: Outcomes) -> dict[str, np.ndarray]:
    """What arms are judged by, (A, U) each. Lasting orders leave out those that cancel one after the test."""
    judged = {metric: outcomes.of(metric) for metric in METRICS}
    return judged | {"lasting_orders": judged["orders"] - outcomes.of("pulled_forward")}


def _so_far(outcomes: Outcomes, metric: str) -> np.ndarray:
    """What each user has done by the end of each day, (A, U, D)."""
    return np.stack([outcomes.until(day + 1).of(metric) for day in range(outcomes.days)], axis=-1)


def _deal(users: np.ndarray, salt: str, share: float) -> np.ndarray:
    return buckets(users, salt=salt, shares=(share, share))


def _shop(outcome: np.ndarray, before: np.ndarray) -> dict[str, float]:
    left = cuped(outcome, before).var() / outcome.var() if outcome.var() else 1.0
    return {"mean": float(outcome.mean()), "cv": variation(outcome), "corr": float(np.sqrt(max(0.0, 1 - left)))}


def _tested(
    outcomes: Outcomes, arm: int, base: int, benches: Mapping[str, Bench], config: ReportConfig
) -> dict[str, Any]:
    """Of one arm against the control: true lifts, one test, and how many of such tests call a lift."""
    name, found = outcomes.arms[arm], {}
    if outcomes.bucket is None:
        found["lift"] = {
            metric: asdict(paired(values[arm], values[base], level=config.level))
            for metric, values in _judged(outcomes).items()
        }
        dealt = [_deal(outcomes.users, f"{config.salt} {name} {i}", config.share) for i in range(config.salts)]
        found["called"] = {metric: bench.calls(dealt) for metric, bench in benches.items()}
        of_users = dealt[0]
    else:
        of_users = np.select([outcomes.bucket == base, outcomes.bucket == arm], [0, 1], -1)
    test = {metric: bench.test(of_users) for metric, bench in benches.items()}
    for kind in ("plain", "cuped"):
        for metric, p in zip(test, holm([one[kind]["p_value"] for one in test.values()]), strict=True):
            test[metric][kind]["holm"] = float(p)
    return found | {"test": test}


def _power(shop: Mapping[str, float], lift: float = 0.02) -> dict[str, Any]:
    """Users an arm to see a lift at 80%."""
    tails = {}
    for name, tail in TAILS.items():
        cv = tail.variation(shop["cv"])
        tails[name] = {"cv": cv, "users": users_needed(cv, lift)}
    with_cuped = users_needed(shop["cv"], lift, corr=shop["corr"])
    return {"lift": lift, "users": users_needed(shop["cv"], lift), "cuped": with_cuped, "tails": tails}


def _published(shop: Mapping[str, float], bucket: Bucket, level: float) -> dict[str, Any]:
    sizes = {"1 million": 1e6, "10 million": 1e7, "100 million": 1e8}
    intervals = {name: list(bucket.interval(users, shop["cv"], level=level)) for name, users in sizes.items()}
    return {"lift": bucket.lift, "intervals": intervals, "users": bucket.users(shop["cv"], level=level)}


def _foretold(
    outcomes: Outcomes, rank: np.ndarray, seen: np.ndarray, slates: Slates | None, config: ReportConfig
) -> dict[str, Any]:
    """Offline metrics of each arm, how they agree with each online outcome over the arms that show anything, and the
    pairs that they mislead on."""
    of_targets = offline_values(rank, seen, slates)
    offline: dict[str, Any] = {
        metric: {
            name: asdict(mean_with_interval(row, level=config.level))
            for name, row in zip(outcomes.arms, rows, strict=True)
        }
        for metric, rows in of_targets.items()
    }
    online = _judged(outcomes)
    found: dict[str, Any] = {"offline": offline}
    if slates is not None:
        found["weights"] = dict(zip(("seen", "unseen"), weights(slates), strict=True))
        truth = zip(outcomes.arms, slates.orders.mean(axis=1), strict=True)
        found["off_policy"] = {}
        for arm, (name, true) in enumerate(truth):
            values = estimates(slates, arm, level=config.level)
            found["off_policy"][name] = {"truth": float(true)} | {kind: asdict(one) for kind, one in values.items()}
    shows = np.flatnonzero(outcomes.of("clicks").any(axis=1))
    if len(shows) > 2:
        of_targets = {name: rows[shows] for name, rows in of_targets.items()}
        online = {metric: values[shows] for metric, values in online.items()}
        names = [outcomes.arms[arm] for arm in shows]
        found["agreement"] = {
            metric: {name: asdict(one) for name, one in agreement(of_targets, values, level=config.level).items()}
            for metric, values in online.items()
        }
        found["reversals"] = {
            metric: {name: reversals(names, rows, values) for name, rows in of_targets.items()}
            for metric, values in online.items()
        }
    return found
