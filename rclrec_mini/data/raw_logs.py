"""Readers of the raw logs: what each file looks like, what each field must be, and where a file breaks that.

A layout lists the columns of a file. Each column says the same thing twice: `parse` is an Ibis expression that turns
the text into a value, null where it does not fit; `fits` judges one Python string. The engine reads everything
fast with `parse`; only when something did not fit does `find_fault` walk the lines in Python to name the first one.

A line of REC-Tmall, fields separated by the byte 0x01, and what becomes of it:

    10007|u7|alipay|2014-09-18 15:03:11  ->  item 10007, user 7, behavior 3, timestamp 1411052591

Sources: REC-Tmall (Tianchi data set 140281), IJCAI-15 (Tianchi data set 42), and any table with the columns
user, item, behavior, timestamp.
"""

import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import or_
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rclrec_mini.data.engines import Engine
from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.files import InputError

MAX_ID = 2**63 - 1
SCAN_BYTES = 1 << 20  # looked through at once; also the longest line
MAX_SECONDS = 253_402_300_799  # the end of the year 9999; larger numbers are milliseconds


@dataclass(frozen=True)
class Column:
    """One column of a raw file.

    header: its name in the file. name: its name in our tables. expected: what fits, in words.
    empty: whether a row may leave it empty. absent: whether a file may lack it.
    """

    header: str
    name: str
    parse: Callable[[ir.StringValue], ir.Value]
    fits: Callable[[str], bool]
    expected: str
    empty: bool = False
    absent: bool = False


@dataclass(frozen=True)
class Layout:
    """A kind of text file: its columns, what separates them, and whether the first line names them."""

    columns: tuple[Column, ...]
    delimiter: str
    header: bool


def _only_if(condition: ir.BooleanValue, value: ir.Value) -> ir.Value:
    return condition.ifelse(value, ibis.null(value.type()))


def identifier(header: str, name: str, *, prefix: str = "", maximum: int = MAX_ID, expected: str = "") -> Column:
    """An integer 0..maximum without leading zeros, after `prefix`."""

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        number = text.substr(len(prefix)).try_cast("int64")
        same = (ibis.literal(prefix) + number.cast("string") if prefix else number.cast("string")) == text
        return _only_if(same & number.between(0, maximum), number)

    def fits(text: str) -> bool:
        match = re.fullmatch(re.escape(prefix) + "(0|[1-9][0-9]{0,18})", text)
        return match is not None and int(match[1]) <= maximum

    words = f"{prefix} and an integer" if prefix else "an integer"
    return Column(header, name, parse, fits, expected or f"{words} 0..{maximum}")


def one_of(header: str, name: str, values: dict[str, int]) -> Column:
    """One of a few words, each with its number."""

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        return text.cases(*values.items(), else_=None).cast("int8")

    return Column(header, name, parse, values.__contains__, f"one of {', '.join(values)}")


def _seconds(text: ir.StringValue) -> ir.IntegerValue:
    """Seconds UTC of `yyyy-mm-dd hh:mm:ss`, null unless the time reads back as exactly that text."""
    time = text.try_cast("timestamp")
    return _only_if(time.cast("string") == text, time.epoch_seconds().cast("int64"))


def _is_time(text: str, pattern: str, form: str) -> bool:
    try:
        return re.fullmatch(pattern, text, re.ASCII) is not None and bool(datetime.strptime(text, form))
    except ValueError:
        return False


def second(header: str) -> Column:
    """`2014-09-18 15:03:11`, UTC."""
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"

    def fits(text: str) -> bool:
        return _is_time(text, pattern, "%Y-%m-%d %H:%M:%S")

    return Column(header, "timestamp", _seconds, fits, "a time yyyy-mm-dd hh:mm:ss")


def minute(header: str) -> Column:
    """`2014/9/18 15:03`, UTC."""
    pattern = r"(\d{4})/(\d{1,2})/(\d{1,2}) (\d{1,2}):(\d\d)"

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        year, month, day, hour, minute = (text.re_extract(f"^{pattern}$", i) for i in range(1, 6))
        date = year + "-" + month.lpad(2, "0") + "-" + day.lpad(2, "0")
        return _seconds(date + " " + hour.lpad(2, "0") + ":" + minute + ":00")

    def fits(text: str) -> bool:
        return _is_time(text, pattern, "%Y/%m/%d %H:%M")

    return Column(header, "timestamp", parse, fits, "a time yyyy/m/d h:mm")


