"""Amazon Review Data (2018): NAME.json.gz of reviews and meta_NAME.json.gz of items, an object a line.

A review is a purchase: every event has that behaviour. Times are days, and files are not in the order of time, so the
order within a day says nothing. Among titles, categories, brands and prices stand pieces of web pages; they are read as
missing, and counted.
"""

from html import unescape
from pathlib import Path

from rclrec_mini.data.columns import Layout, any_id, dollars, identifier, without_markup
from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.raw_logs import Inputs, open_files
from rclrec_mini.data.schema import MAX_SECONDS, PURCHASE

REVIEWS = Layout(
    (
        any_id("reviewerID", "user"),
        any_id("asin", "item"),
        identifier("unixReviewTime", "timestamp", maximum=MAX_SECONDS, expected=f"seconds UTC, 0..{MAX_SECONDS}"),
    ),
    json=str,
    constants=(("behavior", PURCHASE),),
)
META = Layout(
    (
        any_id("asin", "item"),
        without_markup("title", "title"),
        without_markup("category[-1]", "category"),  # a path from the root to the leaf
        without_markup("category[-2]", "parent_category"),
        without_markup("brand", "brand"),
        dollars("price"),
    ),
    json=unescape,
)


def open_inputs(config: PrepareConfig, spill: Path) -> Inputs:
    """The reviews, and the items' file. Reviews that repeat person, item and day are one.

    Raises:
        InputError: as raw_logs.open_part.
    """
    return Inputs(open_files(config.log, REVIEWS, spill), open_files([config.items], META, spill))
