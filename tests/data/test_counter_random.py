"""The looked-up random numbers are SplitMix64, uniform, and independent of each other."""

import numpy as np

from rclrec_mini.data.counter_random import GOLDEN, PURPOSE, uniform, user_keys


def splitmix64(state: int, n: int) -> list[float]:
    """The reference generator, one number at a time."""
    found = []
    for _ in range(n):
        state = (state + GOLDEN) % 2**64
        found.append((finish(state) >> 11) * 2.0**-53)
    return found


def finish(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_a_stream_is_splitmix64() -> None:
    key = user_keys(5, np.arange(3))[2:]
    start = finish((int(key[0]) + 8 * PURPOSE) % 2**64)
    assert uniform(key, 7, np.arange(11)).tolist() == splitmix64(start, 11)


def test_numbers_do_not_depend_on_their_neighbours() -> None:
    keys = user_keys(0, np.arange(17))
    whole = uniform(keys[:, None], 3, np.arange(13))
    assert np.array_equal(whole[4:9, 5:], uniform(user_keys(0, np.arange(4, 9))[:, None], 3, np.arange(5, 13)))


def test_numbers_are_uniform_and_uncorrelated() -> None:
    keys = user_keys(1, np.arange(503))[:, None]
    streams = [uniform(keys, purpose, np.arange(211)) for purpose in (0, 1, 2)]
    other_seed = uniform(user_keys(2, np.arange(503))[:, None], 0, np.arange(211))
    n = streams[0].size
    for x in streams:
        assert x.min() >= 0 and x.max() < 1
        counts = np.bincount((x.ravel() * 20).astype(int), minlength=20)
        assert ((counts - n / 20) ** 2 / (n / 20)).sum() < 45  # chi-squared, 19 degrees: p about 0.001
    pairs = [(streams[0], streams[1]), (streams[1], streams[2]), (streams[0], other_seed)]
    pairs += [(streams[0][:, 1:], streams[0][:, :-1]), (streams[0][1:], streams[0][:-1])]
    for x, y in pairs:
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 4 / np.sqrt(n)
