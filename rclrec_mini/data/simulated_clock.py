"""When things happen in the simulated shop: sessions of about ten events, seconds to minutes within one, hours to days
between two."""

import numpy as np

from rclrec_mini.data.counter_random import uniform
from rclrec_mini.data.schema import DAY
from rclrec_mini.data.shop_config import ShopConfig
from rclrec_mini.data.simulated_users import SECONDS, SESSION, People


def seconds(config: ShopConfig, people: People, person: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Time of each event of the log: strictly increasing within a user, and inside the period."""
    key = people.key[person]
    new = begins_session(key, position) & (position > 0)
    u = uniform(key, SECONDS, position)
    within = np.where(position == 0, 0, pause_within(u))
    users = len(people.user)
    weight = np.where(new | (position == 0), -np.log1p(-u) + 0.01, 0.0)
    total = np.bincount(person, weight, users) + 0.5
    room = config.days * DAY - 1 - np.bincount(person, within, users)
    pause = np.floor(weight / total[person] * np.maximum(room, 0)[person]).astype(np.int64)
    clock = np.cumsum(within + pause)
    first = np.searchsorted(person, np.arange(users))
    before = np.concatenate([[0], clock])[first]
    return config.start + clock - before[person]


def begins_session(key: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Whether the event at `position` of a user's stream begins a session."""
    return uniform(key, SESSION, position) < 0.1


def pause_within(u: np.ndarray) -> np.ndarray:
    """Seconds since the event before, 1 to 90, by a uniform number."""
    return 1 + np.floor(90 * u).astype(np.int64)
