import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.semantic_ids.quantization import (
    Quantization,
    as_vectors,
    nearest,
    nearest_with_room,
    partial_sums,
    residual_codes,
    squared_distances,
    unique_codes,
    variance_left,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def quantization(vectors: torch.Tensor, codebooks: torch.Tensor) -> Quantization:
    codes = residual_codes(vectors, codebooks)
    errors = torch.stack([variance_left(vectors, part) for part in partial_sums(codes, codebooks)])
    return Quantization(vectors, codebooks, codes, errors)


def test_nearest_equals_a_loop(monkeypatch) -> None:
    monkeypatch.setattr("rclrec_mini.semantic_ids.quantization.CHUNK", 7)
    points, centers = normal(23, 5), normal(11, 5, seed=1)
    distance = ((points[:, None] - centers) ** 2).sum(2)
    code, cost = nearest(points, centers)
    assert torch.equal(code, distance.argmin(1))
    assert_close(cost, distance.min(1).values)
    assert_close(squared_distances(points, centers), distance)
    assert nearest(points[:0], centers)[0].shape == (0,)


def test_residual_codes_by_hand() -> None:
    codebooks = torch.tensor([[[0.0], [10.0]], [[1.0], [-2.0]]])
    vectors = torch.tensor([[8.5], [0.5], [11.0]])
    codes = residual_codes(vectors, codebooks)
    assert codes.tolist() == [[1, 1], [0, 0], [1, 0]]
    sums = list(partial_sums(codes, codebooks))
    assert sums[0][:, 0].tolist() == [10, 0, 10] and sums[1][:, 0].tolist() == [8, 1, 11]
    spread = ((vectors - vectors.mean()) ** 2).sum()
    assert_close(variance_left(vectors, sums[1]), torch.tensor(0.5) / spread)


@given(
    st.integers(1, 5).flatmap(lambda v: st.tuples(st.just(v), st.lists(st.integers(0, 2), min_size=1, max_size=30))),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_nearest_with_room_is_stable(case: tuple[int, list[int]], seed: int) -> None:
    """No code is over its capacity, and no point would rather be in a code that would rather have it."""
    n_codes, groups = case
    group = torch.tensor(groups)
    capacity = -(-int(torch.bincount(group).max()) // n_codes)
    points, centers = normal(len(group), 3, seed=seed), normal(n_codes, 3, seed=seed + 1)
    code = nearest_with_room(points, centers, capacity, group=group)
    distance = squared_distances(points, centers)
    for i in range(len(group)):
        for v in range(n_codes):
            inside = ((group == group[i]) & (code == v)).nonzero()[:, 0]
            assert len(inside) <= capacity
            if distance[i, v] < distance[i, code[i]] - 1e-4:
                assert len(inside) == capacity and distance[inside, v].max() <= distance[i, v] + 1e-4


def test_nearest_with_room_by_hand() -> None:
    centers = torch.tensor([[0.0], [10.0]])
    points = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    assert nearest_with_room(points, centers, 4).tolist() == [0, 0, 0, 0]
    assert nearest_with_room(points, centers, 2).tolist() == [0, 0, 1, 1]
    start = torch.tensor([1, 0, 0, 0])  # asked first: the point at 1 is at home in code 1 and stays
    assert nearest_with_room(points, centers, 3, start=start).tolist() == [1, 0, 0, 0]


def test_collisions_move_as_little_as_they_can() -> None:
    codebooks = torch.tensor([[[0.0], [100.0]], [[0.0], [1.0]]]).repeat(1, 1, 1)
    vectors = torch.tensor([[0.1], [-0.2], [100.4]])
    codes, collisions = unique_codes(quantization(vectors, codebooks))
    assert codes.tolist() == [[0, 0], [0, 1], [1, 0]]  # the nearer of the two keeps its code
    assert (collisions.shared, collisions.moved, collisions.moved_by_level) == (2, 1, (0, 1))


def test_a_prefix_that_overflows_spills_to_the_level_before() -> None:
    codebooks = torch.tensor([[[0.0], [100.0]], [[0.0], [1.0]]])
    vectors = torch.tensor([[0.1], [0.2], [0.3]])  # three items of prefix 0, room for two
    codes, collisions = unique_codes(quantization(vectors, codebooks))
    assert len(torch.unique(codes, dim=0)) == 3
    assert codes[2, 0] == 1 and codes[:2, 0].tolist() == [0, 0]
    assert collisions.moved_by_level == (1, 1)


def test_what_moves_and_what_stays_is_judged_by_what_is_left_over() -> None:
    """Of 5.1, 5.2 and 8 near center 5 the last moves to 15 and takes the code of -7, not of 0.2; of the two that are
    left 0.2 keeps its code and 0.1 moves."""
    codebooks = torch.tensor([[[5.0], [15.0]], [[-7.0], [0.2]]])
    codes, collisions = unique_codes(quantization(torch.tensor([[5.1], [5.2], [8.0]]), codebooks))
    assert codes.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert (collisions.shared, collisions.moved, collisions.moved_by_level) == (3, 2, (1, 1))


def test_a_tree_of_more_leaves_than_64_bits_count() -> None:
    codes, collisions = unique_codes(
        quantization(torch.zeros(3, 1), torch.arange(256.0).view(1, 256, 1).repeat(9, 1, 1))
    )
    assert codes[:, :8].eq(0).all() and codes[:, 8].tolist() == [0, 1, 2] and collisions.moved == 2


@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 99), st.booleans(), st.data())
@settings(deadline=None)
def test_every_item_gets_a_tuple_of_its_own(
    levels: int, n_codes: int, seed: int, identical: bool, data: st.DataObject
) -> None:
    n_items = data.draw(st.integers(1, n_codes**levels))
    vectors = normal(1, 2, seed=seed).expand(n_items, 2) if identical else normal(n_items, 2, seed=seed)
    before = quantization(vectors, normal(levels, n_codes, 2, seed=seed + 1))
    codes, collisions = unique_codes(before)
    catalog = Catalog(codes, n_codes=n_codes)  # which refuses equal tuples
    assert len(catalog) == n_items
    moved = (codes != before.codes).any(1)
    assert collisions.moved == int(moved.sum()) == sum(collisions.moved_by_level)
    assert collisions.moved >= n_items - len(torch.unique(before.codes, dim=0))
    if collisions.shared == 0:
        assert collisions.moved == 0


def test_too_many_items_for_the_codes() -> None:
    with pytest.raises(InputError, match="2 levels of 3 codes: room for 9 items, found 10"):
        unique_codes(quantization(normal(10, 2), normal(2, 3, 2)))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros(5), "expected \\(N, D\\)"),
        (np.zeros((0, 5)), "expected \\(N, D\\)"),
        (np.array([[0.0], [np.nan]]), "row 1 holds nan"),
    ],
)
def test_bad_vectors(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_vectors(vectors, "cpu")
