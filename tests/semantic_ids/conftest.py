from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture
def clustered() -> Callable[..., np.ndarray]:
    """Makes vectors with the structure that item vectors have: clusters within clusters, and noise."""

    def make(n_items: int, dimensions: int, *, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        parents = 2 * rng.normal(size=(17, dimensions))
        leaves = parents[rng.integers(0, 17, 101)] + rng.normal(size=(101, dimensions))
        noise = rng.normal(size=(n_items, dimensions)) * np.linspace(0.6, 0.1, dimensions)
        return (leaves[rng.integers(0, 101, n_items)] + noise).astype(np.float32)

    return make
