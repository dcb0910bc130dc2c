"""The two engines that run the Ibis expressions of prepare.py: DuckDB on one machine (the default), and PySpark.

Both read files as columns c0, c1, …, whatever the columns are called there, and nothing from the names of folders. They
keep intermediate tables out of memory where needed, and number rows in file order. Everything else is written once, as
Ibis expressions.
"""

import glob
import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from rclrec_mini.files import InputError

BATCH_ROWS = 500_000


class Engine(Protocol):
    """What prepare.py needs of an engine."""

    errors: tuple[type[Exception], ...]  # what the engine raises when it cannot read or write

    def read_text(self, paths: Sequence[Path], width: int, *, delimiter: str, header: bool, newline: str) -> ibis.Table:
        """Text files of `width` columns as strings, empty fields as null; no character quotes or escapes another."""
        ...

    def read_parquet(self, paths: Sequence[Path], columns: Sequence[str]) -> ibis.Table:
        """Some columns of Parquet files."""
        ...

    def keep(self, table: ibis.Table) -> ibis.Table:
        """Compute `table` now and hold the result, on disk where memory is short."""
        ...

    def keep_rows(self, table: ibis.Table) -> ibis.Table:
        """As keep, for a selection of what was read; the result has a column `row` that grows in file order."""
        ...

    def first(self, table: ibis.Table) -> dict[str, Any]:
        """The first row of `table`."""
        ...

    def batches(self, table: ibis.Table) -> Iterator[pa.RecordBatch]:
        """The rows of an ordered `table`, a piece at a time."""
        ...

    def close(self) -> None: ...


class DuckDB:
    """DuckDB within `memory` bytes, spilling to the folder `spill`."""

    def __init__(self, *, spill: Path, memory: int, threads: int) -> None:
        import duckdb

        self.errors = (duckdb.Error,)
        self._connection = ibis.duckdb.connect(
            memory_limit=f"{memory // 1_000_000}MB", temp_directory=str(spill / "duckdb"), threads=threads
        )
        self._kept = 0

    def read_text(self, paths: Sequence[Path], width: int, *, delimiter: str, header: bool, newline: str) -> ibis.Table:
        return self._connection.read_csv(
            [glob.escape(str(path)) for path in paths],
            columns=dict.fromkeys(_names(width), "VARCHAR"),
            delim=delimiter,
            header=header,
            quote="",
            escape="",
            new_line={"\n": "\\n", "\r\n": "\\r\\n"}[newline],
            hive_partitioning=False,
        )

    def read_parquet(self, paths: Sequence[Path], columns: Sequence[str]) -> ibis.Table:
        raw = self._connection.read_parquet([glob.escape(str(path)) for path in paths], hive_partitioning=False)
        return raw.select(**{name: raw[column] for name, column in zip(_names(len(columns)), columns, strict=True)})

    def keep(self, table: ibis.Table) -> ibis.Table:
        self._kept += 1
        return self._connection.create_table(f"kept_{self._kept}", table, temp=True)

    def keep_rows(self, table: ibis.Table) -> ibis.Table:
        kept = self.keep(table)
        return kept.mutate(row=kept.rowid())

    def first(self, table: ibis.Table) -> dict[str, Any]:
        return self._connection.to_pyarrow(table.limit(1)).to_pylist()[0]

    def batches(self, table: ibis.Table) -> Iterator[pa.RecordBatch]:
        rows = self._connection.con.sql(ibis.to_sql(table, dialect="duckdb"))
        read = rows.to_arrow_reader if hasattr(rows, "to_arrow_reader") else rows.fetch_record_batch  # DuckDB 2, 1
        yield from read(BATCH_ROWS)

    def close(self) -> None:
        self._connection.disconnect()


