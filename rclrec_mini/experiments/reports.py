"""Tables 1 and 2 and Figure 3 from the runs of a study: JSON with everything, Markdown and CSV to read.

Means are over users, with 95% bootstrap intervals; a user's test targets, where there are several, and the seeds are
averaged first (evaluation/metrics.py). Each row is compared on the same users with the best other trained method
(table1), or with fine-tuning without a prefix from the same stage one (table2, figure3, pointing), and with the count
and RCLRec to the letter. The paper's numbers
stand beside ours, under the name of the data that they come from: they were made from other data, so only their order
and their ratios can be compared.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rclrec_mini.evaluation.heuristics import CoOccurrence, FrequencyDecay, Markov, Popularity, most_recent
from rclrec_mini.evaluation.metrics import (
    mean_with_interval,
    ndcg,
    of_users,
    paired_test,
    rank_of,
    recall,
    summarize,
)
from rclrec_mini.evaluation.slices import Slice, by_slice, slices
from rclrec_mini.experiments.jobs import LISTED, load_materials, means, read_result
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.report_text import comma_separated, markdown
from rclrec_mini.experiments.studies import Study
from rclrec_mini.experiments.tables import (
    BASE,
    COUNT,
    METRICS,
    PAPER,
    POINTED,
    PRACTISED_BASE,
    TOLD,
    Row,
    base_of,
    told,
)
from rclrec_mini.files import InputError, read_json, whole_file, write_json
from rclrec_mini.records import read_arrays


def write_report(study: Study, table: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    """Write TABLE.json, .md and .csv into the study's folder and return what the first holds.

    Raises:
        InputError: the folder belongs to another study, or no row has a finished run.
    """
    study.claim()
    result = report(study, table, rows)
    write_json(study.out / f"{table}.json", result)
    for suffix, text in (("md", markdown(result)), ("csv", comma_separated(result))):
        with whole_file(study.out / f"{table}.{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")
    return result


def report(study: Study, table: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    """Everything known about a table's rows: `rows` of those trained, `naive` of those that need no training."""
    materials = load_materials(study.data, study.ids)
    folders = {name: finished(study, name) for name in rows}
    folders = {name: found for name, found in folders.items() if found}
    if not folders:
        raise InputError(f"{study.out}: found no finished run of {table}, expected at least 1")
    ranks = {name: load(found) for name, found in folders.items()}
    naive = {name: rank[None] for name, rank in naive_ranks(materials).items()}
    by_name = {name: values["rank"] for name, values in ranks.items()}
    user = materials.sequences.user_of(materials.split.test)
    of_targets = {name: metrics_of(rank) for name, rank in {**by_name, **naive}.items()}
    scores = {name: of_users(values, user) for name, values in of_targets.items()}
    max_history = max(config.pretrain.max_history for config in study.configs.values())
    sliced = slices(
        materials.sequences, materials.split, materials.split.test, max_history=max_history,
        journey=None if materials.journey is None else materials.journey.numpy(),
    )  # fmt: skip
    described = {}
    for name, values in scores.items():
        row: dict[str, Any] = {metric: asdict(e) for metric, e in summarize(values).items()}
        other = opponent(table, name, scores, rows={row: rows[row] for row in by_name})
        if other is not None:
            row["against"] = {"other": other, **paired(values, scores[other])}
        for key, one in {"to_count": COUNT, "to_rclrec": "RCLRec"}.items():
            if one in scores and one != name:
                row[key] = paired(values, scores[one])
        row |= seen_and_unseen(of_targets[name], user, sliced[0])
        recalled = of_targets[name]["recall@10"]
        row["groups"] = {
            one.name: {group: asdict(e) for group, e in by_slice(recalled, user, one).items()} for one in sliced
        }
        described[name] = row
    for name, found in folders.items():
        described[name] |= of_runs(study, name, rows[name], found, ranks[name], user)
    label, published = PAPER.get(table, ("", {}))
    for name, values in published.items():
        if name in described:
            described[name]["paper"] = dict(zip(METRICS, values, strict=True))
    return {
        "table": table,
        "data": materials.label(),
        "preset": study.preset,
        "data_hash": materials.data_hash,
        "paper": label,
        "targets": len(user),
        "items": materials.sequences.n_items,
        "written": time.strftime("%Y-%m-%d", time.gmtime()),
        "rows": {name: described[name] for name in by_name},
        "naive": {name: described[name] for name in naive},
    }


