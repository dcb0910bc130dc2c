"""A small random log and a small model, in distinct prime sizes so that a swapped axis fails."""

import numpy as np
import pytest
import torch

from rclrec_mini.data.sequences import Sequences
from rclrec_mini.models.backbone import Backbone, BackboneConfig

USERS, ITEMS, LEVELS, CODES, WIDTH, HISTORY = 7, 53, 3, 11, 26, 23


@pytest.fixture
def sequences() -> Sequences:
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 37, USERS)
    n = int(lengths.sum())
    gap = np.floor(10 ** np.random.default_rng(4).uniform(-1, 6, n))  # seconds to weeks, sometimes nothing
    return Sequences(
        item=rng.integers(0, ITEMS, n).astype(np.int32),
        behavior=rng.integers(0, 4, n).astype(np.int8),
        timestamp=np.cumsum(gap).astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        n_items=ITEMS,
    )


@pytest.fixture
def batch(sequences):
    rows = np.setdiff1d(np.arange(len(sequences)), sequences.offsets)
    return sequences.batch(np.random.default_rng(1).permutation(rows)[:31], HISTORY)


@pytest.fixture
def codes() -> torch.Tensor:
    return torch.randint(0, CODES, (ITEMS, LEVELS), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(3)
    config = BackboneConfig(
        levels=LEVELS, codes=CODES, d=WIDTH, heads=2, encoder_layers=2, decoder_layers=2, ffn=41, dropout=0.0,
        max_history=HISTORY, max_prefix=5,
    )  # fmt: skip
    return Backbone(config)
