"""What adds up when a test is played, and what arms see."""

from dataclasses import replace

import numpy as np
import pytest
from small_shop import EAGER, tiny

from rclrec_mini.data.schema import CLICK, PURCHASE
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.data.shop_future import simulate_future
from rclrec_mini.data.simulate import catalogue, preset, write_prepared
from rclrec_mini.online.arms import EmptyArm, open_arm
from rclrec_mini.online.choice import SHOWN, ChoiceConfig, ChoiceModel
from rclrec_mini.online.outcomes import TYPES, stack
from rclrec_mini.online.play import Play, lists, play

ITEMS, FUTURE = tiny(users=211)
FIELDS = tuple(TYPES)


class Oracle:
    """Shows what the user's journeys like, of any time, and random items of their leaves."""

    max_history = 11

    def rank(self, sequences: Sequences, rows: np.ndarray, user: np.ndarray, k: int) -> np.ndarray:
        found = np.zeros((len(rows), k), np.int64)
        for row, person in enumerate(user):
            wanted = list(dict.fromkeys([*FUTURE.bought[person], *FUTURE.liked[person]]))
            rest = [item for item in range(len(ITEMS.leaf)) if item not in wanted]
            found[row] = [item for item in [*wanted, *rest] if item >= 0][:k]
        return found


class Latest:
    """The last items of the history."""

    max_history = 23

    def rank(self, sequences: Sequences, rows: np.ndarray, user: np.ndarray, k: int) -> np.ndarray:
        window, mask = sequences.window(rows, k)
        items = np.where(mask, sequences.item[window], -1)[:, ::-1]
        repeated = [[item in slate[:i] for i, item in enumerate(slate)] for slate in items.tolist()]
        return np.where(repeated, -1, items)


def visitors(arm: str = "", **changes: float) -> ChoiceModel:
    return ChoiceModel(replace(EAGER, **changes), ITEMS, FUTURE, arm=arm)


def test_orders_add_up_for_every_user_and_day():
    world, _ = play(Oracle(), visitors())
    o = world.outcomes("oracle", {})
    kinds = ("cannibalised", "pulled_forward")
    assert all(o.of(kind).sum() > 5 for kind in (*kinds, "incremental"))
    assert (o.of("incremental") >= 0).all()
    assert (o.of("incremental_revenue") >= -1e-3).all()
    assert np.array_equal(o.of("cancelled"), o.of("cannibalised"))  # of a user in the whole test
    assert (o.cancelled <= o.organic_orders).all()
    assert (o.clicks <= o.visits).all() and (o.slate_orders <= o.clicks).all()
    assert o.of("visits").sum() == len(FUTURE.visit_row)
    log = world.happened(FUTURE.days)
    test = log[4] >= FUTURE.visit_time.min()
    left = np.isin(log[4], FUTURE.timestamp[FUTURE.after_log & (FUTURE.day < 0)])  # of sessions before the test
    bought = np.bincount(log[0][test & ~left & (log[3] == PURCHASE)], minlength=211)
    assert np.array_equal(bought, o.of("orders")[0])


def test_without_slates_the_organic_world_comes_out():
    world, first = play(EmptyArm(), visitors())
    o = world.outcomes("nothing", {})
    purchases = (FUTURE.behavior == PURCHASE) & (FUTURE.day >= 0)
    assert o.of("orders").sum() == purchases.sum()
    assert o.of("revenue").sum() == pytest.approx(ITEMS.table["price"].to_numpy()[FUTURE.item[purchases]].sum())
    assert np.array_equal(o.of("orders"), o.of("organic_orders"))
    assert not o.of("clicks").any() and (first == -1).all()
    rows = FUTURE.after_log
    log = world.happened(FUTURE.days)
    assert np.array_equal(np.sort(log[4]), np.sort(FUTURE.timestamp[rows]))


def test_equal_arms_have_equal_outcomes_and_independent_ones_agree_on_average():
    def orders(arm: str, **changes: float) -> np.ndarray:
        o = play(Latest(), visitors(arm, **changes))[0].outcomes(arm, {})
        return np.stack([o.of(name)[0] for name in ("clicks", "orders", "revenue", "cannibalised")])

    assert np.array_equal(orders("one"), orders("two"))
    many = np.stack([orders(f"arm{i}", independent=True) for i in range(30)])  # (30, 4, U)
    assert not np.array_equal(many[0], many[1])
    mean, spread = many.mean(axis=2), many.mean(axis=2).std(axis=0, ddof=1)
    assert (np.abs(mean[:15].mean(axis=0) - mean[15:].mean(axis=0)) < 4 * spread * np.sqrt(2 / 15)).all()


