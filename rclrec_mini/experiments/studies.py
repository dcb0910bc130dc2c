"""Tables 1 and 2 and Figure 3 of the paper on one protocol: what `rclrec reproduce` calls.

A row of a table is a method with its settings; it is trained with several seeds in three steps, each a set of jobs
that are resumed one by one and may run side by side:

    search       stage one of each method at every point of one small grid, a share of its steps, one seed
    stage one    with the point that validation chose, every seed; rows that agree on it share it
    rows         stage two, and the ranks of all test targets

    out/
      study.json                   what the folder belongs to: data, ids, configs, grid
      data/ ids/                   where none are given: the simulated shop of the preset
      search/METHOD/POINT/         runs of training/trainer.py; search.json beside them says which point won
      stage_one/METHOD-HASH/SEED/  runs; ranks.safetensors and result.json of the method after stage one alone
      rows/ROW/SEED/               finetune/ is the run; ranks.safetensors, result.json
      table1.json .md .csv         reports
"""

import json
import multiprocessing
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from tqdm import tqdm

from rclrec_mini.data.shop_config import preset as shop_preset
from rclrec_mini.data.simulate import write_prepared
from rclrec_mini.evaluation.metrics import rank_of
from rclrec_mini.evaluation.ranking import rank, selector_recovery
from rclrec_mini.evaluation.recovery import attention_recovery
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import METHODS, RCLRecConfig, method_name
from rclrec_mini.experiments.presets import preset
from rclrec_mini.experiments.run import ExperimentConfig, describe, finetune, for_stage_one, pretrained
from rclrec_mini.files import InputError, file_name, read_json, whole_file, write_json
from rclrec_mini.models.rclrec import LossConfig
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig
from rclrec_mini.semantic_ids.tokenize import TokenizeConfig, tokenize
from rclrec_mini.training.checkpoints import provenance
from rclrec_mini.training.schedule import total_steps

LISTED = 10  # length of the ranked lists
MANY_ITEMS, NEGATIVES = 20_000, 4096  # with more items a softmax over all of them is sampled by as many
GENTLE = LossConfig(prefix_loss=0.1)
REPAIRED = LossConfig(prefix_loss=0.1, supervision=1.0)
BASE, PRACTISED_BASE = "w/o RCPM", "prefixes in pre-training, w/o RCPM"

TABLE2: dict[str, dict[str, Any]] = {
    "RCLRec": {},
    BASE: {"selector": "none"},
    "recent-k": {"selector": "recent"},
    "w/o quality-aware loss": {"loss": LossConfig(lambda_qual=0.0)},
    # ours, beside the paper's
    "random-k": {"selector": "random"},
    "oracle-k": {"selector": "oracle"},
    "prefix loss 0.1": {"loss": GENTLE},
    "supervision": {"loss": LossConfig(supervision=1.0)},
    "prefixes in pre-training": {"prefix_share": 0.5},
    "all repairs": {"loss": REPAIRED, "prefix_share": 0.5},
    "supervision, counting": {"loss": LossConfig(supervision=1.0), "selector": "counting"},
    "all repairs, counting": {"loss": REPAIRED, "prefix_share": 0.5, "selector": "counting"},
    PRACTISED_BASE: {"selector": "none", "prefix_share": 0.5},
}
LENGTHS = {k: "RCLRec" if k == RCLRecConfig.k else f"RCLRec, k = {k}" for k in range(1, 7)}
FIGURE3 = {BASE: TABLE2[BASE], **{name: {"k": k} for k, name in LENGTHS.items()}}


def base_of(changes: Mapping[str, Any]) -> str:
    """The row without a prefix that has the stage one of a row of table2 or figure3."""
    return PRACTISED_BASE if changes.get("prefix_share") else BASE


