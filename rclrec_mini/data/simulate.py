"""The simulated shop: a small world whose truth is known.

simulated_items.py makes the catalogue, simulated_users.py what the users do, shop_config.py holds the knobs; this
file makes the tables of the data contract of them, in memory or streamed to a prepared data set.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

import rclrec_mini
from rclrec_mini.checks import FieldError
from rclrec_mini.data.prepared import checksums
from rclrec_mini.data.schema import BEHAVIORS, INTERACTIONS, SHOP, TRUTH, USERS
from rclrec_mini.data.shop_config import ShopConfig, preset
from rclrec_mini.data.simulated_clock import seconds
from rclrec_mini.data.simulated_items import SimulatedItems, catalogue
from rclrec_mini.data.simulated_users import Events, People, browse
from rclrec_mini.data.table_hash import content_hash
from rclrec_mini.files import whole_folder, write_json

__all__ = ["Shop", "ShopConfig", "catalogue", "preset", "simulate", "simulate_users", "sized", "write_prepared"]


@dataclass(frozen=True, eq=False)
class Shop:
    """A whole simulated shop, as tables of data/schema.py; `truth` lies row for row beside `interactions`."""

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    truth: pa.Table


def simulate(config: ShopConfig) -> Shop:
    """Simulate a shop in memory."""
    items = catalogue(config)
    chunks = list(simulate_users(config, items))

    def whole(name: str) -> pa.Table:
        return pa.concat_tables([getattr(chunk, name) for chunk in chunks]).combine_chunks()

    return Shop(interactions=whole("interactions"), items=items.table, users=whole("users"), truth=whole("truth"))


def sized(config: ShopConfig, *, rows: int) -> ShopConfig:
    """The same shop with as many users as make about `rows` interactions (within a few per cent).

    Raises:
        InputError: `rows` is below 1.
    """
    if rows < 1:
        raise FieldError("rows", f"found {rows}, expected at least 1")
    sample = replace(config, users=256)
    found = sum(chunk.interactions.num_rows for chunk in simulate_users(sample, catalogue(sample)))
    return replace(config, users=max(1, round(rows * 256 / found)))


def simulate_users(config: ShopConfig, items: SimulatedItems, *, chunk: int = 1_000) -> Iterator[Shop]:
    """Simulate the users `chunk` at a time, in order; the rows do not depend on `chunk`."""
    for first in range(0, config.users, chunk):
        user = np.arange(first, min(first + chunk, config.users))
        people = People.of(config, items, user)
        yield _tables(config, items, people, browse(config, items, people)[0])


def _tables(config: ShopConfig, items: SimulatedItems, people: People, events: Events) -> Shop:
    offsets = np.searchsorted(events.person, np.arange(len(people.user)))
    position = np.arange(len(events.person)) - offsets[events.person]
    user = people.user[events.person]
    interactions = {
        "user": user,
        "item": events.item,
        "behavior": events.behavior,
        "timestamp": seconds(config, people, events.person, position),
        "position": position,
    }
    users = {
        "user": people.user,
        "raw_id": [str(u) for u in people.user + 1],
        "age_range": [str(a) for a in people.age + 1],
        "gender": [str(g) for g in people.gender],
    }
    truth = {"user": user, "position": position, "journey": events.journey}
    return Shop(
        interactions=pa.table(interactions, schema=INTERACTIONS),
        items=items.table,
        users=pa.table(users, schema=USERS),
        truth=pa.table(truth, schema=TRUTH),
    )


def write_prepared(config: ShopConfig, out: Path | str, *, overwrite: bool = False, progress: bool = False) -> dict:
    """Write the shop as a prepared data set, users by chunks in bounded memory; returns its manifest.

    Raises:
        InputError: `out` holds something and `overwrite` is false.
    """
    items = catalogue(config)
    rows, behaviors = 0, np.zeros(len(BEHAVIORS), int)
    with whole_folder(out, SHOP, overwrite=overwrite) as folder:
        pq.write_table(items.table, folder / "items.parquet")
        with (
            pq.ParquetWriter(folder / "interactions.parquet", INTERACTIONS) as interactions,
            pq.ParquetWriter(folder / "users.parquet", USERS) as users,
            pq.ParquetWriter(folder / "truth.parquet", TRUTH) as truth,
            tqdm(total=config.users, unit="user", desc="simulate", disable=not progress) as bar,
        ):
            for chunk in simulate_users(config, items):
                interactions.write_table(chunk.interactions)
                users.write_table(chunk.users)
                truth.write_table(chunk.truth)
                rows += chunk.interactions.num_rows
                behaviors += np.bincount(chunk.interactions["behavior"].to_numpy(), minlength=len(BEHAVIORS))
                bar.update(chunk.users.num_rows)
        manifest = {
            "result": SHOP.title,
            "source": "simulated-shop",
            "files": [],
            "config": asdict(config),
            "filters": {},
            "order": "user, time",
            "dropped": {},
            "counts": {"users": config.users, "items": config.items, "interactions": rows},
            "behaviors": {name: int(n) / max(rows, 1) for name, n in zip(BEHAVIORS, behaviors, strict=True)},
            "seed": config.seed,
            "version": rclrec_mini.__version__,
            "content_hash": content_hash(folder),
            "checksums": checksums(folder),
        }
        write_json(folder / "manifest.json", manifest)
    return manifest
