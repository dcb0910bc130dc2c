import numpy as np
import pytest
import torch

from rclrec_mini.data.sequences import Sequences
from rclrec_mini.evaluation.recovery import attention_entropy, attention_recovery
from rclrec_mini.models.baselines.hstu import HSTU, HSTUConfig
from rclrec_mini.models.baselines.sasrec import SASRec, SASRecConfig


class Model(torch.nn.Module):
    max_history = 5

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))


class Looks(Model):
    """Attends to each event as much as its item number says."""

    def attention(self, batch):
        assert not torch.is_grad_enabled()
        return self.weight * batch.item.float() - 50  # below 0, and padding (item 0) below none of it by itself


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


@pytest.mark.parametrize("method", ["sasrec", "hstu"])
def test_attention_of_the_baselines_as_a_loop_ranks_it(method):
    rng = np.random.default_rng(0)
    offsets = np.array([0, 17, 19, 42])
    sequences = Sequences(rng.integers(0, 53, 42), rng.integers(0, 4, 42), np.arange(42) * 907, offsets, n_items=53)
    journey, rows = torch.from_numpy(rng.integers(-1, 3, 42)), np.array([16, 18, 29, 41, 3])
    torch.manual_seed(1)
    if method == "sasrec":
        model = SASRec(config=SASRecConfig(d=26, max_history=11), n_items=53).eval()
    else:
        model = HSTU(config=HSTUConfig(d=26, heads=2, max_history=11), n_items=53).eval()
    found = attention_recovery(model, sequences, journey, rows, k=3, batch_size=2)
    for i, row in enumerate(rows):
        batch = sequences.batch(np.array([row]), 11)
        weight = model.attention(batch)[0].tolist()
        history = np.arange(row - len(weight), row)  # a batch of one has no padding
        chosen = sorted(range(len(weight)), key=lambda t: (weight[t], t))[-3:]
        true = (journey[history] == journey[row]).numpy() & (int(journey[row]) >= 0)
        hits = true[chosen].sum() if true.any() else np.nan
        assert found["precision"][i] == pytest.approx(hits / len(chosen), nan_ok=True)
        assert found["recall"][i] == pytest.approx(hits / max(1, true.sum()), nan_ok=True)


class Masked(Model):
    """Looks at all places alike in its first layer, at itself alone in the second, at itself and the newest event in
    one head of the third."""

    def masked_attention(self, batch):
        exists = torch.cat([batch.mask, torch.ones_like(batch.mask[:, :1])], dim=1).float()
        even = exists / exists.sum(1, keepdim=True)
        own = torch.zeros_like(exists)
        own[:, -1] = 1
        half = own / 2
        half[:, -2] = 0.5
        return self.weight * torch.stack([even, even, own, own, own, half], dim=1).unflatten(1, (3, 2))


@pytest.mark.parametrize("batch_size", [2, 512])
def test_attention_entropy_by_hand(batch_size):
    sequences = Sequences(np.zeros(10, int), np.zeros(10, np.int8), np.arange(10), np.array([0, 7, 10]), n_items=11)
    rows = np.array([3, 6, 9])  # 3, 5 and 2 events, and itself: 4, 6 and 3 places
    found = attention_entropy(Masked(), sequences, rows, batch_size=batch_size)
    assert found == pytest.approx([1, 0, np.mean(np.log(2) / np.log([4, 6, 3])) / 2], abs=1e-6)
