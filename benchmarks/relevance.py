"""The statistics of Figure 1(c) on simulated rows, against the same statistics in plain SQL and plain pandas.

    python benchmarks/relevance.py --rows 10_000_000

The peers compute the share in the window and the two baselines (no intervals) on the first `peer-rows` rows:

    duckdb   one SQL query: window functions over each user's events, one row of aggregates a behaviour
    pandas   groupby("user").shift(k) for each place k of the window, groupby.transform("count") for the baselines

They take turns with ours; times are medians over rounds, ratios medians of the rounds' ratios; all means must agree.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import tyro

from rclrec_mini.data.relevance import ATTRIBUTES, relevance
from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.data.simulate import catalogue, preset, simulate, sized
from rclrec_mini.files import write_json
from rclrec_mini.training.checkpoints import provenance

Means = dict[tuple[str, str, str], float]  # attribute, source, behavior


@dataclass(frozen=True)
class Config:
    """Sizes of the comparison."""

    rows: int = 10_000_000  # events that ours runs on, about
    peer_rows: int = 1_000_000  # events that ours and the peers run on, about
    window: int = 20  # events
    rounds: int = 3  # timed runs of each contender
    threads: int = 2  # of DuckDB; ours and pandas use one
    seed: int = 0
    out: Path = Path(__file__).parent / "results" / "relevance.json"  # result file


def simulated(rows: int, seed: int) -> tuple[Sequences, pa.Table]:
    """About `rows` events of the shop with the full preset's catalogue."""
    config = sized(preset("full", seed=seed), rows=rows)
    table = simulate(config).interactions
    user, item, behavior, timestamp = (table[n].to_numpy() for n in ("user", "item", "behavior", "timestamp"))
    offsets = np.searchsorted(user, np.arange(config.users + 1))
    return Sequences(item, behavior, timestamp, offsets, config.items), catalogue(config).table


def ours(sequences: Sequences, items: pa.Table, window: int) -> Means:
    rows = relevance(sequences, items, window=window).table.to_pylist()
    return {(r["attribute"], r["source"], r["behavior"]): r["mean"] for r in rows if r["source"] != "excess"}


def frame(sequences: Sequences, items: pa.Table) -> pd.DataFrame:
    """One row an event, attributes as numbers: what the peers start from."""
    user = np.repeat(np.arange(sequences.n_users), np.diff(sequences.offsets)).astype(np.int32)
    events = pd.DataFrame({"user": user, "behavior": sequences.behavior, "item": sequences.item})
    events["position"] = np.arange(len(user)) - sequences.offsets[user]
    for name in ATTRIBUTES:
        codes = items[name].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int32)
        events[name] = codes[sequences.item]
    return events


def in_pandas(events: pd.DataFrame, window: int) -> Means:
    by_user = events.groupby("user", sort=False)
    length, n_user = events["position"].clip(upper=window), by_user["item"].transform("size")
    kept, means = length > 0, {}
    for name in [*ATTRIBUTES, "item"]:
        hits = sum((by_user[name].shift(k) == events[name]).astype(np.int32) for k in range(1, window + 1))
        if name == "item":
            columns = {"history": (hits > 0).astype(float)}
        else:
            own = events.groupby(["user", name], sort=False)["item"].transform("size")
            everywhere = events.groupby(name)["item"].transform("size")
            columns = {
                "history": hits / length,
                "own shuffled": (own - 1) / (n_user - 1),
                "other users": (everywhere - own) / (len(events) - n_user),
            }
        for source, column in columns.items():
            mean = column[kept].groupby(events["behavior"][kept]).mean()
            means |= {(name, source, BEHAVIORS[b]): float(value) for b, value in mean.items()}
    return means


def in_duckdb(events: pd.DataFrame, window: int, threads: int) -> Means:
    window_of_user = "(PARTITION BY user ORDER BY position)"
    hits, counts = [], ["count(*) OVER (PARTITION BY user) AS n_user"]
    for n in [*ATTRIBUTES, "item"]:
        same = (f"coalesce((lag({n}, {k}) OVER {window_of_user} = {n})::INT, 0)" for k in range(1, window + 1))
        hits.append(f"{' + '.join(same)} AS hits_{n}")
    for n in ATTRIBUTES:
        counts.append(f"count(*) OVER (PARTITION BY user, {n}) AS own_{n}, count(*) OVER (PARTITION BY {n}) AS all_{n}")
    means = ["avg((hits_item > 0)::DOUBLE)"]
    for n in ATTRIBUTES:
        means.append(f"avg(hits_{n} / least(position, {window}))")
        means.append(f"avg((own_{n} - 1) / (n_user - 1))")
        means.append(f"avg((all_{n} - own_{n}) / ({len(events)} - n_user))")
    query = f"""
        WITH wide AS (SELECT *, {", ".join(hits + counts)} FROM events)
        SELECT behavior, {", ".join(means)} FROM wide WHERE position > 0 GROUP BY behavior
    """
    names = [("item", "history")]
    names += [(n, source) for n in ATTRIBUTES for source in ("history", "own shuffled", "other users")]
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.register("events", events)
        rows = connection.execute(query).fetchall()
    return {(*key, BEHAVIORS[row[0]]): value for row in rows for key, value in zip(names, row[1:], strict=True)}


def measure(contenders: dict[str, Callable[[], Means]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; all must find the same means."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        found = {}
        for name, run in contenders.items():
            start = time.perf_counter()
            found[name] = run()
            seconds[name].append(time.perf_counter() - start)
        for name, means in found.items():
            assert means.keys() == found["ours"].keys(), name
            assert all(abs(means[key] - value) < 1e-9 for key, value in found["ours"].items()), name
    return seconds


def against_peers(config: Config) -> dict:
    """Time ours and the peers in turns."""
    sequences, items = simulated(config.peer_rows, config.seed)
    events = frame(sequences, items)
    contenders = {
        "ours": lambda: ours(sequences, items, config.window),
        "duckdb": lambda: in_duckdb(events, config.window, config.threads),
        "pandas": lambda: in_pandas(events, config.window),
    }
    seconds = measure(contenders, config.rounds)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    ratios = {n: float(np.median(np.divide(seconds[n], seconds["ours"]))) for n in ("duckdb", "pandas")}
    return {"rows": len(sequences), "seconds": seconds, "medians": medians, "ratios": ratios}


def main(config: Config) -> dict:
    """Time all contenders, print the table, write the result file."""
    peers = against_peers(config)
    sequences, items = simulated(config.rows, config.seed)
    start = time.perf_counter()
    ours(sequences, items, config.window)
    whole = time.perf_counter() - start
    print(f"{'contender':12}{'events':>12}{'seconds':>10}{'events/s':>12}{'ours is faster':>16}")
    for name, median in peers["medians"].items():
        times = f"{peers['ratios'][name]:15.1f}x" if name in peers["ratios"] else ""
        print(f"{name:12}{peers['rows']:12,}{median:10.2f}{peers['rows'] / median:12,.0f}{times}")
    print(f"{'ours':12}{len(sequences):12,}{whole:10.2f}{len(sequences) / whole:12,.0f}")
    origin = provenance()
    origin["versions"] |= {"duckdb": duckdb.__version__, "pandas": pd.__version__, "numpy": np.__version__}
    result = {"config": asdict(config) | {"out": config.out.name}, **origin, "load": list(os.getloadavg())}
    result |= {"device": "cpu", "cores": os.cpu_count()}
    result |= {"peers": peers, "ours": {"rows": len(sequences), "seconds": whole}}
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
