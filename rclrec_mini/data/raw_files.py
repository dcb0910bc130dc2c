"""Raw files opened: text looked through, quotes resolved, Parquet looked into.

What comes out is a RawFile, which an engine reads as columns of text, and which `walk` reads in Python, row by row.
"""

import csv
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rclrec_mini.data.columns import Layout
from rclrec_mini.data.json_lines import json_headers, json_rows
from rclrec_mini.data.unpacking import Found
from rclrec_mini.files import InputError

SCAN_BYTES = 1 << 20  # looked through at once; also the longest line
STAGED_ROWS = 1 << 17  # of quoted text, held in memory at once
BROKEN_PARQUET = (pa.ArrowException, OSError, ValueError, OverflowError)  # what pyarrow raises where a file is damaged


@dataclass(frozen=True)
class RawFile(Found):
    """A file that was looked through once: no NUL bytes, valid UTF-8, no empty lines, the columns we need, and in each
    line as many fields.

    columns: the names of all its columns, in order; types: of each, if Parquet. rows: how many it has.
    staged: the same rows as Parquet, for an engine, where the text holds quotes or is JSON.
    """

    columns: tuple[str, ...]
    rows: int
    types: tuple[str, ...] = ()
    newline: str = "\n"
    quoted: bool = False
    staged: Path | None = None


def first_line(file: Found) -> str:
    """The first line of a text file, without its end; what is not UTF-8 is for `open_raw` to tell."""
    with open(file.path, "rb") as lines:
        return lines.readline(SCAN_BYTES).decode("utf-8", "replace").rstrip("\r\n").removeprefix("\ufeff")


def head(file: Found, *, delimiter: str, quoted: bool) -> tuple[list[str], list[str]]:
    """The names of the columns and the first row, as text; a file without rows has an empty one.

    Raises:
        InputError: the file cannot be read that far.
    """
    if file.is_parquet:
        with _parquet(file) as parquet:
            names = parquet.schema_arrow.names
            return names, next((values for _, values in _parquet_rows(file, range(len(names)))), [])
    with open(file.path, encoding="utf-8-sig", errors="replace", newline="\n") as lines:
        plain = lines if quoted else (line.rstrip("\r\n") for line in lines)
        rows = list(islice(_split(file.name, plain, delimiter, quoted), 2))
    names, first = ([value for _, values in part for value in values] for part in (rows[:1], rows[1:]))
    return names, first


def open_raw(file: Found, layout: Layout, *, spill: Path) -> RawFile:
    """Look through a Parquet or a text file; quoted text and JSON are staged as Parquet in `spill`.

    Raises:
        InputError: the file is empty or damaged, not UTF-8, holds a NUL byte or an empty line, lacks a column of
            `layout`, or a line has more or fewer fields than columns; or as `json_lines.json_rows`.
    """
    if layout.json:
        return _open_json(file, layout, spill)
    return _open_parquet(file, layout) if file.is_parquet else _open_text(file, layout, spill)


def _parquet(file: Found) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(file.path)
        names = parquet.schema_arrow.names
    except BROKEN_PARQUET:
        raise InputError(f"{file.name}: expected a whole Parquet file, found none or a damaged one") from None
    lower = [name.lower() for name in names]
    if (twice := next((name for name in lower if lower.count(name) > 1), None)) is not None:
        raise InputError(f"{file.name}: column {twice or 'without a name'} is there twice, found {listed(names)}")
    return parquet


def _open_parquet(file: Found, layout: Layout) -> RawFile:
    with _parquet(file) as parquet:
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    _check_columns(file.name, schema.names, layout)
    for column in layout.columns:
        if column.header in schema.names and not _is_plain(schema.field(column.header).type):
            found = str(schema.field(column.header).type)[:60]
            raise InputError(f"{file.name}: column {column.header}: found {found}, expected text, numbers or times")
    _check_rows(file, rows)
    columns, types = tuple(schema.names), tuple(str(field.type) for field in schema)
    return RawFile(file.name, file.source, file.path, columns, rows, types)


def _is_plain(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return text or number or pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind)


def _open_json(file: Found, layout: Layout, spill: Path) -> RawFile:
    columns = tuple(json_headers(layout))
    path, rows = _stage(iter(values for _, values in json_rows(file, layout)), len(columns), spill)
    if rows == 0:
        raise InputError(f"{file.name}: the file is empty, expected at least one line")
    return RawFile(file.name, file.source, file.path, columns, rows, staged=path)


