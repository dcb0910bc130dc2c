"""The choice model against its formulas and a twin in plain Python."""

import math
from dataclasses import replace

import numpy as np
import pytest
from small_shop import EAGER, tiny

from rclrec_mini.checks import FieldError
from rclrec_mini.data.counter_random import uniform, user_keys
from rclrec_mini.data.simulated_items import BY_LEAF_AND_BRAND, BY_LEAF_AND_SELLER
from rclrec_mini.online.choice import EXAMINED, NOISE, ORDERED, SHOWN, ChoiceConfig, ChoiceModel

ITEMS, FUTURE = tiny(users=211)
VISITS = np.arange(len(FUTURE.visit_row))
NONE_MET = np.zeros(FUTURE.begin.shape, bool)


def slates(seed: int = 0) -> np.ndarray:
    """Random slates, half of them of items that open journeys may want."""
    rng = np.random.default_rng(seed)
    slate = np.stack([rng.permutation(len(ITEMS.leaf))[:SHOWN] for _ in VISITS])
    for visit in VISITS[::2]:
        person = FUTURE.visit_person[visit]
        wanted = np.unique(np.concatenate([FUTURE.liked[person], FUTURE.bought[person]]))
        wanted = wanted[(wanted >= 0) & ~np.isin(wanted, slate[visit])][:5]
        slate[visit, : len(wanted)] = wanted
    return slate


SLATES = slates()


def one_visitor(config: ChoiceConfig, visit: int, slate: list[int], met: np.ndarray) -> tuple[int, bool, int]:
    """Slot, order and journey of one visit, thought through item by item."""
    person, number, at = FUTURE.visit_person[visit], FUTURE.visit_number[visit], FUTURE.visit_axis[visit]
    key = user_keys(config.seed, FUTURE.user[person : person + 1])
    n = len(ITEMS.leaf) + 1

    def lot(purpose: int, which: int) -> float:
        return uniform(key, purpose, np.array([which]))[0]

    def gumbel(item: int) -> float:
        return -math.log(-math.log(max(lot(NOISE, number * n + item), 2.0**-54)))

    best, chosen, meant = config.outside + gumbel(n - 1), -1, -1
    for slot, item in enumerate(slate):
        if item < 0 or lot(EXAMINED, number * len(slate) + slot) >= (1 + slot) ** -config.eta:
            continue
        need, journey = 0.0, -1
        for j in range(FUTURE.begin.shape[1]):
            if met[person, j] or not FUTURE.begin[person, j] <= at <= FUTURE.end[person, j]:
                continue
            if ITEMS.leaf[FUTURE.liked[person, j]] != ITEMS.leaf[item]:
                continue
            value = config.need
            if item == FUTURE.liked[person, j] or (FUTURE.buys[person, j] and item == FUTURE.bought[person, j]):
                value += config.liked
            shelves = [ITEMS.shelves.group[by, item] for by in (BY_LEAF_AND_BRAND, BY_LEAF_AND_SELLER)]
            if FUTURE.shelf[person, j] in shelves:
                value += config.shelf
            if journey < 0 or value > need:
                need, journey = value, j
        utility = need - config.price * abs(ITEMS.price_level[item] - FUTURE.price_level[person])
        if ITEMS.leaf[item] in FUTURE.tastes[person]:
            utility += config.taste
        if utility + gumbel(item) > best:
            best, chosen, meant = utility + gumbel(item), slot, journey
    if chosen < 0:
        return -1, False, -1
    odds, item = config.order, slate[chosen]
    if meant >= 0:
        wants = item == FUTURE.liked[person, meant] or (
            FUTURE.buys[person, meant] and item == FUTURE.bought[person, meant]
        )
        odds += config.order_need + config.order_liked * wants + config.order_buys * FUTURE.buys[person, meant]
    order = lot(ORDERED, number * n + item) < 1 / (1 + math.exp(-odds))
    return chosen, order, meant if order else -1


@pytest.mark.parametrize("config", [EAGER, ChoiceConfig(outside=2.0, eta=1.5, order=0.0, seed=7)])
def test_visitors_choose_as_one_thinks_it_through(config):
    met = np.random.default_rng(1).random(FUTURE.begin.shape) < 0.2
    slate = np.where(np.random.default_rng(2).random(SLATES.shape) < 0.1, -1, SLATES)
    found = ChoiceModel(config, ITEMS, FUTURE).choose(VISITS, slate, met)
    told = [one_visitor(config, visit, slate[visit].tolist(), met) for visit in VISITS]
    assert list(zip(found.slot, found.order, found.journey, strict=True)) == told
    assert (found.journey >= 0).sum() > 10 and (found.slot < 0).sum() > 10


