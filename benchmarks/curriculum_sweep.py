"""Where does a curriculum pay? RCLRec and its rivals on simulated shops that differ in one knob each.

    python benchmarks/curriculum_sweep.py --runs runs/curriculum_sweep

Every shop is the mini shop with fewer users and one knob changed. In each of them a backbone is pre-trained once and
then fine-tuned without a prefix, to the letter of the paper, and with the true journey, which no real recommender
knows: what the oracle gains is the most that any choice of events could. Another backbone that sees prefixes in
pre-training is fine-tuned with all repairs, with counts told to RCPM as well, and without a prefix. The rows are those
of table 2, each at the rate of the preset mini. A third one points, and is fine-tuned without a prefix, with the best
curriculum that was found over it, and with the true journey: `--rows pointing "pointing, categories of counting"
"pointing, oracle-k" --out results/curriculum_sweep_pointing.json`.

Each (shop, seed, row) is a run that resumes; several processes may share the work by taking different shops, and
`--collect` then puts their runs together. The result file holds, for each shop, the metrics of each row, its paired
difference to the row without a prefix from the same pre-training, with 95% intervals, over all test targets and by
slices, how much of the true journeys its selector finds, and what naive baselines reach.

The knob `events` keeps the number of purchases a user: longer histories are then sparser ones. All shops have the
same steps of training, so the knob `users` changes how many different events and purchases these see. With the
defaults a shop takes about ten minutes on one thread.
"""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from safetensors.numpy import load_file, save_file

from rclrec_mini.data.shop_config import ShopConfig
from rclrec_mini.data.shop_config import preset as shop_preset
from rclrec_mini.evaluation.metrics import evaluate_rankings, paired_test, summarize
from rclrec_mini.evaluation.ranking import rank
from rclrec_mini.evaluation.recovery import selector_recovery
from rclrec_mini.evaluation.slices import Slice, by_slice, slices
from rclrec_mini.experiments.materials import Materials, balanced_ids, simulated
from rclrec_mini.experiments.presets import preset
from rclrec_mini.experiments.report_text import gained
from rclrec_mini.experiments.reports import metrics_of, naive_ranks
from rclrec_mini.experiments.run import ExperimentConfig, finetune, pretrain
from rclrec_mini.experiments.tables import (
    BASE,
    CATEGORIES,
    METRICS,
    POINTED,
    POINTING,
    PRACTISED_BASE,
    TABLE2,
    base_of,
)
from rclrec_mini.files import InputError, file_name, read_json, whole_file, write_json
from rclrec_mini.training.checkpoints import provenance

COUNTING = "all repairs, counting"
ROWS = {name: TABLE2[name] for name in (BASE, "RCLRec", "oracle-k", PRACTISED_BASE, "all repairs", COUNTING)} | {
    name: POINTING[name] for name in (POINTED, CATEGORIES, "pointing, oracle-k")
}
PURCHASES = 0.0095 * 300  # a user, in the mini shop
KNOBS: dict[str, dict[str, dict[str, float]]] = {  # what each value of a knob changes
    "users": {str(n): {"users": n} for n in (500, 4500)},
    "events": {str(n): {"events_per_user": n, "purchase_share": PURCHASES / n} for n in (150, 600)},
    "gap": {str(n): {"gap": n} for n in (0, 20)},
    "journeys": {str(n): {"journeys_at_once": n} for n in (1, 6)},
    "seen": {str(x): {"seen_share": x} for x in (0.5, 1.0)},
}
SHOPS = {"base": {}} | {f"{knob} {value}": c for knob, values in KNOBS.items() for value, c in values.items()}
COMPARED = ("recall@10", "ndcg@10")
SLICES = ("target item", "gap")  # the slices of the result file


