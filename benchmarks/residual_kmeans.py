"""Residual k-means against faiss's ResidualQuantizer on the same vectors: time and error.

    python benchmarks/residual_kmeans.py --threads 1

Both code greedily (max_beam_size 1), with 25 iterations per level and at most 256 vectors per code to fit on. They take
turns in every round; each round has its own seed. Vectors are clusters within clusters with noise. Times are CPU
seconds, medians over rounds, ratios medians of the rounds' ratios; an error is the share of the variance left after
the last level.
"""

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
import tyro
from tqdm import tqdm

from rclrec_mini.files import write_json
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig, residual_kmeans
from rclrec_mini.training.checkpoints import provenance


@dataclass(frozen=True)
class Config:
    items: tuple[int, ...] = (2_000, 100_000)  # N
    dimensions: int = 64  # D
    levels: int = 4  # L
    bits: int = 8  # log2 of V, as faiss counts
    rounds: int = 3  # timed runs of each contender
    threads: int = 1  # of torch and of faiss
    seed: int = 0
    out: Path = Path(__file__).parent / "results" / "residual_kmeans.json"  # result file


def clustered(n_items: int, dimensions: int, *, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parents = 2 * rng.normal(size=(17, dimensions))
    leaves = parents[rng.integers(0, 17, 211)] + rng.normal(size=(211, dimensions))
    noise = rng.normal(size=(n_items, dimensions)) * np.linspace(0.6, 0.1, dimensions)
    return (leaves[rng.integers(0, 211, n_items)] + noise).astype(np.float32)


def ours(vectors: np.ndarray, config: Config, *, seed: int, balanced: bool = False) -> float:
    quantizer = ResidualKMeansConfig(levels=config.levels, codes=2**config.bits, balanced=balanced, seed=seed)
    return float(residual_kmeans(vectors, quantizer, progress=False).errors[-1])


def peer(vectors: np.ndarray, config: Config, *, seed: int) -> float:
    quantizer = faiss.ResidualQuantizer(vectors.shape[1], config.levels, config.bits)
    quantizer.max_beam_size, quantizer.cp.niter, quantizer.cp.seed = 1, 25, seed + 1
    quantizer.cp.min_points_per_centroid = 1
    quantizer.train(vectors)
    decoded = quantizer.decode(quantizer.compute_codes(vectors))
    return float(np.square(vectors - decoded).sum() / np.square(vectors - vectors.mean(0)).sum())


def measure(n_items: int, config: Config) -> dict[str, Any]:
    contenders = {
        "ours": ours,
        "faiss": peer,
        "balanced": lambda *given, **named: ours(*given, **named, balanced=True),
    }
    seconds, errors = ({name: [] for name in contenders} for _ in range(2))
    for seed in range(config.seed, config.seed + config.rounds):
        vectors = clustered(n_items, config.dimensions, seed=seed)
        for name, contender in contenders.items():
            start = time.process_time()
            errors[name].append(contender(vectors, config, seed=seed))
            seconds[name].append(time.process_time() - start)

    def over_faiss(measured: dict[str, list[float]]) -> dict[str, float]:
        ratios = {n: [a / b for a, b in zip(measured[n], measured["faiss"], strict=True)] for n in contenders}
        return {name: statistics.median(values) for name, values in ratios.items()}

    return {
        "items": n_items,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "errors": {name: statistics.median(values) for name, values in errors.items()},
        "seconds_over_faiss": over_faiss(seconds),
        "errors_over_faiss": over_faiss(errors),
    }


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    faiss.omp_set_num_threads(config.threads)
    rows = [measure(n_items, config) for n_items in tqdm(config.items, desc="residual k-means")]
    print("\n| items | contender | CPU s | over faiss | error | over faiss |\n|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        for name in row["seconds"]:
            times = f"{row['seconds'][name]:.2f} | {row['seconds_over_faiss'][name]:.2f}"
            errors = f"{row['errors'][name]:.4f} | {row['errors_over_faiss'][name]:.3f}"
            print(f"| {row['items']:,} | {name} | {times} | {errors} |")
    origin = provenance()
    origin["versions"]["faiss"] = faiss.__version__
    config_row = asdict(config) | {"out": config.out.name}
    write_json(config.out, {"config": config_row, "device": "cpu", **origin, "rows": rows})
    print(f"written to {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config))
