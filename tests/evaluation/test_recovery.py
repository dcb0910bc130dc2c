import numpy as np
import pytest
import torch

from rclrec_mini.data.sequences import Sequences
from rclrec_mini.evaluation.recovery import attention_recovery, most_attended


class Looks(torch.nn.Module):
    """Attends to each event as much as its item number says."""

    max_history = 5

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def attention(self, batch):
        assert not torch.is_grad_enabled()
        return self.weight * batch.item.float() - 50  # below 0, and padding (item 0) below none of it by itself


def test_most_attended_are_in_ascending_order_and_ties_go_to_the_newer():
    attention = torch.tensor([[0.9, 0.2, 0.2, 0.1, 0.2], [9.0, 9.0, 9.0, -0.3, -0.1]])
    mask = torch.tensor([[True] * 5, [False] * 3 + [True] * 2])
    selection = most_attended(attention, mask, k=3)
    assert selection.index[0].tolist() == [2, 4, 0]
    assert selection.valid.tolist() == [[True] * 3, [False, True, True]]
    assert selection.index[1, 1:].tolist() == [3, 4]


@pytest.mark.parametrize("batch_size", [2, 512])
def test_attention_recovery_by_hand(batch_size):
    # user 0 buys at row 4 in journey 1, at row 6 in noise; user 1 at row 9 in journey 1
    item = np.array([8, 3, 9, 7, 1, 6, 2, 4, 5, 1])
    journey = torch.tensor([1, 1, -1, 0, 1, 1, -1, 1, 1, 1])
    sequences = Sequences(item, np.zeros(10, np.int8), np.arange(10), np.array([0, 7, 10]), n_items=11)
    found = attention_recovery(Looks(), sequences, journey, np.array([9, 4, 6]), k=2, batch_size=batch_size)
    # row 9: both events of the history; row 4: rows 2 and 0 are most attended, rows 0 and 1 true; row 6: none is true
    np.testing.assert_allclose(found["precision"], [1, 0.5, np.nan])
    np.testing.assert_allclose(found["recall"], [1, 0.5, np.nan])
    more = attention_recovery(Looks(), sequences, journey, np.array([4]), k=3, batch_size=batch_size)
    assert more["precision"] == pytest.approx(1 / 3)  # rows 2, 0, 3
    assert attention_recovery(Looks(), sequences, journey, np.array([], int))["recall"].shape == (0,)
