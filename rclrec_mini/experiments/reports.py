"""Tables 1 and 2 and Figure 3 from the runs of a study: JSON with everything, Markdown and CSV to read.

Means are over test targets, one a user, with 95% bootstrap intervals over users; seeds are averaged within each user
first (evaluation/metrics.py). Each row is compared on the same users with the best other trained method (table1), or
with fine-tuning without a prefix from the same stage one (table2, figure3). The paper's numbers stand beside ours,
under the name of the data that they come from: they were made from other data, so only their order and their ratios
can be compared.
"""

import csv
import io
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from rclrec_mini.evaluation.heuristics import CoOccurrence, FrequencyDecay, Markov, Popularity, most_recent
from rclrec_mini.evaluation.metrics import mean_with_interval, ndcg, paired_test, rank_of, recall, summarize
from rclrec_mini.evaluation.slices import by_slice, slices
from rclrec_mini.experiments.jobs import LISTED, load_materials
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.studies import Study
from rclrec_mini.experiments.tables import BASE, PRACTISED_BASE, Row, base_of
from rclrec_mini.files import InputError, read_json, whole_file, write_json

METRICS = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
TOLD = "oracle-k"  # is told the truth: no method can be compared with it
PAPER: dict[str, tuple[str, dict[str, tuple[float, ...]]]] = {  # METRICS in per cent, arXiv version
    "table1": (
        "Tmall (the paper, Table 1)",
        {
            "SASRec": (39.36, 44.79, 30.66, 32.72),
            "BERT4Rec": (40.47, 45.18, 31.39, 33.25),
            "PBAT": (40.21, 45.58, 31.16, 33.47),
            "HSTU": (40.63, 45.67, 31.60, 33.79),
            "TIGER": (42.61, 45.92, 32.96, 35.47),
            "MBGen": (44.10, 47.57, 35.14, 37.94),
            "GEAR": (44.43, 47.36, 35.24, 37.10),
            "RCLRec": (49.78, 52.37, 40.36, 42.48),
        },
    ),
    "table2": (
        "an industrial data set (the paper, Table 2)",
        {
            "RCLRec": (26.21, 29.62, 20.80, 21.91),
            "w/o RCPM": (23.61, 26.78, 18.83, 19.89),
            "recent-k": (24.57, 27.91, 19.37, 20.49),
            "w/o quality-aware loss": (25.55, 28.73, 20.15, 21.13),
        },
    ),
    "figure3": (
        "an industrial data set (the paper, Table 2; its Figure 3 prints no numbers)",
        {"w/o RCPM": (23.61, 26.78, 18.83, 19.89), "RCLRec": (26.21, 29.62, 20.80, 21.91)},
    ),
}


def write_report(study: Study, table: str, rows: Mapping[str, Row], *, preset_name: str) -> dict[str, Any]:
    """Write TABLE.json, .md and .csv into the study's folder and return what the first holds.

    Raises:
        InputError: no row has a finished run.
    """
    result = report(study, table, rows, preset_name=preset_name)
    write_json(study.out / f"{table}.json", result)
    for suffix, text in (("md", markdown(result)), ("csv", comma_separated(result))):
        with whole_file(study.out / f"{table}.{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")
    return result


