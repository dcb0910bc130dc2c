"""The search for learning rates and dropout: the same number of trials for every method, judged on validation targets.

Stage one has two rounds, so that no grid is needed: every learning rate without dropout, then every other dropout at
the best rate. A trial is a run of its own with `share` of the steps, its schedule ends where it ends. Stage two tries
its learning rates on the seed of the search, each from the weights that stage one ended with; step 0, no stage two at
all, is a candidate of each (`TrainConfig.evaluate_first`). The best of these trials is the run of the row with that
seed, so it is trained once.

What it costs, in runs of stage one: 4 rates and 1 more dropout at half of the steps are 2.5, beside the 3 of three
seeds. A whole stage one of mini takes 3 to 4 minutes of one core, a stage two half a minute to three, five times a row:
table1 takes about three and a half hours of one core, less than two with two workers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rclrec_mini.experiments.jobs import Job, read_result
from rclrec_mini.experiments.run import ExperimentConfig
from rclrec_mini.files import read_json, write_json
from rclrec_mini.records import read_record


@dataclass(frozen=True)
class Search:
    """What every method is searched over, equally; the best validation metric wins (`TrainConfig.monitor`)."""

    lr: tuple[float, ...] = (5e-4, 1e-3, 2e-3, 4e-3)  # peak learning rates of stage one
    dropout: tuple[float, ...] = (0.0, 0.2)  # shares of activations dropped; the first while rates are tried
    share: float = 0.5  # of stage one's steps that a trial is given
    finetune_lr: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # peak learning rates of stage two
    post_lr: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)  # peak learning rates of post-training
    seed: int = 0  # of all its runs


SEARCHES = {
    "tiny": None,
    "mini": Search(),
    "full": Search(lr=(3e-4, 1e-3), dropout=(0.1, 0.3), share=0.1, finetune_lr=(1e-4, 3e-4, 1e-3, 3e-3)),
}


def at_point(config: ExperimentConfig, lr: float, dropout: float) -> ExperimentConfig:
    """The config with a learning rate and a dropout of stage one."""
    inside = getattr(config.model, "backbone", None)
    change = {"backbone": replace(inside, dropout=dropout)} if inside else {"dropout": dropout}
    return replace(config.with_model(**change), pretrain=replace(config.pretrain, lr=lr))


def best_of(points: Iterable[Mapping[str, Any]], monitor: str) -> Mapping[str, Any]:
    """The point with the best validation metric, of equal ones the first."""
    return max(points, key=lambda point: point[monitor])


def of_first(job: Job) -> dict[str, Any]:
    """What search.json says of a trial of stage one."""
    training = job.config.pretrain
    model = getattr(job.config.model, "backbone", job.config.model)
    validation = read_result(job.folder)["validation"]
    return {"lr": training.lr, "dropout": model.dropout, "steps": training.max_steps, **validation}


def of_second(job: Job) -> dict[str, Any]:
    """What search.json says of a trial of stage two."""
    result, training = read_result(job.folder), job.post.training if job.post else job.config.finetune
    return {"lr": training.lr, "best_step": result["best_step"], **result["validation"]}


def record(folder: Path, points: list[dict[str, Any]], monitor: str) -> None:
    """Write search.json: all points with their validation metrics, and the best."""
    path, found = folder / "search.json", {"best": best_of(points, monitor), "points": points}
    if not path.exists() or read_json(path) != found:
        write_json(path, found)


def chosen(folder: Path) -> dict[str, Any]:
    """The best point of the search in `folder`; nothing where there was none."""
    path = folder / "search.json"
    return read_search(path)["best"] if path.exists() else {}


def read_search(path: Path) -> dict[str, Any]:
    """What `record` wrote.

    Raises:
        InputError: it is missing, or is something else.
    """
    return read_record(path, {"best": dict, "points": tuple[dict, ...]})
