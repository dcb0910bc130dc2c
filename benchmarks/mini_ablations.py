"""RCLRec, its ablations and our repairs on a prepared data set (by default the simulated shop, mini), over seeds.

    python benchmarks/mini_ablations.py --runs runs/mini_ablations --seeds 0 1 2

Everything under one roof: the same data, ids, histories, targets and candidates for every row, and one pre-training
a seed for all rows that allow it. Each (row, seed) is a run that resumes; several processes may share the work by
taking different seeds, and `--collect` then puts their runs together. The result file holds each row's metrics with
95% intervals over users and seeds, its difference to fine-tuning without prefix, and how much of the true journeys
its selector finds.
"""

import dataclasses
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from safetensors.numpy import load_file, save_file

from rclrec_mini.data.shop_config import preset as shop_preset
from rclrec_mini.data.simulate import write_prepared
from rclrec_mini.evaluation.experiments import (
    ExperimentConfig,
    Materials,
    finetune,
    preset,
    pretrain,
    rank,
    selector_recovery,
)
from rclrec_mini.evaluation.heuristics import FrequencyDecay, Markov, Popularity, most_recent
from rclrec_mini.evaluation.metrics import evaluate_rankings, paired_test, summarize
from rclrec_mini.files import read_json, whole_file, write_json
from rclrec_mini.models.rclrec import LossConfig
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig
from rclrec_mini.semantic_ids.tokenize import TokenizeConfig, tokenize
from rclrec_mini.training.checkpoints import provenance

BASE = "w/o RCPM"
GENTLE = LossConfig(prefix_loss=0.1)
REPAIRED = LossConfig(prefix_loss=0.1, supervision=1.0)
ROWS: dict[str, dict[str, Any]] = {
    # the paper's Table 2
    "RCLRec": {},
    BASE: {"selector": "none"},
    "recent-k": {"selector": "recent"},
    "w/o quality-aware loss": {"loss": LossConfig(lambda_qual=0.0)},
    # beside it
    "random-k": {"selector": "random"},
    "oracle-k": {"selector": "oracle"},
    # each repair on its own, then together
    "prefix loss 0.1": {"loss": GENTLE},
    "supervision": {"loss": LossConfig(supervision=1.0)},
    "prefixes in pre-training": {"prefix_share": 0.5},
    "all repairs": {"loss": REPAIRED, "prefix_share": 0.5},
    # what the repairs do for the other selectors
    "repaired, w/o RCPM": {"selector": "none", "prefix_share": 0.5},
    "repaired, recent-k": {"selector": "recent", "loss": GENTLE, "prefix_share": 0.5},
    "repaired, random-k": {"selector": "random", "loss": GENTLE, "prefix_share": 0.5},
    "repaired, oracle-k": {"selector": "oracle", "loss": GENTLE, "prefix_share": 0.5},
}


@dataclass(frozen=True)
class Config:
    runs: Path = Path("runs/mini_ablations")  # where runs live and resume
    seeds: tuple[int, ...] = (0, 1, 2)  # trained by this process
    collect: bool = False  # train nothing; write the result file from what is there
    rows: tuple[str, ...] = tuple(ROWS)  # which rows
    shop: str = "mini"  # preset of the simulated shop
    threads: int = 1  # of torch
    out: Path = Path(__file__).parent / "results" / "mini_ablations.json"  # result file


def main() -> None:
    config = tyro.cli(Config)
    torch.set_num_threads(config.threads)
    materials = make_data(config)
    for seed in () if config.collect else config.seeds:
        for name in config.rows:
            run_row(name, seed, materials, config)
    write_json(config.out, collect(materials, config))
    print_table(read_json(config.out))


def make_data(config: Config) -> Materials:
    data, ids = config.runs / "data", config.runs / "ids"
    if not data.exists():
        write_prepared(shop_preset(config.shop), data)
    if not ids.exists():
        tokenize(data, TokenizeConfig(codebooks=ResidualKMeansConfig(codes=16, balanced=True)), ids)
    return Materials.load(data, ids)


def folder_of(config: Config, name: str, seed: int) -> Path:
    return config.runs / f"seed{seed}" / name.replace(" ", "_").replace("/", "").replace(",", "")


