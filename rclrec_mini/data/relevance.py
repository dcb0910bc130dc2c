"""Figure 1(c) of the paper: how much of the recent history shares the target's category, brand and seller.

For every event taken as a target, the *share* is the part of the `window` events before it that have the target's
category (or brand, or seller). The paper claims that it is largest when the target is a conversion. Two baselines
say how much of it the order of events explains: the same share among all other events of the same user (what a
random order of that user's events would give), and among the events of all other users. Both are exact
expectations, so nothing is drawn at random.

    history  a c b c c | c   target: category c, window 4 -> the last four events hold three of c, share 0.75
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from rclrec_mini.data.prepared import numbered
from rclrec_mini.data.schema import BEHAVIORS, DAY
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.files import InputError

ATTRIBUTES = ("category", "brand", "seller")
HISTORY, OWN_SHUFFLED, OTHER_USERS, EXCESS = SOURCES = ("history", "own shuffled", "other users", "excess")
NORMAL_95 = 1.959964


@dataclass(frozen=True, eq=False)
class Relevance:
    """What Figure 1(c) shows, as tidy tables.

    table: attribute, behavior (of the target), source, mean, low, high, targets, users. Sources: `history` is the
        share in the window; `own shuffled` and `other users` are the baselines; `excess` is history minus own
        shuffled. The attribute `item` with the source `history` is the share of targets whose own item stands in the
        window.
    contrasts: attribute, source, behavior, minus, mean, low, high: the difference between two behaviours.

    low..high is a 95% interval for the ratio of sums over users (normal, clustered by user: one user's events count as
    one observation), null where fewer than two users have such targets.
    """

    table: pa.Table
    contrasts: pa.Table


def relevance(
    sequences: Sequences,
    items: pa.Table,
    *,
    window: int = 20,
    same_item: bool = True,
    same_day: bool = True,
    chunk_rows: int = 1 << 15,
    progress: bool = False,
) -> Relevance:
    """The statistics of Figure 1(c) over all events with a history.

    Args:
        sequences: the interactions.
        items: the ITEMS table beside them; targets that lack an attribute are left out of its rows.
        window: how many events before the target count as its history (events).
        same_item: whether history events of the target's own item count; if not, they are left out everywhere, the
            baselines included, and what is left is how alike *other* items are.
        same_day: whether history events of the target's own day (UTC) count; if not, the window holds the last
            events of earlier days, and the first baseline is the user's events of other days. Sources that record
            days only do not know the order within one.

    Raises:
        InputError: `window` is below 1, or `items` has not one row for each item.
    """
    if window < 1:
        raise InputError(f"window: found {window}, expected at least 1")
    if items.num_rows != sequences.n_items:
        raise InputError(f"items: found {items.num_rows} rows, expected one for each of {sequences.n_items} items")
    codes = {name: numbered(items[name]) for name in ATTRIBUTES}
    overall = {name: np.bincount(code[sequences.item] + 1) for name, code in codes.items()}
    overall["item"] = np.bincount(sequences.item, minlength=sequences.n_items)
    totals = _Totals.zeros(sequences.n_users)
    bar = tqdm(total=len(sequences), unit="event", unit_scale=True, desc="relevance", disable=not progress)
    with bar:
        for first, last in _user_chunks(sequences.offsets, chunk_rows):
            chunk = _Chunk.of(sequences, first, last, window=window, same_item=same_item, same_day=same_day)
            for a, (name, code) in enumerate(codes.items()):
                shares, known = chunk.shares(code, overall[name], overall["item"], len(sequences))
                totals.add(a, first, last, chunk, shares, known)
            if same_item:
                totals.add(len(codes), first, last, chunk, {HISTORY: chunk.item_seen()}, chunk.length > 0)
            bar.update(len(chunk.item))
    names = [*ATTRIBUTES, "item"] if same_item else [*ATTRIBUTES]
    return Relevance(totals.table(names), totals.contrasts(names))


def _user_chunks(offsets: np.ndarray, chunk_rows: int) -> Iterator[tuple[int, int]]:
    """Runs of users [first, last) with about `chunk_rows` rows each."""
    first, users = 0, len(offsets) - 1
    while first < users:
        last = int(np.searchsorted(offsets, offsets[first] + chunk_rows, side="right")) - 1
        last = min(max(last, first + 1), users)
        yield first, last
        first = last


@dataclass(frozen=True, eq=False)
class _Chunk:
    """The events of some users, each one a target, (n,).

    user and day (numbers of users and of user-days in the chunk), item, behavior; length: history events in the
    window; rows, valid: for each place of the window, which row stands there and whether it counts.
    """

    user: np.ndarray
    item: np.ndarray
    behavior: np.ndarray
    day: np.ndarray
    rows: list[np.ndarray]
    valid: list[np.ndarray]
    length: np.ndarray
    same_item: bool
    same_day: bool

    @classmethod
    def of(
        cls, sequences: Sequences, first: int, last: int, *, window: int, same_item: bool, same_day: bool
    ) -> "_Chunk":
        offsets = sequences.offsets[first : last + 1]
        chunk = slice(offsets[0], offsets[-1])
        item, row = sequences.item[chunk], np.arange(offsets[-1] - offsets[0])
        user = np.repeat(np.arange(last - first), np.diff(offsets))
        start = (offsets[:-1] - offsets[0])[user]
        new_day = np.diff(sequences.timestamp[chunk] // DAY, prepend=-1) != 0
        new_day |= row == start
        day = np.cumsum(new_day) - 1
        end = row if same_day else np.flatnonzero(new_day)[day]
        rows = [np.maximum(end - k, 0) for k in range(1, window + 1)]
        valid = [end - k >= start for k in range(1, window + 1)]
        if not same_item:
            valid = [ok & (item[r] != item) for r, ok in zip(rows, valid, strict=True)]
        length = np.sum(valid, axis=0, dtype=np.int32)
        return cls(user, item, sequences.behavior[chunk], day, rows, valid, length, same_item, same_day)

    def item_seen(self) -> np.ndarray:
        """Whether the target's own item stands in the window, (n,)."""
        return np.any([ok & (self.item[r] == self.item) for r, ok in zip(self.rows, self.valid, strict=True)], axis=0)

    def shares(
        self, code: np.ndarray, overall: np.ndarray, overall_item: np.ndarray, n_events: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The share of each target in each source, and which targets have all of them: {source: (n,)}, (n,)."""
        value = code[self.item]
        hits = np.zeros(len(value), np.int32)
        for r, ok in zip(self.rows, self.valid, strict=True):
            hits += ok & (value[r] == value)
        of_user, of_value = _count(self.user, None), _count(self.user, value)
        own, own_pool = self._elsewhere(value, of_value), self._elsewhere(None, of_user)
        others, others_pool = overall[value + 1] - of_value, n_events - of_user
        if not self.same_item:
            of_item = _count(self.user, self.item)
            own_same, other_same = self._elsewhere(self.item, of_item), overall_item[self.item] - of_item
            own, own_pool = own - own_same, own_pool - own_same
            others, others_pool = others - other_same, others_pool - other_same
        known = (value >= 0) & (self.length > 0) & (own_pool > 0)
        history = hits / np.maximum(self.length, 1)
        shuffled = own / np.maximum(own_pool, 1)
        shares = {
            HISTORY: history,
            OWN_SHUFFLED: shuffled,
            OTHER_USERS: others / np.maximum(others_pool, 1),
            EXCESS: history - shuffled,
        }
        return shares, known

    def _elsewhere(self, key: np.ndarray | None, of_user: np.ndarray) -> np.ndarray:
        """How many events of the user share `key` with each target, without the target, or without its day."""
        return of_user - (1 if self.same_day else _count(self.day, key))


def _count(group: np.ndarray, key: np.ndarray | None) -> np.ndarray:
    """For each event, how many events of its group have its key, itself included: (n,), (n,) -> (n,)."""
    if key is None:
        return np.bincount(group)[group]
    pair = group * (int(key.max(initial=0)) + 2) + key + 1
    _, inverse, count = np.unique(pair, return_inverse=True, return_counts=True)
    return count[inverse]


@dataclass(frozen=True, eq=False)
class _Totals:
    """Sums of shares and numbers of targets by attribute, source, behaviour and user: (A, 4, 4, U), (A, 4, U)."""

    share: np.ndarray
    targets: np.ndarray

    @classmethod
    def zeros(cls, users: int) -> "_Totals":
        shape = (len(ATTRIBUTES) + 1, len(SOURCES), len(BEHAVIORS), users)
        return cls(np.zeros(shape), np.zeros((shape[0], shape[2], users)))

    def add(
        self, a: int, first: int, last: int, chunk: _Chunk, shares: dict[str, np.ndarray], known: np.ndarray
    ) -> None:
        users = last - first
        cell = chunk.behavior[known].astype(np.int64) * users + chunk.user[known]

        def by_cell(weight: np.ndarray | None) -> np.ndarray:
            return np.bincount(cell, weight, minlength=len(BEHAVIORS) * users).reshape(len(BEHAVIORS), users)

        self.targets[a, :, first:last] = by_cell(None)
        for source, share in shares.items():
            self.share[a, SOURCES.index(source), :, first:last] = by_cell(share[known])

    def _influence(self, a: int, s: int, b: int) -> tuple[float, np.ndarray]:
        """The mean share over targets, and each user's part in its error: sums to 0, (U,)."""
        share, targets = self.share[a, s, b], self.targets[a, b]
        mean = share.sum() / targets.sum()
        return mean, (share - mean * targets) / targets.sum()

    def _cells(self, names: list[str]) -> Iterator[tuple[int, str, int, str]]:
        for a, name in enumerate(names):
            for s, source in enumerate(SOURCES):
                if name != "item" or source == HISTORY:
                    yield a, name, s, source

    def table(self, names: list[str]) -> pa.Table:
        rows = []
        for a, name, s, source in self._cells(names):
            for b, behavior in enumerate(BEHAVIORS):
                targets, users = self.targets[a, b], int((self.targets[a, b] > 0).sum())
                if users:
                    mean, part = self._influence(a, s, b)
                    row = {"attribute": name, "behavior": behavior, "source": source}
                    row |= _interval(mean, part, users)
                    rows.append(row | {"targets": int(targets.sum()), "users": users})
        return pa.Table.from_pylist(rows, schema=TABLE)

    def contrasts(self, names: list[str]) -> pa.Table:
        rows = []
        for a, name, s, source in self._cells(names):
            for more in range(len(BEHAVIORS)):
                for less in range(more):
                    users = [(self.targets[a, b] > 0).sum() for b in (more, less)]
                    if min(users) > 0:
                        (one, part_one), (two, part_two) = (self._influence(a, s, b) for b in (more, less))
                        row = {"attribute": name, "source": source, "behavior": BEHAVIORS[more]}
                        row |= {"minus": BEHAVIORS[less]}
                        rows.append(row | _interval(one - two, part_one - part_two, int(min(users))))
        return pa.Table.from_pylist(rows, schema=CONTRASTS)


def _interval(mean: float, part: np.ndarray, users: int) -> dict[str, float | None]:
    if users < 2:
        return {"mean": float(mean), "low": None, "high": None}
    half = NORMAL_95 * np.sqrt(np.square(part).sum() * users / (users - 1))
    return {"mean": float(mean), "low": float(mean - half), "high": float(mean + half)}


_NAMES = [("attribute", pa.string()), ("behavior", pa.string()), ("source", pa.string())]
_NUMBERS = [("mean", pa.float64()), ("low", pa.float64()), ("high", pa.float64())]
TABLE = pa.schema([*_NAMES, *_NUMBERS, ("targets", pa.int64()), ("users", pa.int64())])
CONTRASTS = pa.schema([*_NAMES[:2], ("minus", pa.string()), _NAMES[2], *_NUMBERS])