class Spark:
    """PySpark in this process, with `memory` bytes for its driver, kept tables and shuffles in the folder `spill`.

    Raises:
        InputError: PySpark or Java is not installed.
    """

    def __init__(self, *, spill: Path, memory: int, threads: int) -> None:
        check_spark()
        import pyspark.errors
        import pyspark.sql
        from py4j.protocol import Py4JError

        self.errors = (pyspark.errors.PySparkException, Py4JError)
        self._spill = spill
        self._session = (
            pyspark.sql.SparkSession.builder.master(f"local[{threads}]")
            .config("spark.driver.memory", f"{max(512, memory // 1_000_000)}m")
            .config("spark.local.dir", str(spill))
            .config("spark.sql.warehouse.dir", str(spill / "warehouse"))
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.shuffle.partitions", str(4 * threads))
            .config("spark.sql.csv.parser.columnPruning.enabled", "false")  # else FAILFAST skips unused fields
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.log.level", "OFF")
            .getOrCreate()
        )
        self._connection = ibis.pyspark.connect(self._session)
        self._kept = 0

    def read_text(self, paths: Sequence[Path], width: int, *, delimiter: str, header: bool, newline: str) -> ibis.Table:
        schema = ", ".join(f"{name} string" for name in _names(width))
        options = {
            "sep": delimiter,
            "header": header,
            "quote": "",
            "escape": "",
            "lineSep": newline,
            "mode": "FAILFAST",
            "maxColumns": max(1024, 2 * width),
            "recursiveFileLookup": True,  # else Spark makes columns of folders such as user=1
        }
        return self._number(paths, lambda path: self._session.read.csv(path, schema=schema, **options), ["*"])

    def read_parquet(self, paths: Sequence[Path], columns: Sequence[str]) -> ibis.Table:
        from pyspark.sql import functions as F

        quoted = ["`" + column.replace("`", "``") + "`" for column in columns]
        picked = [F.col(column).alias(name) for column, name in zip(quoted, _names(len(columns)), strict=True)]
        return self._number(paths, lambda path: self._session.read.parquet(path, recursiveFileLookup=True), picked)

    def _number(self, paths: Sequence[Path], read: Callable, picked: list) -> ibis.Table:
        """One view over the columns `picked` of all files, with `row` in file order.

        Spark hands out the blocks of a file in any order, but inside a task ids grow by one. A block starts
        further into the file than any count of the rows before it, so block start + id keeps the order.
        """
        from pyspark.sql import functions as F

        in_task = F.monotonically_increasing_id().bitwiseAND((1 << 33) - 1)
        union = None
        for index, path in enumerate(paths):
            if path.name.startswith(("_", ".")):
                raise InputError(f"{path}: Spark skips names that start with {path.name[0]}, expected another name")
            frame = read(re.sub(r"([][{}*?\\,])", r"\\\1", str(path)))
            frame = frame.select(
                *picked, (F.lit(index << 46) + F.col("_metadata.file_block_start") + in_task).alias("row")
            )
            union = frame if union is None else union.unionByName(frame)
        return self._view(union)

    def _view(self, frame) -> ibis.Table:
        self._kept += 1
        frame.createOrReplaceTempView(f"kept_{self._kept}")
        return self._connection.table(f"kept_{self._kept}")

    def _write(self, table: ibis.Table) -> str:
        self._kept += 1
        folder = str(self._spill / f"kept_{self._kept}")
        self._session.sql(ibis.to_sql(table, dialect="pyspark")).write.parquet(folder)
        return folder

    def keep(self, table: ibis.Table) -> ibis.Table:
        return self._view(self._session.read.parquet(self._write(table)))

    def keep_rows(self, table: ibis.Table) -> ibis.Table:
        return self.keep(table)  # `row` is there since reading

    def first(self, table: ibis.Table) -> dict[str, Any]:
        return self._session.sql(ibis.to_sql(table, dialect="pyspark")).first().asDict()

    def batches(self, table: ibis.Table) -> Iterator[pa.RecordBatch]:
        folder = self._write(table)
        for part in sorted(Path(folder).glob("part-*")):  # an ordered table is written as parts in order
            with pq.ParquetFile(part) as file:
                yield from file.iter_batches(BATCH_ROWS)

    def close(self) -> None:
        self._session.stop()


def _names(width: int) -> list[str]:
    return [f"c{index}" for index in range(width)]


def count(engine: Engine, table: ibis.Table) -> int:
    """How many rows a table has."""
    return int(engine.first(table.aggregate(n=table.count()))["n"])


def first_line_of(error: Exception) -> str:
    """What an engine says, on one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def check_spark() -> None:
    """Raise InputError unless PySpark and Java are there."""
    if importlib.util.find_spec("pyspark") is None:
        raise InputError("engine spark: PySpark is not installed, expected `pip install rclrec_mini[spark]`")
    java = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=f"{java}/bin" if java else None) is None:
        raise InputError("engine spark: no java command found, expected Java 17 or newer on PATH or in JAVA_HOME")


ENGINES: dict[str, Callable[..., Engine]] = {"duckdb": DuckDB, "spark": Spark}
