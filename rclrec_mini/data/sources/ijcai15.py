"""IJCAI-15 (Tianchi data set 42): user_log_format1.csv and user_info_format1.csv, or a zip that holds them."""

from pathlib import Path

from rclrec_mini.data.columns import Layout, day, identifier, one_of, text, whole_number
from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.raw_logs import Inputs, open_files
from rclrec_mini.data.unpacking import zip_holds

LOG_NAME, USERS_NAME = "user_log_format1.csv", "user_info_format1.csv"
ACTIONS = {"0": 0, "1": 2, "2": 3, "3": 1}  # theirs: click, cart, purchase, favorite
USERS = Layout(
    (identifier("user_id", "user"), text("age_range", "age_range"), text("gender", "gender")), ",", header=True
)


def log_of(year: int) -> Layout:
    """The log, whose days belong to `year`; brands are empty, `2661` or `2661.0`."""
    return Layout(
        (
            identifier("user_id", "user"),
            identifier("item_id", "item"),
            identifier("cat_id", "category"),
            identifier("seller_id", "seller"),
            whole_number("brand_id", "brand", expected="empty or a brand such as 2661 or 2661.0"),
            day("time_stamp", year),
            one_of("action_type", "behavior", ACTIONS),
        ),
        delimiter=",",
        header=True,
    )


def open_inputs(config: PrepareConfig, spill: Path) -> Inputs:
    """The log, and the users' file, which is found by itself when a zip of the log holds it.

    Raises:
        InputError: as raw_logs.open_part.
    """
    log = open_files(config.log, log_of(config.year), spill, member=LOG_NAME)
    zipped = next((path for path in config.log if zip_holds(path, USERS_NAME)), None)
    users = open_files([config.users or zipped], USERS, spill, member=USERS_NAME)
    return Inputs(log, users=users, whole_seconds=False)