def _open_text(file: Found, layout: Layout, spill: Path) -> RawFile:
    with open(file.path, "rb") as lines:
        newline = "\r\n" if lines.readline(SCAN_BYTES).endswith(b"\r\n") else "\n"
    scan = _Scan(file.name, newline.encode(), layout)
    scan.read(file.path)
    columns = tuple(dict.fromkeys(column.header for column in layout.columns))
    if layout.header:
        columns = tuple(head(file, delimiter=layout.delimiter, quoted=layout.quoted)[0])
        _check_columns(f"{file.name}: line 1", columns, layout)
    rows = scan.lines - layout.header
    raw = RawFile(file.name, file.source, file.path, columns, rows, newline=newline, quoted=scan.quoted)
    if scan.quoted:
        raw = stage(raw, layout, spill=spill)
    elif scan.separators != scan.lines * (len(columns) - 1):
        for _ in walk(raw, layout, columns):  # which raises at the line that has too many or too few
            pass
    _check_rows(raw, raw.rows)
    return raw


def _check_rows(file: Found, rows: int) -> None:
    if rows == 0:
        raise InputError(f"{file.name}: found no rows, expected at least one")


def listed(columns: Sequence[str]) -> str:
    """Names of columns as messages show them: on one line, and cut where they are many."""
    return repr(",".join(columns)[:200])[1:-1]


def _check_columns(where: str, columns: Sequence[str], layout: Layout) -> None:
    for column in layout.columns:
        if columns.count(column.header) != 1:
            trouble = "is there twice" if column.header in columns else "is missing"
            advice = f"; {column.missing}" if column.missing and column.header not in columns else ""
            raise InputError(f"{where}: column {column.header} {trouble}, found {listed(columns)}{advice}")


class _Scan:
    """A look through the bytes of a text file, which counts lines and separators, and notices quotes.

    Raises:
        InputError: a NUL byte, invalid UTF-8, an empty line, an endless line, or no line.
    """

    def __init__(self, name: str, newline: bytes, layout: Layout) -> None:
        self._name, self._newline, self._may_quote = name, newline, layout.quoted
        self._delimiter = layout.delimiter.encode()
        self.lines, self.separators, self.quoted = 0, 0, False

    def read(self, path: Path) -> None:
        tail = b""
        with open(path, "rb") as file:
            while block := file.read(SCAN_BYTES):
                chunk = tail + block
                cut = chunk.rfind(b"\n") + 1
                if cut == 0 and len(chunk) > SCAN_BYTES:
                    found = f"found more than {SCAN_BYTES} bytes, expected a line end"
                    raise InputError(f"{self._name}: line {self.lines + 1}: {found}")
                self._look(chunk[:cut])
                tail = chunk[cut:]
        if tail:
            self._look(tail)
            self.lines += 1
        if self.lines == 0:
            raise InputError(f"{self._name}: the file is empty, expected at least one line")

    def _look(self, chunk: bytes) -> None:
        """Look at bytes that start a line."""
        newline = self._newline
        if (at := chunk.find(b"\0")) >= 0:
            raise self._fault(chunk, at, "a NUL byte")
        array = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero(array == ord("\n"))
        returns = len(ends) if newline == b"\r\n" else 0
        if self._may_quote and (b'"' in chunk or np.count_nonzero(array == ord("\r")) != returns):
            self.quoted = True
        if not self.quoted:  # else a quoted field may hold an empty line
            if chunk.startswith(newline):
                raise self._fault(chunk, 0, "an empty line")
            if np.any(np.diff(ends) <= len(newline)) and (at := chunk.find(newline + newline)) >= 0:
                raise self._fault(chunk, at + len(newline), "an empty line")
        if not chunk.isascii():
            try:
                chunk.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"the byte 0x{chunk[error.start]:02x}, which is not UTF-8"
                raise self._fault(chunk, error.start, found) from None
        self.lines += len(ends)
        self.separators += np.count_nonzero(array == ord(self._delimiter))

    def _fault(self, chunk: bytes, at: int, found: str) -> InputError:
        number = self.lines + chunk.count(b"\n", 0, at) + 1
        return InputError(f"{self._name}: line {number}: found {found}, expected UTF-8 text")