@dataclass(frozen=True)
class Search:
    """The grid that every method is searched over, equally; the best NDCG@10 on validation targets wins."""

    lr: tuple[float, ...] = (1e-3, 4e-3)  # peak learning rates of stage one
    dropout: tuple[float, ...] = (0.0, 0.2)  # shares of activations dropped
    share: float = 0.25  # of stage one's steps that a point is given
    seed: int = 0  # of all its runs


SEARCHES = {"tiny": None, "mini": Search(), "full": Search(lr=(3e-4, 1e-3), dropout=(0.1, 0.3), share=0.1)}


@dataclass(frozen=True)
class Row:
    """One row of a table: its method and what differs from the method's preset."""

    method: str
    changes: Mapping[str, Any] = field(default_factory=dict)


def rows_of(table: str, methods: Iterable[str] = METHODS) -> dict[str, Row]:
    """The rows of `table1`, `table2` or `figure3`; table1 has one for each of `methods`."""
    if table == "table1":
        return {METHODS[name].title: Row(name) for name in methods}
    variants = {"table2": TABLE2, "figure3": FIGURE3}[table]
    return {name: Row("rclrec", changes) for name, changes in variants.items()}


@dataclass(frozen=True)
class Study:
    """Where a reproduction lives and what it trains.

    Args:
        configs: the config of each method, before the search.
    """

    out: Path
    data: Path
    ids: Path
    configs: Mapping[str, ExperimentConfig]
    search: Search | None = field(default_factory=Search)
    seeds: tuple[int, ...] = (0, 1, 2)

    def claim(self) -> None:
        """Make `out` the folder of this study, unless it is already; seeds may be added later.

        Raises:
            InputError: `out` belongs to other data, ids, configs or another search.
        """
        materials = load_materials(self.data, self.ids)
        settings = json.loads(
            json.dumps(
                {
                    "data_hash": materials.data_hash,
                    "ids": sha256(materials.catalog.codes.numpy().tobytes()).hexdigest(),
                    "search": asdict(self.search) if self.search else None,
                }
            )
        )
        record = self.out / "study.json"
        if record.exists():
            found = read_json(record)
            for key, value in settings.items():
                if found.get(key) != value:
                    raise InputError(f"{record}: {key} is {found.get(key)}, expected {value} (another study)")
            return
        write_json(record, settings)

    def config(self, row: Row, seed: int) -> ExperimentConfig:
        """The config of a row after the search."""
        config = self.configs[row.method]
        found = self.out / "search" / row.method / "search.json"
        if found.exists():
            best = read_json(found)["best"]
            config = at_point(config, best["lr"], best["dropout"])
        return replace(config.with_model(**row.changes), seed=seed)

    def stage_one(self, config: ExperimentConfig) -> Path:
        """The folder of stage one, the same for all rows that agree on it."""
        described = describe(for_stage_one(config))
        del described["finetune"], described["seed"]
        digest = sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
        return self.out / "stage_one" / f"{described['method']}-{digest}" / f"seed{config.seed}"

    def rows(self, table: str, methods: Iterable[str] = METHODS) -> dict[str, Row]:
        """`rows_of` a table, without the oracle where the data do not tell the truth."""
        told = load_materials(self.data, self.ids).journey is not None
        rows = rows_of(table, methods)
        return {name: row for name, row in rows.items() if told or row.changes.get("selector") != "oracle"}

    def row(self, name: str, seed: int) -> Path:
        """The folder of a row with a seed."""
        return self.out / "rows" / file_name(name) / f"seed{seed}"


def make_study(
    out: Path,
    *,
    preset_name: str,
    data: Path | None = None,
    ids: Path | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    progress: bool = True,
) -> Study:
    """The study of a preset in the folder `out`, on a prepared data set or on the preset's simulated shop.

    Where no ids are given they are made, balanced; the sizes of the generative methods follow the ids.
    """
    if data is None:
        data = out / "data"
        if not data.exists():
            write_prepared(shop_preset(preset_name), data, progress=progress)
    if ids is None:
        ids = out / "ids"
        if not ids.exists():
            codes = preset(preset_name).model.backbone.codes
            codebooks = ResidualKMeansConfig(codes=codes, balanced=True)
            tokenize(data, TokenizeConfig(codebooks=codebooks), ids, progress=progress)
    catalog = load_materials(data, ids).catalog
    configs = {name: sized_to(preset(preset_name, name), catalog) for name in METHODS}
    return Study(out, data, ids, configs, SEARCHES[preset_name], seeds)


