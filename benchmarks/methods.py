"""A training step (forward, backward, AdamW) of every method in both stages, at the sizes of a preset.

    python benchmarks/methods.py --threads 1
    python benchmarks/methods.py --preset full --items 40000 --batch-size 32 --threads 1 --out results/methods_full.json

Random histories of full length. Stage one is the method's own objective over the events of a window (all of them, or
the target alone: `targets`), stage two the target's alone. Methods take turns; medians are over rounds, and a ratio to
RCLRec is the median of the rounds' ratios. CPU time of the process is told beside the wall time, which suffers on a
shared machine.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import nn
from tqdm import tqdm

from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.data.sequences import Batch, Sequences, split_last_purchase
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import METHODS
from rclrec_mini.experiments.presets import preset
from rclrec_mini.experiments.studies import sized_to
from rclrec_mini.experiments.tables import COMPARED
from rclrec_mini.files import write_json
from rclrec_mini.models.recommender import Pretraining
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.checkpoints import provenance
from rclrec_mini.training.schedule import TrainConfig, build_optimizer


@dataclass(frozen=True)
class Config:
    """What is measured."""

    preset: str = "mini"  # sizes of the methods
    items: int = 2_400  # items of the catalogue
    users: int = 300  # users that the samples come from
    batch_size: int = 8  # samples a step
    rounds: int = 7  # timed steps of each method and stage
    threads: int = 0  # of torch; 0: as many as it takes by itself
    device: str = "cpu"  # cpu or cuda
    seed: int = 0
    out: Path = Path(__file__).parent / "results" / "methods_mini.json"  # result file


def random_materials(config: Config) -> Materials:
    """Histories of random events whose last two are purchases, and ids that are random but unique."""
    rng, length = np.random.default_rng(config.seed), 53
    n = config.users * length
    behavior = rng.integers(4, size=(config.users, length)).astype(np.int8)
    behavior[:, -2:] = PURCHASE
    sequences = Sequences(
        item=rng.integers(config.items, size=n).astype(np.int32),
        behavior=behavior.ravel(),
        timestamp=np.arange(n) * 60,
        offsets=np.arange(0, n + 1, length),
        n_items=config.items,
    )
    sizes = preset(config.preset).model.backbone
    keys = rng.choice(sizes.codes**sizes.levels, config.items, replace=False)
    codes = np.stack(np.unravel_index(keys, (sizes.codes,) * sizes.levels), 1)
    return Materials(
        folder=Path(),
        sequences=sequences,
        split=split_last_purchase(sequences),
        catalog=Catalog(torch.from_numpy(codes), n_codes=sizes.codes),
        profiles=torch.zeros(config.users, 2, dtype=torch.int64),
        journey=None,
        data_hash="",
    )


def training_step(stage: nn.Module, batch: Batch) -> Callable[[], None]:
    optimizer = build_optimizer(stage, TrainConfig())
    stage.train()

    def step() -> None:
        stage(batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main(config: Config) -> dict:
    if config.threads:
        torch.set_num_threads(config.threads)
    origin = provenance()
    torch.manual_seed(config.seed)
    materials = random_materials(config)
    steps, facts = {}, {}
    for name in COMPARED:
        method = METHODS[name]
        model_config = sized_to(preset(config.preset, name), materials.catalog).model
        first = method.first(model_config, materials).to(config.device)
        second = method.second(model_config, materials, first).to(config.device)
        rows = materials.split.test[: config.batch_size]
        batch = materials.sequences.batch(rows, first.max_history).to(config.device)
        steps[name] = [training_step(Pretraining(model=first), batch), training_step(second, batch)]
        targets = "every event" if first.every_event else "the target"
        facts[name] = {"parameters": sum(p.numel() for p in first.parameters()), "targets": targets}
    seconds = measure(steps, rounds=config.rounds, device=config.device)
    table = {name: {**facts[name], **summary(seconds, name, config.batch_size)} for name in COMPARED}
    print(f"{'':10}{'parameters':>12}{'stage one':>14}{'to RCLRec':>12}{'stage two':>14}{'to RCLRec':>12}")
    for name, row in table.items():
        stages = "".join(f"{1000 * row[s]['cpu']:11.1f} ms{row[s]['to_rclrec']:12.2f}" for s in ("one", "two"))
        print(f"{name:10}{row['parameters']:12,}{stages}")
    result = {"config": asdict(config) | {"out": config.out.name}, "methods": table, **origin}
    result |= {"threads": torch.get_num_threads(), "load": list(os.getloadavg()), "device": config.device}
    write_json(config.out, result)
    return result


def measure(steps: dict[str, list[Callable[[], None]]], *, rounds: int, device: str) -> dict[str, np.ndarray]:
    """Seconds of each method: (rounds, stages, wall and CPU)"""
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds = {name: np.zeros((rounds + 2, 2, 2)) for name in steps}
    for turn in tqdm(range(rounds + 2), desc="methods", unit="round"):
        for name, stages in steps.items():
            for stage, step in enumerate(stages):
                synchronize()
                wall, cpu = time.perf_counter(), time.process_time()
                step()
                synchronize()
                seconds[name][turn, stage] = time.perf_counter() - wall, time.process_time() - cpu
    return {name: values[2:] for name, values in seconds.items()}  # without two turns to warm up


def summary(seconds: dict[str, np.ndarray], name: str, batch_size: int) -> dict[str, dict[str, float]]:
    """Medians of each stage, samples a second, and the time in terms of RCLRec's."""
    found = {}
    for stage, title in enumerate(("one", "two")):
        wall, cpu = np.median(seconds[name][:, stage], axis=0)
        ratio = np.median(seconds[name][:, stage, 1] / seconds["rclrec"][:, stage, 1])
        found[title] = {"wall": wall, "cpu": cpu, "samples_a_second": batch_size / cpu, "to_rclrec": float(ratio)}
    return found


if __name__ == "__main__":
    main(tyro.cli(Config))
