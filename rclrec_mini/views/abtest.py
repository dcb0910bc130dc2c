"""The book's figures of an A/B test, and its live view: a test that runs, looked at as often as one likes.

running_test(cv=3.1)     # in a notebook: the view
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rclrec_mini.files import InputError
from rclrec_mini.online.lift import quantile
from rclrec_mini.online.power import standard_error
from rclrec_mini.online.sequential import always_valid_reach, calls, mixture, paths
from rclrec_mini.views.explorables import small_page
from rclrec_mini.views.live.page import Page
from rclrec_mini.views.style import INK, PALETTE, colors, subplots

DAYS, TESTS, SEED = 28, 1000, 0
LOOKS = (1, 2, 4, 7, 14, 28)
MARKERS = "os^DvP*Xhdp"
USERS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)


def day_noise(tests: int = TESTS, days: int = DAYS, *, seed: int = SEED) -> np.ndarray:
    """The live view's standard normal numbers, (tests, days): the twin of live/js/running_test.js."""
    with np.errstate(over="ignore"):  # 32 bits that wrap around
        key = _mix(_mix(np.array([seed + 1], np.uint32)) + np.arange(tests, dtype=np.uint32))[:, None]
        number = 2 * np.arange(days, dtype=np.uint32)
        one, two = ((_mix(key ^ _mix(number + np.uint32(i))) + 0.5) / 2.0**32 for i in (1, 2))
    return np.sqrt(-2 * np.log(one)) * np.cos(2 * np.pi * two)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def running(effect: float, users: int, looks: int, test: int, *, cv: float) -> dict[str, Any]:
    """What the live view shows, by the library: lift and half of both intervals of one test at its looks, the days on
    which it is called (None: never), and the shares called of all tests without an effect and with it."""
    noise = day_noise().reshape(TESTS, looks, DAYS // looks).sum(axis=2) / np.sqrt(DAYS // looks)
    day = np.arange(1, looks + 1) * (DAYS // looks)
    std = standard_error(cv, users * day)
    lift = effect + paths(noise)[test - 1] * std
    halves = {"fixed": quantile(0.95) * std, "valid": always_valid_reach(std**2, tau=mixture(std[-1] ** 2))}
    called = {kind: np.flatnonzero(np.abs(lift) > half) for kind, half in halves.items()}
    first = {kind: int(day[looks[0]]) if len(looks) else None for kind, looks in called.items()}
    shares = {"nothing": calls(noise), "effect": calls(noise, effect=effect / std[-1])}
    return {"day": day, "lift": lift, **halves, "first": first, "shares": shares}


def running_test(*, cv: float, effect: float = 0.0, users: int = 10_000, looks: int = 28, test: int = 1) -> Page:
    """A test of 28 days with a slider each for the true effect, users a day, looks, and which of 1,000 tests it is.

    Args:
        cv: standard deviation of a user's outcome over its mean.
        effect, users (a day and arm), looks, test: to begin with.

    Raises:
        InputError: users or looks are none that the sliders have, or cv is not above 0.
    """
    for name, value, known in (("users", users, USERS), ("looks", looks, LOOKS), ("test", test, range(1, TESTS + 1))):
        if value not in known:
            raise InputError(f"{name}: found {value}, expected one of {', '.join(map(str, known[:9]))}")
    if not cv > 0:
        raise InputError(f"cv: found {cv}, expected more than 0")
    found = running(effect, users, looks, test, cv=cv)
    day, lift = found["day"], 100 * found["lift"]

    def draw(axes: Axes) -> None:
        for half, color in (("valid", PALETTE[2]), ("fixed", PALETTE[0])):
            reach = 100 * found[half]
            axes.fill_between(day, lift - reach, lift + reach, color=color, alpha=0.25, linewidth=0)
        axes.plot(day, lift, "o-", color=PALETTE[0], markersize=3)
        axes.axhline(100 * effect, color=INK, linestyle="--")
        most = 400 * found["fixed"][-1]
        axes.set(xlabel="day", ylabel="lift (%)", ylim=(lift[-1] - most, lift[-1] + most))

    none = found["shares"]["nothing"]
    words = (
        f"The lift that a test of {DAYS} days shows at {looks} looks, with its interval at a fixed horizon (blue) and "
        f"the always-valid one (green). Of {TESTS:,} tests without an effect, who stops once it looks significant "
        f"calls {100 * none.peeking:.1f} in 100, who reads the always-valid interval {100 * none.always_valid:.1f}."
    )
    numbers = {
        "cv": cv, "days": DAYS, "tests": TESTS, "seed": SEED, "ratio": mixture(1.0) ** 2, "looks": list(LOOKS),
        "users": list(USERS),
    }  # fmt: skip
    return small_page(
        "running-test", numbers, {"effect": effect, "users": users, "looks": looks, "test": test}, draw, words,
        missed="you can move effect, users and looks, walk through a thousand tests, and see who is fooled",
    )  # fmt: skip


# ---- figures -----------------------------------------------------------------------------------------------------


def aa_histogram(p_values: Mapping[str, Sequence[float]]) -> Figure:
    """p-values of tests without an effect, a panel for each kind of test: flat where the test is honest."""
    figure, axes = subplots(1, len(p_values), figsize=(9, 2.8), sharey=True, squeeze=False)
    for axis, (name, values), hue in zip(axes[0], p_values.items(), colors(len(p_values)), strict=True):
        count, _, bars = axis.hist(values, bins=np.linspace(0, 1, 21), color=hue)
        bars[0].set_edgecolor(INK)
        bars[0].set_linewidth(2)
        axis.axhline(len(values) / 20, color=INK, linestyle="--")
        axis.set(xlabel="p", title=f"{name}\n{100 * count[0] / len(values):.1f}% below 0.05")
    axes[0, 0].set_ylabel("tests")
    return figure


def power_curves(
    users: np.ndarray, formula: Mapping[str, np.ndarray], played: Mapping[str, Mapping[float, float]]
) -> Figure:
    """Power by users an arm: lines by formula, dots as played, {users: share}."""
    figure, axis = subplots(figsize=(8, 3.6))
    for (name, values), hue, marker in zip(formula.items(), colors(len(formula)), cycle(MARKERS), strict=False):
        axis.plot(users, values, color=hue, label=name)
        axis.plot(*zip(*played.get(name, {}).items(), strict=True), marker, color=hue) if name in played else None
    axis.axhline(0.8, color=INK, linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="users in each arm", ylabel="power", ylim=(0, 1.02))
    axis.legend()
    return figure


def peeking(looks: Sequence[int], found: Mapping[str, Sequence[float]]) -> Figure:
    """Shares of A/A tests that are called, by number of looks, a line for each way to read them."""
    figure, axis = subplots(figsize=(8, 3.2))
    for (name, shares), hue, marker in zip(found.items(), colors(len(found)), cycle(MARKERS), strict=False):
        axis.plot(looks, 100 * np.asarray(shares), color=hue, marker=marker, label=name)
    axis.axhline(5, color=INK, linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="looks", ylabel="called without an effect (%)", ylim=(0, None))
    axis.set_xticks(list(looks), [str(n) for n in looks])
    axis.minorticks_off()
    axis.legend()
    return figure


def worth(report: Mapping[str, Any]) -> pd.DataFrame:
    """Of each arm but the control, the best first, in per cent: true lifts with half of their intervals, what one test
    sees of the orders, and how many of such tests call a lift.

    Args:
        report: of online/report.py.
    """

    def cell(found: Mapping[str, float]) -> str:
        return f"{100 * found['lift']:+.1f} ± {50 * (found['high'] - found['low']):.1f}"

    arms = {arm: found for arm, found in report["arms"].items() if "lift" in found}
    arms = dict(sorted(arms.items(), key=lambda pair: -pair[1]["lift"]["orders"]["lift"]))
    rows = {
        arm: [
            *map(cell, found["lift"].values()), cell(found["test"]["orders"]["plain"]),
            f"{100 * found['called']['orders']['plain']:.0f}",
        ]
        for arm, found in arms.items()
    }  # fmt: skip
    titles = [name.replace("_", " ") for name in next(iter(arms.values()))["lift"]]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*titles, "one test", "called (%)"])