def run_row(name: str, seed: int, materials: Materials, config: Config) -> None:
    """Train one row with one seed, unless it has been, and store the rank of every test target."""
    folder = folder_of(config, name, seed)
    if (folder / "result.json").exists():
        return
    experiment: ExperimentConfig = preset("mini", seed=seed, **ROWS[name])
    first = config.runs / f"seed{seed}" / f"pretrain_prefix{experiment.prefix_share}"
    plain = dataclasses.replace(preset("mini", seed=seed), prefix_share=experiment.prefix_share, loss=GENTLE)
    before = pretrain(plain, materials, first)
    model, result = finetune(experiment, materials, folder / "finetune", pretrained=first)
    rows = materials.split.test
    values = evaluate_rankings(rank(model, materials, rows), materials.sequences.item[rows])
    if model.selector is not None:
        values |= selector_recovery(model, materials, rows)
    with whole_file(folder / "test.safetensors") as partial:
        save_file(values, partial)
    log = [json.loads(line) for line in (folder / "finetune" / "log.jsonl").read_text().splitlines()]
    lines = [line for line in log if "loss" in line]
    kept = ("hinge_active", "largest_p", "selector_gradient_target", "selector_gradient_prefix")
    kept += ("selector_gradient_quality", "selector_gradient_supervision")
    means = {key: float(np.mean([line[key] for line in lines if key in line])) for key in kept if key in lines[-1]}
    seconds = {"pretrain_seconds": before.seconds, "finetune_seconds": result.seconds}
    validation = {"before_finetuning": before.metrics, "after": result.metrics}
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    write_json(
        folder / "result.json",
        {"validation": validation, "log": means, "parameters": parameters, **seconds, **provenance()},
    )


def collect(materials: Materials, config: Config) -> dict[str, Any]:
    """One table row a method: metrics over users and seeds, and the paired difference to fine-tuning without prefix."""
    seeds = {name: finished_seeds(config, name) for name in config.rows}
    scores = {name: load_row(config, name, seeds[name]) for name in config.rows if seeds[name]}
    metrics = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
    scores |= heuristics(materials)
    table = {}
    for name, values in scores.items():
        row: dict[str, Any] = {m: asdict(e) for m, e in summarize({m: values[m] for m in metrics}).items()}
        if BASE in scores and name != BASE:
            tests = {m: asdict(paired_test(values[m], scores[BASE][m])) for m in ("recall@10", "ndcg@10")}
            row["difference to w/o RCPM"] = tests
        if "precision" in values:
            row["recovery"] = {m: float(np.nanmean(values[m])) for m in ("precision", "recall")}
        if name in ROWS:
            row["seeds"] = seeds[name]
            results = [read_json(folder_of(config, name, seed) / "result.json") for seed in seeds[name]]
            row["config"] = asdict(preset("mini", **ROWS[name]))
            row["runs"] = results
        table[name] = row
    return {
        "data": f"simulated shop, {config.shop}",
        "data_hash": materials.data_hash,
        "test_targets": len(materials.split.test),
        "written": time.strftime("%Y-%m-%d", time.gmtime()),
        "device": "cpu",
        "rows": table,
        **provenance(),
    }


def finished_seeds(config: Config, name: str) -> list[int]:
    return [seed for seed in config.seeds if (folder_of(config, name, seed) / "result.json").exists()]


def load_row(config: Config, name: str, seeds: list[int]) -> dict[str, np.ndarray]:
    """Per-user values of all seeds, each (seeds, n)."""
    files = [load_file(folder_of(config, name, seed) / "test.safetensors") for seed in seeds]
    return {metric: np.stack([file[metric] for file in files]) for metric in files[0]}


def heuristics(materials: Materials) -> dict[str, dict[str, np.ndarray]]:
    sequences, split = materials.sequences, materials.split
    popularity = Popularity.fit(sequences, split)
    rankers = {
        "popularity": popularity,
        "most recent items": most_recent(popularity=popularity),
        "frequency decay": FrequencyDecay.fit(sequences, split),
        "Markov": Markov.fit(sequences, split),
    }
    target = sequences.item[split.test]
    return {name: evaluate_rankings(r.rank(sequences, split.test, 10), target) for name, r in rankers.items()}


def print_table(result: dict[str, Any]) -> None:
    print(f"{result['data']}: {result['test_targets']:,} test purchases, in %")
    print("| row | R@5 | R@10 | N@5 | N@10 | R@10 to w/o RCPM | precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in result["rows"].items():
        cells = []
        for metric in ("recall@5", "recall@10", "ndcg@5", "ndcg@10"):
            e = row[metric]
            cells.append(f"{100 * e['mean']:.1f} [{100 * e['low']:.1f}, {100 * e['high']:.1f}]")
        test = row.get("difference to w/o RCPM", {}).get("recall@10")
        interval = (
            f"{100 * test['difference']:+.1f} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]" if test else ""
        )
        found = row.get("recovery", {})
        cells += [interval, *(f"{found[m]:.2f}" if m in found else "" for m in ("precision", "recall"))]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