def paired(values: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `paired_test` says of each of METRICS, users by users (U,)"""
    return {metric: asdict(paired_test(values[metric], others[metric])) for metric in METRICS}


def seen_and_unseen(values: Mapping[str, np.ndarray], user: np.ndarray, items: Slice) -> dict[str, Any]:
    """Metrics among targets whose item is in the history, which may be copied, and among the others. `items` is the
    slice of that."""
    found: dict[str, Any] = {"unseen": {}, "seen": {}}
    for metric in ("recall@10", "ndcg@10"):
        groups = by_slice(values[metric], user, items)
        for among, name in zip(found, items.names, strict=True):
            if name in groups:
                found[among] |= {metric: asdict(groups[name].estimate), "targets": groups[name].targets}
    return found


def finished(study: Study, name: str) -> dict[int, Path]:
    """The folders of a row's finished runs by seed."""
    folders = {seed: study.row(name, seed) for seed in study.seeds}
    return {seed: folder for seed, folder in folders.items() if (folder / "result.json").exists()}


def load(folders: Mapping[int, Path]) -> dict[str, np.ndarray]:
    """What `jobs.test_values` stored, seeds stacked: each (S, n)."""
    files = [read_arrays(folder / "ranks.safetensors", "rank") for folder in folders.values()]
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
        COUNT: FrequencyDecay.fit(sequences, split),
        "item co-occurrence": CoOccurrence.fit(sequences, split),
        "Markov": Markov.fit(sequences, split),
    }
    target = sequences.item[split.test]
    return {name: rank_of(r.rank(sequences, split.test, LISTED), target) for name, r in rankers.items()}


def opponent(
    table: str, name: str, scores: Mapping[str, Mapping[str, np.ndarray]], rows: Mapping[str, Row]
) -> str | None:
    """The row that `name` is compared with, one of those trained."""
    if table == "rere":
        return rows[name].base if name in rows else None
    if table != "table1":
        first = POINTED if table == "pointing" else BASE
        base = base_of(rows[name]) if name in rows and name != PRACTISED_BASE else first
        return base if base in rows and name != base else None
    others = [other for other in rows if other not in (name, TOLD)]
    return max(others, key=lambda other: scores[other]["ndcg@10"].mean()) if others else None


def of_runs(
    study: Study, name: str, row: Row, folders: Mapping[int, Path], values: Mapping[str, np.ndarray], user: np.ndarray
) -> dict[str, Any]:
    """What the runs of a row tell besides its metrics."""
    runs = {seed: read_result(folder) for seed, folder in folders.items()}
    first = [study.stage_one(study.config(row, seed)) for seed in folders]
    before = [read_result(folder) for folder in first]
    begun = np.array([run["seconds"] for run in before])
    if row.post:
        begun += [read_result(study.row(row.base, seed))["seconds"] for seed in folders]
    rank = np.stack([read_arrays(folder / "ranks.safetensors", "rank")["rank"] for folder in first])
    one, two = ([run["curve"] for run in stage] for stage in (before, runs.values()))
    found = {
        "method": row.method,
        "told": told(row),
        "seeds": list(folders),
        "parameters": runs[min(runs)]["parameters"],
        "seconds": float(np.mean(begun + [run["seconds"] for run in runs.values()])),
        "stage_one": {
            **{metric: asdict(e) for metric, e in summarize(of_users(metrics_of(rank), user)).items()},
            "steps": [run["steps"] for run in before],
            "best_step": [run["best_step"] for run in before],
        },
        "curve": {"stage_one": mean_curve(one), "stage_two": mean_curve(two, begun=begun.mean())},
        "log": means([run["log"] for run in runs.values()]),
        "config": runs[min(runs)]["config"],
        "runs": {
            str(seed): {key: run[key] for key in ("steps", "best_step", "seconds", "device", "threads", "commit")}
            for seed, run in runs.items()
        },
    }
    for key, folder in (("search", study.search_folder(row.method)), ("search_two", study.row_folder(name))):
        if (folder / "search.json").exists():
            found[key] = read_json(folder / "search.json")
    entropies = [run["attention_entropy"] for run in runs.values() if "attention_entropy" in run]
    if entropies:
        found["attention_entropy"] = np.mean(entropies, axis=0).tolist()
    if row.post:
        found["training"] = mean_curve([run["training"] for run in runs.values()])
    if "precision" in values:
        known = ~np.isnan(values["precision"]).any(axis=0)
        found["journey"] = {
            part: asdict(mean_with_interval(values[part][:, known])) for part in ("precision", "recall")
        }
    return found


def mean_curve(curves: list[list[dict[str, float]]], *, begun: float = 0.0) -> list[dict[str, float]]:
    """Validation metrics by step, each a mean over the seeds that came so far, after as many minutes of training.

    Args:
        curves: of each seed.
        begun: seconds of training before its start.
    """
    points = [point for curve in curves for point in curve]
    found = [means([p for p in points if p["step"] == step]) for step in sorted({p["step"] for p in points})]
    return [{"step": p.pop("step"), "minutes": (begun + p.pop("seconds")) / 60, **p} for p in found]
