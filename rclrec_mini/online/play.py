"""Plays the days of a test: at each visit an arm shows a slate, the visitor answers, and both go into the arm's log.

Nobody reacts to anybody else, so visits are played in rounds: the first visit of everybody, then the second of all who
have one, and so on; a round is one batch of lists. What an arm's log holds besides what people did by themselves:

    click, order     of a slate's item, at the time of the visit, before the events of its session
    not there        the purchase of a journey whose need an order has met
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from tqdm import tqdm

from rclrec_mini.data.schema import CLICK, PURCHASE
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.online.arms import Arm
from rclrec_mini.online.choice import SHOWN, ChoiceModel, Choices
from rclrec_mini.online.outcomes import BEFORE, COUNTS, MONEY, TYPES, Outcomes

SPARE = 8  # rows read before the history that an arm asks for, in the place of purchases that were cancelled


class Play:
    """One arm's world: its log grows as its visits are played, in the order of `rounds`.

    Args:
        visitors: who they are, and how they choose.
        mine: which users see this arm (U,) bool; None: all.
    """

    def __init__(self, visitors: ChoiceModel, *, mine: np.ndarray | None = None):
        self.visitors = visitors
        self.future = future = visitors.future
        self.price = visitors.items.table["price"].to_numpy()
        self.mine = np.ones(len(future.user), bool) if mine is None else mine
        self.met = np.zeros(future.begin.shape, bool)  # journeys whose need an order has met
        self.cancelled = np.zeros(len(future.item), bool)  # rows of organic purchases that did not take place
        self.added = np.zeros((5, 0), np.int64)  # what slates added: person, key, item, behavior, timestamp
        shape = (len(future.user), future.days)
        self.counted = {name: np.zeros(shape, TYPES[name]) for name in (*COUNTS, *MONEY)}
        self._count_organic()

    def rounds(self, day: int | None = None) -> Iterator[np.ndarray]:
        """Visits to be played together, of one day or of all, each user's in order."""
        future = self.future
        visit = np.flatnonzero(self.mine[future.visit_person])
        if day is not None:
            visit = visit[future.visit_day(visit) == day]
        for number in np.unique(future.visit_number[visit]):
            yield visit[future.visit_number[visit] == number]

    def histories(self, visit: np.ndarray, length: int) -> tuple[Sequences, np.ndarray]:
        """What is in the log before each visit, its last `length` events or some more, and then the visit itself as a
        purchase; and the rows of the visits (v,)."""
        future, person = self.future, self.future.visit_person[visit]
        window = future.visit_row[visit][:, None] + np.arange(-length - SPARE, 0)
        row = window[(window >= future.offsets[person][:, None]) & ~self.cancelled[window]]
        visiting = np.zeros(len(future.user), bool)
        visiting[person] = True
        added = self.added[:, visiting[self.added[0]]]
        nothing = np.zeros(len(visit), np.int64)
        key = np.concatenate([4 * row + 3, added[1], 4 * future.visit_row[visit]])
        item = np.concatenate([future.item[row], added[2], nothing])
        behavior = np.concatenate([future.behavior[row], added[3], nothing + PURCHASE])
        timestamp = np.concatenate([future.timestamp[row], added[4], future.visit_time[visit]])
        order = np.argsort(key, kind="stable")
        rows = np.flatnonzero(order >= len(key) - len(visit))
        offsets = np.concatenate([[0], rows + 1])
        return Sequences(item[order], behavior[order], timestamp[order], offsets, len(self.price)), rows

    def answer(self, visit: np.ndarray, slate: np.ndarray) -> Choices:
        """Show slates (v, S) and take down what becomes of them."""
        choices = self.visitors.choose(visit, slate, self.met)
        clicked, ordered = np.flatnonzero(choices.slot >= 0), np.flatnonzero(choices.order)
        for what, at, step in ((CLICK, clicked, 1), (PURCHASE, ordered, 2)):
            self._add(visit[at], choices.item[at], what, step)
        self._count("visits", visit)
        self._count("clicks", visit[clicked])
        self._count_orders(visit[ordered], choices.item[ordered], choices.journey[ordered])
        return choices

    def _add(self, visit: np.ndarray, item: np.ndarray, behavior: int, step: int) -> None:
        future = self.future
        key, time = 4 * future.visit_row[visit] + step, future.visit_time[visit] + step
        columns = (future.visit_person[visit], key, item, np.full_like(item, behavior), time)
        self.added = np.concatenate([self.added, np.stack(columns)], axis=1)

    def _count(self, name: str, visit: np.ndarray, value: np.ndarray | int = 1) -> None:
        np.add.at(self.counted[name], (self.future.visit_person[visit], self.future.visit_day(visit)), value)

    def _count_orders(self, visit: np.ndarray, item: np.ndarray, journey: np.ndarray) -> None:
        future, person, price = self.future, self.future.visit_person[visit], self.price[item]
        buys = (journey >= 0) & future.buys[person, journey]
        row = np.where(buys, future.bought_row[person, journey], -1)
        self.met[person[journey >= 0], journey[journey >= 0]] = True
        for kind, which in (("slate", journey >= -1), ("cannibalised", row >= 0), ("pulled_forward", buys & (row < 0))):
            self._count("slate_orders" if kind == "slate" else kind, visit[which])
            self._count(f"{kind}_revenue", visit[which], price[which])
        lost, who = row[row >= 0], person[row >= 0]
        self.cancelled[lost] = True
        np.add.at(self.counted["cancelled"], (who, future.day[lost]), 1)
        np.add.at(self.counted["cancelled_revenue"], (who, future.day[lost]), self.price[future.item[lost]])

    def _count_organic(self) -> None:
        future = self.future
        row = self._organic
        at = np.searchsorted(future.offsets, row, side="right") - 1, future.day[row]
        own = self.mine[at[0]]
        np.add.at(self.counted["organic_orders"], at, own)
        np.add.at(self.counted["organic_revenue"], at, own * self.price[future.item[row]])

    @cached_property
    def _organic(self) -> np.ndarray:
        return np.flatnonzero((self.future.behavior == PURCHASE) & (self.future.day >= 0))

    def happened(self, day: int) -> np.ndarray:
        """What this arm's users have done from the end of the log to that of `day`, the last that was played: user, key
        (ascending in time), item, behavior, timestamp (5, n)."""
        future = self.future
        person = np.repeat(np.arange(len(future.user)), np.diff(future.offsets))
        row = np.flatnonzero(future.after_log & (future.day <= day) & ~self.cancelled & self.mine[person])
        columns = (person, 4 * np.arange(len(person)) + 3, future.item, future.behavior, future.timestamp)
        found = np.concatenate([np.stack([column[row] for column in columns]), self.added], axis=1)
        return np.concatenate([future.user[found[:1]], found[1:]])

    def outcomes(self, arm: str, made: dict) -> Outcomes:
        """What the visits played so far came to, with the name of the arm."""
        future = self.future
        before = {name: getattr(future, name) for name in BEFORE}
        counted = {name: values[None] for name, values in self.counted.items()}
        return Outcomes(arms=(arm,), users=future.user, made=made, **counted, **before)


def play(arm: Arm, visitors: ChoiceModel, *, title: str = "", progress: bool = False) -> tuple[Play, np.ndarray]:
    """All visits under one arm, and the slates of the first visits (F, SHOWN)."""
    world, first = Play(visitors), np.zeros((0, SHOWN), np.int64)
    with tqdm(total=len(visitors.future.visit_row), unit="visit", desc=title, disable=not progress) as bar:
        for number, visit in enumerate(world.rounds()):
            slate = lists(arm, world, visit)
            first = slate if number == 0 else first
            world.answer(visit, slate)
            bar.update(len(visit))
    return world, first


def lists(arm: Arm, world: Play, visit: np.ndarray) -> np.ndarray:
    """The slates of an arm at visits (v,): (v, SHOWN)"""
    sequences, rows = world.histories(visit, arm.max_history)
    return arm.rank(sequences, rows, world.future.user[world.future.visit_person[visit]], SHOWN)
