from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclrec_mini.data.schema import CLICK, PURCHASE
from rclrec_mini.data.sequences import Sequences, split_last_purchase
from rclrec_mini.evaluation.metrics import mean_with_interval
from rclrec_mini.evaluation.slices import (
    Slice,
    buckets,
    by_slice,
    in_history,
    journeys_before,
    popularity,
    purchases_before,
    slices,
)
from rclrec_mini.files import InputError

EVENT = st.tuples(st.integers(0, 6), st.sampled_from([CLICK, CLICK, PURCHASE]), st.integers(-1, 3))
USERS = st.lists(st.lists(EVENT, max_size=13), min_size=1, max_size=5)


def log_of(users: list[list[tuple[int, int, int]]]) -> tuple[Sequences, np.ndarray]:
    """The log and its journeys, from each user's events (item, behavior, journey)."""
    events = np.array([event for user in users for event in user], np.int64).reshape(-1, 3)
    offsets = np.cumsum([0] + [len(user) for user in users])
    item, behavior, journey = events.T
    sequences = Sequences(item.astype(np.int32), behavior.astype(np.int8), np.arange(len(events)), offsets, n_items=11)
    return sequences, journey.astype(np.int32)


def places(users):
    """(row, events before, the event, events after) of every event."""
    row = 0
    for user in users:
        for place, event in enumerate(user):
            yield row, user[:place], event, user[place + 1 :]
            row += 1


@settings(max_examples=60)
@given(USERS, st.integers(1, 5))
def test_what_came_before_each_row_as_a_loop_finds_it(users, max_history):
    sequences, _ = log_of(users)
    seen = [any(item == e[0] for e in before[-max_history:]) for _, before, (item, *_), _ in places(users)]
    bought = [sum(e[1] == PURCHASE for e in before) for _, before, *_ in places(users)]
    rows = np.arange(len(sequences))
    assert in_history(sequences, rows, max_history).tolist() == seen
    assert purchases_before(sequences, rows).tolist() == bought


@settings(max_examples=60)
@given(USERS)
def test_journeys_before_each_row_as_a_loop_finds_them(users):
    sequences, journey = log_of(users)
    start, gap, at_once = [], [], []
    for _, before, (_, _, own), after in places(users):
        ago = [len(before) - i for i, e in enumerate(before) if e[2] == own >= 0]
        start.append(max(ago, default=0))
        gap.append(min(ago, default=0) - 1)
        begun = {e[2] for e in before} | {own}
        unfinished = {e[2] for e in after} | {own}
        at_once.append(len((begun & unfinished) - {-1}))
    rows = np.arange(len(sequences))
    assert [column.tolist() for column in journeys_before(sequences, rows, journey)] == [start, gap, at_once]


def test_targets_are_labelled_in_the_order_of_their_rows():
    sequences, journey = log_of([[(3, 0, 7), (5, 0, -1), (3, 3, 7)], [(2, 3, 7), (2, 3, 7)]])
    rows = np.array([4, 2])
    assert in_history(sequences, rows, 1).tolist() == [True, False]
    assert [column.tolist() for column in journeys_before(sequences, rows, journey)] == [[1, 2], [0, 1], [1, 1]]


def test_buckets_begin_at_their_edges_and_say_so():
    found = buckets("gap", np.array([-1, 0, 1, 2, 4, 5, 999]), (0, 1, 2, 5))
    assert found.names == ("0", "1", "2 to 4", "5 or more")
    assert found.labels.tolist() == [-1, 0, 1, 2, 2, 3, 3]


def test_popularity_groups_targets_by_training_events_alone():
    # one click of item 0, two of item 1 and so on train; item 10 stands in targets only, whatever its events there
    clicks = [(item, 0, -1) for item in range(5) for _ in range(item + 1)]
    users = [[*clicks, (item, 3, -1)] if item == 0 else [(6, 0, -1), (item, 3, -1)] for item in [0, 1, 2, 3, 4, 10]]
    sequences, _ = log_of(users)
    split = split_last_purchase(sequences)
    found = popularity(sequences, split, split.test)
    names = [found.names[label] for label in found.labels]
    assert names == [
        "rarest fifth", "second fifth", "third fifth", "fourth fifth", "most popular fifth", "not in training",
    ]  # fmt: skip


