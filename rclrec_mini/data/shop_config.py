"""Every knob of the simulated shop, and its three presets."""

from dataclasses import dataclass

from rclrec_mini.checks import MAX_SEED, at_least, check, within
from rclrec_mini.files import InputError


@dataclass(frozen=True, kw_only=True)
class ShopConfig:
    """The knobs of the simulated shop, each with its unit.

    Raises:
        InputError: a value is outside its range.
    """

    users: int = 3_000
    """how many users"""
    items: int = 2_400
    """how many items"""
    leaves: int = 60
    """how many leaf categories"""
    parents: int = 12
    """how many parent categories"""
    brands: int = 150
    """how many brands"""
    sellers: int = 120
    """how many sellers"""
    popularity_exponent: float = 0.6
    """exponent of the Zipf law of popularity among the items of one shelf"""
    events_per_user: int = 300
    """mean number of events of a user"""
    events_spread: float = 0.2
    """users have between 1 - this and 1 + this times the mean number of events (share)"""
    journeys_at_once: int = 3
    """decision journeys that a user has open at any time"""
    gap: float = 10.0
    """mean number of events between the last event of a journey and its purchase (geometric; 0: always none)"""
    noise_share: float = 0.4
    """share of events that are idle browsing and belong to no journey"""
    journey_events: float = 7.0
    """mean number of events of a journey that does not buy"""
    revisit_rate: float = 0.2
    """share of a journey's events that return to an item it has seen;
    1.6 times that if it buys, half in idle browsing"""
    purchase_share: float = 0.0095
    """share of events that are purchases; a journey buys once at most, which bounds it"""
    seen_share: float = 0.75
    """share of purchases that take the item which the journey liked best; the others take one that it has not seen,
    of the same leaf category and mostly of the same brand or seller"""
    focus: float = 2.0
    """how many times more events a journey has when it buys, in the same stretch of time (ratio, at least 1)"""
    after_share: float = 0.3
    """share of purchases that are followed by one to three more clicks of their journey"""
    taste_share: float = 0.6
    """share of journeys whose need is one of the user's own leaf categories; half as much in idle browsing"""
    days: int = 180
    """length of the simulated period (days)"""
    start: int = 1_399_766_400
    """first second of the period (seconds UTC; the default is 2014-05-11)"""
    seed: int = 0
    """seed of the catalogue and of every user"""

    def __post_init__(self) -> None:
        at_least(self, 0, "popularity_exponent", "gap", "start")
        within(self, 0, MAX_SEED, "seed")
        counts = ("users", "items", "leaves", "parents", "brands", "sellers")
        within(self, 1, 2**31 - 1, *counts)  # they are numbered in 32 bits
        at_least(self, 1, "focus")
        at_least(self, self.parents, "leaves")
        at_least(self, self.leaves, "items")
        at_least(self, 2, "journey_events")
        at_least(self, 10, "events_per_user")
        within(self, 0, 1, "events_spread", "revisit_rate", "seen_share", "after_share", "taste_share")
        within(self, 0, 0.1, "purchase_share")
        within(self, 0, 0.95, "noise_share")
        within(self, 1, 64, "journeys_at_once")
        within(self, 1, 230, "days")
        most_events = self.events_per_user * (1 + self.events_spread)
        # events of a session are up to 90 seconds apart
        check(self, days=(most_events <= 500 * self.days, f"{most_events / 500:.0f} or more for so many events"))


PRESETS = {
    "tiny": {
        "users": 211,
        "items": 307,
        "leaves": 13,
        "parents": 5,
        "brands": 23,
        "sellers": 19,
        "events_per_user": 150,
    },
    "mini": {},
    "full": {"users": 60_000, "items": 40_000, "leaves": 400, "parents": 40, "brands": 1_500, "sellers": 1_200},
}


def preset(name: str, **changes: float) -> ShopConfig:
    """The shop `tiny` (seconds), `mini` (the book) or `full` (a GPU hour), with some knobs changed.

    Raises:
        InputError: there is no such preset, or a value is outside its range.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name}: expected one of {', '.join(PRESETS)}")
    return ShopConfig(**{**PRESETS[name], **changes})
