"""What pointing costs: a training step and a beam search of the backbone with the pointer, over those without it.

    python benchmarks/pointer.py --threads 1
    python benchmarks/pointer.py --preset full --items 40000 --threads 1 --out results/pointer_full.json

Both models have the same backbone and no curriculum; histories are random and of full length. Stage one predicts every
event (where the encoder is causal), stage two the target, in batches of the preset; the search ranks 256 users. The
two take turns, each with a few calls in a row, as a step of training follows a step of its own; a ratio is the
median of the rounds' ratios with its quartiles, of the CPU time of the process.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from methods import Config as Sizes
from methods import random_materials, training_step
from tqdm import tqdm

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.experiments.methods import METHODS
from rclrec_mini.experiments.presets import preset
from rclrec_mini.experiments.studies import sized_to
from rclrec_mini.files import write_json
from rclrec_mini.models.recommender import Pretraining
from rclrec_mini.training.checkpoints import provenance

WORK = ("stage one", "stage two", "beam search")


@dataclass(frozen=True)
class Config(Sizes):
    """What is measured."""

    batch_size: int | None = None  # of all three; None: as the head of this file says
    rounds: int = 15  # timed turns of each
    calls: int = 5  # in a row, in a turn
    out: Path = Path(__file__).parent / "results" / "pointer_mini.json"  # result file


def work_of(config: Config, *, pointer: bool) -> list[Callable[[], object]]:
    """The three calls of a model with or without the pointer, in the order of WORK."""
    torch.manual_seed(config.seed)
    materials = random_materials(config)
    catalog = materials.catalog.to(config.device)
    experiment = sized_to(preset(config.preset, "pointing"), catalog)
    model_config = replace(experiment.model, pointer=pointer)
    method = METHODS["pointing"]
    first, second, ranker = (method.first(model_config, materials).to(config.device) for _ in range(3))
    ranker.eval()

    def batch(size: int) -> Batch:
        rows = materials.split.test[: config.batch_size or size]
        return materials.sequences.batch(rows, first.max_history).to(config.device)

    users = batch(256)
    return [
        training_step(Pretraining(model=first), batch(experiment.pretrain.batch_size)),
        training_step(second, batch(experiment.finetune.batch_size)),
        lambda: beam_search(ranker, users, catalog, beams=experiment.beams, k=10),
    ]


def measure(config: Config) -> dict[str, dict[str, list[float]]]:
    """CPU seconds of a call in each round: {work: {"plain": ..., "pointer": ...}}, after three rounds to warm up."""
    # as after reading a log: once a large block was freed, glibc keeps what is freed and a step has few page faults
    np.ones(3_900_000)  # 31 MB, and freed at once
    models = {"plain": work_of(config, pointer=False), "pointer": work_of(config, pointer=True)}
    synchronize = torch.cuda.synchronize if config.device == "cuda" else lambda: None
    seconds = {name: {model: [] for model in models} for name in WORK}
    for turn in tqdm(range(config.rounds + 3), desc="pointer", unit="round"):
        for i, name in enumerate(WORK):
            for model, calls in models.items():
                clock = time.perf_counter if config.device == "cuda" else time.process_time
                start = clock()
                for _ in range(config.calls):
                    calls[i]()
                synchronize()
                if turn >= 3:
                    seconds[name][model].append((clock() - start) / config.calls)
    return seconds


def main(config: Config) -> dict:
    if config.threads:
        torch.set_num_threads(config.threads)
    origin = provenance()
    seconds = measure(config)
    table = {}
    for name, times in seconds.items():
        plain, pointer = np.array(times["plain"]), np.array(times["pointer"])
        low, middle, high = np.quantile(pointer / plain, [0.25, 0.5, 0.75])
        medians = {"plain_ms": 1000 * float(np.median(plain)), "pointer_ms": 1000 * float(np.median(pointer))}
        table[name] = medians | {"ratio": [float(low), float(middle), float(high)]}
        print(f"{name:12} {medians['plain_ms']:8.1f} ms {medians['pointer_ms']:8.1f} ms", end="")
        print(f"   x {middle:.2f} [{low:.2f}, {high:.2f}]")
    result = {
        "config": asdict(config) | {"out": config.out.name},
        "work": table,
        "load": list(os.getloadavg()),
        **origin,
    }
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
