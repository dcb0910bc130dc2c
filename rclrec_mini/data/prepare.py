"""From raw logs to a prepared data set: filtered, numbered, sorted, and written whole or not at all.

    raw files -> kept events -> distinct -> filtered -> numbered -> sorted by (user, time, file order) -> Parquet

One Ibis pipeline for every source and both engines. Tables stay flat: a user's sequence is a run of rows.
"""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from rclrec_mini.data.columns import in_order
from rclrec_mini.data.describing import describe
from rclrec_mini.data.engines import ENGINES, Engine, count, first_line_of
from rclrec_mini.data.prepare_config import PrepareConfig, memory_bytes
from rclrec_mini.data.prepared import checksums
from rclrec_mini.data.raw_logs import Inputs, read_kept
from rclrec_mini.data.schema import BEHAVIORS, INTERACTIONS, ITEMS, PREPARED, PURCHASE, USERS
from rclrec_mini.data.sequences import last_tenths
from rclrec_mini.data.sources import SOURCES
from rclrec_mini.data.table_hash import TableHash, joined
from rclrec_mini.files import InputError, clear_when_full, sha256, whole_folder, write_json

HASHED_BYTES = 1_000_000_000  # larger files are told apart by size and time of change
OVERHEAD_BYTES = 250_000_000  # what the process needs beside the engine
EVENT = ["user", "item", "behavior", "timestamp", "row"]
REPEATING = {"user", "behavior", "category", "parent_category", "brand", "seller", "age_range", "gender"}


def prepare(config: PrepareConfig, *, progress: bool = True) -> dict[str, Any]:
    """Read a raw log, and write `config.out` as a prepared data set (data/schema.py); returns its manifest.

    Users and items are numbered by their ids in ascending order, integers before other texts. A user's rows are in time
    order; rows of the same time keep the order of the files, as given, and of the lines in them. Items and users that
    the log names and their own file lacks are kept with null attributes, and counted under `missing`; where the log of
    IJCAI-15 or UserBehavior gives one item several categories, sellers or brands, the smallest number is taken, and
    such items are counted under `conflicts`.

    Raises:
        InputError: something in the input is wrong, nothing or no purchase is left, or the disk is full; then
            `config.out` is as it was before.
    """
    if config.within_day == "funnel":
        warnings.warn("within_day=funnel puts purchases last in each day: histories then leak the target", stacklevel=2)
    with contextlib.ExitStack() as stack:
        read = [path for path in (*config.log, config.items, config.users) if path is not None]
        out = stack.enter_context(whole_folder(config.out, PREPARED, inputs=read, overwrite=config.overwrite))
        spill = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f".{out.name}.spill-", dir=out.parent)))
        bar = stack.enter_context(tqdm(total=5, desc="prepare", unit="step", disable=not progress))
        inputs = SOURCES[config.source](config, spill)
        bar.update()
        hashes = _start_hashing(inputs, stack)
        engine = ENGINES[config.engine](
            spill=spill,
            memory=memory_bytes(config.memory) - OVERHEAD_BYTES,
            threads=config.threads or os.cpu_count() or 1,
        )
        stack.callback(engine.close)
        try:
            with clear_when_full(config.out):
                return _run(config, inputs, engine, out, hashes, bar)
        except engine.errors as error:
            raise InputError(f"{config.out}: {config.engine} failed: {first_line_of(error)}") from error


def _start_hashing(inputs: Inputs, stack: contextlib.ExitStack) -> dict[Path, Future]:
    """Hash the files in the background: it keeps a thread busy, but not Python."""
    pool = ThreadPoolExecutor(1)
    stack.callback(pool.shutdown, cancel_futures=True)
    return {file.source: pool.submit(_identity, file.source) for file in inputs.files}


