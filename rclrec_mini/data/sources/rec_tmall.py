"""REC-Tmall (Tianchi data set 140281): a log and a product file separated by the byte 0x01, or the log's CSV sample."""

from pathlib import Path

from rclrec_mini.data.columns import Layout, identifier, minute, one_of, second, text, text_like
from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.raw_files import first_line
from rclrec_mini.data.raw_logs import Inputs, open_files, open_part
from rclrec_mini.data.unpacking import find

ACTIONS = dict(zip(("click", "collect", "cart", "alipay"), range(4), strict=True))
LOG = Layout(
    (
        identifier("item_id", "item"),
        identifier("user_id", "user", prefix="u"),
        one_of("action", "behavior", ACTIONS),
        second("vtime"),
    ),
    delimiter="\x01",
    header=False,
)
SAMPLE = Layout(
    (
        identifier("item_id", "item", prefix="i"),
        identifier("user_id", "user", prefix="u"),
        one_of("action", "behavior", ACTIONS),
        minute("vtime"),
    ),
    delimiter=",",
    header=True,
)
PATH = ("([^-]+)-([^-]+)", "a category parent-leaf")
PRODUCT = Layout(
    (
        identifier("item_id", "item"),
        text("title", "title"),
        text("pict_url", "picture"),
        text_like("category", "parent_category", *PATH, group=1),
        text_like("category", "category", *PATH, group=2),
        text_like("brand", "brand", "b[0-9]+", "a brand such as b123"),
        text_like("seller", "seller", "s[0-9]+", "a seller such as s123"),
    ),
    delimiter="\x01",
    header=False,
)


def open_inputs(config: PrepareConfig, spill: Path) -> Inputs:
    """The log files, all of one kind, and the product file.

    Raises:
        InputError: as raw_logs.open_part.
    """
    found = [find(path, spill) for path in config.log]
    sample = first_line(found[0]).startswith("item_id,")
    log = open_part(found, SAMPLE if sample else LOG, spill)
    return Inputs(log, open_files([config.items], PRODUCT, spill), prefix="u", whole_seconds=not sample)