def foretold(report: Mapping[str, Any]) -> pd.DataFrame:
    """How each offline metric ranks the arms by orders, and by lasting ones: rank correlation with its interval, and
    how many pairs of arms it surely reverses by orders.

    Args:
        report: of online/report.py.
    """

    def cell(found: Mapping[str, float]) -> str:
        return f"{found['correlation']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"

    agreed = {name: report["agreement"][name] for name in ("orders", "lasting_orders")}
    reversed_ = report["reversals"]["orders"]
    rows = {
        metric: [*(cell(by_metric[metric]) for by_metric in agreed.values()), len(reversed_[metric])]
        for metric in agreed["orders"]
    }
    titles = [*(name.replace("_", " ") for name in agreed), "reversed pairs"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=titles)


def gains(rows: pd.DataFrame) -> Figure:
    """Shares in per cent, a group of bars a row, a bar a column."""
    figure, axis = subplots(figsize=(8, 3.2))
    width = 0.8 / len(rows.columns)
    for i, (name, hue) in enumerate(zip(rows.columns, colors(len(rows.columns)), strict=True)):
        place = np.arange(len(rows)) + width * (i - (len(rows.columns) - 1) / 2)
        bars = axis.bar(place, 100 * rows[name], width, color=hue, label=name)
        axis.bar_label(bars, fmt="%.1f", color=INK, padding=2, fontsize=9)
    axis.set_xticks(range(len(rows)), list(rows.index))
    axis.set(ylabel="% of orders without any")
    axis.margins(y=0.12)
    axis.legend()
    return figure


