"""Logged slates: the policy's chances, what stands in them, and what is written and read."""

from dataclasses import fields

import numpy as np
import pytest
from small_shop import EAGER, tiny

from rclrec_mini.data.sequences import Sequences
from rclrec_mini.files import InputError
from rclrec_mini.online.choice import SHOWN, ChoiceModel
from rclrec_mini.online.play import Play
from rclrec_mini.online.slates import AHEAD, Slates, log_slates

ITEMS, FUTURE = tiny(users=211)
N = len(ITEMS.leaf)
VISITORS = ChoiceModel(EAGER, ITEMS, FUTURE)
FIRST = np.flatnonzero(FUTURE.visit_number == 0)
LOG = Sequences(FUTURE.item, FUTURE.behavior, FUTURE.timestamp, FUTURE.offsets, N)


def own(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(40)[:SHOWN] for _ in FIRST])


ARMS = [own(0), own(1), np.where(np.arange(SHOWN) < 4, own(2), -1)]


@pytest.fixture(scope="module")
def slates() -> Slates:
    return log_slates(Play(VISITORS), ARMS, LOG)


def test_the_pool_is_what_the_arms_would_show(slates):
    for f in range(len(FIRST)):
        wanted = sorted({item for arm in ARMS for item in arm[f].tolist()} - {-1})
        assert slates.pool[f][: slates.size[f]].tolist() == wanted
        assert (slates.pool[f][slates.size[f] :] == -1).all()
        for arm, slate in enumerate(ARMS):
            there = slates.arms[arm, f] >= 0
            assert (there == (slate[f] >= 0)).all()
            assert (slates.pool[f][slates.arms[arm, f][there]] == slate[f][there]).all()


def test_a_slate_has_distinct_items_of_the_pool_at_equal_chances(slates):
    assert (slates.shown < slates.size[:, None]).all()
    assert all(len(set(shown)) == SHOWN for shown in slates.shown.tolist())
    place = (slates.shown / slates.size[:, None]).mean(axis=0)  # of each slot, half on average, less 1 / 2m
    expected = ((slates.size - 1) / 2 / slates.size).mean()
    assert np.abs(place - expected).max() < 4.5 * np.sqrt(1 / 12 / len(FIRST))


def test_what_is_touched_comes_in_the_next_events_of_the_user(slates):
    for f, visit in enumerate(FIRST):
        row, person = FUTURE.visit_row[visit], FUTURE.visit_person[visit]
        ahead = FUTURE.item[row : min(row + AHEAD, FUTURE.offsets[person + 1])]
        assert slates.touched[f].tolist() == [item in ahead for item in slates.pool[f]]
    assert slates.touched.any()


def test_what_came_of_it_is_what_visitors_choose(slates):
    items = np.take_along_axis(slates.pool, slates.shown, axis=1)
    found = VISITORS.choose(FIRST, items, np.zeros(FUTURE.begin.shape, bool))
    assert np.array_equal(slates.slot, found.slot) and np.array_equal(slates.order, found.order)
    buys = FUTURE.buys[FUTURE.visit_person[FIRST], found.journey] & (found.journey >= 0)
    assert np.array_equal(slates.incremental, found.order & ~buys) and 0 < slates.incremental.sum() < slates.order.sum()
    price = ITEMS.table["price"].to_numpy()
    assert slates.revenue[slates.order] == pytest.approx(price[found.item[slates.order]])
    assert not slates.revenue[~slates.order].any() and slates.order.sum() > 5


def test_features_count_what_the_shop_knows(slates):
    for f in range(0, len(FIRST), 23):
        person, row = FUTURE.visit_person[FIRST[f]], FUTURE.visit_row[FIRST[f]]
        history = FUTURE.item[max(FUTURE.offsets[person], row - 50) : row]
        for place in range(slates.size[f]):
            item = slates.pool[f, place]
            counts = (LOG.item == item).sum(), (history == item).sum()
            leaf = (ITEMS.leaf[history] == ITEMS.leaf[item]).sum()
            assert slates.features[f, place] == pytest.approx(np.log1p([*counts, leaf]), rel=1e-5)


def test_the_truth_of_an_arm_is_the_expectation_of_its_slates(slates):
    met = np.zeros(FUTURE.begin.shape, bool)
    for arm in range(len(ARMS)):
        click, order = VISITORS.expected(FIRST, ARMS[arm], met)
        assert slates.clicks[arm].sum() == pytest.approx(click.sum())
        assert slates.orders[arm].sum() == pytest.approx(order.sum())
    assert slates.clicks[2].sum() < slates.clicks[0].sum()


def test_a_pool_that_is_too_small_is_left_out():
    few = [np.where(np.arange(len(FIRST))[:, None] % 2, arm, ARMS[2]) for arm in ARMS]
    found = log_slates(Play(VISITORS), few, LOG, most=50)
    assert len(found.user) == 25


def test_slates_are_read_as_they_were_written(slates, tmp_path):
    slates.save(tmp_path / "slates.safetensors")
    found = Slates.load(tmp_path / "slates.safetensors")
    for field in fields(Slates):
        assert np.array_equal(getattr(found, field.name), getattr(slates, field.name)), field.name
    (tmp_path / "other").write_text("x")
    for name, words in (("none", "file not found"), ("other", "expected safetensors")):
        with pytest.raises(InputError, match=words):
            Slates.load(tmp_path / name)
