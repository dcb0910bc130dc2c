"""The simulated shop after the last day of its log: the same users go on as they would have, and their truth is told.

A user's stream depends on the seed and the user alone, so the days after the log are the same simulation on a longer
axis; its events up to the log's end are the log. There may be more users than in the log, and the first of them are
those of the log.

    log's events    | end of the log       session 1            session 2       | end of the test
    ... x  x  x x x | x x                  V x x x              V x x P x       |
                                           V: a visit, which may show a slate; the events after it come anyhow

A day is `length / days` events of a user's axis. A session takes place on the day of its first event; its events follow
each other as in the log, seconds to minutes apart. The log ends in the middle of a session: what is left of it comes at
once, before the test.
"""

import dataclasses
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rclrec_mini.data.counter_random import uniform
from rclrec_mini.data.prepared import read_manifest
from rclrec_mini.data.schema import DAY, PURCHASE, SHOP
from rclrec_mini.data.shop_config import ShopConfig
from rclrec_mini.data.simulated_clock import begins_session, pause_within, seconds
from rclrec_mini.data.simulated_items import SimulatedItems
from rclrec_mini.data.simulated_users import SECONDS, Journeys, People, browse
from rclrec_mini.files import InputError
from rclrec_mini.records import as_dataclass

ARRIVAL = 3  # seconds from a visit to the first event of its session: there is time to click on a slate and to order
TAIL = 50  # events simulated after the test, so that its last sessions end
BEFORE_DAYS = 30  # days that count as the time before the test


@dataclass(frozen=True, eq=False)
class Future:
    """What U users do in the days of a test, if nothing is shown to them, and what they did just before.

    Rows are events, user by user in order: the last `keep` events of the log and the test's.

    Args:
        user: the users' numbers in the shop (U,).
        offsets: rows of each user (U+1,).
        item, behavior, timestamp, day: of each row (N,); day is -1 before the test.
        after_log: whether a row comes after the log (N,); between it and the test lies what is left of a session.
        visit_person, visit_row, visit_number, visit_time, visit_axis: of V visits: place of the user in `user`, row of
            the session's first event, count of the user's visits before, seconds UTC, place on the axis.
        begin, end, shelf, liked, buys, bought, bought_row: truth of the journeys that are open at some time of the
            test, (U, M): places on the axis, shelf of data/simulated_items.py (-1: no journey), the item it likes
            best, whether it ends in a purchase, of which item, and in which row (-1: after the test, or never).
        tastes, price_level: of the users (U, t), (U,).
        events_before, orders_before, revenue_before: in the last BEFORE_DAYS days before the test (U,).
        days: of the test.
    """

    user: np.ndarray
    offsets: np.ndarray
    item: np.ndarray
    behavior: np.ndarray
    timestamp: np.ndarray
    day: np.ndarray
    after_log: np.ndarray
    visit_person: np.ndarray
    visit_row: np.ndarray
    visit_number: np.ndarray
    visit_time: np.ndarray
    visit_axis: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    shelf: np.ndarray
    liked: np.ndarray
    buys: np.ndarray
    bought: np.ndarray
    bought_row: np.ndarray
    tastes: np.ndarray
    price_level: np.ndarray
    events_before: np.ndarray
    orders_before: np.ndarray
    revenue_before: np.ndarray
    days: int

    def visit_day(self, visit: np.ndarray) -> np.ndarray:
        """The day of each visit, (v,) -> (v,)."""
        return self.day[self.visit_row[visit]]


def shop_of(data: Path | str) -> ShopConfig:
    """The config of a simulated shop that lies on the disk.

    Raises:
        InputError: the data set is no simulated shop: nobody knows the truth about its users.
    """
    manifest = read_manifest(data)
    if manifest["result"] != SHOP.title:
        raise InputError(f"{data}: found a {manifest['result']}, expected a simulated shop, whose users can go on")
    return as_dataclass(ShopConfig, manifest["config"], f"{Path(data) / 'manifest.json'}: config")


def simulate_future(
    config: ShopConfig, items: SimulatedItems, *, users: int, days: int, keep: int = 50, chunk: int = 1_000,
    progress: bool = False,
) -> Future:  # fmt: skip
    """The first `users` users of the shop in the `days` days after its log, with the last `keep` events of it before.

    Users are simulated `chunk` at a time; what they do does not depend on `chunk`, nor on `users`."""
    parts = []
    with tqdm(total=users, unit="user", desc="the shop goes on", disable=not progress) as bar:
        for first in range(0, users, chunk):
            user = np.arange(first, min(first + chunk, users))
            parts.append(_simulate(config, items, user, days=days, keep=keep))
            bar.update(len(user))
    return _joined(parts, days)


@dataclass(frozen=True, eq=False)
class _Part:
    """Users of one chunk: their rows, journeys that touch the test, and what is known of each."""

    people: People
    person: np.ndarray
    item: np.ndarray
    behavior: np.ndarray
    timestamp: np.ndarray
    day: np.ndarray
    later: np.ndarray
    axis: np.ndarray
    visit: np.ndarray  # whether a session of the test begins with the row
    journey: np.ndarray
    journeys: Journeys
    before: np.ndarray  # (3, u)


