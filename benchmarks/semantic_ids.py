"""How long the semantic ids of a large shop take, and how much memory.

    python benchmarks/semantic_ids.py --rows 20_000_000

Item vectors, codes, unique tuples, catalogue and diagnostics of the simulated shop `full` (40,000 items), in a process
of its own: seconds of wall clock and of the processor, the largest peak of its resident memory, which begins with the
sequences that it loads, and the bytes that it writes.
"""

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from rclrec_mini.data.simulate import preset, sized, write_prepared
from rclrec_mini.files import write_json
from rclrec_mini.semantic_ids.tokenize import TokenizeConfig, tokenize
from rclrec_mini.training.checkpoints import provenance


@dataclass(frozen=True)
class Config:
    rows: int = 20_000_000  # events, about
    rounds: int = 1  # timed runs
    seed: int = 0  # of the simulated shop
    out: Path = Path(__file__).parent / "results" / "semantic_ids.json"  # result file


def timed(data: Path, out: Path) -> dict[str, float]:
    start, processor = time.perf_counter(), time.process_time()
    tokenize(data, TokenizeConfig(), out, progress=False)
    return {
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - processor,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "written_bytes": sum(path.stat().st_size for path in out.iterdir()),
    }


def main(config: Config) -> dict:
    """Time all rounds, print the medians, write the result file."""
    runs = []
    with tempfile.TemporaryDirectory(prefix="rclrec-benchmark-") as scratch:
        folder = Path(scratch)
        shop = sized(preset("full", seed=config.seed), rows=config.rows)
        counts = write_prepared(shop, folder / "shop", progress=True)["counts"]
        for i in range(config.rounds):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                runs.append(pool.submit(timed, folder / "shop", folder / f"ids{i}").result())
    table = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    print(f"{table['seconds']:.0f} s, {table['peak_bytes'] / 1e9:.1f} GB")
    config_row = asdict(config) | {"out": config.out.name}
    result = {"config": config_row, "device": "cpu", **provenance(), "cores": os.cpu_count()}
    result |= {"load": list(os.getloadavg()), "counts": counts, "table": table, "runs": runs}
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