def _identity(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > HASHED_BYTES:
        return {"size": size, "mtime": path.stat().st_mtime}
    return {"sha256": sha256(path)}


def _run(
    config: PrepareConfig, inputs: Inputs, engine: Engine, out: Path, hashes: dict[Path, Future], bar: tqdm
) -> dict[str, Any]:
    log = read_kept(engine, inputs.log, where=_sampled(config))
    n_read, n_kept = sum(file.rows for file in inputs.log.files), count(engine, log)
    dropped = {"users_not_sampled": n_read - n_kept}
    if inputs.log.layout.outside:
        dropped[inputs.log.layout.outside[0]] = count(engine, log.filter(log.outside))
        log = log.filter(~log.outside)
    if config.start or config.end:
        first, after = config.time_range
        inside = log.timestamp.between(first, after - 1)
        dropped["rows_outside_the_time_range"] = count(engine, log.filter(~inside))
        log = log.filter(inside)
    bar.update()

    filters, distinct = _has_filters(config), _drops_duplicates(config, inputs)
    events = log[EVENT]
    if filters:
        events, filtered = _filter(config, engine, _distinct(engine, log) if distinct else events)
        dropped |= filtered
    _check_left(config, engine.first(events.aggregate(n=ibis._.count(), purchases=_purchases())))
    users, items = (_numbered(engine, events, name) for name in ("user", "item"))
    bar.update()

    ordered = _ordered(events, users, items, funnel=config.within_day == "funnel")
    behaviors = np.zeros(len(BEHAVIORS), np.int64)
    rows = engine.batches(ordered)
    rows = _with_position(_without_repeats(rows) if distinct and not filters else rows, behaviors)
    written = {"interactions": _write(out / "interactions.parquet", INTERACTIONS, rows)}
    if config.split == "time":
        timestamp = pq.read_table(out / "interactions.parquet", columns=["timestamp"])["timestamp"]
        last_tenths(timestamp.to_numpy(), ", ".join(map(str, config.log)))
    bar.update()

    item_table, item_notes = describe(engine, inputs, log, items, ITEMS)
    user_table, user_notes = describe(engine, inputs, log, users, USERS)
    rows = engine.batches(item_table)
    written["items"] = _write(out / "items.parquet", ITEMS, rows)
    rows = engine.batches(user_table)
    written["users"] = _write(out / "users.parquet", USERS, rows)

    n_rows = int(behaviors.sum())
    dropped["duplicates"] = n_read - sum(dropped.values()) - n_rows
    manifest = {
        "result": PREPARED.title,
        "source": config.source,
        "files": [
            {"name": file.name.removeprefix(f"{file.source.parent}{os.sep}"), **hashes[file.source].result()}
            | {"bytes": file.source.stat().st_size, "rows": file.rows}
            for file in inputs.files
        ],
        "filters": _filters(config),
        "split": config.split,
        "order": "user, time, " + ("behavior, " if config.within_day == "funnel" else "") + "file order",
        "dropped": dropped | item_notes.pop("dropped") | user_notes.pop("dropped"),
        "missing": {"items": item_notes.pop("missing"), "users": user_notes.pop("missing")},
        **item_notes,
        **inputs.notes,
        "counts": {"users": count(engine, users), "items": count(engine, items), "interactions": n_rows},
        "behaviors": {name: int(n) / n_rows for name, n in zip(BEHAVIORS, behaviors, strict=True)},
        "seed": config.seed,
        "version": version("rclrec_mini"),
        "content_hash": joined(written),
        "checksums": checksums(out),
    }
    write_json(out / "manifest.json", manifest)
    bar.update()
    return manifest


def _purchases() -> ibis.Deferred:
    return ibis.coalesce((ibis._.behavior == PURCHASE).cast("int64").sum(), 0)


def _filters(config: PrepareConfig) -> dict[str, Any]:
    names = (
        "start",
        "end",
        "min_item_count",
        "min_user_events",
        "min_user_purchases",
        "iterate",
        "sample_users",
        "duplicates",
    )
    own = {"ijcai15": ("year", "within_day"), "table": ("columns", "behaviors"), "recbole": ("columns", "behaviors")}
    return {name: getattr(config, name) for name in names + own.get(config.source, ())}


def _has_filters(config: PrepareConfig) -> bool:
    return max(config.min_item_count, config.min_user_events, config.min_user_purchases + 1) > 1


def _drops_duplicates(config: PrepareConfig, inputs: Inputs) -> bool:
    return config.duplicates == "drop" or (config.duplicates == "source" and inputs.whole_seconds)


def _sampled(config: PrepareConfig) -> Callable[[ibis.Table], ibis.Value] | None:
    """Which rows belong to the sample: those whose MD5 of `seed:user` is below the share of its range."""
    if config.sample_users == 1:
        return None
    limit = f"{int(config.sample_users * 2**64):016x}"
    return lambda log: (ibis.literal(f"{config.seed}:") + log.user.cast("string")).hexdigest("md5") < limit


def _distinct(engine: Engine, log: ibis.Table) -> ibis.Table:
    """Of rows that are equal in user, item, behavior and timestamp, the first: filters must not count the others."""
    return engine.keep(log.group_by(EVENT[:-1]).aggregate(row=log.row.min()))


def _filter(config: PrepareConfig, engine: Engine, events: ibis.Table) -> tuple[ibis.Table, dict[str, int]]:
    """Drop rare items, then users with few events or purchases; once, or until nothing more is dropped."""
    dropped = dict.fromkeys(("items_below_min_count", "users_below_min_events", "users_below_min_purchases"), 0)
    left = events
    while True:
        before = sum(dropped.values())
        items = engine.keep(left.group_by("item").aggregate(n=ibis._.count()))
        rare = items.n < config.min_item_count
        dropped["items_below_min_count"] += _rows(engine, items, rare)
        left = left.semi_join(items.filter(~rare), "item")

        users = engine.keep(left.group_by("user").aggregate(n=ibis._.count(), purchases=_purchases()))
        short, poor = users.n < config.min_user_events, users.purchases < config.min_user_purchases
        dropped["users_below_min_events"] += _rows(engine, users, short)
        dropped["users_below_min_purchases"] += _rows(engine, users, ~short & poor)
        if sum(dropped.values()) == before:
            return left if before else events, dropped
        left = events.semi_join(items.filter(~rare), "item").semi_join(users.filter(~short & ~poor), "user")
        if not config.iterate:
            return left, dropped


def _rows(engine: Engine, counted: ibis.Table, condition: ibis.Value) -> int:
    return int(engine.first(counted.filter(condition).aggregate(n=ibis.coalesce(ibis._.n.sum(), 0)))["n"])


def _check_left(config: PrepareConfig, left: dict[str, int]) -> None:
    log = ", ".join(str(path) for path in config.log)
    if left["n"] == 0:
        raise InputError(f"{log}: the filters left no interaction, expected at least one (lower the minimums)")
    if left["purchases"] == 0:
        raise InputError(f"{log}: found no purchase among {left['n']} interactions left, expected at least one")


def _numbered(engine: Engine, events: ibis.Table, name: str) -> ibis.Table:
    """Each distinct user or item with its number: the rank of its id, from 0; integers come first, in their order."""
    distinct = events.select(name).distinct()
    number = ibis.row_number().over(order_by=in_order(distinct[name])).cast("int32")
    return engine.keep(distinct.mutate(number=number))


def _ordered(events: ibis.Table, users: ibis.Table, items: ibis.Table, *, funnel: bool) -> ibis.Table:
    users, items = users.rename(user_number="number"), items.rename(item_number="number")
    joined = events.join(users, "user").join(items, "item")
    numbered = joined.select("behavior", "timestamp", "row", user="user_number", item="item_number")
    return numbered.order_by("user", "timestamp", *(["behavior"] if funnel else []), "row")


def _without_repeats(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """As _distinct, for sorted rows as they pass: only runs of one user and time can hold equal rows, so this is many
    times cheaper than grouping all. The last run of a batch waits for the next batch."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        rows = pa.Table.from_batches([*held, batch]).combine_chunks()
        user, time = rows["user"].to_numpy(), rows["timestamp"].to_numpy()  # (n,)
        starts = np.flatnonzero((np.diff(user) != 0) | (np.diff(time) != 0)) + 1
        last = int(starts[-1]) if len(starts) else 0
        held = rows[last:].to_batches()
        yield from _first_of_equals(rows[:last]).to_batches()
    yield from _first_of_equals(pa.Table.from_batches(held)).to_batches()


def _first_of_equals(rows: pa.Table) -> pa.Table:
    keys = np.stack([rows[name].to_numpy() for name in ("user", "timestamp", "item", "behavior")])  # (4, n)
    tied = np.all(keys[:2, 1:] == keys[:2, :-1], axis=0)  # (n-1,) with the row before
    (among,) = np.nonzero(np.append(False, tied) | np.append(tied, False)) if tied.any() else ((),)
    if len(among) == 0:
        return rows
    keep = np.ones(len(rows), bool)
    keep[among] = False
    keep[among[np.unique(keys[:, among], axis=1, return_index=True)[1]]] = True
    return rows.filter(pa.array(keep))


def _with_position(batches: Iterable[pa.RecordBatch], behaviors: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Number the rows of each user from 0, and add up how often each behavior occurs.

    Rows come sorted, so a running count does it: a window function would sort them all again.
    """
    last_user, next_position = -1, 0
    for batch in batches:
        if len(batch) == 0:
            continue
        user = batch["user"].to_numpy()  # (n,)
        row = np.arange(len(user))
        first = np.maximum.accumulate(np.where(np.diff(user, prepend=last_user) != 0, row, -next_position))
        position = row - first
        behaviors += np.bincount(batch["behavior"].to_numpy(), minlength=len(behaviors))
        last_user, next_position = user[-1], position[-1] + 1
        yield batch.append_column("position", pa.array(position, pa.int32()))


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """Write a table of the contract; returns its hash."""
    digest = TableHash(schema)
    with pq.ParquetWriter(path, schema, use_dictionary=[n for n in schema.names if n in REPEATING]) as writer:
        for batch in batches:
            arrays = [batch[field.name].cast(field.type) for field in schema]
            batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
            writer.write_batch(batch)
            digest.update(batch)
    return digest.hexdigest()