def _simulate(config: ShopConfig, items: SimulatedItems, user: np.ndarray, *, days: int, keep: int) -> _Part:
    people = People.of(config, items, user)
    a_day = people.length / config.days  # events
    longer = dataclasses.replace(people, length=people.length + days * a_day + TAIL)
    events, journeys = browse(config, items, longer)
    person, axis = events.person, events.axis
    first = np.searchsorted(person, np.arange(len(user)))
    position = np.arange(len(person)) - first[person]
    later = axis >= people.length[person]
    of_log = np.bincount(person[~later], minlength=len(user))
    visit = later & begins_session(people.key[person], position)
    since = (axis - people.length[person]) / a_day[person]  # days
    begun = np.maximum.accumulate(np.where(visit | (position == 0), np.arange(len(person)), 0))
    day = np.floor(since[begun]).clip(min=-1).astype(np.int16)  # that on which the session of a row begins
    timestamp = np.empty(len(person), np.int64)
    timestamp[~later] = seconds(config, people, person[~later], position[~later])
    timestamp[later] = config.start + config.days * DAY + _clock(people, person, position, visit, since, later)

    recent = np.flatnonzero((day < 0) & (timestamp >= config.start + (config.days - BEFORE_DAYS) * DAY))
    bought = recent[events.behavior[recent] == PURCHASE]
    price = items.table["price"].to_numpy()
    before = [np.bincount(person[recent]), np.bincount(person[bought])]
    before.append(np.bincount(person[bought], price[events.item[bought]]).astype(float))
    before = np.stack([np.pad(count, (0, len(user) - len(count))) for count in before])

    kept = (day < days) & (position >= of_log[person] - keep)
    columns = (person, events.item, events.behavior, timestamp, day, later, axis, visit, events.journey)
    touch = journeys.end >= people.length[journeys.person]
    journeys = Journeys(*(getattr(journeys, f.name)[touch] for f in fields(Journeys)))
    return _Part(people, *(column[kept] for column in columns), journeys, before)


def _clock(
    people: People, person: np.ndarray, position: np.ndarray, visit: np.ndarray, since: np.ndarray, later: np.ndarray
) -> np.ndarray:
    """Seconds from the end of the log to each `later` event: the session in which the log ends goes on at once, the
    others start when their places on the axis say, or as soon as the session before is over."""
    person, position, visit, since = person[later], position[later], visit[later], since[later]
    step = pause_within(uniform(people.key[person], SECONDS, position))
    passed = np.cumsum(np.where(visit, ARRIVAL, step))
    first = np.diff(person, prepend=-1) > 0
    start = np.where(visit, np.floor(since * DAY).astype(np.int64) + ARRIVAL, step) - passed
    far = 1 << 40  # seconds between two users: more than any clock shows
    start = np.where(visit | first, start + person * far, -(1 << 62))
    return np.maximum.accumulate(start) - person * far + passed


def _joined(parts: list[_Part], days: int) -> Future:
    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    def truth(name: str) -> np.ndarray:
        return np.concatenate([getattr(part.journeys, name) for part in parts])

    sizes = [len(part.people.user) for part in parts]
    shift = np.cumsum([0, *sizes])
    person, owner = (
        np.concatenate([local + s for local, s in zip(found, shift, strict=False)])
        for found in ([part.person for part in parts], [part.journeys.person for part in parts])
    )
    offsets = np.searchsorted(person, np.arange(shift[-1] + 1))
    visit_row = np.flatnonzero(column("visit"))
    visits = np.bincount(person[visit_row], minlength=shift[-1])
    timestamp, day, behavior = column("timestamp"), column("day"), column("behavior")

    order = np.argsort(owner, kind="stable")  # journeys user by user
    owner, journey = owner[order], truth("journey")[order]
    count = np.bincount(owner, minlength=shift[-1])
    place = np.arange(len(owner)) - (np.cumsum(count) - count)[owner]

    def table(values: np.ndarray, empty: float) -> np.ndarray:
        padded = np.full((shift[-1], count.max(initial=1)), empty, values.dtype)
        padded[owner, place] = values
        return padded

    row = _rows_of(person, column("journey"), np.flatnonzero((behavior == PURCHASE) & (day >= 0)), owner, journey)
    before = np.concatenate([part.before for part in parts], axis=1)
    return Future(
        user=np.concatenate([part.people.user for part in parts]),
        tastes=np.concatenate([part.people.tastes for part in parts]),
        price_level=np.concatenate([part.people.price_level for part in parts]),
        offsets=offsets,
        item=column("item"),
        behavior=behavior,
        timestamp=timestamp,
        day=day,
        after_log=column("later"),
        visit_person=person[visit_row],
        visit_row=visit_row,
        visit_number=np.arange(len(visit_row)) - (np.cumsum(visits) - visits)[person[visit_row]],
        visit_time=timestamp[visit_row] - ARRIVAL,
        visit_axis=column("axis")[visit_row],
        begin=table(truth("begin")[order], np.inf),
        end=table(truth("end")[order], -np.inf),
        shelf=table(truth("shelf")[order], -1),
        liked=table(truth("liked")[order], -1),
        buys=table(truth("buys")[order], False),
        bought=table(truth("bought")[order], -1),
        bought_row=table(row, -1),
        events_before=before[0].astype(np.int32),
        orders_before=before[1].astype(np.int32),
        revenue_before=before[2],
        days=days,
    )


def _rows_of(
    person: np.ndarray, journey: np.ndarray, purchases: np.ndarray, owner: np.ndarray, number: np.ndarray
) -> np.ndarray:
    """Which of the rows `purchases` each journey (`owner`, `number`) ends in, -1 where none: (J,) -> (J,)."""
    row_of = {(p, j): row for p, j, row in zip(person[purchases], journey[purchases], purchases, strict=True)}
    return np.array([row_of.get(pair, -1) for pair in zip(owner, number, strict=True)], np.int64)
