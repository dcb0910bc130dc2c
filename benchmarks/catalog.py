"""How long a catalogue takes to load, and how large its trie is.

    python benchmarks/catalog.py --threads 1

Items have distinct random codes: the worst case, since they share the fewest prefixes. Loading reads the codes, checks
their hash and builds the trie; the file was just written, so the disk's cache is warm. Times are medians over rounds.
"""

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from rclrec_mini.files import write_json
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.checkpoints import provenance


@dataclass(frozen=True)
class Config:
    items: tuple[int, ...] = (10_000, 100_000, 1_000_000)  # sizes of the catalogue
    levels: int = 4  # L
    codes: int = 256  # V
    rounds: int = 7  # timed loads of each size
    threads: int = 0  # of torch; 0: as many as it takes by itself
    seed: int = 0
    out: Path = Path(__file__).parent / "results" / "catalog.json"  # result file


def random_catalog(n_items: int, config: Config) -> Catalog:
    rng = np.random.default_rng(config.seed)
    keys = rng.choice(config.codes**config.levels, n_items, replace=False, shuffle=False)
    codes = np.stack(np.unravel_index(keys, (config.codes,) * config.levels), 1)
    return Catalog(torch.from_numpy(codes), n_codes=config.codes)


def measure(n_items: int, config: Config) -> dict[str, Any]:
    catalog = random_catalog(n_items, config)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ids"
        catalog.save(path)
        for _ in range(config.rounds):
            start = time.perf_counter()
            loaded = Catalog.load(path)
            seconds.append(time.perf_counter() - start)
        file_bytes = sum(file.stat().st_size for file in path.iterdir())
    if not torch.equal(loaded.codes, catalog.codes):
        raise AssertionError("the loaded codes differ from the saved ones")
    return {
        "items": n_items,
        "load_seconds": statistics.median(seconds),
        "slowest_load_seconds": max(seconds),
        "trie_bytes": catalog.trie_bytes(),
        "code_bytes": catalog.codes.nbytes,
        "file_bytes": file_bytes,
    }


def main(config: Config) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)
    rows = [measure(n_items, config) for n_items in tqdm(config.items, desc="catalogue")]
    print("\n| items | load ms | slowest ms | trie MB | codes in memory MB | files MB |\n|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        times = f"{1e3 * row['load_seconds']:.1f} | {1e3 * row['slowest_load_seconds']:.1f}"
        sizes = " | ".join(f"{row[name] / 1e6:.2f}" for name in ("trie_bytes", "code_bytes", "file_bytes"))
        print(f"| {row['items']:,} | {times} | {sizes} |")
    config_row = asdict(config) | {"out": config.out.name}
    write_json(config.out, {"config": config_row, "device": "cpu", **provenance(), "rows": rows})
    print(f"written to {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config))
