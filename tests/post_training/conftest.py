"""Fixtures of seven_items.py."""

import pytest
from seven_items import CODES, small_model, small_sequences

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.models.rclrec import RCLRec
from rclrec_mini.semantic_ids.catalog import Catalog


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(CODES, n_codes=3)


@pytest.fixture
def sequences() -> Sequences:
    return small_sequences()


@pytest.fixture
def batch(sequences) -> Batch:
    return sequences.batch(sequences.offsets[1:] - 1, 11)


@pytest.fixture(params=[False, True], ids=["generates", "points"])
def model(request) -> RCLRec:
    return small_model(points=request.param)