@dataclass(frozen=True)
class Config:
    runs: Path = Path("runs/curriculum_sweep")  # where runs live and resume
    shops: tuple[str, ...] = tuple(SHOPS)  # which shops, see SHOPS
    rows: tuple[str, ...] = tuple(ROWS)  # which rows, see ROWS
    seeds: tuple[int, ...] = (0,)  # of training, and of the shop
    shop: str = "mini"  # preset that the shops change
    users: int = 1500  # users of every shop but those of the knob
    pretrain_steps: int = 2000  # steps of the one pre-training a shop and seed
    finetune_steps: int = 400  # steps of each row at most; 10 evaluations, patience 5
    validation_targets: int = 500  # targets that choose the best weights
    threads: int = 1  # of torch
    collect: bool = False  # train nothing; write the result file from what is there
    out: Path = Path(__file__).parent / "results" / "curriculum_sweep.json"  # result file


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    for what, asked, known in (("shop", config.shops, SHOPS), ("row", config.rows, ROWS)):
        for name in asked:
            if name not in known:
                raise InputError(f"{what} {name}: expected one of {', '.join(known)}")
    claim(config)
    for name in () if config.collect else config.shops:
        for seed in config.seeds:
            begun, materials = time.perf_counter(), make_shop(config, name, seed)
            for row in config.rows:
                run_row(config, name, seed, row, materials)
            print(f"{name}, seed {seed}: {time.perf_counter() - begun:.0f} s", flush=True)
    write_json(config.out, collect(config))
    print_table(read_json(config.out))


def settings_of(config: Config) -> dict[str, Any]:
    """What decides the numbers of a run."""
    names = ("shop", "users", "pretrain_steps", "finetune_steps", "validation_targets")
    return {name: getattr(config, name) for name in names}


def claim(config: Config) -> None:
    """Make `runs` the folder of these settings, unless it is already."""
    record, settings = config.runs / "settings.json", settings_of(config)
    if not record.exists():
        write_json(record, settings)
    elif read_json(record) != settings:
        raise InputError(f"{record}: found {read_json(record)}, expected {settings} or another folder")


def shop_of(config: Config, name: str, seed: int) -> ShopConfig:
    return shop_preset(config.shop, **{"users": config.users, "seed": seed, **SHOPS[name]})


def folder_of(config: Config, name: str, seed: int) -> Path:
    return config.runs / file_name(name) / f"seed{seed}"


def row_folder(config: Config, name: str, seed: int, row: str) -> Path:
    return folder_of(config, name, seed) / file_name(row)


def make_shop(config: Config, name: str, seed: int) -> Materials:
    """The shop's data and semantic ids, made unless they are there."""
    folder = folder_of(config, name, seed)
    data = simulated(shop_of(config, name, seed), folder / "data")
    return Materials.load(data, balanced_ids(data, folder / "ids", codes=16))