def test_an_arm_sees_what_has_happened_before_the_visit():
    world = Play(visitors())
    log: dict[int, list[tuple[int, int, int]]] = {
        person: [
            (FUTURE.timestamp[row], FUTURE.item[row], FUTURE.behavior[row])
            for row in range(FUTURE.offsets[person], FUTURE.offsets[person + 1])
        ]
        for person in range(211)
    }
    answered = 0
    for visits in world.rounds():
        sequences, rows = world.histories(visits, Oracle.max_history)
        slate = Oracle().rank(sequences, rows, FUTURE.visit_person[visits], SHOWN)
        window, mask = sequences.window(rows, Oracle.max_history)
        for i, visit in enumerate(visits):
            person, now = FUTURE.visit_person[visit], FUTURE.visit_time[visit]
            expected = [event for event in log[person] if event[0] < now][-Oracle.max_history :]
            own = window[i][mask[i]]
            seen = list(zip(sequences.timestamp[own], sequences.item[own], sequences.behavior[own], strict=True))
            assert seen == expected
            assert (sequences.timestamp[rows[i]], sequences.behavior[rows[i]]) == (now, PURCHASE)
        choices = world.answer(visits, slate)
        for i in np.flatnonzero(choices.slot >= 0):
            person, now = FUTURE.visit_person[visits[i]], FUTURE.visit_time[visits[i]]
            log[person] += [(now + 1, choices.item[i], CLICK)]
            if choices.order[i]:
                log[person] += [(now + 2, choices.item[i], PURCHASE)]
            lost = FUTURE.bought_row[person, choices.journey[i]] if choices.journey[i] >= 0 else -1
            if lost >= 0:
                log[person].remove((FUTURE.timestamp[lost], FUTURE.item[lost], FUTURE.behavior[lost]))
                answered += 1
            log[person].sort()
    assert answered > 5


def test_rounds_by_day_play_the_same_visits_to_the_same_end():
    whole, _ = play(Latest(), visitors())
    daily = Play(visitors())
    for day in range(FUTURE.days):
        for visit in daily.rounds(day):
            assert (FUTURE.visit_day(visit) == day).all()
            daily.answer(visit, lists(Latest(), daily, visit))
    for name in FIELDS:
        assert np.array_equal(getattr(daily.outcomes("a", {}), name), getattr(whole.outcomes("a", {}), name)), name


def test_what_happened_by_a_day_is_not_what_happens_later():
    world = Play(visitors())
    for day in range(FUTURE.days):
        for visit in world.rounds(day):
            world.answer(visit, lists(Latest(), world, visit))
        _, key, *_, time = world.happened(day)
        row = key[key % 4 == 3] // 4  # what people did by themselves
        expected = FUTURE.after_log & (FUTURE.day <= day) & ~world.cancelled
        assert np.array_equal(np.sort(row), np.flatnonzero(expected))
        later = FUTURE.visit_time[FUTURE.visit_day(np.arange(len(FUTURE.visit_time))) > day]
        assert not len(later) or time.max() < later.min()


def test_users_of_another_arm_are_left_alone():
    mine = np.arange(211) % 2 == 0
    half = Play(visitors(), mine=mine)
    for visit in half.rounds():
        half.answer(visit, lists(Latest(), half, visit))
    whole = play(Latest(), visitors())[0].outcomes("a", {})
    found = half.outcomes("a", {})
    for name in FIELDS[:12]:
        assert np.array_equal(getattr(found, name)[:, mine], getattr(whole, name)[:, mine]), name
        assert not getattr(found, name)[:, ~mine].any(), name


def test_fewer_users_are_the_first_of_more():
    items, few = tiny(users=40)
    found = play(Latest(), ChoiceModel(EAGER, items, few))[0].outcomes("a", {})
    many = play(Latest(), visitors())[0].outcomes("a", {})
    for name in FIELDS[:12]:
        assert np.array_equal(getattr(found, name), getattr(many, name)[:, :40]), name
    assert stack([found]).arms == ("a",)


@pytest.mark.slow
def test_the_knobs_are_calibrated_for_a_plain_count(tmp_path):
    config = preset("mini")
    write_prepared(config, tmp_path / "shop")
    items = catalogue(config)
    future = simulate_future(config, items, users=3000, days=8)
    count = open_arm("count", None, tmp_path / "shop")
    o = play(count, ChoiceModel(ChoiceConfig(), items, future))[0].outcomes("count", {})
    assert 0.05 < o.of("clicks").sum() / o.of("visits").sum() < 0.1
    assert 0.1 < o.of("slate_orders").sum() / o.of("orders").sum() < 0.25
