"""UserBehavior.csv of Taobao (Tianchi data set 649): user,item,category,behavior,seconds, without a header.

The data set covers nine days in China; the rows that its file holds of other days are dropped and counted.
"""

from datetime import UTC, datetime
from pathlib import Path

import ibis.expr.types as ir

from rclrec_mini.data.columns import MAX_ID, Layout, identifier, one_of
from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.raw_logs import Inputs, open_files
from rclrec_mini.data.schema import DAY

ACTIONS = {"pv": 0, "fav": 1, "cart": 2, "buy": 3}
FIRST = int(datetime(2017, 11, 24, 16, tzinfo=UTC).timestamp())  # midnight in China, where 25 November begins
LAST = FIRST + 9 * DAY - 1


def _outside(log: ir.Table) -> ir.BooleanValue:
    return ~log.timestamp.between(FIRST, LAST)


LOG = Layout(
    (
        identifier("user", "user"),
        identifier("item", "item"),
        identifier("category", "category"),
        one_of("behavior", "behavior", ACTIONS),
        identifier("timestamp", "timestamp", minimum=-MAX_ID, expected="seconds UTC"),
    ),
    delimiter=",",
    header=False,
    outside=("rows_outside_the_nine_days", _outside),
)


def open_inputs(config: PrepareConfig, spill: Path) -> Inputs:
    """The log, or a zip that holds UserBehavior.csv.

    Raises:
        InputError: as raw_logs.open_part.
    """
    return Inputs(open_files(config.log, LOG, spill, member="UserBehavior.csv"))
