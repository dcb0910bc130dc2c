"""Files of JSON lines read as rows of text: an object a line, of which each column is a key, or a place in a list such
as `category[-1]`. Numbers stay as they are written."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rclrec_mini.data.columns import Layout, shown
from rclrec_mini.data.unpacking import Found
from rclrec_mini.files import InputError

LINE_BYTES = 1 << 24  # the longest line


@dataclass(frozen=True)
class _Place:
    """Where in an object a column stands."""

    key: str
    index: int | None
    needed: bool

    def value(self, record: dict[str, Any]) -> Any:
        value = record.get(self.key)
        if self.index is None or value is None:
            return value
        if not isinstance(value, list):
            raise ValueError(f"{self.key}: found {shown(str(value))}, expected a list")
        return value[self.index] if -len(value) <= self.index < len(value) else None


def json_rows(file: Found, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line as text, empty where there is none, with the number of the line.

    Raises:
        InputError: a line is no JSON object in UTF-8, names a key twice, lacks one that must be there, or holds
            something else where text or a number should be.
    """
    places = [_place(header, needed) for header, needed in json_headers(layout).items()]
    with open(file.path, "rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(LINE_BYTES), b""), 1):
            try:
                record = _decoded(line if number > 1 else line.removeprefix(b"\xef\xbb\xbf"))
                for place in places:
                    if place.needed and place.key not in record:
                        found = shown(", ".join(record))
                        raise ValueError(f"key {place.key} is missing, found {found}")
                yield number, [_as_text(place, record, layout.json) for place in places]
            except (ValueError, RecursionError) as error:
                found = "found lists in lists without end" if isinstance(error, RecursionError) else error
                raise InputError(f"{file.name}: line {number}: {found}") from None


def json_headers(layout: Layout) -> dict[str, bool]:
    """The headers of a layout, and whether each line must have them."""
    return {column.header: not column.empty for column in layout.columns}


def _place(header: str, needed: bool) -> _Place:
    at = re.fullmatch(r"(.+)\[(-?\d+)\]", header)
    return _Place(at[1], int(at[2]), needed) if at else _Place(header, None, needed)


def _decoded(line: bytes) -> dict[str, Any]:
    if not line.strip():
        raise ValueError("found an empty line, expected a JSON object")
    if len(line) == LINE_BYTES and not line.endswith(b"\n"):
        raise ValueError(f"found {LINE_BYTES} bytes without a line end, expected a JSON object a line")
    try:
        record = DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        found = f"the byte 0x{line[error.start]:02x}, which is not UTF-8"
        raise ValueError(f"found {found}, expected UTF-8 text") from None
    except json.JSONDecodeError as error:
        near = shown(error.doc[max(error.pos - 20, 0) : error.pos + 20].strip())
        raise ValueError(f"found {error.msg} at {near}, expected a JSON object") from None
    if not isinstance(record, dict):
        raise ValueError(f"found {shown(str(record))}, expected a JSON object")
    return record


def _as_text(place: _Place, record: dict[str, Any], clean: Callable[[str], str]) -> str:
    value = place.value(record)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{place.key}: found {shown(json.dumps(value))}, expected text or a number")
    text = clean(value)
    if "\0" in text or not (text.isascii() or text.encode("utf-8", "replace").decode() == text):
        raise ValueError(f"{place.key}: found {ascii(text)[:60]}, expected UTF-8 text")
    return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"found key {shown(twice)} twice, expected it once")
    return record


def _no_number(word: str) -> None:
    raise ValueError(f"found {word}, expected a number")


DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str, parse_constant=_no_number)
