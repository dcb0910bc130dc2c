"""How precise must a curriculum be before it pays, and how precise can RCPM be?

    rclrec reproduce table2 --preset mini --out runs/mini
    python benchmarks/prefix_precision.py --study runs/mini

In a study of the simulated shop, the backbones of its stage one are fine-tuned with prefixes of known quality: each of
the k events is one of the purchase's own journey with probability pi, and one of another or none otherwise, in random
order, the same in training and test. What a row gains on fine-tuning without a prefix, from the same stage one, is a
curve over pi; where it crosses zero is the precision from which a curriculum pays. It is drawn for the paper's losses
and for a backbone that knows prefixes from pre-training, where prefix tokens weigh 0.1.

"taught the truth" is RCPM with our supervision term, whose targets are the events of the true journeys instead of
those with the purchase's codes: the precision that RCPM, which knows the user and the history but never the target,
can learn when it is told the answers of all training purchases.

Readers tell what stands in its way. Each is taught the truth too, from a frozen backbone: to score events by a line
through their states, as RCPM does, by a small network on the states, and by one on counts (`event_counts`).
"""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from rclrec_mini.data.sequences import Batch
from rclrec_mini.evaluation.metrics import mean_with_interval, ndcg, paired_test, rank_of, recall
from rclrec_mini.evaluation.ranking import batches, rank
from rclrec_mini.evaluation.recovery import selector_recovery
from rclrec_mini.experiments.jobs import load_materials
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import finetuning_rclrec
from rclrec_mini.experiments.report_text import gained
from rclrec_mini.experiments.run import ExperimentConfig, pretrain, train_stage
from rclrec_mini.experiments.studies import Study, make_study
from rclrec_mini.experiments.tables import TABLE2, base_of
from rclrec_mini.files import InputError, file_name, read_json, whole_file, write_json
from rclrec_mini.models.curriculum import Selection, chance, event_counts, journey_mask, recovery, top_k
from rclrec_mini.models.rclrec import RCLRec, cross_entropy_towards
from rclrec_mini.training.checkpoints import provenance

TAUGHT = "taught the truth"
STARTS = {  # the row of table2 whose losses and stage one are taken
    "to the letter": "RCLRec",
    "prefixes in pre-training, prefix loss 0.1": "all repairs",
}


@dataclass(frozen=True)
class Config:
    study: Path = Path("runs/mini")  # folder of a study that holds the rows of STARTS
    preset: str = "mini"  # its preset
    precision: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)  # pi
    seeds: tuple[int, ...] = (0,)  # of the study
    threads: int = 1  # of torch
    out: Path = Path(__file__).parent / "results" / "prefix_precision.json"  # result file


class NoisyOracle(nn.Module):
    """k events, each of the target's journey with probability `precision`; as far as the history has such events.

    Args:
        k: events to select.
        precision: pi.
        journey: truth of a simulated shop, of every row of the interactions (N,).
    """

    def __init__(self, *, k: int, precision: float, journey: Tensor):
        super().__init__()
        self.k, self.precision = k, precision
        self.register_buffer("journey", journey, persistent=False)

    def forward(self, history: Tensor, batch: Batch) -> Selection:
        truth = journey_mask(self.journey, batch)
        order = chance(batch, seed=1)  # (B, T)
        wanted = (chance(batch, seed=2)[:, -self.k :] < self.precision).sum(1, keepdim=True)  # (B, 1)
        place = order.masked_fill(~truth, -1).argsort(1, descending=True).argsort(1)  # 0: first of the journey
        taken = truth & (place < wanted)
        relevance = order + 2.0 * taken - 1.0 * (truth & ~taken)  # wanted, then noise, then the rest of the journey
        index, valid = top_k(relevance.masked_fill(~batch.mask, float("-inf")), self.k)
        shuffled = chance(batch, seed=3).gather(1, index).masked_fill(~valid, -1).argsort(1)
        index, valid = index.gather(1, shuffled), valid.gather(1, shuffled)
        return Selection(index, valid, torch.ones(index.shape, device=index.device))


