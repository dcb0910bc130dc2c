"""Where does a method gain? Groups of targets, and a metric in each of them.

A `Slice` sorts targets into the groups of one question. All of it is known from the log alone, so every method is
cut the same way:

    target item         did one of the (at most T) events of the history touch the target's item?
    history length      how many events of the user come before the target, beyond T too
    popularity          training events of the target's item: fifths of the targets, and items that training lacks
    purchases so far    purchases of the user before the target, those that were validation targets included

A simulated shop knows which journey led to a purchase, and how hard it is to see:

    start of the journey     how many events before the purchase it began (1: the event just before)
    gap                      how many other events lie between its last event and the purchase
    journeys at once         how many journeys of the user had begun and not yet ended, the target's own included
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.data.sequences import Sequences, Split
from rclrec_mini.evaluation.metrics import Estimate, mean_with_interval, user_means
from rclrec_mini.files import InputError

CELLS = 4_000_000  # numbers a chunk of histories may hold
FIFTHS = ("rarest fifth", "second fifth", "third fifth", "fourth fifth", "most popular fifth")
# Where each group begins; the last one is open.
LENGTH = (1, 10, 50, 100, 200, 500)
PURCHASES = (0, 1, 2, 5, 10)
START = (1, 11, 26, 51, 101)
GAP = (0, 4, 10, 20, 50)
AT_ONCE = (1, 2, 3, 4, 6)


@dataclass(frozen=True)
class Slice:
    """Targets in groups: labels (n,) are places in `names`, -1 where a target is in no group."""

    name: str
    labels: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """A metric in one group of a slice, and how many targets the group has."""

    estimate: Estimate
    targets: int


def slices(
    sequences: Sequences, split: Split, rows: np.ndarray, *, max_history: int, journey: np.ndarray | None = None
) -> list[Slice]:
    """The slices of the targets at `rows` (n,).

    Args:
        sequences: the log.
        split: says which events may count for popularity.
        rows: rows of the targets.
        max_history: T, events of the history that a model sees.
        journey: truth of a simulated shop (N,), negative for noise; None leaves its slices out.

    Raises:
        InputError: there is no target, or `journey` is not as long as the log.
    """
    if len(rows) == 0:
        raise InputError("slices: found no target, expected at least 1")
    found = [
        Slice("target item", in_history(sequences, rows, max_history) * 1, ("not in the history", "in the history")),
        buckets("history length", sequences.history_length(rows), LENGTH),
        popularity(sequences, split, rows),
        buckets("purchases so far", purchases_before(sequences, rows), PURCHASES),
    ]
    if journey is not None:
        start, gap, at_once = journeys_before(sequences, rows, np.asarray(journey))
        found += [
            buckets("start of the journey", start, START),
            buckets("gap", gap, GAP),
            buckets("journeys at once", at_once, AT_ONCE),
        ]
    return found


def by_slice(values: np.ndarray, user: np.ndarray, slice: Slice, **options: float | int) -> dict[str, Group]:
    """The mean of a metric in each group that is not empty, over users, with its bootstrap interval.

    The difference of two methods as `values` gives the paired interval of that difference.

    Args:
        values: one value a target (n,), or (S, n) for S seeds.
        user: the user of each target (n,); the targets of one user in one group are averaged first.
        slice: of the same targets.
        options: of `mean_with_interval`.

    Raises:
        InputError: the numbers of targets differ, or a value is not finite.
    """
    values = np.atleast_2d(values)
    if not values.shape[1:] == np.shape(user) == slice.labels.shape:
        raise InputError(
            f"slice {slice.name}: found values {values.shape}, users {np.shape(user)}, labels {slice.labels.shape}, "
            "expected (S, n), (n,), (n,)"
        )
    groups = {}
    for label, name in enumerate(slice.names):
        here = np.flatnonzero(slice.labels == label)
        if len(here):
            means = user_means(values[:, here], user[here])
            groups[name] = Group(mean_with_interval(means, **options), len(here))
    return groups


def buckets(name: str, values: np.ndarray, edges: Sequence[int]) -> Slice:
    """Whole numbers in groups that begin at `edges`; smaller numbers than the first are in none."""
    ends = [edge - 1 for edge in edges[1:]]
    names = [f"{low}" if low == high else f"{low} to {high}" for low, high in zip(edges, ends, strict=False)]
    labels = np.searchsorted(edges, values, side="right") - 1
    return Slice(name, labels, (*names, f"{edges[-1]} or more"))


def in_history(sequences: Sequences, rows: np.ndarray, max_history: int) -> np.ndarray:
    """Whether the item of each target is among the last `max_history` events before it: (n,) -> (n,) bool"""
    found = []
    for chunk in np.array_split(rows, 1 + len(rows) * max_history // CELLS):
        window, mask = sequences.window(chunk, max_history)
        found.append((mask & (sequences.item[window] == sequences.item[chunk][:, None])).any(axis=1))
    return np.concatenate(found)


def popularity(sequences: Sequences, split: Split, rows: np.ndarray) -> Slice:
    """Fifths of the targets by their item's training events, as far as ties allow: items with the same count are in
    the same group. Items that training lacks are a group of their own."""
    count = np.bincount(sequences.item[split.train_event], minlength=sequences.n_items)[sequences.item[rows]]
    edges = np.quantile(count, (0.2, 0.4, 0.6, 0.8), method="inverted_cdf")
    labels = np.where(count > 0, 1 + np.searchsorted(edges, count), 0)
    return Slice("popularity", labels, ("not in training", *FIFTHS))


def purchases_before(sequences: Sequences, rows: np.ndarray) -> np.ndarray:
    """How many purchases of the same user come before each row: (n,) -> (n,)"""
    purchases = np.flatnonzero(sequences.behavior == PURCHASE)
    start = sequences.offsets[sequences.user_of(rows)]
    return np.searchsorted(purchases, rows) - np.searchsorted(purchases, start)


def journeys_before(
    sequences: Sequences, rows: np.ndarray, journey: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the journeys of a simulated shop were like at each target.

    Args:
        sequences: the log.
        rows: rows of the targets (n,).
        journey: the user's journey of every event (N,), negative for noise.

    Returns:
        start (n,), events since the target's journey began, 0 where the target is its first; gap (n,), events
        between the journey's last event and the target, -1 where there is none; how many journeys were open (n,).

    Raises:
        InputError: `journey` is not as long as the log.
    """
    if journey.shape != (len(sequences),):
        raise InputError(f"journey: found {journey.shape}, expected ({len(sequences)},)")
    at = np.flatnonzero(journey >= 0)  # (M,), rows of events in journeys
    key = sequences.user_of(at) * (int(journey.max(initial=0)) + 1) + journey[at]
    at = at[np.argsort(key, kind="stable")]  # journey by journey, each in order
    key = np.sort(key)
    change = np.flatnonzero(np.diff(key, prepend=-1, append=-1))  # where a journey begins, and M; (0,) if M = 0
    size = np.diff(change)
    begin, end = at[change[:-1]], at[change[1:] - 1]  # first and last row of each journey
    first, before = np.arange(len(sequences)), np.arange(len(sequences))
    first[at] = np.repeat(begin, size)
    before[at[1:]] = np.where(np.diff(key) == 0, at[:-1], at[1:])
    opened = np.bincount(begin, minlength=len(sequences) + 1)
    closed = np.bincount(end + 1, minlength=len(sequences) + 1)
    return rows - first[rows], rows - before[rows] - 1, np.cumsum(opened - closed)[rows]
