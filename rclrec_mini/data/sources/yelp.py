"""Yelp Open Dataset: yelp_academic_dataset_review.json and yelp_academic_dataset_business.json, an object a line.

A review is a purchase: every event has that behaviour. Of a business, the name is the title, the first of its
categories is the category, and the city stands where a shop has the seller.
"""

from pathlib import Path

from rclrec_mini.data.columns import Layout, any_id, second, text, text_like
from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.raw_logs import Inputs, open_files
from rclrec_mini.data.schema import PURCHASE

REVIEWS = Layout(
    (any_id("user_id", "user"), any_id("business_id", "item"), second("date")),
    json=str,
    constants=(("behavior", PURCHASE),),
)
BUSINESSES = Layout(
    (
        any_id("business_id", "item"),
        text("name", "title"),
        text_like("categories", "category", r"([^,]+)(,[\s\S]*)?", "categories such as Bars, Pizza", group=1),
        text("city", "seller"),
    ),
    json=str,
)


def open_inputs(config: PrepareConfig, spill: Path) -> Inputs:
    """The reviews, and the businesses.

    Raises:
        InputError: as raw_logs.open_part.
    """
    return Inputs(open_files(config.log, REVIEWS, spill), open_files([config.items], BUSINESSES, spill))