def sized_to(config: ExperimentConfig, catalog: Catalog) -> ExperimentConfig:
    """The config with as many levels and codes as the ids have, where its model writes ids; with a sampled softmax,
    where its model scores items and there are many."""
    if hasattr(config.model, "backbone"):
        sizes = {"levels": catalog.levels, "codes": catalog.n_codes}
        return config.with_model(backbone=replace(config.model.backbone, **sizes))
    return config.with_model(negatives=NEGATIVES) if len(catalog.codes) > MANY_ITEMS else config


@dataclass(frozen=True)
class Job:
    """One run of one stage; done when its result.json is written."""

    name: str
    folder: Path
    config: ExperimentConfig
    data: Path
    ids: Path
    from_stage_one: Path | None = None  # its weights; None: this is stage one
    ranks: bool = True  # also rank the test targets


def run_study(study: Study, rows: Mapping[str, Row], *, workers: int = 1, threads: int = 0) -> None:
    """Train all rows with all seeds; what has been done is not done again.

    Args:
        workers: processes that take jobs, each with `threads` threads of torch (0: what torch takes by itself).

    Raises:
        InputError: the folder belongs to another study, or a job's folder to another config.
    """
    study.claim()
    data = {"data": study.data, "ids": study.ids}
    methods = dict.fromkeys(row.method for row in rows.values())
    if study.search is not None:
        points = {name: search_jobs(study, name) for name in methods}
        run_jobs([job for jobs in points.values() for job in jobs], "search", workers, threads)
        for name, jobs in points.items():
            choose(study, name, jobs)
    configs = {(name, seed): study.config(row, seed) for name, row in rows.items() for seed in study.seeds}
    first = {}
    for config in configs.values():
        folder, plain = study.stage_one(config), for_stage_one(config)
        first[folder] = Job(f"{method_name(plain.model)}, seed {plain.seed}", folder, plain, **data)
    run_jobs(list(first.values()), "stage one", workers, threads)
    second = [
        Job(f"{name}, seed {seed}", study.row(name, seed), config, from_stage_one=study.stage_one(config), **data)
        for (name, seed), config in configs.items()
    ]
    run_jobs(second, "stage two", workers, threads)


def search_jobs(study: Study, method: str) -> list[Job]:
    """Stage one at each point of the grid."""
    search, config = study.search, study.configs[method]
    training = config.pretrain
    materials = load_materials(study.data, study.ids)
    steps = training.max_steps or total_steps(len(materials.split.train), training)
    steps = max(1, round(steps * search.share))
    short = replace(config, seed=search.seed, pretrain=replace(training, max_steps=steps, evaluate_every=steps))
    return [
        Job(
            f"{method}, lr {lr}, dropout {dropout}", study.out / "search" / method / f"lr{lr}-dropout{dropout}",
            at_point(short, lr, dropout), study.data, study.ids, ranks=False,
        )
        for lr, dropout in product(search.lr, search.dropout)
    ]  # fmt: skip


def at_point(config: ExperimentConfig, lr: float, dropout: float) -> ExperimentConfig:
    """The config at a point of the grid."""
    inside = getattr(config.model, "backbone", None)
    change = {"backbone": replace(inside, dropout=dropout)} if inside else {"dropout": dropout}
    return replace(config.with_model(**change), pretrain=replace(config.pretrain, lr=lr))


