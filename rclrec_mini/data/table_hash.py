"""Hashes of the values of tables: equal for equal tables, however they were written."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rclrec_mini.data.schema import TABLES


class TableHash:
    """A hash (BLAKE2b, hexadecimal) of a table's values. Each column is hashed by itself, so that the batches in which
    the table comes leave no trace."""

    def __init__(self, schema: pa.Schema) -> None:
        parts = ("values", "lengths", "nulls")
        self._columns = {(name, part): hashlib.blake2b() for name in schema.names for part in parts}
        self._names, self._rows = schema.names, 0

    def update(self, batch: pa.RecordBatch) -> None:
        for name in self._names:
            column = batch[name]
            if column.null_count:
                nulls = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)) + self._rows
                self._columns[name, "nulls"].update(nulls.astype("<i8"))
                column = column.fill_null("" if column.type == pa.string() else 0)
            if column.type == pa.string():
                offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset :][: len(column) + 1]
                self._columns[name, "lengths"].update(np.diff(offsets))
                data = column.buffers()[2]
                self._columns[name, "values"].update(memoryview(data)[offsets[0] : offsets[-1]] if data else b"")
            else:
                self._columns[name, "values"].update(column.to_numpy())
        self._rows += len(batch)

    def hexdigest(self) -> str:
        lines = [f"{self._rows} rows"]
        lines += [f"{name} {part} {digest.hexdigest()}" for (name, part), digest in self._columns.items()]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=32).hexdigest()


def table_hash(path: Path | str, schema: pa.Schema) -> str:
    """The hash of the values in a Parquet file with the columns of `schema`."""
    digest = TableHash(schema)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1 << 19, columns=schema.names):
            digest.update(batch)
    return digest.hexdigest()


def content_hash(folder: Path | str) -> str:
    """A hash of the values in a prepared data set's tables, the truth of a simulated shop included: equal for equal
    tables, however they were written."""
    paths = {name: Path(folder) / f"{name}.parquet" for name in TABLES}
    return joined({name: table_hash(path, TABLES[name]) for name, path in paths.items() if path.exists()})


def joined(hashes: dict[str, str]) -> str:
    """The hash of a data set from the hashes of its tables."""
    lines = [f"{name} {hashes[name]}" for name in TABLES if name in hashes]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=32).hexdigest()
