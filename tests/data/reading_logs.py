"""Raw logs prepared, read and damaged."""

from pathlib import Path

from hypothesis import strategies as st

from rclrec_mini.data.engines import DuckDB
from rclrec_mini.data.prepare import prepare
from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.raw_logs import read_kept
from rclrec_mini.data.sources import SOURCES


def config(source: str, *log: Path, **options) -> PrepareConfig:
    """To prepare a log; by default into `out` beside it, in place of what is there."""
    options = {"out": log[0].with_name("out"), "overwrite": "out" not in options, "threads": 1} | options
    return PrepareConfig(source=source, log=log, **options)


def run(source: str, *log: Path, **options) -> dict:
    """The manifest of a prepared log."""
    return prepare(config(source, *log, **options), progress=False)


def read(engine: DuckDB, source: str, log: Path, **options) -> list[tuple]:
    """The rows (user, item, behavior, timestamp) of a log."""
    inputs = SOURCES[source](config(source, log, **options), log.parent)
    table = read_kept(engine, inputs.log).order_by("row").select("user", "item", "behavior", "timestamp")
    return [tuple(row.values()) for batch in engine.batches(table) for row in batch.to_pylist()]


PIECES = [b",", b'"', b"\n", b"\n\n", b"\r", b"\t", b"\0", b"\xff", b"-", b"x", b"7", b".", b" ", b"", "é".encode(),
          b"\xef\xbb\xbf"]  # fmt: skip


def damage(data: st.DataObject, log: Path, *more: bytes) -> None:
    """Put one of PIECES or of `more` anywhere in a file, over up to two of its bytes."""
    text = log.read_bytes()
    at, width = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 2))
    log.write_bytes(text[:at] + data.draw(st.sampled_from([*PIECES, *more])) + text[at + width :])
