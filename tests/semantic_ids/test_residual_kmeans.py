import warnings

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.residual_kmeans import (
    ResidualKMeansConfig,
    residual_kmeans,
    seed_centers,
    update_centers,
)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_error_is_within_a_tenth_of_faiss(clustered, seed: int) -> None:
    """The peer codes greedily as we do (max_beam_size 1), with as many iterations per level and all items."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its bindings
        import faiss
    vectors = clustered(3001, 29, seed=seed)
    ours = residual_kmeans(vectors, ResidualKMeansConfig(levels=4, codes=64, seed=seed), progress=False)
    peer = faiss.ResidualQuantizer(29, 4, 6)
    peer.max_beam_size, peer.cp.seed, peer.cp.niter = 1, seed + 1, 25
    peer.cp.min_points_per_centroid = 1
    peer.train(vectors)
    decoded = peer.decode(peer.compute_codes(vectors))
    theirs = np.square(vectors - decoded).sum() / np.square(vectors - vectors.mean(0)).sum()
    assert 0.5 < float(ours.errors[-1]) / theirs < 1.1


def test_shapes_and_errors_that_fall(clustered) -> None:
    config = ResidualKMeansConfig(levels=3, codes=11, iterations=5)
    result = residual_kmeans(clustered(211, 7, seed=0), config, progress=False)
    assert result.codebooks.shape == (3, 11, 7) and result.codes.shape == (211, 3)
    assert result.codes.dtype == torch.int64
    assert (result.errors.diff() < 0).all() and result.errors[0] < 1


def test_the_seed_decides(clustered) -> None:
    vectors = clustered(307, 5, seed=0)
    first, again, other = (
        residual_kmeans(vectors, ResidualKMeansConfig(codes=13, seed=seed), progress=False) for seed in (3, 3, 4)
    )
    assert torch.equal(first.codes, again.codes) and torch.equal(first.codebooks, again.codebooks)
    assert not torch.equal(first.codes, other.codes)


@pytest.mark.parametrize("n_items", [211, 1009])
def test_balanced_codes_hold_their_share_at_most(clustered, n_items: int) -> None:
    config = ResidualKMeansConfig(levels=3, codes=13, balanced=True)
    result = residual_kmeans(clustered(n_items, 5, seed=0), config, progress=False)
    for level in result.codes.T:
        assert torch.bincount(level, minlength=13).max() <= -(-n_items // 13)
    free = residual_kmeans(clustered(n_items, 5, seed=0), ResidualKMeansConfig(levels=3, codes=13), progress=False)
    assert free.errors[-1] < result.errors[-1] < 3 * free.errors[-1]  # what balance costs


def test_one_lloyd_step_by_hand() -> None:
    points = torch.tensor([[0.0], [1.0], [10.0], [40.0]])
    centers = torch.tensor([[0.0], [20.0], [99.0]])
    updated = update_centers(points, torch.tensor([0, 0, 1, 1]), centers)
    assert_close(updated, torch.tensor([[0.5], [25.0], [40.0]]))  # the empty third restarts at the farthest point


def test_seeding_takes_every_distinct_point() -> None:
    points = torch.tensor([[0.0], [0.0], [5.0], [0.0], [7.0]])
    centers = seed_centers(points, 3, torch.Generator().manual_seed(0))
    assert sorted(centers[:, 0].tolist()) == [0, 5, 7]


def test_fewer_distinct_items_than_codes() -> None:
    result = residual_kmeans(torch.ones(5, 3), ResidualKMeansConfig(levels=2, codes=7), progress=False)
    assert_close(result.codebooks[0][result.codes[:, 0]], torch.ones(5, 3))


def test_a_sample_fits_all(clustered) -> None:
    vectors = clustered(2003, 5, seed=0)
    small = residual_kmeans(vectors, ResidualKMeansConfig(codes=16, sample_per_code=20), progress=False)
    whole = residual_kmeans(vectors, ResidualKMeansConfig(codes=16), progress=False)
    assert small.codes.shape == (2003, 4) and small.errors[-1] < 2 * whole.errors[-1]


def test_too_many_items() -> None:
    with pytest.raises(InputError, match="room for 4 items, found 5"):
        residual_kmeans(torch.zeros(5, 3), ResidualKMeansConfig(levels=2, codes=2), progress=False)
