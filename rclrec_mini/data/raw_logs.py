"""Raw files of a source read as tables: fast by an engine, and slowly in Python where something does not fit.

A line of REC-Tmall, fields separated by the byte 0x01, and what becomes of it:

    10007|u7|alipay|2014-09-18 15:03:11  ->  item 10007, user 7, behavior 3, timestamp 1411052591

What the files of each source look like stands in the folder sources/, one file a source.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from operator import or_
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from rclrec_mini.data.columns import Column, Layout, shown
from rclrec_mini.data.engines import Engine, first_line_of
from rclrec_mini.data.raw_files import RawFile, open_raw, stage, walk
from rclrec_mini.data.unpacking import Found, find
from rclrec_mini.files import InputError

TALLY_ROWS = 100_000  # read on from the first unknown word, to list the others


@dataclass(frozen=True)
class Part:
    """Files of one kind, to be read as one table."""

    files: list[RawFile]
    layout: Layout

    def __str__(self) -> str:
        return ", ".join(file.name for file in self.files)


@dataclass(frozen=True)
class Inputs:
    """The opened files of a source.

    prefix: what goes before a user's number in raw ids. whole_seconds: whether time has seconds, so that equal rows
    are repeats. one_value: whether the log must describe an item always alike; if not, the lowest value is taken.
    notes: what the manifest says about how they were read.
    """

    log: Part
    items: Part | None = None
    users: Part | None = None
    prefix: str = ""
    whole_seconds: bool = True
    one_value: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[RawFile]:
        return [file for part in (self.log, self.items, self.users) if part for file in part.files]


def open_part(found: Iterable[Found], layout: Layout, spill: Path) -> Part:
    """Open files to be read as one table; if one holds quotes, all are staged.

    Raises:
        InputError: as raw_files.open_raw, or the files differ in their columns or kind.
    """
    files = [open_raw(file, layout, spill=spill) for file in found]
    if any(file.quoted for file in files):
        files = [file if file.staged or file.is_parquet else stage(file, layout, spill=spill) for file in files]
    first = files[0]
    for file in files[1:]:
        if _shape(file) != _shape(first):
            raise InputError(f"{file.name}: columns or line ends differ from {first.name}, expected the same")
    return Part(files, layout)


def _shape(file: RawFile) -> tuple:
    return file.columns, file.types, file.is_parquet, file.staged is not None or file.newline


def open_files(paths: Iterable[Path | None], layout: Layout, spill: Path, *, member: str = "") -> Part | None:
    """As open_part, for paths; None if there is none."""
    found = [find(path, spill, member=member) for path in paths if path is not None]
    return open_part(found, layout, spill) if found else None


def _read_text(engine: Engine, part: Part) -> tuple[ibis.Table, dict[str, ir.StringValue]]:
    """The files as the engine sees them, and the text of each column by its header."""
    files, layout, first = part.files, part.layout, part.files[0]
    headers = list(dict.fromkeys(column.header for column in layout.columns))
    indices = [first.columns.index(header) for header in headers]
    if first.staged:
        raw = engine.read_parquet([file.staged for file in files], [f"c{index}" for index in indices])
        return raw, {header: raw[f"c{i}"] for i, header in enumerate(headers)}
    if first.is_parquet:
        raw = engine.read_parquet([file.path for file in files], headers)
        return raw, {header: _as_text(raw[f"c{i}"]) for i, header in enumerate(headers)}
    paths, width = [file.path for file in files], len(first.columns)
    raw = engine.read_text(paths, width, delimiter=layout.delimiter, header=layout.header, newline=first.newline)
    return raw, {header: raw[f"c{index}"] for header, index in zip(headers, indices, strict=True)}


def _as_text(value: ir.Value) -> ir.StringValue:
    kind = value.type()
    if kind.is_floating() or kind.is_decimal():  # 7.0 -> 7
        return value.try_cast("decimal(38, 9)").cast("string").re_replace(r"\.?0+\z", "")
    return value.cast("string")


def read_raw(engine: Engine, part: Part) -> ibis.Table:
    """The parsed columns that the files have and the constants of their layout; `NAME_lost` of each lenient column, and
    `fault`: true where something does not fit; and `outside`, if the layout knows such rows."""
    raw, texts = _read_text(engine, part)
    columns = part.layout.columns
    parsed = {column.name: column.parse(texts[column.header]) for column in columns}
    lost = {f"{c.name}_lost": texts[c.header].notnull() & parsed[c.name].isnull() for c in columns if _may_lose(c)}
    row = {"row": raw["row"]} if "row" in raw.columns else {}
    constants = {name: ibis.literal(value, "int8") for name, value in part.layout.constants}
    table = raw.select(**parsed, **lost, **constants, **row)
    unread = [f"{c.name}_lost" for c in columns if c.lenient]
    faults = [table[name] for name in lost if name not in unread]
    faults += [table[c.name].isnull() for c in columns if not c.empty]
    marks = {"fault": reduce(or_, faults)}
    if part.layout.outside:
        marks["outside"] = ibis.coalesce(part.layout.outside[1](table), False)
    return table.select(*parsed, *unread, *constants, *row, **marks)


def _may_lose(column: Column) -> bool:
    return column.empty and bool(column.expected)


def read_kept(engine: Engine, part: Part, *, where: Callable[[ibis.Table], ibis.Value] | None = None) -> ibis.Table:
    """Read files into the engine, only the rows `where` says.

    Raises:
        InputError: at the first field that does not fit.
    """
    try:
        raw = read_raw(engine, part)
        table = engine.keep_rows(raw if where is None else raw.filter(where(raw) | raw.fault))
        faults = engine.first(table.aggregate(faults=table.fault.cast("int64").sum()))["faults"]
    except engine.errors as error:
        find_fault(part)
        found = first_line_of(error)[:200]
        raise InputError(f"{part}: every row is in order, but the engine fails: {found}") from error
    if faults:
        find_fault(part)
        raise InputError(f"{part}: found a field that the engine does not take, and no row with a fault")
    return table.drop("fault")


def find_fault(part: Part) -> None:
    """Walk the files row by row in Python, and raise InputError at the first field that does not fit."""
    for file in part.files:
        columns = part.layout.columns
        rows = walk(file, part.layout, [column.header for column in columns])
        for place, values in rows:
            for index, (column, value) in enumerate(zip(columns, values, strict=True)):
                if (column.lenient or column.fits(value)) if value else column.empty:
                    continue
                found = f"found {shown(value) if value else 'nothing'}, expected {column.expected}"
                if column.others and value:
                    more = (values[index] for _, values in islice(rows, TALLY_ROWS))
                    others = list(dict.fromkeys([value, *(word for word in more if word and not column.fits(word))]))
                    found += f"; {column.others.format(', '.join(shown(word) for word in others[:11]))}"
                raise InputError(f"{file.name}: {place}: {column.header}: {found}")
