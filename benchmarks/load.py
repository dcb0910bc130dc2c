"""How long a prepared data set takes to load, with its checks and without.

    python benchmarks/load.py --rows 20_000_000

Four ways to read the same simulated shop, in turns and each in a process of its own: the bare columns as Parquet gives
them; these with offsets and a check that users come in order, which is all that loading once did; the first load of a
process (checksum of the file, contract of every row); and a second one, where the checksum is known. The disk's cache
is warm. Times are medians over rounds, ratios medians of the rounds' ratios.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro

from rclrec_mini.data.schema import INTERACTIONS
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.data.simulate import preset, sized, write_prepared
from rclrec_mini.files import read_json, write_json
from rclrec_mini.training.checkpoints import provenance


@dataclass(frozen=True)
class Config:
    rows: int = 20_000_000  # events, about
    rounds: int = 5  # timed loads of each kind
    seed: int = 0  # of the simulated shop
    out: Path = Path(__file__).parent / "results" / "load.json"  # result file


def columns(folder: Path) -> list[np.ndarray]:
    table = pq.read_table(folder / "interactions.parquet", memory_map=True)
    return [table[name].to_numpy() for name in INTERACTIONS.names[:4]]


def unchecked(folder: Path) -> np.ndarray:
    """What loading did before there were checksums."""
    user, *_ = columns(folder)
    assert not np.any(np.diff(user) < 0)
    return np.searchsorted(user, np.arange(read_json(folder / "manifest.json")["counts"]["users"] + 1))


CONTENDERS = {"columns": columns, "unchecked": unchecked, "checked": Sequences.load, "checked again": Sequences.load}


def timed(name: str, folder: Path) -> tuple[float, float]:
    """Seconds of wall clock and of the processor."""
    if name == "checked again":
        Sequences.load(folder)
    start, processor = time.perf_counter(), time.process_time()
    CONTENDERS[name](folder)
    return time.perf_counter() - start, time.process_time() - processor


def measure(config: Config, folder: Path) -> dict[str, list[tuple[float, float]]]:
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    columns(folder)  # warms the disk's cache
    for _ in range(config.rounds):
        for name, done in runs.items():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                done.append(pool.submit(timed, name, folder).result())
    return runs


def main(config: Config) -> dict:
    """Time all kinds of loading, print the table, write the result file."""
    with tempfile.TemporaryDirectory(prefix="rclrec-benchmark-") as scratch:
        folder = Path(scratch) / "shop"
        written = write_prepared(sized(preset("full", seed=config.seed), rows=config.rows), folder, progress=True)
        size = (folder / "interactions.parquet").stat().st_size
        runs = measure(config, folder)
    table = {}
    for name, done in runs.items():
        ratios = [mine[0] / theirs[0] for mine, theirs in zip(done, runs["unchecked"], strict=True)]
        table[name] = {
            "seconds": statistics.median(seconds for seconds, _ in done),
            "processor_seconds": statistics.median(processor for _, processor in done),
            "ratio": statistics.median(ratios),
        }
        print(f"{name:14} {table[name]['seconds']:6.2f} s  {table[name]['ratio']:5.2f} of unchecked")
    config_row = asdict(config) | {"out": config.out.name}
    result = {"config": config_row, "device": "cpu", **provenance(), "cores": os.cpu_count()}
    result |= {"load": list(os.getloadavg()), "rows": written["counts"]["interactions"], "bytes": size}
    write_json(config.out, result | {"table": table, "runs": runs})
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
