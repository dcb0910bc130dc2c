"""Recommendations as tables, and as files of Parquet, JSON lines or CSV.

Parquet and JSON lines have one row for each person, with lists of items and of the curriculum's events; CSV has one
line for each item and each event, told apart by its column `part`.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from rclrec_mini.checks import FieldError
from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.files import whole_file

FORMATS = {".parquet": b"PAR1", ".csv": b'"user","part",', ".jsonl": b'{"user": '}  # how their files begin
ITEM = pa.struct([("raw_id", pa.string()), ("score", pa.float32())])
EVENT = pa.struct([("raw_id", pa.string()), ("behavior", pa.string()), ("events_ago", pa.int32())])
NESTED = pa.schema([("user", pa.string()), ("curriculum", pa.list_(EVENT)), ("items", pa.list_(ITEM))])
FLAT = pa.schema(
    [
        ("user", pa.string()),
        ("part", pa.string()),  # curriculum or items
        ("place", pa.int32()),  # from 1; the last event of the curriculum is the most relevant, the first item the best
        ("raw_id", pa.string()),
        ("score", pa.float32()),
        ("behavior", pa.string()),
        ("events_ago", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Answers:
    """What B people get. `raw_ids` are those of all items.

    items, scores (B, k): best first, -1 and -inf where there are fewer. events, behaviors, events_ago, valid (B, k'):
    the curriculum, ascending relevance.
    """

    names: pa.Array
    raw_ids: pa.Array
    items: np.ndarray
    scores: np.ndarray
    events: np.ndarray
    behaviors: np.ndarray
    events_ago: np.ndarray
    valid: np.ndarray

    def table(self) -> pa.Table:
        """One row for each person."""
        found = self.items >= 0
        items = [self._raw(self.items[found]), pa.array(self.scores[found], pa.float32())]
        columns = [self.names, _lists(self._events(), EVENT, self.valid), _lists(items, ITEM, found)]
        return pa.table(columns, schema=NESTED)

    def lines(self) -> pa.Table:
        """One row for each event of a curriculum and each item, person by person."""
        found = self.items >= 0
        parts, rows = [], []
        for name, shown in (("curriculum", self.valid), ("items", found)):
            row, n = np.nonzero(shown)[0], int(shown.sum())
            rows.append(row)
            place = pa.array(shown.cumsum(axis=1)[shown], pa.int32())
            parts.append({"user": self.names.take(pa.array(row)), "part": pa.array([name] * n), "place": place})
        events, n = self._events(), int(found.sum())
        parts[0] |= dict(zip(("raw_id", "behavior", "events_ago"), events, strict=True))
        parts[0]["score"] = pa.nulls(len(events[0]), pa.float32())
        parts[1] |= {"raw_id": self._raw(self.items[found]), "score": pa.array(self.scores[found], pa.float32())}
        parts[1] |= {"behavior": pa.nulls(n, pa.string()), "events_ago": pa.nulls(n, pa.int32())}
        lines = pa.concat_tables(pa.table([part[name] for name in FLAT.names], schema=FLAT) for part in parts)
        return lines.take(pa.array(np.argsort(np.concatenate(rows), kind="stable")))

    def _events(self) -> list[pa.Array]:
        names = pa.array(BEHAVIORS).take(pa.array(self.behaviors[self.valid]))
        return [self._raw(self.events[self.valid]), names, pa.array(self.events_ago[self.valid], pa.int32())]

    def _raw(self, items: np.ndarray) -> pa.Array:
        return self.raw_ids.take(pa.array(items))


def _lists(columns: list[pa.Array], kind: pa.StructType, shown: np.ndarray) -> pa.Array:
    """Lists of structs, one for each row of `shown` (B, k), which tells of each place whether there is something."""
    ends = np.concatenate([[0], shown.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.StructArray.from_arrays(columns, fields=list(kind)))


@contextlib.contextmanager
def open_answers(out: Path | str) -> Iterator[Callable[[Answers], None]]:
    """Yield what writes answers to `out`, in the format that its name ends in; the file is there once all are written.

    Raises:
        FieldError: the name ends in none of FORMATS.
    """
    out = Path(out)
    if out.suffix not in FORMATS:
        raise FieldError("out", f"found {out}, expected a name that ends in {', '.join(FORMATS)}")
    with whole_file(out) as partial:
        if out.suffix == ".parquet":
            with pq.ParquetWriter(partial, NESTED) as writer:
                yield lambda answers: writer.write_table(answers.table())
        elif out.suffix == ".csv":
            with pa.csv.CSVWriter(partial, FLAT) as writer:
                yield lambda answers: writer.write_table(answers.lines())
        else:
            with open(partial, "w", encoding="utf-8") as file:
                yield lambda answers: file.writelines(
                    json.dumps(row, ensure_ascii=False) + "\n" for row in answers.table().to_pylist()
                )