def report(study: Study, table: str, rows: Mapping[str, Row], *, preset_name: str) -> dict[str, Any]:
    """Everything known about a table's rows: `rows` of those trained, `naive` of those that need no training."""
    materials = load_materials(study.data, study.ids)
    folders = {name: finished(study, name) for name in rows}
    folders = {name: found for name, found in folders.items() if found}
    if not folders:
        raise InputError(f"{study.out}: found no finished run of {table}, expected at least 1")
    ranks = {name: load(found) for name, found in folders.items()}
    naive = {name: rank[None] for name, rank in naive_ranks(materials).items()}
    by_name = {name: values["rank"] for name, values in ranks.items()}
    scores = {name: metrics_of(rank) for name, rank in {**by_name, **naive}.items()}
    user = materials.sequences.user_of(materials.split.test)
    sliced = slices(
        materials.sequences, materials.split, materials.split.test, max_history=materials_history(study),
        journey=None if materials.journey is None else materials.journey.numpy(),
    )  # fmt: skip
    described = {}
    for name, values in scores.items():
        row: dict[str, Any] = {metric: asdict(e) for metric, e in summarize(values).items()}
        other = opponent(table, name, scores, rows={row: rows[row] for row in by_name})
        if other is not None:
            tests = {metric: asdict(paired_test(values[metric], scores[other][metric])) for metric in METRICS}
            row["against"] = {"other": other, **tests}
        row["groups"] = {
            one.name: {group: asdict(e) for group, e in by_slice(values["recall@10"], user, one).items()}
            for one in sliced
        }
        described[name] = row
    for name, found in folders.items():
        described[name] |= of_runs(study, name, rows[name], found, ranks[name])
    label, published = PAPER.get(table, ("", {}))
    for name, values in published.items():
        if name in described:
            described[name]["paper"] = dict(zip(METRICS, values, strict=True))
    return {
        "table": table,
        "data": materials.label(),
        "preset": preset_name,
        "data_hash": materials.data_hash,
        "paper": label,
        "targets": len(user),
        "items": materials.sequences.n_items,
        "written": time.strftime("%Y-%m-%d", time.gmtime()),
        "rows": {name: described[name] for name in by_name},
        "naive": {name: described[name] for name in naive},
    }


def finished(study: Study, name: str) -> dict[int, Path]:
    """The folders of a row's finished runs by seed."""
    folders = {seed: study.row(name, seed) for seed in study.seeds}
    return {seed: folder for seed, folder in folders.items() if (folder / "result.json").exists()}


def load(folders: Mapping[int, Path]) -> dict[str, np.ndarray]:
    """What `jobs.test_values` stored, seeds stacked: each (S, n)."""
    files = [load_file(folder / "ranks.safetensors") for folder in folders.values()]
    return {name: np.stack([file[name] for file in files]) for name in files[0]}


def metrics_of(rank: np.ndarray) -> dict[str, np.ndarray]:
    """METRICS of ranks counted from 0 (S, n), each (S, n)"""
    return {f"{name}@{k}": of(rank, k) for name, of in (("recall", recall), ("ndcg", ndcg)) for k in (5, 10)}


def naive_ranks(materials: Materials) -> dict[str, np.ndarray]:
    """Ranks of the test targets (n,) by rankings that need no training; their few settings are fitted on validation."""
    sequences, split = materials.sequences, materials.split
    popularity = Popularity.fit(sequences, split)
    rankers = {
        "popularity": popularity,
        "most recent items": most_recent(popularity=popularity),
        "frequency with decay": FrequencyDecay.fit(sequences, split),
        "item co-occurrence": CoOccurrence.fit(sequences, split),
        "Markov": Markov.fit(sequences, split),
    }
    target = sequences.item[split.test]
    return {name: rank_of(r.rank(sequences, split.test, LISTED), target) for name, r in rankers.items()}


def materials_history(study: Study) -> int:
    """T of the study's methods."""
    return max(config.pretrain.max_history for config in study.configs.values())


def opponent(
    table: str, name: str, scores: Mapping[str, Mapping[str, np.ndarray]], rows: Mapping[str, Row]
) -> str | None:
    """The row that `name` is compared with, one of those trained."""
    if table != "table1":
        base = base_of(rows[name].changes) if name in rows and name != PRACTISED_BASE else BASE
        return base if base in rows and name != base else None
    others = [other for other in rows if other not in (name, TOLD)]
    return max(others, key=lambda other: scores[other]["ndcg@10"].mean()) if others else None


