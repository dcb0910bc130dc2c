"""A tiny shop in the days of a test."""

from dataclasses import replace

from rclrec_mini.data.shop_future import Future, simulate_future
from rclrec_mini.data.simulate import catalogue, preset
from rclrec_mini.data.simulated_items import SimulatedItems
from rclrec_mini.online.choice import ChoiceConfig

SHOP = preset("tiny", users=67)
EAGER = ChoiceConfig(outside=3.0, order=-1.0, order_buys=2.0)  # visitors that often click and order


def tiny(*, users: int = 67, days: int = 9, seed: int = 0) -> tuple[SimulatedItems, Future]:
    """The catalogue and the users' future."""
    shop = replace(SHOP, seed=seed)
    items = catalogue(shop)
    return items, simulate_future(shop, items, users=users, days=days)
