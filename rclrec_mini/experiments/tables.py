"""What stands in each table: its rows, each a method and what differs from the method's preset."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rclrec_mini.experiments.methods import METHODS, RCLRecConfig
from rclrec_mini.models.rclrec import LossConfig

GENTLE = LossConfig(prefix_loss=0.1)
REPAIRED = LossConfig(prefix_loss=0.1, supervision=1.0)
BASE, PRACTISED_BASE = "w/o RCPM", "prefixes in pre-training, w/o RCPM"

TABLE2: dict[str, dict[str, Any]] = {
    "RCLRec": {},
    BASE: {"selector": "none"},
    "recent-k": {"selector": "recent"},
    "w/o quality-aware loss": {"loss": LossConfig(lambda_qual=0.0)},
    # ours, beside the paper's
    "random-k": {"selector": "random"},
    "oracle-k": {"selector": "oracle"},
    "prefix loss 0.1": {"loss": GENTLE},
    "supervision": {"loss": LossConfig(supervision=1.0)},
    "prefixes in pre-training": {"prefix_share": 0.5},
    "all repairs": {"loss": REPAIRED, "prefix_share": 0.5},
    "supervision, counting": {"loss": LossConfig(supervision=1.0), "selector": "counting"},
    "all repairs, counting": {"loss": REPAIRED, "prefix_share": 0.5, "selector": "counting"},
    PRACTISED_BASE: {"selector": "none", "prefix_share": 0.5},
}
LENGTHS = {k: "RCLRec" if k == RCLRecConfig.k else f"RCLRec, k = {k}" for k in range(1, 7)}
FIGURE3 = {BASE: TABLE2[BASE], **{name: {"k": k} for k, name in LENGTHS.items()}}


def base_of(changes: Mapping[str, Any]) -> str:
    """The row without a prefix that has the stage one of a row of table2 or figure3."""
    return PRACTISED_BASE if changes.get("prefix_share") else BASE


@dataclass(frozen=True)
class Row:
    """One row of a table: its method and what differs from the method's preset."""

    method: str
    changes: Mapping[str, Any] = field(default_factory=dict)


def rows_of(table: str, methods: Iterable[str] = METHODS) -> dict[str, Row]:
    """The rows of `table1`, `table2` or `figure3`; table1 has one for each of `methods`."""
    if table == "table1":
        return {METHODS[name].title: Row(name) for name in methods}
    variants = {"table2": TABLE2, "figure3": FIGURE3}[table]
    return {name: Row("rclrec", changes) for name, changes in variants.items()}
