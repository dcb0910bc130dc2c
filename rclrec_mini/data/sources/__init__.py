"""What the files of each source look like, and how they are opened: one file a source."""

from collections.abc import Callable
from pathlib import Path

from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.raw_logs import Inputs
from rclrec_mini.data.sources import amazon2018, ijcai15, rec_tmall, recbole, table, userbehavior, yelp

SOURCES: dict[str, Callable[[PrepareConfig, Path], Inputs]] = {
    "table": table.open_inputs,
    "recbole": recbole.open_inputs,
    "rec-tmall": rec_tmall.open_inputs,
    "ijcai15": ijcai15.open_inputs,
    "userbehavior": userbehavior.open_inputs,
    "amazon2018": amazon2018.open_inputs,
    "yelp": yelp.open_inputs,
}
