"""Figure 1(c) against numbers worked out by hand and against a loop over events."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from rclrec_mini.data.relevance import ATTRIBUTES, relevance
from rclrec_mini.data.schema import BEHAVIORS, DAY, ITEMS
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.files import InputError


def item_table(category: list, brand: list, seller: list) -> pa.Table:
    nothing = [None] * len(category)
    columns = {"category": category, "brand": brand, "seller": seller, "item": list(range(len(category)))}
    return pa.table({name: pa.array(columns.get(name, nothing), ITEMS.field(name).type) for name in ITEMS.names})


def random_log(seed: int) -> tuple[Sequences, pa.Table]:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum([11, 1, 23, 0, 7, 17])])
    n, n_items = offsets[-1], 13
    time = np.concatenate([np.sort(rng.integers(0, 5 * DAY, count)) for count in np.diff(offsets)])
    sequences = Sequences(
        rng.integers(0, n_items, n).astype(np.int32), rng.integers(0, 4, n).astype(np.int8), time, offsets, n_items
    )
    names = [[f"x{v}" if v else None for v in rng.integers(0, 4, n_items)] for _ in ATTRIBUTES]
    return sequences, item_table(*names)


def looped(sequences: Sequences, items: pa.Table, window: int, same_item: bool, same_day: bool) -> dict:
    """The share of every target in every source, by plain loops: {(attribute, behavior, source): [(user, share)]}."""
    events = [
        (u, int(sequences.item[r]), int(sequences.behavior[r]), int(sequences.timestamp[r]) // DAY)
        for u in range(sequences.n_users)
        for r in range(sequences.offsets[u], sequences.offsets[u + 1])
    ]
    found: dict = {}
    for at, (user, item, behavior, day) in enumerate(events):
        mine = [(i, e) for i, e in enumerate(events) if e[0] == user and i != at]
        past = [e for i, e in mine if i < at and (same_day or e[3] != day)][-window:]
        pools = {
            "history": past,
            "own shuffled": [e for _, e in mine if same_day or e[3] != day],
            "other users": [e for e in events if e[0] != user],
        }
        if same_item and past:
            seen = any(e[1] == item for e in past)
            found.setdefault(("item", BEHAVIORS[behavior], "history"), []).append((user, float(seen)))
        if not same_item:
            pools = {source: [e for e in pool if e[1] != item] for source, pool in pools.items()}
        for attribute in ATTRIBUTES:
            values = items[attribute].to_pylist()
            if values[item] is None or not pools["history"]:
                continue
            share = {s: np.mean([values[e[1]] == values[item] for e in pool]) for s, pool in pools.items()}
            share["excess"] = share["history"] - share["own shuffled"]
            for source, value in share.items():
                found.setdefault((attribute, BEHAVIORS[behavior], source), []).append((user, float(value)))
    return found


@pytest.mark.parametrize(("same_item", "same_day"), [*product([True, False], repeat=2)])
@pytest.mark.parametrize("chunk_rows", [1, 13, 10_000])
def test_equals_a_loop(same_item: bool, same_day: bool, chunk_rows: int) -> None:
    sequences, items = random_log(seed=5)
    found = relevance(
        sequences, items, window=7, same_item=same_item, same_day=same_day, chunk_rows=chunk_rows
    ).table.to_pylist()
    expected = looped(sequences, items, 7, same_item, same_day)
    assert {(row["attribute"], row["behavior"], row["source"]) for row in found} == expected.keys()
    for row in found:
        users, shares = zip(*expected[row["attribute"], row["behavior"], row["source"]], strict=True)
        assert row["mean"] == pytest.approx(np.mean(shares))
        assert (row["targets"], row["users"]) == (len(shares), len(set(users)))


def test_by_hand() -> None:
    # One user sees categories a c b c c, then c; another sees a once. Target: the last c, window 4.
    items = item_table(["a", "b", "c"], ["p", "p", None], ["s", "t", "s"])
    sequences = Sequences(
        np.array([0, 2, 1, 2, 2, 2, 0], np.int32),
        np.array([0, 0, 0, 0, 0, 3, 0], np.int8),
        np.arange(7),
        np.array([0, 6, 7]),
        3,
    )
    table = relevance(sequences, items, window=4).table.to_pylist()
    mean = {(r["attribute"], r["source"]): r["mean"] for r in table if r["behavior"] == "purchase"}
    assert mean["category", "history"] == 3 / 4  # c b c c
    assert mean["category", "own shuffled"] == 3 / 5  # a c b c c
    assert mean["category", "other users"] == 0  # a
    assert mean["category", "excess"] == pytest.approx(3 / 4 - 3 / 5)
    assert mean["seller", "history"] == 3 / 4
    assert mean["seller", "other users"] == 1
    assert mean["item", "history"] == 1
    assert ("brand", "history") not in mean  # the target has none


def test_intervals_are_clustered_by_user() -> None:
    # Two users with 2 and 4 purchases: means 1 and 0.25 in a window of one. Ratio of sums: (2 + 1) / 6.
    sequences, items = two_users()
    found = relevance(sequences, items, window=1)
    row = next(r for r in found.table.to_pylist() if (r["attribute"], r["source"]) == ("category", "history"))
    parts = np.array([2 - 0.5 * 2, 1 - 0.5 * 4]) / 6
    assert row["behavior"] == "purchase"
    assert row["mean"] == pytest.approx(0.5)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.959964 * np.sqrt((parts**2).sum() * 2 / 1))
    assert found.contrasts.num_rows == 0  # there is no other behaviour


def two_users() -> tuple[Sequences, pa.Table]:
    items = item_table(["a", "b"], ["p", "p"], ["s", "s"])
    item = np.array([0, 0, 0, 0, 1, 1, 0, 1], np.int32)  # user 0: aaa; user 1: abbab has one repeat in four
    return Sequences(item, np.full(8, 3, np.int8), np.arange(8), np.array([0, 3, 8]), 2), items


def test_contrasts_are_differences_of_means_with_their_own_interval() -> None:
    sequences, items = random_log(seed=11)
    found = relevance(sequences, items, window=5)
    mean = {(r["attribute"], r["source"], r["behavior"]): r["mean"] for r in found.table.to_pylist()}
    rows = found.contrasts.to_pylist()
    assert len(rows) == (3 * 4 + 1) * 6
    for row in rows:
        one, two = (mean[row["attribute"], row["source"], row[b]] for b in ("behavior", "minus"))
        assert row["mean"] == pytest.approx(one - two)
        assert row["low"] < row["mean"] < row["high"]


def test_interval_covers_the_truth_for_clustered_users() -> None:
    """Users differ in their share; in 19 of 20 worlds the interval must hold the mean over all worlds."""
    rng, n, events, hits, worlds = np.random.default_rng(7), 101, 31, 0, 200
    items = item_table(["a", "b"], ["p", "p"], ["s", "s"])
    rate = 0.5 + 0.4 * rng.choice([-1, 1], (worlds, n))
    item = (rng.random((worlds, n, events)) < rate[:, :, None]).astype(np.int32)
    expected = 0.9**2 + 0.1**2
    for world in item:
        sequences = Sequences(
            world.ravel(), np.zeros(n * events, np.int8), np.arange(n * events), np.arange(n + 1) * events, 2
        )
        row = relevance(sequences, items, window=3).table.to_pylist()[0]
        hits += row["low"] <= expected <= row["high"]
    assert 0.9 < hits / worlds < 0.99


def test_bad_arguments_are_named() -> None:
    sequences, items = random_log(seed=2)
    with pytest.raises(InputError, match="window: found 0"):
        relevance(sequences, items, window=0)
    with pytest.raises(InputError, match="items: found 3 rows, expected one for each of 13 items"):
        relevance(sequences, items.slice(0, 3))