def stage(file: RawFile, layout: Layout, *, spill: Path) -> RawFile:
    """Write the fields of a text file, quotes resolved, as Parquet columns c0, c1, … for an engine.

    Raises:
        InputError: as `walk`.
    """
    file = replace(file, quoted=True)
    with _text(file) as lines:
        rows = csv.reader(lines, delimiter=layout.delimiter, strict=True)
        try:
            next(rows)  # the header
            path, total = _stage(rows, len(file.columns), spill)
        except (csv.Error, ValueError):  # ValueError: rows of another width
            for _ in walk(file, layout, file.columns):  # which raises at that row
                pass
            raise
    return replace(file, staged=path, rows=total)


def _stage(rows: Iterator[list[str]], width: int, spill: Path) -> tuple[Path, int]:
    """Write rows of text as Parquet columns c0, c1, …, empty fields as null: the file, and how many there are."""
    path, total = Path(tempfile.mkdtemp(dir=spill)) / "staged.parquet", 0
    schema = pa.schema([(f"c{i}", pa.string()) for i in range(width)])
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(islice(rows, STAGED_ROWS)):
            columns = (pa.array(column, pa.string()) for column in zip(*batch, strict=True))
            arrays = [pc.if_else(pc.equal(column, ""), None, column) for column in columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            total += len(batch)
    return path, total


def _text(file: Found) -> TextIO:
    return open(file.path, encoding="utf-8-sig", newline="\n")


def walk(file: RawFile, layout: Layout, headers: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The fields of some columns as text, row by row, each with the place of its row; slow.

    Raises:
        InputError: a line has more or fewer fields than columns or another end than the first, quotes do not match, or
            Parquet is damaged.
    """
    indices = [file.columns.index(header) for header in headers]
    if layout.json:
        yield from ((f"line {number}", [row[index] for index in indices]) for number, row in json_rows(file, layout))
        return
    if file.is_parquet:
        yield from ((f"row {number}", values) for number, values in _parquet_rows(file, indices))
        return
    separator = {"\x01": "the byte 0x01", "\t": "a tab"}.get(layout.delimiter, repr(layout.delimiter))
    with _text(file) as lines:
        checked = lines if file.quoted else _check_ends(file, lines)
        for number, values in _split(file.name, checked, layout.delimiter, file.quoted):
            if len(values) != len(file.columns):
                expected = f"expected {len(file.columns)} separated by {separator}"
                raise InputError(f"{file.name}: line {number}: found {len(values)} fields, {expected}")
            if number > 1 or not layout.header:
                yield f"line {number}", [values[index] for index in indices]


def _check_ends(file: RawFile, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if line.endswith("\n") and not line.endswith(file.newline):
            raise InputError(f"{file.name}: line {number}: found the line end LF, expected CR LF as in line 1")
        yield line.removesuffix("\n").removesuffix(file.newline[:-1])


def _split(name: str, lines: Iterable[str], delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row with the number of its first line; a row may go over lines if `quoted`."""
    if not quoted:
        yield from ((number, line.split(delimiter)) for number, line in enumerate(lines, 1))
        return
    reader, first = csv.reader(lines, delimiter=delimiter, strict=True), 1
    try:
        for values in reader:
            if not values:
                raise InputError(f"{name}: line {first}: found an empty line, expected UTF-8 text")
            yield first, values
            first = reader.line_num + 1
    except csv.Error:
        found = "found quotes or line ends that do not match, expected CSV as in RFC 4180"
        raise InputError(f"{name}: line {first}: {found}") from None


def _parquet_rows(file: Found, indices: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    number = 0
    with _parquet(file) as parquet:
        names = [parquet.schema_arrow.names[index] for index in indices]
        try:
            for batch in parquet.iter_batches(columns=names):
                columns = [[_as_text(value) for value in batch.column(name).to_pylist()] for name in names]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield number, list(values)
        except BROKEN_PARQUET:
            raise InputError(f"{file.name}: expected a whole Parquet file, found damage after row {number}") from None


def _as_text(value: Any) -> str:
    """A value of Parquet as engines.as_text turns it into text."""
    if value is None or value != value:
        return ""
    if isinstance(value, float | Decimal):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return str(value)
