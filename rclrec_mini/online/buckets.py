"""Which arm of a test a user is in: a hash of the user and of the test's salt, so that nobody keeps a list.

A user stays in the arm whenever they come; another salt, another test, deals them anew, independently of the first.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from rclrec_mini.data.counter_random import uniform, user_keys
from rclrec_mini.files import InputError

OUTSIDE = -1  # of users that are in no arm
BUCKET = 0  # what the random number is for (data/counter_random.py)


def buckets(user: np.ndarray, *, salt: str, shares: Sequence[float]) -> np.ndarray:
    """The arm of each user, (U,) -> (U,) int64; OUTSIDE where the shares leave users over.

    Args:
        user: numbers from 0.
        salt: the test's name.
        shares: of all users, one an arm, each above 0 and together at most 1.

    Raises:
        InputError: a share is not above 0, or they come to more than 1.
    """
    ends = np.cumsum(shares)
    if not len(ends) or min(shares) <= 0 or ends[-1] > 1 + 1e-9:
        raise InputError(f"shares: found {', '.join(map(str, shares))}, expected each above 0, together at most 1")
    place = np.searchsorted(ends, draw(user, salt), side="right")
    return np.where(place < len(ends), place, OUTSIDE)


def draw(user: np.ndarray, salt: str) -> np.ndarray:
    """A number in [0, 1) of each user under a salt, (U,) -> (U,)."""
    seed = int.from_bytes(blake2b(salt.encode(), digest_size=7).digest(), "big")
    return uniform(user_keys(seed, np.asarray(user)), BUCKET)
