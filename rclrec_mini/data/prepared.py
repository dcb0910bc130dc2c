"""Reading a prepared data set: its manifest, and its tables, which are checked against manifest and contract."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rclrec_mini.data.schema import BEHAVIORS, INTERACTIONS, SPLITS, TABLES, TRUTH
from rclrec_mini.files import InputError, sha256
from rclrec_mini.records import checked, read_record

MANIFEST = {"result": str, "source": str, "counts": dict, "content_hash": str, "checksums": dict[str, str]}
COUNTS = {"users": int, "items": int, "interactions": int}
BLOCK = 1 << 18  # rows checked at a time: few enough to stay in the processor's cache


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of a prepared data set.

    Raises:
        InputError: it is missing, or is no manifest of this version.
    """
    path = Path(folder) / "manifest.json"
    manifest = read_record(path, MANIFEST, more=True)
    if not re.fullmatch("[0-9a-f]+", manifest["content_hash"]):
        raise InputError(f"{path}: key content_hash is {manifest['content_hash'][:70]!r}, expected hexadecimal digits")
    for key, count in checked(manifest["counts"], COUNTS, f"{path}: counts").items():
        if not 0 <= count < 2**31:
            raise InputError(f"{path}: counts: key {key} is {count}, expected 0..{2**31 - 1}")
    if manifest.get("split", SPLITS[0]) not in SPLITS:
        raise InputError(f"{path}: key split is {str(manifest['split'])[:70]!r}, expected {' or '.join(SPLITS)}")
    return manifest


def data_hash(folder: Path | str) -> str:
    """What semantic ids and runs remember of a prepared data set: its content_hash, and any split but the default.

    Raises:
        InputError: as read_manifest.
    """
    manifest = read_manifest(folder)
    split = manifest.get("split", SPLITS[0])
    return manifest["content_hash"] + (f" {split}" if split != SPLITS[0] else "")


def read_table(folder: Path | str, name: str) -> pa.Table:
    """Read one of schema.TABLES from a prepared data set. A file is hashed once in a process, and again when it has
    changed.

    Raises:
        InputError: the file is missing, is not Parquet, is not what the manifest tells of, lacks a column or has
            another type there, or breaks the contract of data/schema.py.
    """
    path = Path(folder) / f"{name}.parquet"
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    manifest = read_manifest(folder)
    _check_bytes(path, manifest["checksums"])
    table = _read(path, TABLES[name])
    _check_contract(path, table, manifest["counts"])
    return table


def numbered(column: pa.ChunkedArray) -> np.ndarray:
    """The values of a column as numbers from 0, in the order in which they come; -1 where it is null: (N,) int32."""
    indices = column.combine_chunks().dictionary_encode().indices
    return indices.fill_null(-1).to_numpy(zero_copy_only=False)


def checksums(folder: Path | str) -> dict[str, str]:
    """What the manifest keeps of the files of a data set: SHA-256 of the bytes of each table."""
    return {path.name: sha256(path) for path in sorted(Path(folder).glob("*.parquet"))}


def _check_bytes(path: Path, expected: dict[str, str]) -> None:
    if path.name not in expected:
        raise InputError(f"{path.parent / 'manifest.json'}: checksums: key {path.name} is missing")
    state = path.stat()
    if _hash(path.resolve(), state.st_size, state.st_mtime_ns) != expected[path.name]:
        raise InputError(f"{path}: found other bytes than were written: its SHA-256 is not that in manifest.json")


@lru_cache(maxsize=64)
def _hash(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            found = {field.name: field.type for field in file.schema_arrow}
            for field in schema:
                if field.name not in found:
                    raise InputError(f"{path}: column {field.name} is missing, found {sorted(found)}")
                if found[field.name] != field.type:
                    raise InputError(f"{path}: column {field.name} is {found[field.name]}, expected {field.type}")
            return file.read(schema.names)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected Parquet, found {str(error).splitlines()[0]}") from None


def _check_contract(path: Path, table: pa.Table, counts: dict[str, int]) -> None:
    name = path.stem
    rows = counts["interactions" if name in ("interactions", "truth") else name]
    if table.num_rows != rows:
        raise InputError(f"{path}: {table.num_rows} rows, manifest.json expects {rows}")
    for column in ("user", "item", "behavior", "timestamp", "position", "journey"):
        if column in table.column_names and table[column].null_count:
            raise InputError(f"{path}: column {column} has an empty value, expected none")
    if name == "interactions":
        _check_interactions(path, table, counts)
    elif name == "truth":
        events = _read(path.with_name("interactions.parquet"), pa.schema([TRUTH.field(n) for n in TRUTH.names[:2]]))
        if events.num_rows != rows:
            raise InputError(f"{path}: {rows} rows, interactions.parquet has {events.num_rows}")
        for column in events.column_names:
            _refuse(path, table[column].to_numpy() != events[column].to_numpy(), f"another {column} than interactions")
        _refuse(path, table["journey"].to_numpy() < -1, "a journey below -1")
    else:
        number = table[name.removesuffix("s")].to_numpy()
        _refuse(path, number != np.arange(rows), f"another {name.removesuffix('s')} than the number of the row")


def _check_interactions(path: Path, table: pa.Table, counts: dict[str, int]) -> None:
    column = {name: table[name].to_numpy() for name in INTERACTIONS.names}
    limits = {"user": counts["users"], "item": counts["items"], "behavior": len(BEHAVIORS)}
    for start in range(0, table.num_rows, BLOCK):
        first = max(start - 1, 0)  # with the row before
        user, item, behavior, time, position = (values[first : start + BLOCK] for values in column.values())
        for name, values in (("user", user), ("item", item), ("behavior", behavior)):
            if values.min() < 0 or values.max() >= limits[name]:
                wrong = (values < 0) | (values >= limits[name])
                _refuse(path, wrong, f"{name} {values[wrong][0]}, expected 0..{limits[name] - 1}", first)
        if time.min() < 0:
            _refuse(path, time < 0, f"timestamp {time[time < 0][0]}, expected 0 or more", first)
        same = user[1:] == user[:-1]
        if start == 0 and position[0] != 0:
            _refuse(path, position[:1] != 0, "a position that does not count from 0 within its user")
        _refuse(path, user[1:] < user[:-1], "rows that are not sorted by user", first + 1)
        _refuse(path, same & (time[1:] < time[:-1]), "a timestamp before that of the user's last event", first + 1)
        counted = np.where(same, position[:-1] + 1, 0)
        _refuse(path, position[1:] != counted, "a position that does not count from 0 within its user", first + 1)


def _refuse(path: Path, wrong: np.ndarray, found: str, first: int = 0) -> None:
    if wrong.any():
        raise InputError(f"{path}: row {first + int(wrong.argmax())}: found {found}")
