import pytest
import torch

from rclrec_mini.files import InputError
from rclrec_mini.models.dropout import Dropout


def kept(p: float, *shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return Dropout(p)(torch.ones(shape)) > 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.83])
def test_the_share_is_dropped_and_the_mean_stays(p):
    x = Dropout(p)(torch.full((997, 1009), 3.0))
    assert (x == 0).double().mean() == pytest.approx(p, abs=0.003)
    assert x[x != 0].unique().tolist() == pytest.approx([3 / (1 - p)], rel=1e-4)
    assert x.mean() == pytest.approx(3, rel=0.01)


def test_each_activation_is_decided_by_itself():
    alive = kept(0.3, 400_003).double() - 0.7
    for apart in (*range(1, 9), 64):  # four share a word
        assert (alive[apart:] * alive[:-apart]).mean().abs() < 0.002
    for lane in range(4):
        assert alive[lane::4].mean().abs() < 0.006


def test_the_same_seed_drops_the_same_and_the_next_call_others():
    assert (kept(0.5, 7, 11, 13) == kept(0.5, 7, 11, 13)).all()
    torch.manual_seed(0)
    dropout = Dropout(0.5)
    first, second = (dropout(torch.ones(7, 11, 13)) for _ in range(2))
    assert (first != second).any()


def test_the_gradient_is_that_of_the_kept():
    x = torch.randn(5, 7, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, 2.0))


def test_nothing_happens_outside_training_or_at_zero():
    x = torch.randn(3, 5)
    assert Dropout(0.5).eval()(x) is x and Dropout(0.0)(x) is x


def test_half_precision_stays():
    assert Dropout(0.5)(torch.ones(3, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert Dropout(0.5)(torch.ones(0, 5)).shape == (0, 5)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
def test_a_share_that_is_none_is_named(p):
    with pytest.raises(InputError, match=f"dropout: found {p}"):
        Dropout(p)
