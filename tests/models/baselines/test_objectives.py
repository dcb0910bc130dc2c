"""The softmax over items by hand, its sampled form without bias, and the mean over events."""

import math

import pytest
import torch
from torch.testing import assert_close

from rclrec_mini.models.baselines.objectives import item_nll, mean_over_events

N, D, M = 11, 5, 7


@pytest.fixture
def parts():
    """q, target, v, b in double precision."""
    g = torch.Generator().manual_seed(0)
    q, v = torch.randn(M, D, generator=g).double(), torch.randn(N, D, generator=g).double()
    return q, torch.randint(N, (M,), generator=g), v, torch.randn(N, generator=g).double()


def test_the_full_softmax_by_hand(parts):
    q, target, v, b = parts
    for nll, x, item in zip(item_nll(*parts), q, target, strict=True):
        logits = [float(x @ v[i] + b[i]) for i in range(N)]
        assert nll.item() == pytest.approx(math.log(sum(map(math.exp, logits))) - logits[item])


def test_the_sampled_softmax_tends_to_the_full_one(parts):
    torch.manual_seed(1)
    assert_close(item_nll(*parts, negatives=1_000_003), item_nll(*parts), atol=5e-3, rtol=0)


def test_the_target_is_no_negative_of_its_own(parts):
    """With one item all draws are the target: nothing is left to lose against."""
    q, target, v, b = parts
    assert_close(item_nll(q, target * 0, v[:1], b[:1], negatives=13), torch.zeros(M).double())


def test_mean_over_events_and_then_samples():
    nll = torch.tensor([[1.0, 2.0, 3.0], [5.0, 7.0, 11.0]])
    counts = torch.tensor([[True, True, False], [False, False, True]])
    assert mean_over_events(nll, counts).item() == (1.5 + 11) / 2