def day(header: str, year: int) -> Column:
    """`0918`, a day of `year`: its midnight UTC."""

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        return _seconds(ibis.literal(f"{year}-") + text.substr(0, 2) + "-" + text.substr(2) + " 00:00:00")

    def fits(text: str) -> bool:
        return _is_time(f"{year}{text}", r"\d{8}", "%Y%m%d")

    return Column(header, "timestamp", parse, fits, f"a day mmdd of {year}")


def text(header: str, name: str, *, pattern: str = "", expected: str = "", absent: bool = False) -> Column:
    """Any text, or none; with a `pattern`, only text that it matches."""

    def parse(value: ir.StringValue) -> ir.StringValue:
        return _only_if(value.re_search(f"^({pattern})$"), value) if pattern else value

    def fits(value: str) -> bool:
        return not pattern or re.fullmatch(pattern, value, re.ASCII) is not None

    return Column(header, name, parse, fits, expected, empty=True, absent=absent)


def price(header: str) -> Column:
    """A decimal number, or none."""
    pattern = r"[0-9]+(\.[0-9]+)?"

    def parse(value: ir.StringValue) -> ir.FloatingValue:
        return _only_if(value.re_search(f"^{pattern}$"), value.try_cast("float64"))

    def fits(value: str) -> bool:
        return re.fullmatch(pattern, value) is not None

    return Column(header, "price", parse, fits, "a number such as 19.9", empty=True, absent=True)


REC_TMALL_ACTIONS = dict(zip(("click", "collect", "cart", "alipay"), range(4), strict=True))
REC_TMALL_LOG = Layout(
    (
        identifier("item_id", "item"),
        identifier("user_id", "user", prefix="u"),
        one_of("action", "behavior", REC_TMALL_ACTIONS),
        second("vtime"),
    ),
    delimiter="\x01",
    header=False,
)
REC_TMALL_SAMPLE = Layout(
    (
        identifier("item_id", "item", prefix="i"),
        identifier("user_id", "user", prefix="u"),
        one_of("action", "behavior", REC_TMALL_ACTIONS),
        minute("vtime"),
    ),
    delimiter=",",
    header=True,
)
REC_TMALL_PRODUCT = Layout(
    (
        identifier("item_id", "item"),
        text("title", "title"),
        text("pict_url", "picture"),
        text("category", "category", pattern="[^-]+-[^-]+", expected="a category parent-leaf"),
        text("brand", "brand", pattern="b[0-9]+", expected="a brand such as b123"),
        text("seller", "seller", pattern="s[0-9]+", expected="a seller such as s123"),
    ),
    delimiter="\x01",
    header=False,
)
IJCAI15_USERS = Layout(
    (identifier("user_id", "user"), text("age_range", "age_range"), text("gender", "gender")), ",", header=True
)
TABLE_LOG = Layout(
    (
        identifier("user", "user"),
        identifier("item", "item"),
        one_of("behavior", "behavior", {str(name): i for i, b in enumerate(BEHAVIORS) for name in (b, i)}),
        identifier("timestamp", "timestamp", maximum=MAX_SECONDS, expected=f"seconds UTC, 0..{MAX_SECONDS}"),
    ),
    delimiter=",",
    header=True,
)
TABLE_ITEMS = Layout(
    (
        identifier("item", "item"),
        *(text(c, c, absent=True) for c in ("category", "parent_category", "brand", "seller", "title")),
        price("price"),
    ),
    delimiter=",",
    header=True,
)
TABLE_USERS = Layout(
    (identifier("user", "user"), *(text(c, c, absent=True) for c in ("age_range", "gender"))), ",", header=True
)


def ijcai15_log(year: int) -> Layout:
    """The IJCAI-15 log, whose days belong to `year`; brands are empty, `2661` or `2661.0`."""
    return Layout(
        (
            identifier("user_id", "user"),
            identifier("item_id", "item"),
            identifier("cat_id", "category"),
            identifier("seller_id", "seller"),
            text("brand_id", "brand", pattern=r"[0-9]+(\.0)?", expected="empty or a brand such as 2661 or 2661.0"),
            day("time_stamp", year),
            one_of("action_type", "behavior", {"0": 0, "1": 2, "2": 3, "3": 1}),  # theirs: click cart purchase favorite
        ),
        delimiter=",",
        header=True,
    )