def experiment(config: Config, row: str, seed: int) -> ExperimentConfig:
    mini = preset("mini", ROWS[row].method, **ROWS[row].changes)
    steps, every = config.finetune_steps, max(1, config.finetune_steps // 10)
    first = replace(mini.pretrain, epochs=1000, max_steps=config.pretrain_steps, evaluate_every=config.pretrain_steps)
    second = replace(mini.finetune, epochs=1000, max_steps=steps, evaluate_every=every)
    few = {"seed": seed, "validation_targets": config.validation_targets}
    return replace(mini, pretrain=first, finetune=second, **few)


def run_row(config: Config, name: str, seed: int, row: str, materials: Materials) -> None:
    """Train one row in one shop, unless it has been, and store the metrics of every test target."""
    folder = row_folder(config, name, seed, row)
    if (folder / "result.json").exists():
        return
    settings = experiment(config, row, seed)
    first = folder_of(config, name, seed) / file_name(f"pretrain {base_of(ROWS[row])}")
    _, before = pretrain(settings, materials, first, progress=False)  # of the first row; the others read it back
    model, after = finetune(settings, materials, folder / "finetune", pretrained=first, progress=False)
    sequences, rows = materials.sequences, materials.split.test
    values = evaluate_rankings(rank(model, sequences, materials.catalog, rows), sequences.item[rows])
    if model.selector is not None:
        values |= selector_recovery(model, sequences, materials.journey, rows)
    with whole_file(folder / "test.safetensors") as partial:
        save_file(values, partial)
    seconds = {"pretrain_seconds": before.seconds, "finetune_seconds": after.seconds}
    validation = {"before_finetuning": before.metrics, "after": after.metrics, "best_step": after.best_step}
    write_json(folder / "result.json", {"validation": validation, **seconds, **provenance()})


def collect(config: Config) -> dict[str, Any]:
    shops = {name: [collect_shop(config, name, seed) for seed in config.seeds] for name in config.shops}
    return {
        "settings": settings_of(config),
        "shops": {name: [run for run in runs if run] for name, runs in shops.items() if any(runs)},
        "written": time.strftime("%Y-%m-%d", time.gmtime()),
        "device": "cpu",
        "threads": config.threads,
        **provenance(),
    }


def collect_shop(config: Config, name: str, seed: int) -> dict[str, Any]:
    """One shop with one seed: what it is like, and its rows. Seeds have other users, so they are not averaged here."""
    done = [row for row in config.rows if (row_folder(config, name, seed, row) / "result.json").exists()]
    if not done:
        return {}
    materials = make_shop(config, name, seed)
    scores = {row: load_file(row_folder(config, name, seed, row) / "test.safetensors") for row in done}
    rows, user = materials.split.test, materials.sequences.user_of(materials.split.test)
    seen = experiment(config, BASE, seed).model.backbone.max_history
    cuts = slices(materials.sequences, materials.split, rows, max_history=seen, journey=materials.journey)
    cuts = [cut for cut in cuts if cut.name in SLICES]
    knob, _, value = name.partition(" ")
    return {
        "knob": knob,
        "value": value,
        "seed": seed,
        "shop": asdict(shop_of(config, name, seed)),
        "data_hash": materials.data_hash,
        "training_purchases": len(materials.purchases()),
        "test_targets": len(rows),
        "rows": {row: collect_row(scores, row, user, cuts) for row in done} | naive(materials),
        "runs": {row: read_json(row_folder(config, name, seed, row) / "result.json") for row in done},
    }


def collect_row(
    scores: dict[str, dict[str, np.ndarray]], row: str, user: np.ndarray, cuts: list[Slice]
) -> dict[str, Any]:
    values = scores[row]
    found: dict[str, Any] = {m: asdict(e) for m, e in summarize({m: values[m] for m in METRICS}).items()}
    other = base_of(ROWS[row])
    if other in scores and other != row:
        base = scores[other]
        tests = {m: asdict(paired_test(values[m], base[m])) for m in COMPARED}
        found["difference"] = {"other": other, **tests}
        found["difference by slice"] = {
            cut.name: {
                group: {"mean": e.estimate.mean, "low": e.estimate.low, "high": e.estimate.high, "targets": e.targets}
                for group, e in by_slice(values["recall@10"] - base["recall@10"], user, cut).items()
            }
            for cut in cuts
        }
    if "precision" in values:
        found["recovery"] = {m: float(np.nanmean(values[m])) for m in ("precision", "recall")}
    return found


def naive(materials: Materials) -> dict[str, dict[str, Any]]:
    ranks = naive_ranks(materials)
    return {name: {m: asdict(e) for m, e in summarize(metrics_of(r[None])).items()} for name, r in ranks.items()}


def print_table(result: dict[str, Any]) -> None:
    print("| shop | seed | purchases | row | R@10 | N@10 | R@10 to no prefix | precision | recall |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, runs in result["shops"].items():
        for run in runs:
            for row, found in run["rows"].items():
                cells = [f"{100 * found[m]['mean']:.1f}" for m in COMPARED]
                test = found.get("difference", {}).get("recall@10")
                cells.append(gained(test) if test else "")
                known = found.get("recovery", {})
                cells += [f"{known[m]:.2f}" if m in known else "" for m in ("precision", "recall")]
                print(f"| {name} | {run['seed']} | {run['training_purchases']} | {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(tyro.cli(Config))
