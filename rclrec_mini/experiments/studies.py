"""Tables 1 and 2 and Figure 3 of the paper on one protocol: what `rclrec reproduce` calls.

A row of a table is a method with its settings; it is trained with several seeds in steps, each a set of jobs
that are resumed one by one and may run side by side (search.py tells what is searched and what it costs):

    search       stage one of each method, short, at several learning rates and dropouts, one seed
    stage one    with the point that validation chose, every seed; rows that agree on it share it
    stage two    of each row at several learning rates, one seed
    rows         stage two with the rate that validation chose, the other seeds; all test targets are ranked
    after        the rows of table rere that go on from others, in the same two steps, then those that only decode
                 in another way

    out/
      study.json                   what the folder belongs to: preset, data, ids, search, whose rates it took
      data/ ids/                   where none are given: the simulated shop of the preset
      search/METHOD/POINT/         runs of training/trainer.py; search.json beside them says which point won
      stage_one/METHOD-HASH/SEED/  runs; ranks.safetensors and result.json of the method after stage one alone
      rows/ROW/LR/SEED/            finetune/ is the run; ranks.safetensors, result.json; search.json beside LR/
      table1.json .md .csv         reports
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path

from rclrec_mini.checks import FieldError
from rclrec_mini.data.shop_config import preset as shop_preset
from rclrec_mini.experiments.jobs import Job, load_materials, run_jobs
from rclrec_mini.experiments.materials import balanced_ids, simulated
from rclrec_mini.experiments.methods import METHODS, method_name
from rclrec_mini.experiments.presets import preset
from rclrec_mini.experiments.run import ExperimentConfig, describe, for_stage_one
from rclrec_mini.experiments.search import (
    SEARCHES,
    Search,
    at_point,
    best_of,
    chosen,
    of_first,
    of_second,
    read_search,
    record,
)
from rclrec_mini.experiments.tables import COMPARED, JUDGE, Row, rows_of
from rclrec_mini.files import InputError, file_name, write_json
from rclrec_mini.records import read_record
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.schedule import total_steps

MANY_ITEMS, NEGATIVES = 20_000, 4096  # with more items a softmax over all of them is sampled by as many


@dataclass(frozen=True)
class Study:
    """Where a reproduction lives and what it trains.

    Args:
        preset: whose configs these are.
        configs: the config of each method, before the search.
        rates_of: the content hash of the data of the study whose rates are taken, see `take_rates`.
    """

    out: Path
    preset: str
    data: Path
    ids: Path
    configs: Mapping[str, ExperimentConfig]
    search: Search | None = field(default_factory=Search)
    seeds: tuple[int, ...] = (0, 1, 2)
    rates_of: str | None = None

    def claim(self) -> None:
        """Make `out` the folder of this study, unless it is already; seeds may be added later.

        Raises:
            InputError: `out` belongs to another preset, other data or ids, another search, or took other rates.
        """
        materials = load_materials(self.data, self.ids)
        settings = json.loads(
            json.dumps(
                {
                    "preset": self.preset,
                    "data_hash": materials.data_hash,
                    "ids": sha256(materials.catalog.codes.numpy().tobytes()).hexdigest(),
                    "search": asdict(self.search) if self.search else None,
                    "rates_of": self.rates_of,
                }
            )
        )
        record = self.out / "study.json"
        if record.exists():
            found = read_record(record, dict.fromkeys(settings, object))
            for key, value in settings.items():
                if found[key] != value:
                    raise InputError(f"{record}: {key} is {found[key]}, expected {value} (another study)")
            return
        write_json(record, settings)

    def config(self, row: Row, seed: int) -> ExperimentConfig:
        """The config of a row after the search of stage one."""
        config, best = self.configs[row.method], chosen(self.search_folder(row.method))
        if best:
            config = at_point(config, best["lr"], best["dropout"])
        return replace(config.with_model(**row.changes), seed=seed)

    def search_folder(self, method: str) -> Path:
        return self.out / "search" / method

    def trial(self, method: str, lr: float, dropout: float) -> Job:
        """A short stage one of a method at a point of the search."""
        config, samples = self.configs[method], len(load_materials(self.data, self.ids).split.train)
        steps = max(1, round(total_steps(samples, config.pretrain) * self.search.share))
        short = replace(config.pretrain, max_steps=steps, evaluate_every=steps)
        config = at_point(replace(config, seed=self.search.seed, pretrain=short), lr, dropout)
        name, folder = f"{method}, lr {lr:g}, dropout {dropout:g}", self.search_folder(method)
        return Job(name, folder / f"lr{lr}-dropout{dropout}", config, self.data, self.ids, ranks=False)

    def stage_one(self, config: ExperimentConfig) -> Path:
        """The folder of stage one, the same for all rows that agree on it."""
        described = describe(for_stage_one(config))
        del described["finetune"], described["seed"]
        digest = sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
        return self.out / "stage_one" / f"{described['method']}-{digest}" / f"seed{config.seed}"

    def rows(self, table: str, methods: Iterable[str] = COMPARED) -> dict[str, Row]:
        """`rows_of` a table, without the oracle where the data do not tell the truth."""
        told = load_materials(self.data, self.ids).journey is not None
        rows = rows_of(table, methods)
        return {name: row for name, row in rows.items() if told or row.changes.get("selector") != "oracle"}

    def row(self, name: str, seed: int, lr: float | None = None) -> Path:
        """The folder of a row with a seed and a learning rate of stage two; None: the one that the search chose."""
        folder = self.row_folder(name)
        lr = lr or chosen(folder).get("lr")
        return (folder / f"lr{lr}" if lr else folder) / f"seed{seed}"

    def row_folder(self, name: str) -> Path:
        return self.out / "rows" / file_name(name)

    def job(self, name: str, row: Row, seed: int, lr: float | None = None) -> Job:
        """Stage two of a row, or its post-training or decoding; `lr` as in `row`."""
        config, post = self.config(row, seed), row.post
        usual = post.training if post else preset(self.preset, row.method, **row.changes).finetune
        lr = lr or chosen(self.row_folder(name)).get("lr", usual.lr)
        searched = self.search is not None and (post is not None or row.base is None)
        folder, title = self.row(name, seed, lr if searched else None), f"{name}, seed {seed}"
        if row.base is None:
            tuned = replace(config, finetune=replace(config.finetune, lr=lr))
            return Job(title, folder, tuned, self.data, self.ids, from_stage_one=self.stage_one(config))
        before = self.job(row.base, Row(row.method, row.changes), seed)
        judge = self.job(JUDGE, rows_of("rere")[JUDGE], seed) if row.judged else None
        before = replace(before, name=title, folder=folder, from_stage_two=before.folder, judge=judge)
        if post is None:
            return replace(before, decoding=row.decoding)
        few = {"validation_targets": config.validation_targets, "beams": config.beams, "seed": seed}
        return replace(before, post=replace(post, training=replace(post.training, lr=lr), **few))


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

    Raises:
        FieldError: no data are given, but `out` belongs to a study of some; or `seeds` are not distinct or none.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise FieldError("seeds", f"found {seeds}, expected one or more from 0 on, each once")
    if data is None and (out / "study.json").exists() and not (out / "data").exists():
        raise FieldError("data", f"found none, expected those of the study in {out}")
    if data is None:
        data = simulated(shop_preset(preset_name), out / "data", progress=progress)
    if ids is None:
        codes = preset(preset_name).model.backbone.codes
        ids = balanced_ids(data, out / "ids", codes=codes, progress=progress)
    catalog = load_materials(data, ids).catalog
    configs = {name: sized_to(preset(preset_name, name), catalog) for name in METHODS}
    return Study(out, preset_name, data, ids, configs, SEARCHES[preset_name], seeds)


def take_rates(study: Study, other: Path) -> Study:
    """The study with the learning rates and dropout that the search of the study in `other` chose, and none of its own.

    So choices are made on one log and none is tuned to the next.

    Raises:
        FieldError: nothing was searched in `other`.
    """
    found = sorted([*other.glob("search/*/search.json"), *other.glob("rows/*/search.json")])
    if not found:
        raise FieldError("rates_from", f"found no search in {other}, expected the folder of a study that was searched")
    data_hash = read_record(other / "study.json", {"data_hash": str}, more=True)["data_hash"]
    taken = replace(study, search=None, rates_of=data_hash)
    taken.claim()
    for path in found:
        best = read_search(path)["best"]
        rates = {name: best[name] for name in ("lr", "dropout") if name in best}
        write_json(study.out / path.relative_to(other), {"best": rates, "points": []})
    return taken


def sized_to(config: ExperimentConfig, catalog: Catalog) -> ExperimentConfig:
    """The config with as many levels and codes as the ids have, where its model writes ids; with a sampled softmax,
    where its model scores items and there are many."""
    if hasattr(config.model, "backbone"):
        sizes = {"levels": catalog.levels, "codes": catalog.n_codes}
        return config.with_model(backbone=replace(config.model.backbone, **sizes))
    many = len(catalog.codes) > MANY_ITEMS and hasattr(config.model, "negatives")
    return config.with_model(negatives=NEGATIVES) if many else config


def run_study(study: Study, rows: Mapping[str, Row], *, workers: int = 1, threads: int = 0) -> None:
    """Train all rows with all seeds; what has been done is not done again.

    Args:
        workers: processes that take jobs, each with `threads` threads of torch (0: what torch takes by itself).

    Raises:
        InputError: the folder belongs to another study, or a job's folder to another config.
    """
    study.claim()
    if study.search is not None:
        search_stage_one(study, dict.fromkeys(row.method for row in rows.values()), workers, threads)
    seeds = {*study.seeds, study.search.seed} if study.search else study.seeds
    first = [stage_one_job(study, study.config(row, seed)) for row in rows.values() for seed in sorted(seeds)]
    run_jobs(list({job.folder: job for job in first}.values()), "stage one", workers, threads)
    after = {name: row for name, row in rows.items() if row.post}
    decoded = {name: row for name, row in rows.items() if row.base and not row.post}
    supervised = {name: row for name, row in rows.items() if not row.base}
    if study.search is not None:
        search_stage_two(study, supervised, workers, threads, study.search.finetune_lr)
    second = [study.job(name, row, seed) for name, row in supervised.items() for seed in study.seeds]
    run_jobs(second, "stage two", workers, threads)
    if study.search is not None:
        search_stage_two(study, after, workers, threads, study.search.post_lr)
    third = [study.job(name, row, seed) for name, row in after.items() for seed in study.seeds]
    run_jobs(third, "post-training", workers, threads)
    fourth = [study.job(name, row, seed) for name, row in decoded.items() for seed in study.seeds]
    run_jobs(fourth, "other decoding", workers, threads)


def stage_one_job(study: Study, config: ExperimentConfig) -> Job:
    plain = for_stage_one(config)
    name = f"{method_name(plain.model)}, seed {plain.seed}"
    return Job(name, study.stage_one(config), plain, study.data, study.ids)


def search_stage_one(study: Study, methods: Iterable[str], workers: int, threads: int) -> None:
    """Two rounds of trials, all methods side by side: learning rates, then dropouts at the best of them."""
    search = study.search
    rates = {name: [study.trial(name, lr, search.dropout[0]) for lr in search.lr] for name in methods}
    run_jobs(list(chain(*rates.values())), "search, learning rates", workers, threads)
    trials = {}
    for name, jobs in rates.items():
        best = best_of(map(of_first, jobs), study.configs[name].pretrain.monitor)
        trials[name] = jobs + [study.trial(name, best["lr"], dropout) for dropout in search.dropout[1:]]
    run_jobs(list(chain(*trials.values())), "search, dropout", workers, threads)
    for name, jobs in trials.items():
        record(study.search_folder(name), [of_first(job) for job in jobs], study.configs[name].pretrain.monitor)


def search_stage_two(study: Study, rows: Mapping[str, Row], workers: int, threads: int, rates: Iterable[float]) -> None:
    """Every row at every learning rate, with the seed of the search."""
    trials = {name: [study.job(name, row, study.search.seed, lr) for lr in rates] for name, row in rows.items()}
    run_jobs(list(chain(*trials.values())), "search, stage two or after", workers, threads)
    for name, jobs in trials.items():
        record(study.row_folder(name), [of_second(job) for job in jobs], jobs[0].config.finetune.monitor)
