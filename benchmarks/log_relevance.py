"""The statistics of Figure 1(c) on a real log: IJCAI-15 or Taobao's UserBehavior, whole or its first rows.

    head -10000 user_log_format1.csv > first_rows.csv
    python benchmarks/log_relevance.py --source ijcai15 --log first_rows.csv
    head -100001 UserBehavior.csv > first_rows.csv
    python benchmarks/log_relevance.py --source userbehavior --log first_rows.csv

Both are on Tianchi: user_log_format1.csv is of data set 42 (the repeat buyers challenge), UserBehavior.csv of 649.
Readings of the same history, which is the last `window` events before the target:

    all            every event counts
    other items    events of the target's own item are left out
    earlier days   events of the target's own day are left out, where the log does not know the order within a day

The result file holds the means and the differences between purchases and clicks, and none of the rows.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import tyro

from rclrec_mini.data.prepare import PrepareConfig, prepare
from rclrec_mini.data.prepared import read_table
from rclrec_mini.data.relevance import EXCESS, HISTORY, relevance
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.files import write_json
from rclrec_mini.training.checkpoints import provenance

ORDERED = {"all": {}, "other items": {"same_item": False}}
READINGS = {"ijcai15": ORDERED | {"earlier days": {"same_day": False}}, "userbehavior": ORDERED}


@dataclass(frozen=True)
class Config:
    """What to read, and where the result goes."""

    log: Path  # the log, or its first lines
    source: Literal["ijcai15", "userbehavior"] = "ijcai15"  # its format
    window: int = 20  # events
    out: Path | None = None  # result file; default: results/SOURCE_relevance.json


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
        manifest = prepare(PrepareConfig(source=config.source, log=(config.log,), out=out))
        sequences, items = Sequences.load(out), read_table(out, "items")
        read = READINGS[config.source].items()
        readings = {name: measured(sequences, items, config.window, **how) for name, how in read}
    for name in readings.keys() - {"all"}:
        del readings[name]["table"]  # the differences say it
    for name, found in readings.items():
        for row in found["contrasts"]:
            print(f"{name:14}{row['source']:10}{row['attribute']:10}purchase - click", end=" ")
            print(f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]")
    kept = ("source", "filters", "order", "dropped", "counts", "behaviors", "content_hash")
    (file,) = manifest["files"]
    data = {name: manifest[name] for name in kept} | {"bytes": file["bytes"], "rows": file["rows"]}
    data |= {name: file[name] for name in ("sha256",) if name in file}  # of files up to 1 GB
    settings = {name: value for name, value in asdict(config).items() if name not in ("log", "out")}
    result = {"config": settings, **provenance(), "data": data, "readings": readings}
    write_json(config.out or Path(__file__).parent / "results" / f"{config.source}_relevance.json", result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
