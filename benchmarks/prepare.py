"""Preparing a REC-Tmall log, against the same job in polars and in pandas.

    python benchmarks/prepare.py --rows 20_000_000

The job: parse the text, drop repeated rows, number users and items, sort by (user, time), count positions, write
Parquet. Ours also checks every field, hashes its input and output, and writes a manifest. Everyone starts from the same
simulated files, each run in a process of its own, in turns; all must write the same interactions. Times are medians
over rounds, ratios medians of the rounds' ratios, memory is the largest peak of resident memory.
"""

import contextlib
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from rclrec_mini.files import write_json

BEHAVIORS = {"click": 0, "collect": 1, "cart": 2, "alipay": 3}
COLUMNS = ["user", "item", "behavior", "timestamp", "position"]


@dataclass(frozen=True)
class Config:
    """Sizes of the comparison."""

    rows: int = 20_000_000  # events in the log, about
    log: Path | None = None  # folder with tianchi_*_log_*.txt files to read instead of simulated ones
    duplicates: Literal["drop", "keep"] = "drop"  # whether everyone drops repeated rows
    rounds: int = 3  # timed runs of each contender
    threads: int = 2  # of ours and of polars; pandas uses one
    seed: int = 0  # of the simulated shop
    out: Path = Path(__file__).parent / "results" / "prepare.json"  # result file


def ours(log: list[Path], out: Path, *, distinct: bool, memory: str) -> None:
    from rclrec_mini.data.prepare import PrepareConfig, prepare

    duplicates = "drop" if distinct else "keep"
    config = PrepareConfig(
        source="rec-tmall", log=tuple(log), out=out, memory=memory, duplicates=duplicates, threads=threads()
    )
    prepare(config, progress=False)


def in_polars(log: list[Path], out: Path, *, distinct: bool) -> None:
    import polars as pl

    text = pl.scan_csv(
        log,
        separator="\x01",
        has_header=False,
        quote_char=None,
        schema={"item": pl.Int64, "user": pl.String, "behavior": pl.String, "timestamp": pl.String},
    )
    events = text.select(
        pl.col("user").str.slice(1).cast(pl.Int64),
        "item",
        pl.col("behavior").cast(pl.Enum(list(BEHAVIORS))).to_physical().cast(pl.Int8),
        pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S").dt.epoch("s"),
    ).collect()
    if distinct:
        events = events.unique(keep="first", maintain_order=True)
    for name in ("user", "item"):
        ids = events.select(pl.col(name).unique().sort()).with_row_index("number")
        ids.select(
            pl.col("number").cast(pl.Int32).alias(name), pl.col(name).cast(pl.String).alias("raw_id")
        ).write_parquet(out / f"{name}s.parquet", compression="snappy")
        events = events.join(ids, on=name, how="left", maintain_order="left")
        events = events.with_columns(pl.col("number").cast(pl.Int32).alias(name)).drop("number")
    events = events.sort("user", "timestamp", maintain_order=True)
    events = events.with_columns(pl.int_range(pl.len(), dtype=pl.Int32).over("user").alias("position"))
    events.select(COLUMNS).write_parquet(out / "interactions.parquet", compression="snappy")


def in_pandas(log: list[Path], out: Path, *, distinct: bool) -> None:
    import numpy as np
    import pandas as pd

    names = ["item", "user", "behavior", "timestamp"]
    parts = [pd.read_csv(path, sep="\x01", header=None, names=names, quoting=3) for path in log]
    events = pd.concat(parts, ignore_index=True)
    del parts
    events["user"] = events["user"].str.slice(1).astype(np.int64)
    events["behavior"] = events["behavior"].map(BEHAVIORS).astype(np.int8)
    time = pd.to_datetime(events["timestamp"], format="%Y-%m-%d %H:%M:%S")
    events["timestamp"] = time.astype("datetime64[s]").astype(np.int64)
    if distinct:
        events = events.drop_duplicates()
    for name in ("user", "item"):
        ids, numbers = np.unique(events[name], return_inverse=True)
        events[name] = numbers.astype(np.int32)
        table = pd.DataFrame({name: np.arange(len(ids), dtype=np.int32), "raw_id": ids.astype(str)})
        table.to_parquet(out / f"{name}s.parquet", index=False)
    events = events.sort_values(["user", "timestamp"], kind="stable")
    events["position"] = events.groupby("user", sort=False).cumcount().astype(np.int32)
    events[COLUMNS].to_parquet(out / "interactions.parquet", index=False)


def threads() -> int:
    return int(os.environ["POLARS_MAX_THREADS"])


