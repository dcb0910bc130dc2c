"""User sequences as offsets into the flat table, their splits, and batches of (history, target) samples.

A *sample* is one number: the row of its target in the flat table. Its history is the rows of the same user just
before it, so an epoch is a permutation of row numbers and no Python object per event ever exists.

    user        0 0 0 0 0 1 1 1      offsets = [0, 5, 8]
    item        7 3 7 9 7 2 4 2
    behavior    0 0 2 0 3 0 0 3      target row 4 -> history rows 0..3, target (purchase, item 7)
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rclrec_mini.data.prepared import read_manifest, read_table
from rclrec_mini.data.schema import INTERACTIONS, PURCHASE
from rclrec_mini.files import InputError


class Events(NamedTuple):
    """Events of B samples in order, each (B, T); mask tells which exist."""

    item: Tensor
    behavior: Tensor
    timestamp: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """B samples; histories are right-aligned, so column T-1 is the event just before the target.

    Shapes: user, target_*, row (B,); item, behavior, timestamp, mask (B, T). Padding is 0 with mask False.
    """

    row: Tensor
    user: Tensor
    item: Tensor
    behavior: Tensor
    timestamp: Tensor
    mask: Tensor
    target_item: Tensor
    target_behavior: Tensor
    target_timestamp: Tensor

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __len__(self) -> int:
        return len(self.row)

    def history(self) -> Events:
        """The events before the target, (B, T)"""
        return Events(self.item, self.behavior, self.timestamp, self.mask)

    def with_target(self) -> Events:
        """The history and the target as its last event, (B, T + 1)"""

        def append(column: Tensor, target: Tensor) -> Tensor:
            return torch.cat([column, target[:, None]], dim=1)

        return Events(
            append(self.item, self.target_item),
            append(self.behavior, self.target_behavior),
            append(self.timestamp, self.target_timestamp),
            append(self.mask, torch.ones_like(self.target_item, dtype=torch.bool)),
        )


@dataclass(frozen=True)
class Sequences:
    """All users' events, flat and sorted by (user, position): item, behavior, timestamp (N,), offsets (U+1,)."""

    item: np.ndarray
    behavior: np.ndarray
    timestamp: np.ndarray
    offsets: np.ndarray
    n_items: int

    @classmethod
    def load(cls, folder: Path | str) -> "Sequences":
        """Read the interactions of a prepared data set.

        Raises:
            InputError: the folder lacks a file, or its table breaks the contract of data/schema.py.
        """
        counts = read_manifest(folder)["counts"]
        table = read_table(folder, "interactions")
        user, item, behavior, timestamp = (table[name].to_numpy() for name in INTERACTIONS.names[:4])
        offsets = np.searchsorted(user, np.arange(counts["users"] + 1))
        return cls(item, behavior, timestamp, offsets, counts["items"])

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return len(self.item)

    def user_of(self, rows: np.ndarray) -> np.ndarray:
        """The user of each row, (n,) -> (n,)."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    def history_length(self, rows: np.ndarray) -> np.ndarray:
        """How many events of the same user come before each row, (n,) -> (n,)."""
        return rows - self.offsets[self.user_of(rows)]

    def window(self, rows: np.ndarray, max_history: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the history of each target, right-aligned, and which of them exist: (n,) -> (n, T), (n, T)."""
        return self._window(rows, self.offsets[self.user_of(rows)], max_history)

    @staticmethod
    def _window(rows: np.ndarray, start: np.ndarray, max_history: int) -> tuple[np.ndarray, np.ndarray]:
        """As `window`, for users whose events begin at `start` (n,)."""
        window = rows[:, None] + np.arange(-max_history, 0)  # (n, T)
        mask = window >= start[:, None]
        return np.where(mask, window, 0), mask

    def batch_after(self, users: np.ndarray, max_history: int, *, behavior: int) -> Batch:
        """The samples of the unknown next events of `users` (B,), each with at least one event, under `behavior`, after
        all the events there are."""
        end = self.offsets[users + 1]
        targets = {"item": np.zeros_like(end), "behavior": np.full_like(end, behavior)}
        return self._batch(end, users, max_history, **targets, timestamp=self.timestamp[end - 1])

    def batch(self, rows: np.ndarray, max_history: int) -> Batch:
        """The samples whose targets stand at `rows` (B,), with at most `max_history` events of history each.

        T is the longest history present, at least 1, so that short histories cost little.
        """
        targets = {name: getattr(self, name)[rows] for name in ("item", "behavior", "timestamp")}
        return self._batch(rows, self.user_of(rows), max_history, **targets)

    def _batch(
        self, rows: np.ndarray, users: np.ndarray, max_history: int, *, item: np.ndarray, behavior: np.ndarray,
        timestamp: np.ndarray,
    ) -> Batch:  # fmt: skip
        """Samples of `users` (B,), whose targets are these (B,) and stand at `rows`, or would."""
        start = self.offsets[users]
        longest = max(1, min(max_history, int((rows - start).max(initial=0))))
        window, mask = self._window(rows, start, longest)

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values.astype(np.int64))

        def history(column: np.ndarray) -> Tensor:
            return tensor(np.where(mask, column[window], 0))

        return Batch(
            row=tensor(rows),
            user=tensor(users),
            item=history(self.item),
            behavior=history(self.behavior),
            timestamp=history(self.timestamp),
            mask=torch.from_numpy(mask),
            target_item=tensor(item),
            target_behavior=tensor(behavior),
            target_timestamp=tensor(timestamp),
        )