@dataclass(frozen=True)
class RawFile:
    """A file that was looked through once: no NUL bytes, valid UTF-8, no empty lines, the columns we need.

    name: as errors show it. source: the file the user gave. path: the text to read (unpacked, if from a zip).
    columns: the names of all its columns, in order. rows: how many it has.
    """

    name: str
    source: Path
    path: Path
    columns: tuple[str, ...]
    rows: int
    newline: str = "\n"

    @property
    def is_parquet(self) -> bool:
        return self.path.suffix == ".parquet"


def open_raw(source: Path | str, layout: Layout, *, member: str, spill: Path) -> RawFile:
    """Look through a Parquet file, a text file, or the text file `member` of a zip (unpacked into `spill`).

    Raises:
        InputError: the file is missing, empty, truncated, not UTF-8, holds a NUL byte or an empty line, or lacks
            a column of `layout`.
    """
    source = Path(source)
    if not source.is_file():
        raise InputError(f"{source}: file not found")
    if source.suffix == ".parquet":
        return _open_parquet(source, layout)
    name, path = str(source), source
    if source.suffix == ".zip":
        name, path = _unzip(source, member, spill)
    return _open_text(name, source, path, layout)


def _open_parquet(source: Path, layout: Layout) -> RawFile:
    try:
        with pq.ParquetFile(source) as file:
            columns, rows = tuple(file.schema_arrow.names), file.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{source}: expected Parquet, found {str(error).splitlines()[0]}") from None
    _check_columns(str(source), columns, layout)
    if rows == 0:
        raise InputError(f"{source}: found no rows, expected at least one")
    return RawFile(str(source), source, source, columns, rows)


def _unzip(source: Path, member: str, spill: Path) -> tuple[str, Path]:
    try:
        with zipfile.ZipFile(source) as archive:
            names = [n for n in archive.namelist() if Path(n).name == member and not n.startswith("__MACOSX/")]
            if len(names) != 1:
                raise InputError(f"{source}: found {len(names)} files named {member}, expected one")
            path = spill / f"{source.stem}-{member}"
            with archive.open(names[0]) as packed, open(path, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{source}: expected a whole zip file, found {error}") from None
    return f"{source}/{names[0]}", path


def zip_holds(source: Path | str, member: str) -> bool:
    """Whether `source` is a zip file with a file named `member` in it."""
    if Path(source).suffix != ".zip" or not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return any(Path(n).name == member and not n.startswith("__MACOSX/") for n in archive.namelist())


def first_line(source: Path | str) -> str:
    """The first line of a text file, without its end.

    Raises:
        InputError: the file is missing or is not UTF-8.
    """
    try:
        with open(source, "rb") as file:
            return file.readline().decode("utf-8").rstrip("\r\n")
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{source}: file not found") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: line 1: found bytes that are not UTF-8 ({error.reason})") from None


def _open_text(name: str, source: Path, path: Path, layout: Layout) -> RawFile:
    with open(path, "rb") as file:
        newline = "\r\n" if file.readline().endswith(b"\r\n") else "\n"
    lines = _scan(name, path, newline.encode())
    if layout.header:
        columns = tuple(first_line(path).removeprefix("\ufeff").split(layout.delimiter))
        _check_columns(f"{name}: line 1", columns, layout)
    else:
        columns = tuple(column.header for column in layout.columns)
    rows = lines - layout.header
    if rows == 0:
        raise InputError(f"{name}: found no rows, expected at least one")
    return RawFile(name, source, path, columns, rows, newline)


def _scan(name: str, path: Path, newline: bytes) -> int:
    """Count the lines of a file; raise InputError at a NUL byte, invalid UTF-8, an empty line, or no lines."""
    lines, tail = 0, b""
    with open(path, "rb") as file:
        while block := file.read(SCAN_BYTES):
            chunk = tail + block
            cut = chunk.rfind(b"\n") + 1
            if cut == 0 and len(chunk) > SCAN_BYTES:
                raise InputError(f"{name}: line {lines + 1}: found more than {SCAN_BYTES} bytes, expected a line end")
            chunk, tail = chunk[:cut], chunk[cut:]
            lines += _scan_lines(name, chunk, lines, newline)
    if tail:
        _scan_lines(name, tail, lines, newline)
        lines += 1
    if lines == 0:
        raise InputError(f"{name}: the file is empty, expected at least one line")
    return lines