@settings(max_examples=60)
@given(USERS.filter(lambda users: any(len(u) > 1 and u[-1][1] == PURCHASE for u in users)))
def test_fifths_are_ordered_and_never_split_a_count(users):
    sequences, _ = log_of(users)
    split = split_last_purchase(sequences)
    found = popularity(sequences, split, split.test)
    events = Counter(sequences.item[split.train_event].tolist())
    count = [events[item] for item in sequences.item[split.test].tolist()]
    for a, label_a in zip(count, found.labels, strict=True):
        assert (label_a == 0) == (a == 0)
        # a target is in the j-th fifth if at most a share of j / 5 of the targets is rarer and (j - 1) / 5 is not
        rarer, as_rare = np.mean(np.array(count) < a), np.mean(np.array(count) <= a)
        assert a == 0 or (rarer <= label_a / 5 + 1e-9 and as_rare > (label_a - 1) / 5 - 1e-9)
        for b, label_b in zip(count, found.labels, strict=True):
            assert (a == b) <= (label_a == label_b) and (a < b) <= (label_a <= label_b)


def test_slices_of_a_log_and_of_a_simulated_shop():
    sequences, journey = log_of([[(3, 0, 0), (5, 0, -1), (3, 3, 0)], [(2, 3, 4), (4, 0, 4), (1, 3, -1)]])
    split = split_last_purchase(sequences)
    assert split.test.tolist() == [2, 5]

    def groups(found):
        return {s.name: [s.names[label] if label >= 0 else None for label in s.labels] for s in found}

    plain = groups(slices(sequences, split, split.test, max_history=1))
    assert plain == {
        "target item": ["not in the history", "not in the history"],
        "history length": ["1 to 9", "1 to 9"],
        "popularity": ["third fifth", "not in training"],
        "purchases so far": ["0", "1"],
    }
    shop = groups(slices(sequences, split, split.test, max_history=2, journey=journey))
    assert shop.pop("target item") == ["in the history", "not in the history"]
    assert {name: shop[name] for name in list(shop)[-3:]} == {
        "start of the journey": ["1 to 10", None],
        "gap": ["0 to 3", None],
        "journeys at once": ["1", None],
    }


def test_what_does_not_fit_is_named():
    sequences, journey = log_of([[(3, 0, 0), (3, 3, 0)]])
    split = split_last_purchase(sequences)
    with pytest.raises(InputError, match=r"journey: found \(1,\), expected \(2,\)"):
        slices(sequences, split, split.test, max_history=3, journey=journey[:1])
    with pytest.raises(InputError, match="found no target"):
        slices(sequences, split, split.test[:0], max_history=3)
    with pytest.raises(InputError, match=r"slice gap: found values \(1, 2\), users \(2,\), labels \(3,\)"):
        by_slice(np.zeros(2), np.arange(2), buckets("gap", np.arange(3), (0, 1)))


@pytest.mark.parametrize("seeds", [1, 3])
def test_by_slice_as_a_loop_over_groups_and_users_finds_it(seeds):
    rng = np.random.default_rng(seeds)
    values, user = rng.random((seeds, 61)), rng.integers(0, 17, 61)
    cut = Slice("some", rng.choice([-1, 0, 2, 3], 61), ("a", "empty", "c", "d"))
    found = by_slice(values if seeds > 1 else values[0], user, cut, resamples=101, seed=5)
    assert list(found) == ["a", "c", "d"]
    for label, name in ((0, "a"), (2, "c"), (3, "d")):
        inside = cut.labels == label
        people = sorted(set(user[inside].tolist()))
        means = np.array([[row[inside & (user == u)].mean() for u in people] for row in values])
        assert found[name].targets == inside.sum()
        assert found[name].estimate.mean == pytest.approx(means.mean())
        assert found[name].estimate == mean_with_interval(means, resamples=101, seed=5)
        assert found[name].estimate.users == len(people) and found[name].estimate.seeds == seeds