@dataclass(frozen=True)
class Split:
    """Rows of the training, validation and test targets; training events end where a later split's target begins.

    `train` holds every training event that has a history. `train_event` (N,) marks all training events: the only
    ones that statistics (popularity, co-occurrence) may read.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    train_event: np.ndarray


def split_of(folder: Path | str, sequences: Sequences) -> Split:
    """The split that the manifest of a prepared data set asks for.

    Raises:
        InputError: as read_manifest and last_tenths.
    """
    if read_manifest(folder).get("split") != "time":
        return split_last_purchase(sequences)
    validation_start, test_start = last_tenths(sequences.timestamp, str(folder))
    return split_temporal(sequences, validation_start=validation_start, test_start=test_start)


def split_last_purchase(sequences: Sequences) -> Split:
    """Leave-last-purchase-out (the protocol's default): per user, the last purchase is the test target, the one
    before it validation, and the events before both train. Users without a purchase only train."""
    purchases = np.flatnonzero(sequences.behavior == PURCHASE)
    user = sequences.user_of(purchases)
    last = np.append(user[1:] != user[:-1], True) if len(user) else np.zeros(0, bool)
    before_last = np.append(last[1:] & (user[1:] == user[:-1]), False) if len(user) else last
    test, validation = purchases[last], purchases[before_last]
    end = sequences.offsets[1:].copy()
    end[user[last]] = test
    end[user[before_last]] = validation
    return _split(sequences, end, validation, test)


def split_temporal(sequences: Sequences, *, validation_start: int, test_start: int) -> Split:
    """Split at two moments (seconds UTC): purchases from `test_start` on are test targets, those between are
    validation targets, and events before `validation_start` train.

    Raises:
        InputError: `validation_start` is not before `test_start`.
    """
    if validation_start >= test_start:
        raise InputError(f"validation_start {validation_start}: expected a time before test_start {test_start}")
    time, purchase = sequences.timestamp, sequences.behavior == PURCHASE
    early = np.concatenate([[0], np.cumsum(time < validation_start)])
    end = sequences.offsets[:-1] + early[sequences.offsets[1:]] - early[sequences.offsets[:-1]]
    validation = np.flatnonzero(purchase & (time >= validation_start) & (time < test_start))
    return _split(sequences, end, validation, np.flatnonzero(purchase & (time >= test_start)))


def last_tenths(timestamp: np.ndarray, name: str) -> tuple[int, int]:
    """When the ninth tenth of all events begins, and when the last.

    Raises:
        InputError: so many events have the same time that both begin together; the message begins with `name`.
    """
    time = np.sort(timestamp)
    ninth, last = (int(time[len(time) * tenths // 10]) for tenths in (8, 9))
    if ninth == last:
        together = datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M:%S")
        raise InputError(
            f"{name}: --split time found that the last two tenths of the events begin at the same time, {together}; "
            "expected --split last-purchase"
        )
    return ninth, last


def _split(sequences: Sequences, end: np.ndarray, validation: np.ndarray, test: np.ndarray) -> Split:
    """Training events of user u are the rows offsets[u]..end[u]-1; targets without a history are left out."""
    rows = np.arange(len(sequences))
    train_event = rows < np.repeat(end, np.diff(sequences.offsets))
    first = np.zeros(len(sequences), bool)
    first[sequences.offsets[:-1][np.diff(sequences.offsets) > 0]] = True
    return Split(
        train=rows[train_event & ~first],
        validation=validation[~first[validation]],
        test=test[~first[test]],
        train_event=train_event,
    )


def every_nth(sequences: Sequences, rows: np.ndarray, n: int) -> np.ndarray:
    """Every n-th of a user's rows, counted back from the last: (m,) -> about (m / n,).

    A model that predicts all events of a sample at once needs no more: with n half of max_history, each event is a
    target twice an epoch, once with at least n events before it.
    """
    user = sequences.user_of(rows)
    last = np.zeros(sequences.n_users, np.int64)
    np.maximum.at(last, user, rows)
    return rows[(last[user] - rows) % n == 0]


def bucketed_batches(
    sequences: Sequences, rows: np.ndarray, *, batch_size: int, max_history: int, seed: int, bucket: int = 64
) -> Iterator[np.ndarray]:
    """Shuffle `rows`, then group histories of like length: yields arrays of `batch_size` rows (the last may be
    shorter). Each run of `bucket` batches is sorted by length and its batches are shuffled again, so padding is
    small and the order is random, and equal for equal seeds."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(rows)
    length = np.minimum(sequences.history_length(rows), max_history)
    for start in range(0, len(rows), bucket * batch_size):
        chunk = slice(start, start + bucket * batch_size)
        ordered = rows[chunk][np.argsort(length[chunk], kind="stable")]
        batches = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
        yield from (batches[i] for i in rng.permutation(len(batches)))
