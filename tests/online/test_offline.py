"""Metrics before a test, by hand, and estimates from slates whose items have a known worth."""

import numpy as np
import pytest

from rclrec_mini.online.offline import estimates, offline_values, weights
from rclrec_mini.online.slates import FEATURES, Slates

POOL, SLOTS = 13, 3
OWN = np.array([5, 11, 2])
WORTH = np.random.default_rng(0).random(POOL) * 0.1  # an item's chance to be ordered, wherever it stands
SEEN = FEATURES.index("in the history")


def slates(n: int, seed: int) -> Slates:
    """One pool for all; items 0 to 4 are in everybody's history. The second arm shows one item and nothing else."""
    rng = np.random.default_rng(seed)
    shown = rng.permuted(np.tile(np.arange(POOL), (n, 1)), axis=1)[:, :SLOTS]
    each = WORTH[shown]
    lot = rng.random(n)
    slot = (lot[:, None] < each.cumsum(axis=1)).argmax(axis=1)  # at most one order a slate
    order = lot < each.sum(axis=1)
    features = np.zeros((n, POOL, len(FEATURES)), np.float32)
    features[:, :5, SEEN] = 1
    features[:, :, 0] = np.log1p(np.arange(POOL))
    arms = np.stack([np.tile(OWN, (n, 1)), np.tile([7, -1, -1], (n, 1))])
    true = np.stack([np.full(n, WORTH[OWN].sum()), np.full(n, WORTH[7])])
    place = shown[np.arange(n), slot]
    return Slates(
        user=np.arange(n), pool=np.tile(np.arange(POOL), (n, 1)), size=np.full(n, POOL), features=features,
        touched=features[:, :, SEEN] > 0, shown=shown, slot=np.where(order, slot, -1), order=order,
        incremental=order & (place >= 3), revenue=order * 10.0, arms=arms, clicks=true, orders=true, revenues=10 * true,
    )  # fmt: skip


@pytest.mark.parametrize("arm", [0, 1])
def test_estimates_are_right_on_average(arm):
    found = [estimates(slates(2003, seed), arm) for seed in range(30)]
    true = [WORTH[OWN].sum(), WORTH[7]][arm]
    for kind in ("IPS", "SNIPS", "DR"):
        values, errors = (np.array([getattr(one[kind], name) for one in found]) for name in ("value", "std"))
        assert values.mean() == pytest.approx(true, abs=4 * values.std() / np.sqrt(30))
        assert errors.mean() == pytest.approx(values.std(), rel=0.5)


def test_intervals_cover_what_they_are_asked_to():
    wide, narrow = (estimates(slates(503, 0), 0, level=level) for level in (0.95, 0.5))
    for kind in ("IPS", "SNIPS", "DR"):
        assert wide[kind].low < narrow[kind].low < narrow[kind].high < wide[kind].high


def test_an_empty_slate_is_worth_nothing():
    some = slates(503, 0)
    empty = Slates(**{**vars(some), "arms": np.full_like(some.arms, -1)})
    assert [one.value for one in estimates(empty, 0).values()] == [0, 0, 0]


def test_weights_are_shares_of_incremental_orders():
    """Of the items in the history, those of places 3 and 4 alone are ordered incrementally; all others are."""
    seen, unseen = weights(slates(50_021, 1))
    assert seen == pytest.approx(WORTH[3:5].sum() / WORTH[:5].sum(), abs=0.04)
    assert unseen == 1


def test_metrics_by_hand():
    rank = np.array([[0, 9, 10, 3], [10, 0, 0, 10]])
    seen = np.array([True, True, False, False])
    some = slates(503, 0)
    found = offline_values(rank, seen, some)
    np.testing.assert_allclose(found["recall@10"].mean(1), [0.75, 0.5])
    np.testing.assert_allclose(found["recall@1"].mean(1), [0.25, 0.5])
    np.testing.assert_allclose(found["recall@10, seen"].mean(1), [1, 0.5])
    np.testing.assert_allclose(found["recall@10, unseen"].mean(1), [0.5, 0.5])
    of_seen, of_unseen = weights(some)
    expected = np.array([2 * of_seen + of_unseen, of_seen + of_unseen]) / (2 * of_seen + 2 * of_unseen)
    np.testing.assert_allclose(found["recall@10, incremental"].mean(1), expected)
    np.testing.assert_allclose(found["touched@10"].mean(1), [1 / 3, 0])  # of 5, 11 and 2 item 2; of 7 alone none
    np.testing.assert_allclose(found["ndcg@10, unseen"][0], [0, 1 / np.log2(5)])
    assert not any("incremental" in name for name in offline_values(rank, seen))