def contenders(distinct: bool) -> dict[str, Callable[[list[Path], Path], None]]:
    return {
        "ours": partial(ours, distinct=distinct, memory="2GB"),
        "polars": partial(in_polars, distinct=distinct),
        "ours, 1GB": partial(ours, distinct=distinct, memory="1GB"),
        "pandas": partial(in_pandas, distinct=distinct),
    }


def timed(name: str, distinct: bool, log: list[Path]) -> dict:
    """Run one contender in this process: seconds of wall clock and of processor, peak memory, rows, what it wrote."""
    from rclrec_mini.data.schema import INTERACTIONS

    with tempfile.TemporaryDirectory(dir=log[0].parent) as folder:
        start, cpu = time.perf_counter(), time.process_time()
        contenders(distinct)[name](log, Path(folder))
        seconds, processor = time.perf_counter() - start, time.process_time() - cpu
        peak = peak_bytes()
        rows, digest = interactions(Path(folder) / "interactions.parquet", INTERACTIONS)
    return {"seconds": seconds, "processor": processor, "peak_bytes": peak, "rows": rows, "hash": digest}


def interactions(path: Path, schema) -> tuple[int, str]:
    """How many rows a file of interactions has, and a hash of their values."""
    import pyarrow.parquet as pq

    from rclrec_mini.data.table_hash import table_hash

    return pq.read_metadata(path).num_rows, table_hash(path, schema)


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@contextlib.contextmanager
def logs(config: Config) -> Iterator[list[Path]]:
    """The files of the log: those given, or simulated ones in a folder that goes away."""
    if config.log is not None:
        yield sorted(config.log.glob("tianchi_*_log_*.txt"))
        return
    folder = Path(tempfile.mkdtemp(prefix="rclrec-benchmark-"))
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(simulate_log, folder / "log", config.rows, config.seed).result()
        yield sorted((folder / "log").glob("tianchi_*_log_*.txt"))
    finally:
        shutil.rmtree(folder)


def simulate_log(out: Path, rows: int, seed: int) -> None:
    from rclrec_mini.data.raw_writers import write_raw
    from rclrec_mini.data.simulate import preset, sized

    write_raw(sized(preset("full", seed=seed), rows=rows), out, progress=True)


def measure(config: Config, log: list[Path]) -> dict[str, list[dict]]:
    """All contenders in turns, each run in a fresh process."""
    runs: dict[str, list[dict]] = {name: [] for name in contenders(True)}
    for _ in range(config.rounds):
        for name, done in runs.items():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                done.append(pool.submit(timed, name, config.duplicates == "drop", log).result())
            print(f"{name}: {done[-1]['seconds']:.1f} s, {done[-1]['peak_bytes'] / 1e9:.2f} GB", flush=True)
            assert done[-1]["hash"] == runs["ours"][0]["hash"], f"{name} wrote other interactions"
    return runs


def summary(runs: dict[str, list[dict]]) -> dict[str, dict]:
    """Medians over rounds; `ratio` is the contender's time over ours in the same round."""
    table = {}
    for name, done in runs.items():
        ratios = [run["seconds"] / ours["seconds"] for run, ours in zip(done, runs["ours"], strict=True)]
        table[name] = {
            "seconds": statistics.median(run["seconds"] for run in done),
            "processor_seconds": statistics.median(run["processor"] for run in done),
            "peak_bytes": max(run["peak_bytes"] for run in done),
            "ratio": statistics.median(ratios),
        }
    return table


def main(config: Config) -> dict:
    """Time all contenders, print the table, write the result file."""
    os.environ["POLARS_MAX_THREADS"] = str(config.threads)
    with logs(config) as log:
        size = sum(path.stat().st_size for path in log)
        runs = measure(config, log)
    table, rows = summary(runs), runs["ours"][0]["rows"]
    print(f"\n{rows:,} rows, {size / 1e9:.2f} GB of text, duplicates: {config.duplicates}")
    print(f"{'contender':12}{'seconds':>10}{'processor s':>13}{'peak GB':>10}{'time / ours':>13}")
    for name, row in table.items():
        times = f"{row['seconds']:10.1f}{row['processor_seconds']:13.1f}"
        print(f"{name:12}{times}{row['peak_bytes'] / 1e9:10.2f}{row['ratio']:13.2f}")
    from rclrec_mini.training.checkpoints import provenance

    origin = provenance()
    origin["versions"] |= versions()
    named = asdict(config) | {"out": config.out.name, "log": config.log and config.log.name}
    result = {"config": named, **origin, "device": "cpu", "cores": os.cpu_count()}
    result |= {"load": list(os.getloadavg()), "rows": rows, "text_bytes": size, "table": table, "runs": runs}
    write_json(config.out, result)
    return result


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("duckdb", "ibis-framework", "polars", "pandas", "pyarrow")}


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
