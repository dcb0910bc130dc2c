"""Random numbers that are looked up rather than drawn: a hash of (seed, user, purpose, number).

Every (user, purpose) is a SplitMix64 stream (Steele, Lea and Flood, 2014) that can be read at any place, so what a
user does is the same whoever else is simulated, in whatever order and in chunks of any size.
"""

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, the step of SplitMix64
PURPOSE = 0xD1342543DE82EF95  # any odd number that scatters: it keeps purposes apart


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def user_keys(seed: int, user: np.ndarray) -> np.ndarray:
    """One key for each user, (U,) -> (U,) uint64."""
    return _mix(_mix(np.array([seed + 1], np.uint64)) + (user.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))


def uniform(key: np.ndarray, purpose: int, number: np.ndarray | int = 0) -> np.ndarray:
    """Numbers in [0, 1), one for each key and number (broadcast against each other)."""
    stream = _mix(key + np.uint64((purpose + 1) * PURPOSE % 2**64))
    bits = _mix(stream + (np.asarray(number).astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN))
    return (bits >> np.uint64(11)).astype(float) * 2.0**-53
