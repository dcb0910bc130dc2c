import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclrec_mini.data.schema import CLICK, PURCHASE
from rclrec_mini.data.sequences import (
    Sequences,
    bucketed_batches,
    every_nth,
    split_last_purchase,
    split_temporal,
)
from rclrec_mini.files import InputError


def sequences_of(users: list[list[tuple[int, int, int]]], n_items: int = 101) -> Sequences:
    """From each user's events (item, behavior, timestamp)."""
    events = np.array([event for user in users for event in user], np.int64).reshape(-1, 3)
    offsets = np.cumsum([0] + [len(user) for user in users])
    return Sequences(events[:, 0].astype(np.int32), events[:, 1].astype(np.int8), events[:, 2].copy(), offsets, n_items)


USERS = st.lists(
    st.lists(st.tuples(st.integers(0, 100), st.sampled_from([0, 0, 0, 1, 2, 3]), st.integers(0, 30)), max_size=11),
    min_size=1,
    max_size=7,
).map(lambda users: [sorted(user, key=lambda event: event[2]) for user in users])


def by_hand() -> Sequences:
    """Two users and one without a purchase between them."""
    return sequences_of(
        [
            [(7, 0, 10), (3, 0, 11), (7, 3, 12), (9, 0, 13), (7, 3, 14), (2, 0, 15)],
            [(5, 0, 20), (5, 2, 21)],
            [(4, 0, 10), (2, 3, 30)],
        ]
    )


def test_last_purchase_split_by_hand():
    split = split_last_purchase(by_hand())
    assert split.test.tolist() == [4, 9]
    assert split.validation.tolist() == [2]
    assert np.flatnonzero(split.train_event).tolist() == [0, 1, 6, 7, 8]
    assert split.train.tolist() == [1, 7]


def test_temporal_split_by_hand():
    split = split_temporal(by_hand(), validation_start=12, test_start=14)
    assert split.validation.tolist() == [2]
    assert split.test.tolist() == [4, 9]
    assert np.flatnonzero(split.train_event).tolist() == [0, 1, 8]
    assert split.train.tolist() == [1]


def test_temporal_split_needs_two_moments_in_order():
    with pytest.raises(InputError, match="validation_start 14: expected a time before test_start 14"):
        split_temporal(by_hand(), validation_start=14, test_start=14)


@settings(deadline=None)
@given(users=USERS)
def test_last_purchase_split_against_a_loop(users):
    split = split_last_purchase(sequences_of(users))
    train, train_event, validation, test = [], [], [], []
    row = 0
    for user in users:
        purchases = [i for i, (_, behavior, _) in enumerate(user) if behavior == PURCHASE]
        end = purchases[-2] if len(purchases) > 1 else purchases[-1] if purchases else len(user)
        train_event += [i < end for i in range(len(user))]
        train += [row + i for i in range(1, end)]
        test += [row + i for i in purchases[-1:] if i > 0]
        validation += [row + i for i in purchases[-2:-1] if i > 0]
        row += len(user)
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == (train, validation, test)
    assert split.train_event.tolist() == train_event


@settings(deadline=None)
@given(users=USERS, start=st.integers(0, 29), length=st.integers(1, 10))
def test_temporal_split_against_a_loop(users, start, length):
    split = split_temporal(sequences_of(users), validation_start=start, test_start=start + length)
    train, validation, test = [], [], []
    row = 0
    for user in users:
        for i, (_, behavior, time) in enumerate(user):
            if i == 0:
                continue
            if time < start:
                train.append(row + i)
            elif behavior == PURCHASE:
                (validation if time < start + length else test).append(row + i)
        row += len(user)
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == (train, validation, test)
    assert split.train_event.tolist() == [time < start for user in users for *_, time in user]


@settings(deadline=None)
@given(users=USERS, max_history=st.integers(1, 13), data=st.data())
def test_batch_against_a_loop(users, max_history, data):
    sequences = sequences_of(users)
    if len(sequences) == 0:
        return
    rows = np.array(data.draw(st.lists(st.integers(0, len(sequences) - 1), min_size=1, max_size=5)))
    batch = sequences.batch(rows, max_history)
    flat = [(u, i, event) for u, user in enumerate(users) for i, event in enumerate(user)]
    histories = [users[flat[row][0]][: flat[row][1]][-max_history:] for row in rows]
    width = max(1, max(map(len, histories)))
    padded = [[(0, 0, 0)] * (width - len(history)) + history for history in histories]
    assert batch.item.tolist() == [[event[0] for event in history] for history in padded]
    assert batch.behavior.tolist() == [[event[1] for event in history] for history in padded]
    assert batch.timestamp.tolist() == [[event[2] for event in history] for history in padded]
    assert batch.mask.tolist() == [[t >= width - len(h) for t in range(width)] for h in histories]
    assert batch.user.tolist() == [flat[row][0] for row in rows]
    targets = zip(batch.target_item, batch.target_behavior, batch.target_timestamp, strict=True)
    assert [tuple(map(int, target)) for target in targets] == [flat[row][2] for row in rows]
    assert batch.row.tolist() == rows.tolist() and len(batch) == len(rows)
    assert batch.to("cpu").item.equal(batch.item)
    assert sequences.history_length(rows).tolist() == [flat[row][1] for row in rows]


def test_every_nth_row_of_a_user_is_counted_back_from_the_last():
    assert every_nth(by_hand(), np.arange(10), 1).tolist() == [*range(10)]
    assert every_nth(by_hand(), np.arange(10), 2).tolist() == [1, 3, 5, 7, 9]
    assert every_nth(by_hand(), np.arange(10), 3).tolist() == [2, 5, 7, 9]
    assert every_nth(by_hand(), np.array([1, 2, 4, 9]), 2).tolist() == [2, 4, 9]


def test_bucketed_batches_hold_every_row_once_and_pad_little():
    rng = np.random.default_rng(0)
    users = [[(1, CLICK, t) for t in range(n)] for n in rng.integers(1, 61, 97)]
    sequences = sequences_of(users)
    rows = np.flatnonzero(sequences.history_length(np.arange(len(sequences))) > 0)

    def batches(seed: int, bucket: int = 64) -> list[np.ndarray]:
        return list(bucketed_batches(sequences, rows, batch_size=13, max_history=50, seed=seed, bucket=bucket))

    def padding(found: list[np.ndarray]) -> int:
        lengths = [np.minimum(sequences.history_length(batch), 50) for batch in found]
        return sum(int((length.max() - length).sum()) for length in lengths)

    found = batches(5)
    assert sorted(np.concatenate(found).tolist()) == rows.tolist()
    assert sorted(map(len, found))[1:] == [13] * (len(found) - 1)
    assert all(np.array_equal(a, b) for a, b in zip(found, batches(5), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(found, batches(7), strict=True))
    assert padding(found) < 0.1 * padding(batches(5, bucket=1))
    lengths = [int(sequences.history_length(batch).max()) for batch in found]
    assert lengths != sorted(lengths)