def choose(study: Study, method: str, jobs: list[Job]) -> None:
    """Write search.json: all points with their validation metrics, and the best; of equal ones the first."""
    points = []
    for job in jobs:
        validation = read_json(job.folder / "result.json")["validation"]
        training = job.config.pretrain
        model = getattr(job.config.model, "backbone", job.config.model)
        points.append({"lr": training.lr, "dropout": model.dropout, "steps": training.max_steps, **validation})
    best = max(points, key=lambda point: point[jobs[0].config.pretrain.monitor])
    record, found = study.out / "search" / method / "search.json", {"best": best, "points": points}
    if not record.exists() or read_json(record) != found:
        write_json(record, found)


def run_jobs(jobs: list[Job], title: str, workers: int, threads: int) -> None:
    """Run what is not done yet, with a bar over all of it."""
    todo = [job for job in jobs if not is_done(job)]
    with tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc=title, unit="run") as bar:
        if workers == 1:
            set_threads(threads)
            for job in todo:
                run_job(job, progress=True)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=set_threads, initargs=(threads,))
        try:
            for done in as_completed([pool.submit(run_job, job) for job in todo]):
                done.result()
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)


def set_threads(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def is_done(job: Job) -> bool:
    """Whether the job's result is there.

    Raises:
        InputError: it is the result of another config.
    """
    record = job.folder / "result.json"
    if not record.exists():
        return False
    if read_json(record)["config"] != json.loads(json.dumps(describe(job.config))):
        raise InputError(f"{record}: found the result of another config, expected this one or none")
    return True


@lru_cache(maxsize=1)
def load_materials(data: Path, ids: Path) -> Materials:
    return Materials.load(data, ids)


def run_job(job: Job, *, progress: bool = False) -> None:
    """Train, rank the test targets, and write ranks.safetensors and, last, result.json."""
    materials = load_materials(job.data, job.ids)
    if job.from_stage_one is None:
        run = job.folder
        model, result = pretrained(job.config, materials, run, progress=progress)
    else:
        run = job.folder / "finetune"
        model, result = finetune(job.config, materials, run, pretrained=job.from_stage_one, progress=progress)
    if job.ranks:
        values = test_values(model, materials, job)
        with whole_file(job.folder / "ranks.safetensors") as partial:
            save_file(values, partial)
    write_json(
        job.folder / "result.json",
        {
            "config": describe(job.config),
            "validation": result.metrics,
            **{name: getattr(result, name) for name in ("steps", "best_step", "stopped_early", "seconds")},
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "log": means_of_log(run / "log.jsonl"),
            "data_hash": materials.data_hash,
            "device": str(next(model.parameters()).device),
            **provenance(),
        },
    )


def test_values(model: nn.Module, materials: Materials, job: Job) -> dict[str, np.ndarray]:
    """For each test target its rank among the first ten (10: absent), and on a simulated shop precision and recall
    of the k events that the method selects, or attends to most, each (n,); nan where there is nothing to find."""
    rows = materials.split.test
    items = rank(model, materials.sequences, materials.catalog, rows, k=LISTED, beams=job.config.beams)
    values: dict[str, np.ndarray] = {"rank": rank_of(items, materials.sequences.item[rows])}
    if materials.journey is None or job.from_stage_one is None:
        return values
    if hasattr(model, "attention"):
        found = attention_recovery(model, materials.sequences, materials.journey, rows, k=RCLRecConfig.k)
        return values | found
    if getattr(model, "selector", None) is not None:
        return values | selector_recovery(model, materials.sequences, materials.journey, rows)
    return values


def means_of_log(path: Path) -> dict[str, float]:
    """Means over a run of what its model logs beside the loss."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if "loss" in line]
    names = dict.fromkeys(name for line in lines for name in line if name not in ("step", "seconds", "epoch", "lr"))
    found = {name: [line[name] for line in lines if line.get(name) is not None] for name in names}
    return {name: float(np.mean(values)) for name, values in found.items() if values}
