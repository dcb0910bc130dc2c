"""The statistics of Figure 1(c) on real rows: the first rows of IJCAI-15, or the whole log.

    head -10000 user_log_format1.csv > first_rows.csv
    python benchmarks/ijcai15_relevance.py --log first_rows.csv

Get user_log_format1.csv from Tianchi (data set 42, the repeat buyers challenge). Three readings of the same history,
which is the last `window` events before the target:

    all            every event counts
    other items    events of the target's own item are left out
    earlier days   events of the target's own day are left out: the log does not know the order within a day

The result file holds the means and the differences between purchases and clicks, and none of the rows.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import tyro

from rclrec_mini.data.prepare import PrepareConfig, prepare
from rclrec_mini.data.relevance import EXCESS, HISTORY, relevance
from rclrec_mini.data.schema import ITEMS
from rclrec_mini.data.sequences import Sequences, read_table
from rclrec_mini.files import write_json
from rclrec_mini.training.checkpoints import provenance

READINGS = {"all": {}, "other items": {"same_item": False}, "earlier days": {"same_day": False}}


@dataclass(frozen=True)
class Config:
    """What to read, and where the result goes."""

    log: Path  # user_log_format1.csv, or its first lines
    window: int = 20  # events
    out: Path = Path(__file__).parent / "results" / "ijcai15_relevance.json"  # result file


def rounded(table: pa.Table) -> list[dict]:
    """The rows of a table, numbers to six digits."""
    rows = table.to_pylist()
    return [{name: round(x, 6) if isinstance(x, float) else x for name, x in row.items()} for row in rows]


def measured(sequences: Sequences, items: pa.Table, window: int, **reading: bool) -> dict:
    """Means of every source, and purchases minus clicks of the history and its excess."""
    found = relevance(sequences, items, window=window, **reading)
    differences = [row for row in rounded(found.contrasts) if (row["behavior"], row["minus"]) == ("purchase", "click")]
    return {
        "table": rounded(found.table),
        "contrasts": [row for row in differences if row["source"] in (HISTORY, EXCESS)],
    }


def main(config: Config) -> dict:
    """Prepare the log in a temporary folder, measure, print, write the result file."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "prepared"
        manifest = prepare(PrepareConfig(source="ijcai15", log=(config.log,), out=out))
        sequences, items = Sequences.load(out), read_table(out / "items.parquet", ITEMS)
        readings = {name: measured(sequences, items, config.window, **how) for name, how in READINGS.items()}
    for name in ("other items", "earlier days"):
        del readings[name]["table"]  # the differences say it
    for name, found in readings.items():
        for row in found["contrasts"]:
            print(f"{name:14}{row['source']:10}{row['attribute']:10}purchase - click", end=" ")
            print(f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]")
    kept = ("source", "filters", "order", "dropped", "counts", "behaviors", "content_hash")
    (file,) = manifest["files"]
    data = {name: manifest[name] for name in kept} | {"bytes": file["bytes"], "rows": file["rows"]}
    data |= {name: file[name] for name in ("sha256",) if name in file}  # of files up to 1 GB
    settings = {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}
    result = {"config": settings, **provenance(), "data": data, "readings": readings}
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