def towards_journey(model: RCLRec, scores: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of p towards the events of the target's journey (B,), 0 where the history holds none."""
    return cross_entropy_towards(journey_mask(model.journey, batch), scores, batch.mask)


class Reader(nn.Module):
    """Scores events by what is known of each and by recency: (B, T, width) -> (B, T)

    Args:
        width: of what is known.
        events: T.
        hidden: width of a hidden layer; 0 for none.
    """

    def __init__(self, *, width: int, events: int, hidden: int):
        super().__init__()
        self.recency = nn.Embedding(events, width)
        wide = [nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()] if hidden else []
        self.net = nn.Sequential(*wide, nn.Linear(hidden or width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + self.recency.weight[: x.shape[1]].flip(0)).squeeze(-1)


READERS = {"states, a line": ("states", 0), "states, a network": ("states", 64), "counts, a network": ("counts", 64)}


@torch.no_grad()
def known(model: RCLRec, materials: Materials, rows: np.ndarray) -> dict[str, Tensor]:
    """States (n, T, d), counts (n, T, c), mask and truth (n, T) of the samples at `rows`."""
    found: dict[str, list[Tensor]] = {"states": [], "counts": [], "mask": [], "truth": []}
    for batch in batches(model, materials.sequences, rows):
        behaviors = model.backbone.config.behaviors
        parts = {"states": model.encode(batch), "counts": event_counts(model.codes, batch, behaviors=behaviors)}
        parts |= {"mask": batch.mask, "truth": journey_mask(materials.journey, batch)}
        missing = model.max_history - batch.mask.shape[1]
        for name, part in parts.items():
            found[name].append(F.pad(part, (0, 0) * (part.dim() - 2) + (missing, 0)))
    return {name: torch.cat(parts) for name, parts in found.items()}


def read(config: ExperimentConfig, study: Study, materials: Materials, *, epochs: int = 10) -> dict[str, Any]:
    """Precision on test targets of each reader after it was taught the truth of all training purchases."""
    model, _ = pretrain(config, materials, study.stage_one(config), progress=False)
    train, test = (known(model, materials, rows) for rows in (materials.purchases(), materials.split.test))
    found = {}
    for name, (what, hidden) in READERS.items():
        torch.manual_seed(config.seed)
        reader = Reader(width=train[what].shape[-1], events=model.max_history, hidden=hidden)
        reader.to(train["mask"].device)
        optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(train["mask"])).split(64):
                scores = reader(train[what][rows]).masked_fill(~train["mask"][rows], float("-inf"))
                cross_entropy_towards(train["truth"][rows], scores, train["mask"][rows]).mean().backward()
                optimizer.step()
                optimizer.zero_grad()
        relevance = reader(test[what]).detach().masked_fill(~test["mask"], float("-inf"))
        index, valid = top_k(relevance, config.model.k)
        precision = recovery(Selection(index, valid, valid.float()), test["truth"]).precision
        found[name] = asdict(mean_with_interval(precision[~precision.isnan()].cpu().numpy()[None]))
    return found


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    study = make_study(config.study, preset_name=config.preset, seeds=config.seeds)
    materials = load_materials(study.data, study.ids)
    if materials.journey is None:
        raise InputError(f"{study.data}: truth.parquet not found, expected a simulated shop")
    rows: list[float | str] = [*config.precision, TAUGHT]
    for start, row in STARTS.items():
        for seed in config.seeds:
            for what in rows:
                begun = time.perf_counter()
                settings = study.job(row, TABLE2[row], seed).config  # at the rate of stage two that was chosen
                run(settings, study, materials, what, folder(study, start, what))
                print(f"{start}, {what}, seed {seed}: {time.perf_counter() - begun:.0f} s", flush=True)
    found = {start: collect(study, materials, start, rows) for start in STARTS}
    device = "cuda" if torch.cuda.is_available() else "cpu"  # as the trainer chooses
    settings = {"preset": config.preset, "seeds": config.seeds, "data": materials.label(), "device": device}
    row = TABLE2["RCLRec"]
    readers = {str(seed): read(study.config(row, seed), study, materials) for seed in config.seeds}
    write_json(config.out, {"config": settings, "starts": found, "readers": readers, **provenance()})
    print_table(read_json(config.out))


def folder(study: Study, start: str, what: float | str) -> Path:
    return study.out / "prefix_precision" / file_name(start) / file_name(str(what))


def run(config: ExperimentConfig, study: Study, materials: Materials, what: float | str, out: Path) -> None:
    """Fine-tune with one kind of prefix, unless it has been, and store ranks and precision of every test target."""
    out = out / f"seed{config.seed}"
    if (out / "test.safetensors").exists():
        return
    first, _ = pretrain(config, materials, study.stage_one(config), progress=False)  # is there: read back
    model = finetuning_rclrec(config.model, materials, first)
    if what == TAUGHT:
        model.loss = replace(model.loss, supervision=1.0)
        model.supervision = partial(towards_journey, model)
    else:
        model.selector = NoisyOracle(k=config.model.k, precision=float(what), journey=materials.journey)
    rows = materials.purchases()
    train_stage(model, model, config, config.finetune, materials, rows, out / "finetune", progress=True)
    model.eval()
    items = rank(model, materials.sequences, materials.catalog, materials.split.test, beams=config.beams)
    values = {"rank": rank_of(items, materials.sequences.item[materials.split.test])}
    values |= selector_recovery(model, materials.sequences, materials.journey, materials.split.test)
    with whole_file(out / "test.safetensors") as partial_file:
        save_file(values, partial_file)


def collect(study: Study, materials: Materials, start: str, rows: list[float | str]) -> dict[str, Any]:
    """Metrics of each row, its gain on no prefix, and where the gain crosses zero."""
    base = stack(
        [study.row(base_of(TABLE2[STARTS[start]]), seed) / "ranks.safetensors" for seed in study.seeds], "rank"
    )
    found: dict[str, Any] = {"without": {"recall@10": asdict(mean_with_interval(recall(base, 10)))}, "rows": {}}
    for what in rows:
        files = [folder(study, start, what) / f"seed{seed}" / "test.safetensors" for seed in study.seeds]
        values, precision = stack(files, "rank"), stack(files, "precision")
        found["rows"][str(what)] = {
            "precision": float(np.nanmean(precision)),
            "recall@10": asdict(mean_with_interval(recall(values, 10))),
            "ndcg@10": asdict(mean_with_interval(ndcg(values, 10))),
            "gain": asdict(paired_test(recall(values, 10), recall(base, 10))),
        }
    curve = [found["rows"][str(what)] for what in rows if what != TAUGHT]
    found["pays from"] = crossing([row["precision"] for row in curve], [row["gain"]["difference"] for row in curve])
    return found


def stack(files: list[Path], name: str) -> np.ndarray:
    """(S, n)"""
    return np.stack([load_file(file)[name] for file in files])


def crossing(x: list[float], y: list[float]) -> float | None:
    """Where the line through the points first rises through 0; None if it does not."""
    for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:], strict=False):
        if y0 < 0 <= y1:
            return x0 - y0 * (x1 - x0) / (y1 - y0)
    return None


def print_table(result: dict[str, Any]) -> None:
    for start, found in result["starts"].items():
        without, pays = found["without"]["recall@10"]["mean"], found["pays from"]
        level = "nowhere" if pays is None else f"from precision {pays:.2f}"
        print(f"\n{start}: R@10 {100 * without:.1f} without a prefix; a curriculum pays {level}\n")
        print("| pi | precision | R@10 | gain |\n|---|---|---|---|")
        for what, row in found["rows"].items():
            recalled, gain = f"{100 * row['recall@10']['mean']:.1f}", gained(row["gain"])
            print(f"| {what} | {row['precision']:.2f} | {recalled} | {gain} |")
    for seed, readers in result["readers"].items():
        told = "; ".join(f"{name} {precision['mean']:.2f}" for name, precision in readers.items())
        print(f"\nprecision of readers, seed {seed}: {told}")


if __name__ == "__main__":
    main(tyro.cli(Config))
