"""The shop after its log: the log's own continuation, sessions, and what is true of open journeys."""

from dataclasses import fields, replace

import numpy as np
import pytest

from rclrec_mini.data.schema import DAY, PURCHASE
from rclrec_mini.data.shop_future import BEFORE_DAYS, Future, shop_of, simulate_future
from rclrec_mini.data.simulate import Shop, catalogue, preset, simulate, write_prepared
from rclrec_mini.files import InputError, read_json, write_json

TINY = preset("tiny")
ITEMS = catalogue(TINY)
USERS, DAYS = 211, 9
END = TINY.start + TINY.days * DAY


def going_on(**changes: int) -> Future:
    return simulate_future(TINY, ITEMS, **{"users": USERS, "days": DAYS, "keep": 1000, **changes})


@pytest.fixture(scope="module")
def future() -> Future:
    return going_on()


@pytest.fixture(scope="module")
def shop() -> Shop:
    return simulate(TINY)


def person_of(future: Future) -> np.ndarray:
    return np.repeat(np.arange(len(future.user)), np.diff(future.offsets))


def test_the_log_is_a_prefix_of_the_future(future, shop):
    for name in ("item", "behavior", "timestamp"):
        assert np.array_equal(getattr(future, name)[~future.after_log], shop.interactions[name].to_numpy()), name
    assert (future.day[~future.after_log] == -1).all()
    assert future.timestamp[~future.after_log].max() < END <= future.timestamp[future.after_log].min()


def test_the_future_does_not_depend_on_chunks_or_on_how_much_of_the_log_is_kept(future):
    again, short = going_on(chunk=7), going_on(keep=5)
    for field in fields(Future):
        assert np.array_equal(getattr(again, field.name), getattr(future, field.name)), field.name
    assert np.array_equal(short.item[short.day >= 0], future.item[future.day >= 0])
    assert np.array_equal(short.visit_time, future.visit_time)
    rows = short.bought_row >= 0
    assert np.array_equal(short.item[short.bought_row[rows]], future.item[future.bought_row[rows]])


def test_more_users_change_nothing_for_the_others(future):
    many, n = going_on(users=USERS + 100), future.offsets[-1]
    assert np.array_equal(many.item[:n], future.item)
    assert np.array_equal(many.visit_time[: len(future.visit_time)], future.visit_time)


def test_time_goes_on_within_a_user(future):
    same = np.diff(person_of(future)) == 0
    assert (np.diff(future.timestamp)[same] > 0).all()
    assert (np.diff(future.day)[same] >= 0).all()
    before = future.visit_row - 1
    own = before >= future.offsets[future.visit_person]
    assert (future.visit_time[own] > future.timestamp[before[own]]).all()
    assert (future.visit_time < future.timestamp[future.visit_row] - 2).all()


def test_a_visit_is_at_the_beginning_of_each_session_of_the_test(future):
    day = future.visit_day(np.arange(len(future.visit_row)))
    assert day.min() == 0 and day.max() == DAYS - 1
    late = (future.visit_time - END) / DAY - day  # the session before may have made it wait
    assert (late >= -1e-9).all() and np.mean(late < 1) > 0.99
    rows = np.flatnonzero(future.day >= 0)
    session = np.searchsorted(future.visit_row, rows, side="right") - 1
    assert (future.visit_person[session] == person_of(future)[rows]).all()
    assert (future.day[rows] == day[session]).all()
    assert (future.timestamp[rows] - future.visit_time[session]).max() < 91 * 100
    for person in range(20):
        assert np.array_equal(
            future.visit_number[future.visit_person == person], np.arange((future.visit_person == person).sum())
        )


def test_the_test_has_as_much_of_everything_as_the_log():
    config = preset("mini", users=1)
    future = simulate_future(config, catalogue(config), users=1500, days=20)
    rows, days = future.day >= 0, np.bincount(future.day[future.day >= 0])
    per_day = config.events_per_user / config.days
    assert rows.sum() / 1500 / 20 == pytest.approx(per_day, rel=0.04)
    assert days.min() > 0.8 * days.mean() and days.max() < 1.2 * days.mean()
    assert len(future.visit_row) / 1500 / 20 == pytest.approx(per_day / 10, rel=0.05)
    assert np.mean(future.behavior[rows] == PURCHASE) == pytest.approx(config.purchase_share, rel=0.25)
    bought = future.buys & (future.bought_row >= 0)
    assert np.mean(future.bought[bought] == future.liked[bought]) == pytest.approx(config.seen_share, abs=0.05)


def test_every_purchase_of_the_test_ends_a_journey(future):
    rows = np.flatnonzero((future.behavior == PURCHASE) & (future.day >= 0))
    person, place = np.nonzero(future.bought_row >= 0)
    found = future.bought_row[person, place]
    assert np.array_equal(np.sort(found), rows)
    assert np.array_equal(person_of(future)[found], person)
    assert np.array_equal(future.item[found], future.bought[person, place])
    assert future.buys[person, place].all()


def test_a_journey_that_buys_after_the_test_does_so_in_a_longer_one(future):
    longer = going_on(days=DAYS + 250)
    later, open_then = 0, future.visit_axis[:, None] <= future.end[future.visit_person]
    open_then &= future.begin[future.visit_person] <= future.visit_axis[:, None]
    for visit, place in zip(*np.nonzero(open_then), strict=True):
        person = future.visit_person[visit]
        if future.buys[person, place] and future.bought_row[person, place] < 0:
            same = np.flatnonzero(longer.begin[person] == future.begin[person, place])
            row = longer.bought_row[person, same].max()
            assert row >= 0 and longer.day[row] >= DAYS
            later += 1
    assert later > 10


def test_what_users_did_before_the_test_is_counted(future):
    price = ITEMS.table["price"].to_numpy()
    early = (future.day < 0) & (future.timestamp >= END - BEFORE_DAYS * DAY)
    for person in range(0, USERS, 17):
        own = early & (person_of(future) == person)
        bought = own & (future.behavior == PURCHASE)
        assert future.events_before[person] == own.sum()
        assert future.orders_before[person] == bought.sum()
        assert future.revenue_before[person] == pytest.approx(price[future.item[bought]].sum())


def test_another_seed_is_another_future(future):
    other = simulate_future(replace(TINY, seed=1), catalogue(replace(TINY, seed=1)), users=USERS, days=DAYS)
    assert len(other.visit_row) != len(future.visit_row)


def test_only_a_simulated_shop_goes_on(tmp_path):
    write_prepared(preset("tiny", users=5), tmp_path / "shop")
    assert shop_of(tmp_path / "shop") == preset("tiny", users=5)
    manifest = read_json(tmp_path / "shop" / "manifest.json")
    write_json(tmp_path / "shop" / "manifest.json", manifest | {"result": "prepared log"})
    with pytest.raises(InputError, match="found a prepared log, expected a simulated shop"):
        shop_of(tmp_path / "shop")