def _scan_lines(name: str, chunk: bytes, before: int, newline: bytes) -> int:
    """The number of line ends in `chunk`, which starts a line and has `before` lines before it."""

    def fault(at: int, found: str) -> InputError:
        number = before + chunk.count(b"\n", 0, at) + 1
        return InputError(f"{name}: line {number}: found {found}, expected UTF-8 text")

    if (at := chunk.find(b"\0")) >= 0:
        raise fault(at, "a NUL byte")
    if chunk.startswith(newline):
        raise fault(0, "an empty line")
    ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
    if np.any(np.diff(ends) <= len(newline)) and (at := chunk.find(newline + newline)) >= 0:
        raise fault(at + len(newline), "an empty line")
    if not chunk.isascii():
        try:
            chunk.decode("utf-8")
        except UnicodeDecodeError as error:
            raise fault(error.start, f"the byte 0x{chunk[error.start]:02x}, which is not UTF-8") from None
    return len(ends)


def _check_columns(where: str, columns: Sequence[str], layout: Layout) -> None:
    for column in layout.columns:
        if columns.count(column.header) != 1 and not (column.absent and column.header not in columns):
            trouble = "is there twice" if column.header in columns else "is missing"
            raise InputError(f"{where}: column {column.header} {trouble}, found {','.join(columns)[:200]}")


def _present(file: RawFile, layout: Layout) -> Layout:
    return replace(layout, columns=tuple(c for c in layout.columns if c.header in file.columns))


def read_raw(engine: Engine, files: Sequence[RawFile], layout: Layout) -> ibis.Table:
    """The parsed columns of `layout` that the files have, and `fault`: true where something in the row does not fit.

    Raises:
        InputError: the files differ in their columns or kind.
    """
    first = files[0]
    for file in files[1:]:
        if (file.columns, file.newline, file.is_parquet) != (first.columns, first.newline, first.is_parquet):
            raise InputError(f"{file.name}: columns or line ends differ from {first.name}, expected the same")
    paths = [file.path for file in files]
    if first.is_parquet:
        raw = engine.read_parquet(paths)
    else:
        raw = engine.read_text(
            paths, first.columns, delimiter=layout.delimiter, header=layout.header, newline=first.newline
        )
    columns = _present(first, layout).columns
    parsed = {}
    for column in columns:
        value = raw[column.header].cast("string") if first.is_parquet else raw[column.header]
        parsed[column.name] = column.parse(value)
        if column.empty and column.expected:
            parsed[f"{column.name}_lost"] = value.notnull() & parsed[column.name].isnull()
    row = {"row": raw["row"]} if "row" in raw.columns else {}
    table = raw.select(**parsed, **row)
    faults = [table[f"{c.name}_lost"] for c in columns if c.empty and c.expected]
    faults += [table[c.name].isnull() for c in columns if not c.empty]
    return table.select(*(c.name for c in columns), *row, fault=reduce(or_, faults))


def find_fault(files: Sequence[RawFile], layout: Layout) -> None:
    """Walk the files row by row in Python, and raise InputError at the first field that does not fit."""
    for file in files:
        columns = _present(file, layout).columns
        indices = [file.columns.index(column.header) for column in columns]
        for number, values in _parquet_rows(file) if file.is_parquet else _text_rows(file, layout):
            for column, index in zip(columns, indices, strict=True):
                value = values[index]
                if not (column.fits(value) if value else column.empty):
                    found = repr(value) if value else "nothing"
                    raise InputError(
                        f"{file.name}: {number}: {column.header}: found {found}, expected {column.expected}"
                    )


def _text_rows(file: RawFile, layout: Layout) -> Iterator[tuple[str, list[str]]]:
    separator = "the byte 0x01" if layout.delimiter == "\x01" else repr(layout.delimiter)
    expected = f"expected {len(file.columns)} separated by {separator}"
    with open(file.path, encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            if line.endswith("\n") and not line.endswith(file.newline):
                raise InputError(f"{file.name}: line {number}: found the line end LF, expected CR LF as in line 1")
            values = line.removesuffix("\n").removesuffix(file.newline[:-1]).split(layout.delimiter)
            if len(values) != len(file.columns):
                raise InputError(f"{file.name}: line {number}: found {len(values)} fields, {expected}")
            if number > 1 or not layout.header:
                yield f"line {number}", values


def _parquet_rows(file: RawFile) -> Iterator[tuple[str, list[str]]]:
    number = 0
    with pq.ParquetFile(file.path) as parquet:
        for batch in parquet.iter_batches():
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield f"row {number}", ["" if value is None else str(value) for value in values]
