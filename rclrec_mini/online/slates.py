"""Slates that a known policy has shown, and what came of them: the log from which off-policy estimates are made.

At the first visit of a user all arms see the same history. Their slates together are the pool; the logging policy shows
SHOWN of its m items in uniformly random order, so that every item has the chance 1/m of every slot. What each arm's own
slate is worth there stands beside, as expectations of the choice model: a shop could not know it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from rclrec_mini.data.counter_random import uniform
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.files import InputError, whole_file
from rclrec_mini.online.choice import SHOWN, SHUFFLED
from rclrec_mini.online.play import Play
from rclrec_mini.records import read_arrays

FEATURES = ("popularity", "in the history", "leaf in the history")  # what the shop knows of an item at a visit
HISTORY = 50  # events that features read
AHEAD = 20  # events after the visit that `touched` reads


@dataclass(frozen=True, eq=False)
class Slates:
    """F first visits of users, and their slates as places in the pool.

    Args:
        user: numbers of the users (F,).
        pool: items (F, P), -1 beyond the pool's size.
        size: m, of each pool (F,); an item's chance of a slot is 1/m.
        features: FEATURES of the pool's items (F, P, 3): ln(1 + events of the item in the log), ln(1 + its events among
            the last HISTORY of the user), ln(1 + those of its leaf).
        touched: whether the user touches the item in the next AHEAD events, if no slate is shown (F, P).
        shown: places in the pool of what was shown, by slot (F, SHOWN).
        slot: that was clicked (F,), -1 for none.
        order: whether the click became an order (F,).
        incremental: whether no purchase that would have come anyhow answers to that order (F,); a shop cannot know.
        revenue: of that order (F,).
        arms: places in the pool of each arm's own slate (A, F, SHOWN), -1 where it has no item.
        clicks, orders, revenues: expected of each arm's own slate (A, F).
    """

    user: np.ndarray
    pool: np.ndarray
    size: np.ndarray
    features: np.ndarray
    touched: np.ndarray
    shown: np.ndarray
    slot: np.ndarray
    order: np.ndarray
    incremental: np.ndarray
    revenue: np.ndarray
    arms: np.ndarray
    clicks: np.ndarray
    orders: np.ndarray
    revenues: np.ndarray

    def save(self, path: Path | str) -> None:
        """Write one file of safetensors, whole or not at all."""
        with whole_file(path) as partial:
            save_file({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}, partial)

    @classmethod
    def load(cls, path: Path | str) -> "Slates":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or holds something else.
        """
        try:
            return cls(**read_arrays(path))
        except TypeError as error:
            raise InputError(f"{path}: expected slates, found {error}") from None


def log_slates(world: Play, slates: Sequence[np.ndarray], log: Sequences, *, most: int = 20_000) -> Slates:
    """Let visitors choose from the pool of all arms' slates.

    Args:
        world: nothing of which has been played yet.
        slates: of each arm at the first visits (F, SHOWN), with which it was played.
        log: the log before the test, for popularity.
        most: first visits taken, in the order of users; those with fewer than SHOWN items in the pool are left out.

    Raises:
        InputError: nobody visits.
    """
    visitors, visit = world.visitors, next(world.rounds(), np.empty(0, int))[:most]
    if not len(visit):
        raise InputError("users: found no visit by any of them in the days of the test, expected more users or days")
    own = np.stack([slate[:most] for slate in slates])  # (A, F, SHOWN)
    pool = _union(own)
    size = (pool >= 0).sum(axis=1)
    enough = size >= SHOWN
    visit, own, pool, size = visit[enough], own[:, enough], pool[enough], size[enough]
    person, price = world.future.visit_person[visit], world.price
    lot = uniform(visitors.key[person][:, None], SHUFFLED, np.arange(pool.shape[1]))
    shown = np.where(pool >= 0, lot, 2).argsort(axis=1, kind="stable")[:, :SHOWN]
    choices = visitors.choose(visit, np.take_along_axis(pool, shown, axis=1), world.met)
    expected = [visitors.expected(visit, slate, world.met) for slate in own]
    return Slates(
        user=world.future.user[person],
        pool=pool,
        size=size,
        features=_features(world, visit, pool, log),
        touched=_touched(world, visit, pool),
        shown=shown,
        slot=choices.slot,
        order=choices.order,
        incremental=choices.order & ~((choices.journey >= 0) & world.future.buys[person, choices.journey]),
        revenue=choices.order * price[choices.item],
        arms=np.stack([_places(pool, slate) for slate in own]),
        clicks=np.stack([click.sum(axis=1) for click, _ in expected]),
        orders=np.stack([order.sum(axis=1) for _, order in expected]),
        revenues=np.stack([(o * price[slate]).sum(axis=1) for (_, o), slate in zip(expected, own, strict=True)]),
    )


def _union(own: np.ndarray) -> np.ndarray:
    """The distinct items of all arms' slates, ascending, -1 behind them: (A, F, S) -> (F, P)"""
    items = np.sort(own.transpose(1, 0, 2).reshape(own.shape[1], -1), axis=1)
    new = (items >= 0) & (np.diff(items, axis=1, prepend=-1) > 0)
    order = np.argsort(~new, axis=1, kind="stable")[:, : int(new.sum(axis=1).max(initial=0))]
    return np.where(np.take_along_axis(new, order, axis=1), np.take_along_axis(items, order, axis=1), -1)


def _places(pool: np.ndarray, slate: np.ndarray) -> np.ndarray:
    """Where the items of a slate (F, S) stand in the pool, -1 for no item: (F, S)"""
    same = (slate[:, :, None] == pool[:, None]) & (slate[:, :, None] >= 0)
    return np.where(same.any(axis=2), same.argmax(axis=2), -1)


def _features(world: Play, visit: np.ndarray, pool: np.ndarray, log: Sequences) -> np.ndarray:
    sequences, rows = world.histories(visit, HISTORY)
    window, mask = sequences.window(rows, HISTORY)
    item = np.where(mask, sequences.item[window], -1)
    leaf = world.visitors.items.leaf
    events = np.bincount(log.item, minlength=log.n_items)
    found = np.zeros((*pool.shape, len(FEATURES)), np.float32)
    found[:, :, 0] = np.log1p(events[pool])
    for column in item.T:  # event by event, so that memory does not grow with the history
        there = (column >= 0)[:, None]
        found[:, :, 1] += there & (column[:, None] == pool)
        found[:, :, 2] += there & (leaf[column][:, None] == leaf[pool])
    found[:, :, 1:] = np.log1p(found[:, :, 1:])
    return found * (pool >= 0)[:, :, None]


def _touched(world: Play, visit: np.ndarray, pool: np.ndarray) -> np.ndarray:
    future, person = world.future, world.future.visit_person[visit]
    row = future.visit_row[visit][:, None] + np.arange(AHEAD)
    item = np.where(row < future.offsets[person + 1][:, None], future.item[row.clip(max=len(future.item) - 1)], -2)
    found = np.zeros(pool.shape, bool)
    for column in item.T:
        found |= column[:, None] == pool
    return found
