"""What would rows of a finished study have at learning rates of stage two, or of post-training, that were not searched?

    rclrec reproduce table2 --preset mini --out runs/mini
    python benchmarks/other_rates.py --study runs/mini --points "RCLRec@3e-3" "w/o RCPM@3e-3" --rivals "w/o RCPM"

A grid has edges. A row whose best rate is the largest might gain from a larger one, and two rows whose validation chose
different rates differ by more than their methods. Each point is a row at one rate, trained with all seeds from the
study's own stage one. It is compared, paired over users, with the same row at the rate that the search chose, and with
`rivals` at theirs.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from rclrec_mini.evaluation.metrics import of_users, summarize
from rclrec_mini.experiments import reports
from rclrec_mini.experiments.jobs import load_materials, read_result, run_jobs
from rclrec_mini.experiments.search import chosen
from rclrec_mini.experiments.studies import Study, make_study
from rclrec_mini.experiments.tables import Row
from rclrec_mini.files import InputError, write_json
from rclrec_mini.training.checkpoints import provenance


@dataclass(frozen=True)
class Config:
    study: Path  # folder of a finished study that was searched
    points: tuple[str, ...]  # ROW@RATE
    rivals: tuple[str, ...] = ()  # rows, at the rate that the search chose, that each point is compared with
    preset: str = "mini"  # of the study
    seeds: tuple[int, ...] = (0, 1, 2)  # of the study
    workers: int = 1  # processes that train side by side
    threads: int = 1  # of torch, each
    out: Path = Path(__file__).parent / "results" / "other_rates.json"  # result file


def all_rows(study: Study) -> dict[str, Row]:
    """The rows of all tables by their names."""
    tables = ("table1", "table2", "pointing", "rere")
    return {name: row for table in tables for name, row in study.rows(table).items()}


def point(text: str, rows: dict[str, Row]) -> tuple[str, float]:
    """A row and a rate from ROW@RATE."""
    name, at, rate = text.rpartition("@")
    if not at or name not in rows:
        raise InputError(f"--points: found {text}, expected ROW@RATE with one of {', '.join(rows)}")
    return name, float(rate)


def measured(folders: dict[int, Path], user: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of a row's runs, users by users."""
    return of_users(reports.metrics_of(reports.load(folders)["rank"]), user)


def of_point(study: Study, name: str, folders: dict[int, Path], rivals: tuple[str, ...]) -> dict[str, Any]:
    """What a row has at a rate, and its differences to the row at the chosen rate and to its rivals."""
    materials = load_materials(study.data, study.ids)
    user = materials.sequences.user_of(materials.split.test)
    scores, runs = measured(folders, user), [read_result(folder) for folder in folders.values()]
    others = {"chosen": name, **{rival: rival for rival in rivals if rival != name}}
    compared = {title: measured({s: study.row(row, s) for s in study.seeds}, user) for title, row in others.items()}
    return {
        **{metric: asdict(estimate) for metric, estimate in summarize(scores).items()},
        "validation": float(np.mean([run["validation"]["ndcg@10"] for run in runs])),
        "best_step": [run["best_step"] for run in runs],
        "chosen_rate": chosen(study.row_folder(name))["lr"],
        "to": {title: reports.paired(scores, theirs) for title, theirs in compared.items()},
    }


def main(config: Config) -> dict[str, Any]:
    study = make_study(config.study, preset_name=config.preset, seeds=config.seeds)
    rows = all_rows(study)
    points = {text: point(text, rows) for text in config.points}
    jobs = {
        text: {seed: study.job(name, rows[name], seed, rate) for seed in study.seeds}
        for text, (name, rate) in points.items()
    }
    todo = [job for of_seed in jobs.values() for job in of_seed.values()]
    run_jobs(todo, "other rates", config.workers, config.threads)
    found = {}
    for text, (name, _) in points.items():
        folders = {seed: job.folder for seed, job in jobs[text].items()}
        found[text] = of_point(study, name, folders, config.rivals)
        to = {other: f"{100 * one['ndcg@10']['difference']:+.1f}" for other, one in found[text]["to"].items()}
        print(f"{text}: N@10 {100 * found[text]['ndcg@10']['mean']:.1f}, {to}")
    settings = {"preset": config.preset, "seeds": config.seeds, "rivals": config.rivals}
    result = {"config": settings, "points": found, "device": "cpu", **provenance()}
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