def lifts(rows: Mapping[str, Mapping[str, Mapping[str, float]]], *, titles: Sequence[str]) -> Figure:
    """Lifts of each arm with their intervals, in per cent.

    Args:
        rows: of each arm, under each title {lift, low, high}; a panel a title.
    """
    figure, axes = subplots(1, len(titles), figsize=(9, 0.6 + 0.42 * len(rows)), sharey=True, squeeze=False)
    place = np.arange(len(rows))[::-1]
    for axis, title, hue in zip(axes[0], titles, colors(len(titles)), strict=True):
        value, low, high = (
            100 * np.array([row[title][key] for row in rows.values()]) for key in ("lift", "low", "high")
        )
        axis.errorbar(value, place, xerr=[value - low, high - value], fmt="o", color=hue)
        axis.axvline(0, color=INK, linewidth=1)
        axis.set(xlabel="lift (%)", title=title.replace("_", " "))
    axes[0, 0].set_yticks(place, list(rows))
    return figure


def offline_online(
    offline: Mapping[str, Mapping[str, Mapping[str, float]]], online: Mapping[str, Mapping[str, float]], *, ylabel: str
) -> Figure:
    """Arms by what an offline metric says of them and by their lift, a panel a metric, both with intervals.

    Args:
        offline: of each metric and arm {mean, low, high}.
        online: of each arm {lift, low, high}; the control is 0.
    """
    figure, axes = subplots(1, len(offline), figsize=(9, 3.6), sharey=True, squeeze=False)
    for axis, (metric, by_arm) in zip(axes[0], offline.items(), strict=True):
        for (arm, lift), hue, marker in zip(online.items(), colors(len(online)), cycle(MARKERS), strict=False):
            x, y = by_arm[arm], {key: 100 * lift[key] for key in ("lift", "low", "high")}
            reach = [[100 * (x["mean"] - x["low"])], [100 * (x["high"] - x["mean"])]]
            axis.errorbar(
                100 * x["mean"], y["lift"], xerr=reach, yerr=[[y["lift"] - y["low"]], [y["high"] - y["lift"]]],
                fmt=marker, color=hue, label=arm,
            )  # fmt: skip
        axis.axhline(0, color=INK, linewidth=1)
        axis.set(xlabel=f"{metric} (%)")
    axes[0, 0].set_ylabel(ylabel)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure
