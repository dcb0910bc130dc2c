"""How much of a ranking hangs on the order of events within a day, where a log knows days only?

    python benchmarks/same_day.py --data runs/log --ids runs/ids --study runs/study --out same_day.json

Such a log tells which events share a day, but not which came first; what a method takes for the latest is then the
order of the file, and a file may be sorted by anything. So the history of each test target is read in three ways:

    as in the file         what all tables do
    the day in any order   the events of the target's own day that stand before it are shuffled, those of one item in a
                           row staying together
    earlier days alone     they are left out: what somebody knows who recommends in the morning

Trained rows of a study are asked the same; they were trained on the order of the file.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from rclrec_mini.data.schema import DAY
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.evaluation.heuristics import FrequencyDecay, Popularity, most_recent
from rclrec_mini.evaluation.metrics import mean_with_interval, ndcg, rank_of, recall
from rclrec_mini.evaluation.ranking import rank
from rclrec_mini.evaluation.slices import in_history
from rclrec_mini.experiments.jobs import load_materials, trained
from rclrec_mini.experiments.studies import make_study
from rclrec_mini.files import write_json
from rclrec_mini.training.checkpoints import provenance

LISTED, HISTORY = 10, 50


@dataclass(frozen=True)
class Config:
    data: Path  # a prepared data set whose times are days
    ids: Path  # its semantic ids
    out: Path  # result file
    study: Path | None = None  # folder of a study of these data, not searched
    rows: tuple[str, ...] = ("pointing",)  # which of its rows are asked
    preset: str = "mini"  # of the study
    seed: int = 0  # of the study's runs and of the shuffle
    threads: int = 1  # of torch


def begins(*columns: np.ndarray) -> np.ndarray:
    """Whether a row differs in any column from the one before it, the first always: (n,)"""
    changed = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.append(True, changed)[: len(columns[0])]


def days_of(sequences: Sequences) -> np.ndarray:
    """A number for each user and day, one more with each: (N,)"""
    return np.cumsum(begins(sequences.user_of(np.arange(len(sequences))), sequences.timestamp // DAY))


def same_day(sequences: Sequences, targets: np.ndarray) -> np.ndarray:
    """Whether a row is of the day of one of the targets and stands before it: (N,)"""
    days = days_of(sequences)
    last = np.full(days.max() + 1, -1)
    np.maximum.at(last, days[targets], targets)
    return np.arange(len(sequences)) < last[days]


def grouped(sequences: Sequences) -> float:
    """Of the days on which a user touches several items, the share that never comes back to an item it left."""
    days = days_of(sequences)
    runs = np.bincount(days[begins(days, sequences.item)])
    items = np.bincount(np.unique(np.stack([days, sequences.item]), axis=1)[0])
    several = items > 1
    return float((runs[several] == items[several]).mean())


def shuffled(sequences: Sequences, rows: np.ndarray, seed: int) -> Sequences:
    """The rows (N,) of each day in another order, runs of one item staying together."""
    place, days = np.flatnonzero(rows), days_of(sequences)[rows]
    run = np.cumsum(begins(days, sequences.item[rows])) - 1
    lot = np.random.default_rng(seed).random(len(run))[run]
    order = np.arange(len(sequences))
    order[place] = place[np.lexsort((place, lot, days))]
    return replace(
        sequences, item=sequences.item[order], behavior=sequences.behavior[order], timestamp=sequences.timestamp[order]
    )


def without(sequences: Sequences, rows: np.ndarray, targets: np.ndarray) -> tuple[Sequences, np.ndarray]:
    """The sequences less the rows (N,), and where the targets are then."""
    before = np.append(0, np.cumsum(~rows))
    kept = {name: getattr(sequences, name)[~rows] for name in ("item", "behavior", "timestamp")}
    return replace(sequences, **kept, offsets=before[sequences.offsets]), before[targets]


def main(config: Config) -> dict[str, Any]:
    torch.set_num_threads(config.threads)
    materials = load_materials(config.data, config.ids)
    sequences, split, targets = materials.sequences, materials.split, materials.split.test
    rankers = {
        "most recent items": most_recent(popularity=Popularity.fit(sequences, split), max_history=HISTORY).rank,
        "frequency with decay": FrequencyDecay.fit(sequences, split).rank,
    }
    if config.study:
        study = make_study(
            config.study, preset_name=config.preset, data=config.data, ids=config.ids, seeds=(config.seed,)
        )
        study = replace(study, search=None)
        rows = study.rows("pointing")
        for name in config.rows:
            model = trained(study.job(name, rows[name], config.seed), materials)[0].eval()
            rankers[name] = lambda s, r, k, model=model: rank(model, s, materials.catalog, r, k=k)
    that_day = same_day(sequences, targets)
    histories = {
        "as in the file": (sequences, targets),
        "the day in any order": (shuffled(sequences, that_day, config.seed), targets),
        "earlier days alone": without(sequences, that_day, targets),
    }
    found = {}
    for title, (read, at) in histories.items():
        found[title] = {"seen": float(in_history(read, at, HISTORY).mean()), "rows": {}}
        for name, ranking in rankers.items():
            place = rank_of(ranking(read, at, LISTED), read.item[at])
            scores = {"recall@10": recall(place, LISTED), "ndcg@10": ndcg(place, LISTED)}
            found[title]["rows"][name] = {metric: asdict(mean_with_interval(score)) for metric, score in scores.items()}
            print(f"{title:22}{name:22}{100 * scores['ndcg@10'].mean():6.1f}", flush=True)
    settings = {"preset": config.preset, "seed": config.seed, "data": materials.label(), "targets": len(targets)}
    result = {"config": settings, "grouped": grouped(sequences), "histories": found, "device": "cpu", **provenance()}
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
