"""The events of somebody who is not in the data, from a small file of raw item ids."""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rclrec_mini.data.schema import BEHAVIORS, MAX_SECONDS
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.files import InputError
from rclrec_mini.records import read_lines

COLUMNS = ("item", "behavior", "timestamp")


def read_history(path: Path | str, items: Mapping[str, int]) -> Sequences:
    """Read one person's events, in any order, as sequences of one user.

    Args:
        path: CSV with a header, or JSON lines where the name ends in .jsonl; item (raw id), behavior (name or index)
            and timestamp (seconds UTC). Other columns are not read.
        items: the number of each raw id.

    Raises:
        InputError: the file is missing or empty, or a line lacks one of the three, is not what it should be, or names
            an item that is not in the data.
    """
    path, events = Path(path), []
    for line, row in _rows(path):
        where = f"{path}: line {line}"
        for name in COLUMNS:
            if row.get(name) in (None, ""):
                raise InputError(f"{where}: {name} is missing, found {sorted(map(str, row))}")
        raw, behavior, timestamp = (str(row[name]) for name in COLUMNS)
        if raw not in items:
            raise InputError(f"{where}: item {raw[:50]} not found among {len(items)} items")
        known = [*BEHAVIORS, *map(str, range(len(BEHAVIORS)))]
        if behavior not in known:
            raise InputError(f"{where}: behavior is {behavior[:50]!r}, expected one of {', '.join(known)}")
        if not re.fullmatch(r"[0-9]{1,12}", timestamp) or int(timestamp) > MAX_SECONDS:
            raise InputError(f"{where}: timestamp is {timestamp[:50]!r}, expected seconds UTC, 0..{MAX_SECONDS}")
        events.append((int(timestamp), known.index(behavior) % len(BEHAVIORS), items[raw]))
    if not events:
        raise InputError(f"{path}: found no events, expected at least 1")
    timestamp, behavior, item = np.array(sorted(events, key=lambda event: event[0]), dtype=np.int64).T
    return Sequences(item, behavior, timestamp, np.array([0, len(item)]), len(items))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Numbers and fields of the lines after the header."""
    if path.suffix.lower() == ".jsonl":
        yield from enumerate(read_lines(path), start=1)
        return
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            yield from ((reader.line_num, row) for row in reader)
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected CSV in UTF-8, found {error}") from None