def of_runs(
    study: Study, name: str, row: Row, folders: Mapping[int, Path], values: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What the runs of a row tell besides its metrics."""
    runs = {seed: read_json(folder / "result.json") for seed, folder in folders.items()}
    first = [study.stage_one(study.config(row, seed)) for seed in folders]
    before = [read_json(folder / "result.json") for folder in first]
    rank = np.stack([load_file(folder / "ranks.safetensors")["rank"] for folder in first])
    found = {
        "method": row.method,
        "seeds": list(folders),
        "parameters": runs[min(runs)]["parameters"],
        "seconds": float(np.mean([a["seconds"] + b["seconds"] for a, b in zip(before, runs.values(), strict=True)])),
        "stage_one": {
            **{metric: asdict(e) for metric, e in summarize(metrics_of(rank)).items()},
            "steps": [run["steps"] for run in before],
            "best_step": [run["best_step"] for run in before],
        },
        "log": means([run["log"] for run in runs.values()]),
        "config": runs[min(runs)]["config"],
        "runs": {
            str(seed): {key: run[key] for key in ("steps", "best_step", "seconds", "device", "threads", "commit")}
            for seed, run in runs.items()
        },
    }
    search = study.out / "search" / row.method / "search.json"
    if search.exists():
        found["search"] = read_json(search)
    if "precision" in values:
        known = ~np.isnan(values["precision"]).any(axis=0)
        found["journey"] = {
            part: asdict(mean_with_interval(values[part][:, known])) for part in ("precision", "recall")
        }
    return found


def means(logs: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for log in logs for name in log)
    return {name: float(np.mean([log[name] for log in logs if name in log])) for name in names}


def percent(estimate: Mapping[str, float]) -> str:
    return f"{100 * estimate['mean']:.1f} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def markdown(result: Mapping[str, Any]) -> str:
    """The table for people."""
    seeds = " or ".join(map(str, sorted({len(row["seeds"]) for row in result["rows"].values()})))
    seeds += " seed" if seeds == "1" else " seeds"
    lines = [
        f"{result['table']}, {result['data']}, preset {result['preset']}: {result['targets']:,} test purchases, "
        f"{result['items']:,} items, all ranked; in %, 95% intervals over users, {seeds}.",
        "",
    ]
    header = ["", "R@5", "R@10", "N@5", "N@10", "N@10 against", "stage one alone, N@10", "parameters", "minutes"]
    paper = ["R@5", "R@10", "N@5", "N@10"] if result["paper"] else []
    lines.append("| " + " | ".join(header + [f"paper {name}" for name in paper]) + " |")
    lines.append("|---" * (len(header) + len(paper)) + "|")
    for name, row in {**result["rows"], **result["naive"]}.items():
        cells = [name, *(percent(row[metric]) for metric in METRICS), versus(row.get("against"))]
        if "stage_one" in row:
            cells += [percent(row["stage_one"]["ndcg@10"]), f"{row['parameters']:,}", f"{row['seconds'] / 60:.1f}"]
        else:
            cells += ["", "", ""]
        cells += [f"{row['paper'][m]:.2f}" if "paper" in row else "" for m in METRICS] if paper else []
        lines.append("| " + " | ".join(cells) + " |")
    if result["paper"]:
        lines += ["", f"The columns of the paper are from {result['paper']}: other data, so compare order, not size."]
    lines += ["", *origins(result), *journeys(result), *groups(result)]
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
        lines.append("| " + " | ".join(cells) + " |")
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
            lines.append("| " + " | ".join([name, *cells]) + " |")
        lines.append("")
    return lines


def comma_separated(result: Mapping[str, Any]) -> str:
    """One line a row and metric, shares instead of per cent."""
    text = io.StringIO()
    ends = ("mean", "low", "high", "seed_std", "seeds")
    writer = csv.writer(text, lineterminator="\n")
    compared = ("against", "difference", "difference_low", "difference_high", "p_value")
    writer.writerow(["data", "row", "metric", *ends, *compared, "parameters", "seconds", "paper"])
    for name, row in {**result["rows"], **result["naive"]}.items():
        for metric in METRICS:
            against = row.get("against", {})
            test = against.get(metric, {})
            difference = [test.get(key, "") for key in ("difference", "low", "high", "p_value")]
            paper = row["paper"][metric] / 100 if "paper" in row else ""
            facts = [row.get("parameters", ""), row.get("seconds", ""), paper]
            line = [result["data"], name, metric, *(row[metric][end] for end in ends), against.get("other", "")]
            writer.writerow([*line, *difference, *facts])
    return text.getvalue()
