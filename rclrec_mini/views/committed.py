"""The result files that the project publishes: what the book's figures and tables are drawn from."""

from pathlib import Path
from typing import Any

import pandas as pd

from rclrec_mini.files import InputError, read_json

HERE = Path(__file__).parents[1]
PLACES = (HERE.parent / "benchmarks" / "results", HERE / "results")  # in the repository, in an installed library


def committed(name: str) -> dict[str, Any]:
    """A file of benchmarks/results by its name without ending, such as `mini/table1`; installed with the library.

    Raises:
        InputError: there is no such file.
    """
    found = [place / f"{name}.json" for place in PLACES if (place / f"{name}.json").exists()]
    if not found:
        raise InputError(f"{PLACES[0] / name}.json: file not found, expected one of the committed results")
    return read_json(found[0])


def estimates(
    rows: dict[str, dict[str, Any]], names: tuple[str, ...] = ("recall@10", "ndcg@10"), *, by: str | None = None
) -> pd.DataFrame:
    """Metrics in per cent with half of their 95% intervals, one line a method: `67.4 ± 1.6`.

    Args:
        rows: under each method's name its metrics, each with mean (or difference), low and high.
        names: the metrics shown; a row without one has an empty cell.
        by: the metric whose best mean comes first; None keeps the order of the rows.
    """

    def cell(row: dict[str, Any], name: str) -> str:
        if name not in row:
            return ""
        value, sign = (row[name]["mean"], "") if "mean" in row[name] else (row[name]["difference"], "+")
        return f"{100 * value:{sign}.1f} ± {50 * (row[name]['high'] - row[name]['low']):.1f}"

    if by is not None:
        rows = dict(sorted(rows.items(), key=lambda row: -row[1][by]["mean"]))
    cells = {label: [cell(row, name) for name in names] for label, row in rows.items()}
    titles = [name.replace("recall", "R").replace("ndcg", "N").replace("mrr", "MRR") for name in names]
    return pd.DataFrame.from_dict(cells, orient="index", columns=titles)
