"""What the fields of raw files look like.

Each column says the same thing twice: `parse` is an Ibis expression that turns the text of a field into a value, null
where it does not fit; `fits` judges one Python string. The engine reads everything fast with `parse`; only when
something did not fit does raw_logs.find_fault walk the lines in Python to name the first one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import ibis
import ibis.expr.types as ir

from rclrec_mini.data.schema import MAX_SECONDS

MAX_ID = 2**63 - 1
MARKUP = r"<[A-Za-z!/]|getTime\("  # HTML, or the script of a page
DOLLARS = r"\$?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?"
NUMBER = r"([0-9]{1,18})(?:\.[0-9]+)?"
ISO_8601 = (
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,]\d{1,9})?)?"
    r"(?: ?(Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?))?)?"
)
TIMES = "seconds, milliseconds or a time such as 2014-09-18T15:03:11Z"


@dataclass(frozen=True)
class Column:
    """One column of a raw file.

    header: its name in the file. name: its name in our tables. expected: what fits, in words.
    empty: whether a row may leave it empty. missing: what to do where a file lacks it.
    others: what to do about the values that do not fit, which are then all listed.
    lenient: whether what does not fit is read as nothing, and counted.
    """

    header: str
    name: str
    parse: Callable[[ir.StringValue], ir.Value]
    fits: Callable[[str], bool]
    expected: str
    empty: bool = False
    missing: str = ""
    others: str = ""
    lenient: bool = False


@dataclass(frozen=True)
class Layout:
    """A kind of text file: its columns, what separates them, and whether the first line names them.

    json: where lines are JSON objects (json_lines.py), what is done to their texts, such as html.unescape.
    quoted: whether fields may stand in quotes, as RFC 4180 has it. constants: values of columns that the file lacks.
    outside: rows that are no part of the data, by a condition on the parsed columns, and what to call them.
    """

    columns: tuple[Column, ...]
    delimiter: str = ","
    header: bool = False
    json: Callable[[str], str] | None = None
    quoted: bool = False
    constants: tuple[tuple[str, int], ...] = ()
    outside: tuple[str, Callable[[ir.Table], ir.BooleanValue]] | None = None


def shown(value: str) -> str:
    """A field as messages show it: quoted, on one line, and cut where it is long."""
    return repr(value if len(value) <= 60 else value[:60] + "…")


def _whole(pattern: str) -> str:
    return rf"\A(?:{pattern})\z"


def _only_if(condition: ir.BooleanValue, value: ir.Value) -> ir.Value:
    return condition.ifelse(value, ibis.null(value.type()))


def integer(text: ir.StringValue) -> ir.IntegerValue:
    """The number that is written as exactly this text."""
    number = text.try_cast("int64")
    return _only_if(number.cast("string") == text, number)


def in_order(ids: ir.Value) -> list[ir.Value]:
    """What to sort ids by: integers in their order, before texts in the order of their code points."""
    if not ids.type().is_string():
        return [ids]
    number = integer(ids)
    return [number.isnull(), number, ids]


def identifier(
    header: str, name: str, *, prefix: str = "", minimum: int = 0, maximum: int = MAX_ID, expected: str = ""
) -> Column:
    """An integer minimum..maximum without leading zeros, after `prefix`."""

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        number = text.substr(len(prefix)).try_cast("int64")
        same = (ibis.literal(prefix) + number.cast("string") if prefix else number.cast("string")) == text
        return _only_if(same & number.between(minimum, maximum), number)

    def fits(text: str) -> bool:
        match = re.fullmatch(re.escape(prefix) + "(0|-?[1-9][0-9]{0,18})", text)
        return match is not None and minimum <= int(match[1]) <= maximum

    words = f"{prefix} and an integer" if prefix else "an integer"
    return Column(header, name, parse, fits, expected or f"{words} {minimum}..{maximum}")


def any_id(header: str, name: str, *, missing: str = "") -> Column:
    """Any text but none."""
    return Column(header, name, lambda text: text, bool, f"the id of the {name}", missing=missing)


def one_of(header: str, name: str, values: dict[str, int], *, rest: int | None = None, **texts: str) -> Column:
    """One of a few words, each with its number; `rest` is the number of all others, if they fit."""

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        if not values:
            return _only_if(text.notnull(), ibis.literal(rest, "int8"))
        return _only_if(text.notnull(), text.cases(*values.items(), else_=rest).cast("int8"))

    def fits(text: str) -> bool:
        return rest is not None or text in values

    expected = f"one of {', '.join(values)}" if rest is None else "a word"
    return Column(header, name, parse, fits, expected, **texts)


def _matching(
    header: str, name: str, pattern: str, value: Callable[[ir.StringValue], ir.Value], expected: str, **options: bool
) -> Column:
    """Text that `pattern` matches, and the `value` made of it, or none."""

    def parse(text: ir.StringValue) -> ir.Value:
        return _only_if(text.re_search(_whole(pattern)), value(text))

    def fits(text: str) -> bool:
        return re.fullmatch(pattern, text, re.ASCII) is not None

    return Column(header, name, parse, fits, expected, empty=True, **options)


def text(header: str, name: str) -> Column:
    """Any text, or none."""
    return Column(header, name, lambda text: text, lambda text: True, "", empty=True)


def text_like(header: str, name: str, pattern: str, expected: str, *, group: int = 0) -> Column:
    """Text that `pattern` matches, of which `group` is taken, or none."""
    return _matching(header, name, pattern, lambda text: text.re_extract(_whole(pattern), group), expected)


def whole_number(header: str, name: str, *, expected: str) -> Column:
    """An integer, also as `2661.0`, or none."""
    return _number(header, name, r"([0-9]+)(?:\.0)?", 0, MAX_ID, expected, empty=True)


def _number(
    header: str, name: str, pattern: str, low: int, high: int, expected: str, *, unit: int = 1, empty: bool = False
) -> Column:
    """The integer low..high in the first group of `pattern`, in whole units."""

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        number = text.re_extract(_whole(pattern), 1).try_cast("int64")
        units = number if unit == 1 else (number // unit).cast("int64")  # which is exact up to 2**53 only
        return _only_if(number.between(low, high), units)

    def fits(text: str) -> bool:
        match = re.fullmatch(pattern, text)
        return match is not None and low <= int(match[1]) <= high

    return Column(header, name, parse, fits, expected, empty=empty)


def price(header: str) -> Column:
    """A decimal number, or none."""
    pattern = r"[0-9]+(\.[0-9]+)?"
    return _matching(header, "price", pattern, lambda text: text.try_cast("float64"), "a number such as 19.9")


def dollars(header: str) -> Column:
    """A price such as `$1,299.00`, or none."""

    def number(text: ir.StringValue) -> ir.FloatingValue:
        return text.replace("$", "").replace(",", "").try_cast("float64")

    return _matching(header, "price", DOLLARS, number, "a price such as $12.99", lenient=True)


def without_markup(header: str, name: str) -> Column:
    """Any text that is no piece of a web page, or none."""

    def parse(value: ir.StringValue) -> ir.StringValue:
        return _only_if(~value.re_search(MARKUP), value)

    def fits(value: str) -> bool:
        return re.search(MARKUP, value) is None

    return Column(header, name, parse, fits, "text without markup", empty=True, lenient=True)


def _seconds(text: ir.StringValue) -> ir.IntegerValue:
    """Seconds UTC of `yyyy-mm-dd hh:mm:ss`, null unless the time reads back as exactly that text."""
    time = text.try_cast("timestamp")
    return _only_if((time.cast("string") == text) & (text.length() == 19), time.epoch_seconds().cast("int64"))


def _since_1970(seconds: ir.IntegerValue) -> ir.IntegerValue:
    return _only_if(seconds >= 0, seconds)


def _is_time(text: str, pattern: str, form: str) -> bool:
    try:
        return re.fullmatch(pattern, text, re.ASCII) is not None and datetime.strptime(text, form).year >= 1970
    except ValueError:
        return False


def second(header: str) -> Column:
    """`2014-09-18 15:03:11`, UTC."""
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"

    def fits(text: str) -> bool:
        return _is_time(text, pattern, "%Y-%m-%d %H:%M:%S")

    return Column(header, "timestamp", lambda text: _since_1970(_seconds(text)), fits, "a time yyyy-mm-dd hh:mm:ss")


def minute(header: str) -> Column:
    """`2014/9/18 15:03`, UTC."""
    pattern = r"(\d{4})/(\d{1,2})/(\d{1,2}) (\d{1,2}):(\d\d)"

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        year, month, day, hour, minute = (text.re_extract(_whole(pattern), i) for i in range(1, 6))
        date = year + "-" + month.lpad(2, "0") + "-" + day.lpad(2, "0")
        return _since_1970(_seconds(date + " " + hour.lpad(2, "0") + ":" + minute + ":00"))

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


def seconds(header: str) -> Column:
    """Seconds since 1970, UTC; a fraction is cut off."""
    expected = f"seconds UTC, 0..{MAX_SECONDS}, as in the first row"
    return _number(header, "timestamp", NUMBER, 0, MAX_SECONDS, expected)


def milliseconds(header: str) -> Column:
    """Milliseconds since 1970, UTC, from 1978 on: what is smaller are seconds."""
    low, high = MAX_SECONDS + 1, 1000 * MAX_SECONDS + 999
    expected = f"milliseconds UTC, {low}..{high}, as in the first row"
    return _number(header, "timestamp", NUMBER, low, high, expected, unit=1000)


def iso_8601(header: str, example: str) -> Column:
    """`2014-09-18`, `2014-09-18 15:03` or `2014-09-18T15:03:11.5+08:00`, as fine as the example; UTC where no zone is
    named."""
    parts = _parts_of_clock(example)

    def parse(text: ir.StringValue) -> ir.IntegerValue:
        date, hour_minute, second, zone = (text.re_extract(_whole(ISO_8601), i) for i in range(1, 5))
        as_fine = ((hour_minute != "").cast("int8") + (second != "").cast("int8")) == parts
        clock = (hour_minute == "").ifelse("00:00", hour_minute) + ":" + (second == "").ifelse("00", second)
        hours, minutes = zone.substr(1, 2), zone.replace(":", "").substr(3, 2)
        offset = 3600 * ibis.coalesce(hours.try_cast("int64"), 0) + 60 * ibis.coalesce(minutes.try_cast("int64"), 0)
        local = _seconds(date + " " + clock)
        return _only_if(as_fine, _since_1970((zone.substr(0, 1) == "-").ifelse(local + offset, local - offset)))

    def fits(text: str) -> bool:
        match = re.fullmatch(ISO_8601, text, re.ASCII)
        if match is None or _parts_of_clock(text) != parts:
            return False
        date, hour_minute, second, zone = match.groups()
        zone = "+00:00" if zone in (None, "Z") else zone if len(zone) > 3 else f"{zone}:00"
        try:
            time = datetime.strptime(f"{date} {hour_minute or '00:00'}:{second or '00'} {zone}", "%Y-%m-%d %H:%M:%S %z")
        except ValueError:
            return False
        return time.replace(tzinfo=None) - time.utcoffset() >= datetime(1970, 1, 1)

    words = ("a day such as 2014-09-18", "a time such as 2014-09-18T15:03Z", "a time such as 2014-09-18T15:03:11Z")
    return Column(header, "timestamp", parse, fits, f"{words[parts]}, as in the first row")


def _parts_of_clock(text: str) -> int:
    """0: a day alone; 1: hours and minutes; 2: seconds too."""
    match = re.fullmatch(ISO_8601, text, re.ASCII)
    return sum(part is not None for part in match.groups()[1:3])


def time_like(header: str, example: str) -> tuple[str, Column]:
    """The kind of time that `example` is written in, and its column."""
    if match := re.fullmatch(NUMBER, example):
        if int(match[1]) <= MAX_SECONDS:
            return "seconds", seconds(header)
        return "milliseconds", milliseconds(header)
    if re.fullmatch(ISO_8601, example, re.ASCII):
        return ("ISO 8601 days", "ISO 8601 minutes", "ISO 8601")[_parts_of_clock(example)], iso_8601(header, example)
    never = Column(header, "timestamp", lambda text: ibis.null("int64"), lambda text: False, TIMES)
    return "unknown", never
