import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from rclrec_mini.data.schema import ITEMS
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.item_features import (
    FeatureConfig,
    cooccurrence_counts,
    item_vectors,
    one_hot,
    ppmi,
    price_position,
    title_words,
    truncated_svd,
)

NOTHING = FeatureConfig(category=0, brand=0, seller=0, title=0, price=0, cooccurrence=0, dimensions=5)


def items(n: int, **columns: list) -> pa.Table:
    whole = {name: columns.get(name, [None] * n) for name in ITEMS.names} | {"item": range(n)}
    return pa.table({name: pa.array(values, ITEMS.field(name).type) for name, values in whole.items()}, ITEMS)


def sequences(*users: list[int], n_items: int) -> Sequences:
    item = np.concatenate([np.array(user, np.int32) for user in users])
    offsets = np.cumsum([0, *map(len, users)])
    return Sequences(item, np.zeros(len(item), np.int8), np.arange(len(item)), offsets, n_items)


def test_one_hot_leaves_nulls_at_zero() -> None:
    column = pa.chunked_array([pa.array(["b", None]), pa.array(["a", "b"])])
    assert one_hot(column).toarray().tolist() == [[1, 0], [0, 0], [0, 1], [1, 0]]
    assert one_hot(pa.chunked_array([pa.array([None, None], pa.string())])).shape == (2, 0)


def test_title_words_by_hand() -> None:
    table = title_words(items(4, title=["red  shoe red", None, "", "shoe"])).toarray()
    red, shoe = math.log(1 + 4 / 1), math.log(1 + 4 / 2)
    assert_allclose(table, [[red, shoe], [0, 0], [0, 0], [0, shoe]])
    assert title_words(items(2)).shape == (2, 0)


def test_near_prices_are_near() -> None:
    table = price_position(items(6, price=[5.0, None, 1.0, 9.0, 1.0, 1e6])).toarray()
    assert table[1].sum() == 0 and (table[2] == table[4]).all()
    assert_allclose(table.sum(1), [1, 0, 1, 1, 1, 1])
    many = price_position(items(101, price=[float(i**3) for i in range(101)])).toarray()
    distance = np.square(many - many[50]).sum(1)
    assert distance[50] == 0 < distance[51] < distance[53] < distance[57]
    assert price_position(items(3)).shape == (3, 0)


def test_cooccurrence_counts_training_events_within_a_user() -> None:
    log = sequences([0, 1, 1, 2, 3], [3, 0], n_items=5)
    train = np.array([1, 1, 1, 1, 0, 1, 1], bool)
    near = cooccurrence_counts(log, train, window=1).toarray()
    expected = np.zeros((5, 5))
    for a, b in [(0, 1), (1, 2), (3, 0)]:
        expected[a, b] = expected[b, a] = 1
    assert_allclose(near, expected)
    far = cooccurrence_counts(log, train, window=2).toarray()
    expected[0, 1] = expected[1, 0] = expected[1, 2] = expected[2, 1] = 2
    assert_allclose(far, expected)


def test_cooccurrence_equals_a_loop() -> None:
    rng = np.random.default_rng(0)
    log = sequences(*[rng.integers(0, 11, n).tolist() for n in (0, 1, 17, 5, 0, 23)], n_items=11)
    train = rng.random(len(log)) < 0.8
    expected = np.zeros((11, 11))
    for user in range(log.n_users):
        kept = [log.item[row] for row in range(log.offsets[user], log.offsets[user + 1]) if train[row]]
        for i, a in enumerate(kept):
            for b in kept[i + 1 : i + 4]:
                if a != b:
                    expected[a, b] += 1
                    expected[b, a] += 1
    assert_allclose(cooccurrence_counts(log, train, window=3).toarray(), expected)


def test_ppmi_by_hand() -> None:
    counts = np.array([[0, 8.0, 0], [8, 0, 1], [0, 1, 0]])
    total, context = np.array([8, 9, 1]), np.array([8, 9, 1]) ** 0.75
    expected = np.zeros((3, 3))
    for i, j in [(0, 1), (1, 0), (1, 2), (2, 1)]:
        expected[i, j] = max(0, math.log(counts[i, j] / (total[i] * context[j] / context.sum())))
    assert_allclose(ppmi(sparse.csr_array(counts)).toarray(), expected)
    assert ppmi(sparse.csr_array((3, 3))).nnz == 0


def test_truncated_svd_keeps_inner_products() -> None:
    table = np.random.default_rng(0).normal(size=(31, 7)) @ np.random.default_rng(1).normal(size=(7, 19))
    reduced = truncated_svd(sparse.csr_array(table), 13, seed=0)
    assert reduced.shape == (31, 7)  # its rank
    assert_allclose(reduced @ reduced.T, table @ table.T, atol=1e-8)
    best = np.linalg.svd(table, compute_uv=False)
    three = truncated_svd(sparse.csr_array(table), 3, seed=0)
    assert_allclose(np.square(three).sum(0), best[:3] ** 2)


@pytest.mark.parametrize("part", ["category", "brand", "seller", "title", "price"])
def test_each_part_by_itself(part: str) -> None:
    values = [3.0, 3.0, 8.0, None, 1.0] if part == "price" else ["a", "a", "b", None, "c"]
    config = dataclasses.replace(NOTHING, **{part: 4.0})
    log = sequences([0, 1], n_items=5)
    vectors = item_vectors(items(5, **{part: values}), log, np.ones(2, bool), config, progress=False)
    assert vectors.dtype == np.float32 and vectors.shape[0] == 5
    assert_allclose(np.square(vectors).sum(1), [4, 4, 4, 0, 4], rtol=1e-5)  # the weight; 0 where it is null
    assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.square(vectors[0] - vectors[2]).sum() > 1


def test_parts_add_up_and_the_seed_decides() -> None:
    rng = np.random.default_rng(0)
    table = items(101, category=[f"c{i % 7}" for i in range(101)], brand=[f"b{i % 23}" for i in range(101)])
    log = sequences(*[rng.integers(0, 101, 50).tolist() for _ in range(13)], n_items=101)
    config = FeatureConfig(dimensions=11)
    first, again = (item_vectors(table, log, np.ones(len(log), bool), config, seed=3, progress=False) for _ in "ab")
    assert first.shape == (101, 22) and np.isfinite(first).all()
    assert (first == again).all()


def test_test_events_leave_no_trace() -> None:
    table, train = items(5, category=list("aabbc")), np.array([1, 1, 1, 1, 0, 0], bool)
    logs = [sequences([0, 1, 2, 3, *last], n_items=5) for last in ([4, 0], [1, 3])]
    first, other = (item_vectors(table, log, train, FeatureConfig(dimensions=5), progress=False) for log in logs)
    assert (first == other).all()


def test_bad_input() -> None:
    log, train = sequences([0, 1], n_items=5), np.ones(2, bool)
    for config, message in [
        (dataclasses.replace(NOTHING, brand=1.0), "every part is empty"),
        (NOTHING, "every part is empty"),
    ]:
        with pytest.raises(InputError, match=message):
            item_vectors(items(5), log, train, config, progress=False)
    with pytest.raises(InputError, match="found 7 rows, expected 5"):
        item_vectors(items(7), log, train, FeatureConfig(), progress=False)
