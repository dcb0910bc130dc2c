"""A report for people and for spreadsheets: Markdown and CSV of what reports.py found."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from rclrec_mini.experiments.tables import METRICS


def percent(estimate: Mapping[str, float]) -> str:
    """A mean with its interval and, of several seeds, their standard deviation."""
    text = f"{100 * estimate['mean']:.1f} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"
    return text if estimate["seeds"] == 1 else f"{text} ± {100 * estimate['seed_std']:.1f}"


def line_of(cells: Iterable[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def markdown(result: Mapping[str, Any]) -> str:
    """The table for people."""
    seeds = " or ".join(map(str, sorted({len(row["seeds"]) for row in result["rows"].values()})))
    seeds += " seed" if seeds == "1" else " seeds"
    lines = [
        f"{result['table']}, {result['data']}, preset {result['preset']}: {result['targets']:,} test purchases, "
        f"{result['items']:,} items, all ranked; in %, 95% intervals over users, {seeds} (± their standard deviation).",
        "",
    ]
    header = [
        "",
        "R@5",
        "R@10",
        "N@5",
        "N@10",
        "N@10 against",
        "N@10 to the count",
        "stage one alone, N@10",
        "parameters",
        "minutes",
    ]
    paper = ["R@5", "R@10", "N@5", "N@10"] if result["paper"] else []
    lines.append(line_of(header + [f"paper {name}" for name in paper]))
    lines.append("|---" * (len(header) + len(paper)) + "|")
    for name, row in {**result["rows"], **result["naive"]}.items():
        cells = [name, *(percent(row[metric]) for metric in METRICS), versus(row.get("against"))]
        cells.append(gained(row["to_count"]["ndcg@10"]) if "to_count" in row else "")
        if "stage_one" in row:
            cells += [percent(row["stage_one"]["ndcg@10"]), f"{row['parameters']:,}", f"{row['seconds'] / 60:.1f}"]
        else:
            cells += ["", "", ""]
        cells += [f"{row['paper'][m]:.2f}" if "paper" in row else "" for m in METRICS] if paper else []
        lines.append(line_of(cells))
    if result["paper"]:
        lines += ["", f"The columns of the paper are from {result['paper']}: other data, so compare order, not size."]
    lines += ["", *origins(result), *seen(result), *curves(result), *journeys(result), *groups(result)]
    return "\n".join(lines) + "\n"


def gained(test: Mapping[str, Any]) -> str:
    """A paired difference, in %, with its interval."""
    return f"{100 * test['difference']:+.1f} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]"


def versus(against: Mapping[str, Any] | None) -> str:
    if against is None:
        return ""
    test = against["ndcg@10"]
    return f"{gained(test)}, p {test['p_value']:.4f}, {against['other']}"


def origins(result: Mapping[str, Any]) -> list[str]:
    """Where the numbers come from: code, device, and what the search chose for each method."""
    runs = [run for row in result["rows"].values() for run in row["runs"].values()]
    devices = " and ".join(sorted({run["device"] for run in runs}))
    lines = [f"Runs of commit {', '.join(sorted({run['commit'] for run in runs}))} on {devices}."]
    chosen = {row["method"]: row["search"] for row in result["rows"].values() if "search" in row}
    if chosen:
        points = " or ".join(sorted({str(len(found["points"])) for found in chosen.values()}))
        best = (f"{name} {found['best']['lr']:g}, {found['best']['dropout']:g}" for name, found in chosen.items())
        lines[0] += f" Learning rate of stage one and dropout, the best of {points} points each: {'; '.join(best)}."
    second = {name: row["search_two"] for name, row in result["rows"].items() if "search_two" in row}
    if second:
        points = " or ".join(sorted({str(len(found["points"])) for found in second.values()}))
        best = (f"{name} {found['best']['lr']:g}" for name, found in second.items())
        lines[0] += f" Learning rate of stage two, the best of {points} points each: {'; '.join(best)}."
    return [*lines, ""]


def seen(result: Mapping[str, Any]) -> list[str]:
    """Each row among targets that the history holds, which may be copied, and among the others; what it is told."""
    rows = {**result["rows"], **result["naive"]}
    targets = {among: next(iter(rows.values()))[among].get("targets", 0) for among in ("seen", "unseen")}
    lines = [
        f"Among the {targets['seen']:,} targets whose item is in the history (seen) and the other "
        f"{targets['unseen']:,}, in %. All methods read the items of the history in their order; told is what else.",
        "",
        "| | seen R@10 | seen N@10 | unseen R@10 | unseen N@10 | told |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [
            percent(row[among][metric]) if metric in row[among] else ""
            for among in targets
            for metric in ("recall@10", "ndcg@10")
        ]
        lines.append(line_of([name, *cells, ", ".join(row.get("told", ()))]))
    return [*lines, ""]


def curves(result: Mapping[str, Any]) -> list[str]:
    """N@10 on validation targets after a quarter, half and all of stage one, and after stage two: who still rises?"""
    lines = [
        "N@10 on validation targets (in %) by minutes of training: after a quarter, half and all steps of stage one, "
        "and at the best of stage two. Attention of [MASK]: its entropy in each layer, 1 where it is uniform",
        "",
        "| | quarter | half | stage one | stage two | best of stage one at its end | attention of [MASK] |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        first, second = row["curve"]["stage_one"], row["curve"]["stage_two"]
        end = first[-1]
        budgets = [min(first, key=lambda p: abs(p["step"] - share * end["step"])) for share in (0.25, 0.5)]
        best = max(second, key=lambda p: p["ndcg@10"])
        cells = [f"{100 * p['ndcg@10']:.1f} ({p['minutes']:.1f} min)" for p in (*budgets, end, best)]
        rising = "yes" if max(first, key=lambda p: p["ndcg@10"]) is end else "no"
        entropy = ", ".join(f"{layer:.2f}" for layer in row.get("attention_entropy", ()))
        lines.append(line_of([name, *cells, rising, entropy]))
    return [*lines, ""]


def journeys(result: Mapping[str, Any]) -> list[str]:
    """Which events of the true journeys a method selects or attends to, and what its selector is taught by."""
    rows = {name: row for name, row in result["rows"].items() if "journey" in row}
    if not rows:
        return []
    names = ("target", "prefix", "quality", "supervision")
    lines = [
        "Events selected (RCLRec) or attended to most (the others) that belong to the purchase's journey, in %; share "
        "of samples with an active hinge; norm of the gradient that reaches the selector from each term, over training",
        "",
        "| | precision | recall | hinge active | " + " | ".join(names) + " |",
        "|---" * (4 + len(names)) + "|",
    ]
    for name, row in rows.items():
        log = row["log"]
        gradients = [log.get(f"selector_gradient_{term}") for term in names]
        cells = [name, *(percent(row["journey"][part]) for part in ("precision", "recall"))]
        cells += [f"{100 * log['hinge_active']:.0f}" if "hinge_active" in log else ""]
        cells += ["" if norm is None else f"{norm:.3f}" for norm in gradients]
        lines.append(line_of(cells))
    return [*lines, ""]


def groups(result: Mapping[str, Any]) -> list[str]:
    """Recall@10 in each group of targets."""
    rows, lines = {**result["rows"], **result["naive"]}, []
    for title in next(iter(rows.values()))["groups"]:
        names = {group: one["targets"] for row in rows.values() for group, one in row["groups"][title].items()}
        lines += [f"R@10 by {title}", "", "| | " + " | ".join(f"{n} ({names[n]:,})" for n in names) + " |"]
        lines.append("|---" * (1 + len(names)) + "|")
        for name, row in rows.items():
            cells = [percent(row["groups"][title][group]["estimate"]) for group in names]
            lines.append(line_of([name, *cells]))
        lines.append("")
    return lines


def comma_separated(result: Mapping[str, Any]) -> str:
    """One line a row and metric, shares instead of per cent."""
    text = io.StringIO()
    ends = ("mean", "low", "high", "seed_std", "seeds")
    writer = csv.writer(text, lineterminator="\n")
    compared = ("against", "difference", "difference_low", "difference_high", "p_value")
    writer.writerow(["data", "row", "metric", "targets", *ends, *compared, "parameters", "seconds", "paper"])
    for name, row in {**result["rows"], **result["naive"]}.items():
        for metric in METRICS:
            against = row.get("against", {})
            test = against.get(metric, {})
            difference = [test.get(key, "") for key in ("difference", "low", "high", "p_value")]
            paper = row["paper"][metric] / 100 if "paper" in row else ""
            facts = [row.get("parameters", ""), row.get("seconds", ""), paper]
            line = [result["data"], name, metric, "all", *(row[metric][end] for end in ends), against.get("other", "")]
            writer.writerow([*line, *difference, *facts])
        for among in ("seen", "unseen"):
            for metric in (m for m in METRICS if m in row[among]):
                writer.writerow([result["data"], name, metric, among, *(row[among][metric][end] for end in ends)])
    return text.getvalue()
