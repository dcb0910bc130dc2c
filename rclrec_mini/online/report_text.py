"""The report of a test for people, in Markdown."""

from collections.abc import Mapping
from typing import Any


def markdown(result: Mapping[str, Any]) -> str:
    """All tables of what report.py found."""
    settings = result["settings"]
    lines = [
        f"Results from the simulated shop: {result['users']:,} users, {result['days']} days, against "
        f"{result['control']}. Intervals are {100 * settings['level']:g}% over users.",
        "",
        *_per_user(result),
        *_lifts(result),
        *_trust(result),
        *_sizes(result),
        *_offline(result),
        *_off_policy(result),
    ]
    return "\n".join(lines) + "\n"


def interval(found: Mapping[str, float], digits: int = 2) -> str:
    """A lift in per cent with its interval."""
    value, low, high = (f"{100 * found[key]:+.{digits}f}" for key in ("lift", "low", "high"))
    return f"{value} [{low}, {high}]"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]] + [""]


def _per_user(result: Mapping[str, Any]) -> list[str]:
    names = list(next(iter(result["arms"].values()))["per_user"])
    rows = [
        [arm, *(f"{found['per_user'][name]:.3f}" if name != "revenue" else f"{found['per_user'][name]:.2f}"
                for name in names)]
        for arm, found in result["arms"].items()
    ]  # fmt: skip
    return ["What a user does, mean.", "", *_table(["", *(name.replace("_", " ") for name in names)], rows)]


def _lifts(result: Mapping[str, Any]) -> list[str]:
    arms = {arm: found for arm, found in result["arms"].items() if "test" in found}
    true = [[arm, *map(interval, found["lift"].values())] for arm, found in arms.items() if "lift" in found]
    lines = []
    if true:
        lines += [
            "True lifts over the control, in %, over all users, each of whom lived under both arms. Lasting orders "
            "leave out those that cancel one after the test.", "",
            *_table(["", "orders", "revenue", "lasting orders"], true),
        ]  # fmt: skip
    rows = []
    for arm, found in arms.items():
        for metric, test in found["test"].items():
            called = f"{100 * found['called'][metric]['plain']:.0f}%" if "called" in found else ""
            p_values = test["plain"]["holm"], test["looks"]["p_value"][-1]
            rows.append([
                arm, metric, interval(test["plain"], 1), interval(test["cuped"], 1), *(f"{p:.3f}" for p in p_values),
                called,
            ])  # fmt: skip
    share = f"{100 * result['settings']['share']:g}% of the users in each arm"
    words = f"What a test with {share if true else 'the users dealt to each arm'} sees, in %."
    head = ["", "", "lift", "with CUPED", "p, Holm", "p, always valid", "such tests that call it"]
    return [*lines, words, "", *_table(head, rows)]


def _trust(result: Mapping[str, Any]) -> list[str]:
    if "aa" not in result:
        return []
    names = ("plain", "cuped", "peeking", "always_valid")
    rows = [[metric, *(f"{100 * found[name]:.1f}" for name in names)] for metric, found in result["aa"].items()]
    words = f"Of {result['settings']['aa']:,} tests of the control against itself, in %, those that call a difference."
    return [words, "", *_table(["", "at the end", "with CUPED", "at any look", "always valid"], rows)]


def _sizes(result: Mapping[str, Any]) -> list[str]:
    rows = []
    for metric, found in result["power"].items():
        shop = result["shop"][metric]
        sizes = [f"{one['users']:,.0f}" for one in found["tails"].values()]
        spread = f"{shop['mean']:.3g}", f"{shop['cv']:.2f}", f"{shop['corr']:.2f}"
        rows.append([metric, *spread, *sizes, f"{found['cuped']:,.0f}"])
    tails = list(next(iter(result["power"].values()))["tails"])
    lines = ["Users an arm to see +2% with a power of 80%.", ""]
    lines += _table(["", "mean", "cv", "corr", *tails, "with CUPED"], rows)
    rows = []
    for metric, found in result["paper"].items():
        ends = [f"[{100 * low:+.2f}, {100 * high:+.2f}]" for low, high in found["intervals"].values()]
        rows.append([metric, f"{100 * found['lift']:+.2f}", *ends, f"{found['users']:,.0f}"])
    sizes = list(next(iter(result["paper"].values()))["intervals"])
    lines += ["The published lifts, in %, and the interval each could have had with this shop's spread, by all users "
              "of the platform, a quarter of them in each arm.", ""]  # fmt: skip
    return lines + _table(["", "published", *sizes, "users to leave out 0"], rows)


def _offline(result: Mapping[str, Any]) -> list[str]:
    if "offline" not in result:
        return []
    arms = list(result["arms"])
    rows = [
        [metric, *(f"{100 * by_arm[arm]['mean']:.1f}" for arm in arms)] for metric, by_arm in result["offline"].items()
    ]
    lines = ["Offline, in %, on the last purchases of the log's users.", "", *_table(["", *arms], rows)]
    if "agreement" not in result:
        return lines
    online, rows = list(result["agreement"]), []
    for metric in result["offline"]:
        cells = [result["agreement"][one][metric] for one in online]
        texts = [f"{c['correlation']:+.2f} [{c['low']:+.2f}, {c['high']:+.2f}]" for c in cells]
        wrong = [str(len(result["reversals"][one][metric])) for one in online]
        rows.append([metric, *(cell for pair in zip(texts, wrong, strict=True) for cell in pair)])
    head = ["", *(cell for one in online for cell in (one.replace("_", " "), "reversed"))]
    words = "Rank correlation of offline metric and online outcome over the arms, and pairs that are surely reversed."
    return [*lines, words, "", *_table(head, rows)]


def _off_policy(result: Mapping[str, Any]) -> list[str]:
    if "off_policy" not in result:
        return []
    rows = []
    for arm, found in result["off_policy"].items():
        cells = [
            f"{1000 * one['value']:.2f} ± {1000 * one['std']:.2f}" for kind, one in found.items() if kind != "truth"
        ]
        rows.append([arm, f"{1000 * found['truth']:.2f}", *cells])
    kinds = [kind for kind in next(iter(result["off_policy"].values())) if kind != "truth"]
    words = "Orders in 1,000 first visits: the truth, and estimates from logged slates with their standard errors."
    return [words, "", *_table(["", "truth", *kinds], rows)]