def test_shares_are_those_of_the_logit():
    visit = VISITS[:40]
    model = ChoiceModel(replace(EAGER, eta=0.0), ITEMS, FUTURE)
    utility, _ = model.utilities(visit, SLATES[visit], NONE_MET)
    weight = np.exp(np.concatenate([utility, np.full((40, 1), EAGER.outside)], axis=1))
    share, draws = weight / weight.sum(axis=1, keepdims=True), 4000
    counts = np.zeros((40, SHOWN + 1))
    for draw in range(draws):
        counts[np.arange(40), model.choose(visit, SLATES[visit], NONE_MET, draw=draw).slot] += 1
    z = (counts / draws - share) / np.sqrt(share * (1 - share) / draws)
    assert np.abs(z).max() < 4.5  # of 440 numbers
    assert z.std() == pytest.approx(1, abs=0.12)


def test_slots_are_examined_ever_less():
    model = ChoiceModel(EAGER, ITEMS, FUTURE)
    looks = np.concatenate([model.examined(VISITS, SHOWN, draw) for draw in range(60)])
    assert np.allclose(looks.mean(axis=0), model.chance(SHOWN), atol=5 / np.sqrt(len(looks)) / 2)
    assert looks[:, 0].all()


def test_expectations_are_the_means_of_many_draws():
    visit, draws = VISITS[:60], 3000
    model = ChoiceModel(EAGER, ITEMS, FUTURE)
    clicks, orders = np.zeros((60, SHOWN)), np.zeros((60, SHOWN))
    for draw in range(draws):
        found = model.choose(visit, SLATES[visit], NONE_MET, draw=draw)
        at = np.flatnonzero(found.slot >= 0)
        clicks[at, found.slot[at]] += 1
        orders[at, found.slot[at]] += found.order[at]
    click, order = model.expected(visit, SLATES[visit], NONE_MET, draws=2000)
    assert np.abs(clicks / draws - click).max() < 0.05
    assert (clicks / draws).mean() == pytest.approx(click.mean(), rel=0.02)
    assert (orders / draws).mean() == pytest.approx(order.mean(), rel=0.04)


def test_an_item_that_stays_gets_the_same_answer_from_both_arms():
    one, two = (ChoiceModel(EAGER, ITEMS, FUTURE, arm=arm) for arm in ("one", "two"))
    changed = SLATES.copy()
    changed[:, -1] = [next(i for i in range(len(ITEMS.leaf)) if i not in slate) for slate in SLATES]
    found, other = one.choose(VISITS, SLATES, NONE_MET), two.choose(VISITS, changed, NONE_MET)
    kept = (found.slot != SHOWN - 1) & (other.slot != SHOWN - 1)
    assert kept.mean() > 0.9
    for name in ("slot", "item", "order", "journey"):
        assert np.array_equal(getattr(found, name)[kept], getattr(other, name)[kept]), name


def test_arms_may_have_noise_of_their_own():
    config = replace(EAGER, independent=True)
    one, two, again = (
        ChoiceModel(config, ITEMS, FUTURE, arm=arm).choose(VISITS, SLATES, NONE_MET).slot
        for arm in ("one", "two", "one")
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)


def test_what_a_visitor_wants_is_clicked_and_ordered_more_often():
    person = FUTURE.visit_person[VISITS]
    open_ = (FUTURE.begin[person] <= FUTURE.visit_axis[:, None]) & (FUTURE.visit_axis[:, None] <= FUTURE.end[person])
    visit = VISITS[open_.any(axis=1)]
    slate = SLATES[visit].copy()
    slate[:, 0] = FUTURE.liked[person[visit], open_[visit].argmax(axis=1)]
    model = ChoiceModel(EAGER, ITEMS, FUTURE)
    click, order = model.expected(visit, slate, NONE_MET)
    assert click[:, 0].mean() > 3 * click[:, 1].mean()
    assert (order[:, 0] / click[:, 0]).mean() > (order[:, 1:].sum() / click[:, 1:].sum())
    everything = np.ones_like(NONE_MET)
    met, _ = model.expected(visit, slate, everything)
    assert met[:, 0].mean() < click[:, 0].mean() / 2


def test_an_empty_slate_is_not_clicked():
    found = ChoiceModel(EAGER, ITEMS, FUTURE).choose(VISITS, np.full_like(SLATES, -1), NONE_MET)
    assert (found.slot == -1).all() and not found.order.any()


@pytest.mark.parametrize(("field", "value"), [("eta", -1.0), ("outside", math.inf), ("seed", -1), ("price", math.nan)])
def test_a_knob_out_of_its_range_is_refused(field, value):
    with pytest.raises(FieldError, match=f"{field}: found"):
        ChoiceConfig(**{field: value})
