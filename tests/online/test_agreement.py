import numpy as np
import pytest
from scipy import stats

from rclrec_mini.files import InputError
from rclrec_mini.online.agreement import agreement, reversals

ARMS = ("a", "b", "c", "d", "e")


def around(means: list[float], users: int, seed: int, spread: float = 1.0) -> np.ndarray:
    """Values of users (A, users): a part that a user shares over the arms, and one of each arm."""
    rng = np.random.default_rng(seed)
    shared, own = rng.standard_normal((1, users)), rng.standard_normal((len(means), users))
    return np.array(means)[:, None] + spread * (shared + own)


def test_the_metric_that_orders_the_arms_is_found():
    online = around([0, 1, 2, 3, 4], 211, 0, 0.1)
    offline = {"right": around([5, 6, 9, 10, 11], 307, 1), "wrong": around([4, 3, 2, 1, 0], 97, 2)}
    found = agreement(offline, online)
    assert (found["right"].correlation, found["wrong"].correlation) == (1, -1)
    assert (found["right"].best, found["wrong"].best) == (1, 0)
    assert found["right"].low > 0.85 > 0 > found["wrong"].high


def test_correlation_and_interval_are_those_of_resampled_users():
    online, offline = around([0, 0.1, 0.2, 0.25, 0.5], 503, 3), around([0, 0.3, 0.2, 0.5, 0.4], 401, 4)
    found = agreement({"one": offline}, online)["one"]
    assert found.correlation == pytest.approx(stats.spearmanr(offline.mean(1), online.mean(1)).statistic)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(1500):
        a, b = (values[:, rng.integers(values.shape[1], size=values.shape[1])] for values in (offline, online))
        drawn.append(stats.spearmanr(a.mean(1), b.mean(1)).statistic)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.11)


def test_metrics_that_say_the_same_share_the_first_place():
    online, offline = around([0, 1, 2, 3, 4], 101, 0, 0.01), around([0, 1, 2, 3, 4], 101, 1, 0.01)
    found = agreement({"one": offline, "two": offline * 2}, online)
    assert found["one"].best == found["two"].best == 0.5


def test_only_differences_beyond_their_intervals_are_reversals():
    offline = around([3, 2, 1.99, 0, 0], 2003, 5)
    online = around([0, 2, 2.01, 3, 3], 2003, 6)
    wrong = {(a, b) for a in "a" for b in "bcde"} | {(a, b) for a in "bc" for b in "de"}
    assert set(reversals(ARMS, offline, online)) == wrong
    assert reversals(ARMS, offline, offline) == []


def test_two_arms_have_no_ranking():
    with pytest.raises(InputError, match="arms: found 2, expected three or more"):
        agreement({"x": np.ones((2, 3))}, np.ones((2, 5)))
    with pytest.raises(InputError, match="x: found 4 arms, expected 5"):
        agreement({"x": around([0] * 4, 5, 0)}, around([0] * 5, 5, 0))
