"""HSTU: buckets by hand, a layer and the losses against loops, no event sees a later one, a tiny batch by heart."""

import dataclasses
import math

import pytest
import torch
from samples import best, fit, only
from torch.testing import assert_close

from rclrec_mini.models.baselines.hstu import HSTU, HSTUConfig, HSTULayer, time_bucket

CONFIG = HSTUConfig(d=26, heads=2, layers=3, dropout=0.0, max_history=23)


@pytest.fixture
def model():
    """In double precision, with biases that are not zero."""
    torch.manual_seed(6)
    model = HSTU(config=CONFIG, n_items=53).double()
    for layer in model.layers:
        torch.nn.init.normal_(layer.position)
        torch.nn.init.normal_(layer.time)
    return model


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def normed(x: list[float]) -> list[float]:
    mean = sum(x) / len(x)
    variance = sum((y - mean) ** 2 for y in x) / len(x)
    return [(y - mean) / math.sqrt(variance + 1e-6) for y in x]


def project(weight: torch.Tensor, x: list[float]) -> list[float]:
    return [sum(w * y for w, y in zip(row, x, strict=True)) for row in weight.tolist()]


def layer_by_loops(layer: HSTULayer, x: list[list[float]], timestamp: list[int], *, heads: int, n: int):
    """Y (T, d) and A (h, T, T) of one sample without padding, number by number."""
    d = len(x[0])
    parts = [[silu(y) for y in project(layer.uvqk.weight, normed(event))] for event in x]
    u, v, q, k = ([p[i * d : (i + 1) * d] for p in parts] for i in range(4))
    size = d // heads
    weights = [[[0.0] * len(x) for _ in x] for _ in range(heads)]
    out = []
    for i in range(len(x)):
        found = [0.0] * d
        for j in range(i + 1):
            seconds = max(abs(timestamp[i] - timestamp[j]), 1)
            rab = layer.position[i - j].item() + layer.time[min(math.floor(math.log(seconds) / 0.301), 128)].item()
            for h in range(heads):
                place = range(h * size, (h + 1) * size)
                weights[h][i][j] = silu(sum(q[i][c] * k[j][c] for c in place) + rab) / n
                for c in place:
                    found[c] += weights[h][i][j] * v[j][c]
        gated = [a * b for a, b in zip(u[i], normed(found), strict=True)]
        y = project(layer.out.weight, gated)
        out.append([a + b + c for a, b, c in zip(y, layer.out.bias.tolist(), x[i], strict=True)])
    return out, weights


def test_buckets_by_hand():
    """ln 2 / 0.301 = 2.3, ln 60 = 13.6, ln 3600 = 27.2, ln 86400 = 37.8; the longest time there is falls in 128."""
    seconds = [0, 1, 2, 60, 3600, 86400, 2**62]
    expected = torch.tensor([0, 0, 2, 13, 27, 37, 128])
    assert_close(time_bucket(torch.tensor(seconds)), expected)
    assert_close(time_bucket(-torch.tensor(seconds)), expected)
    every = range(1, 40001)
    assert time_bucket(torch.tensor(every)).tolist() == [math.floor(math.log(s) / 0.301) for s in every]


def test_weight_by_hand():
    """One event of zeros: Q K^T is 0, so that A = SiLU(rab) / n, and A V = 0 leaves the residual and W_o's bias."""
    layer = HSTULayer(dataclasses.replace(CONFIG, max_history=5))
    torch.nn.init.constant_(layer.position, 1.5)
    torch.nn.init.constant_(layer.time, 0.5)
    zero = torch.zeros(1, 1, 1, dtype=torch.int64)
    y, weight = layer(torch.zeros(1, 1, 26), zero[0], zero, zero == 0)
    assert_close(weight, torch.full((1, 2, 1, 1), 2 / (1 + math.exp(-2)) / 5))
    assert_close(y[0, 0], layer.out.bias)


def test_model_is_its_layers_by_loops(model, batch):
    """Samples with and without padding, in one batch, against one sample at a time."""
    states, weight = model.encode(batch.history())
    for i in range(5):
        one = only(batch, i)
        x = (model.item_embedding(one.item) + model.behavior_embedding(one.behavior))[0] * math.sqrt(26)
        x, times = x.tolist(), one.timestamp[0].tolist()
        for layer in model.layers:
            x, expected = layer_by_loops(layer, x, times, heads=2, n=23)
        assert_close(states[i, batch.mask[i]], torch.tensor(x, dtype=torch.float64))
        assert_close(weight[i][:, -len(x) :, -len(x) :], torch.tensor(expected, dtype=torch.float64))


def test_masked_and_later_keys_weigh_exactly_nothing(model, batch):
    weight = model.encode(batch.history())[1]
    events = batch.mask.shape[1]
    assert not batch.mask.all()
    assert (weight.transpose(1, 3)[~batch.mask] == 0).all()  # (padding, T, h)
    assert (weight.triu(1) == 0).all()
    seen = weight[:, :, torch.arange(events), torch.arange(events)].transpose(1, 2)[batch.mask]
    assert (seen != 0).all()


def test_no_softmax_and_n_is_a_constant(model, batch):
    """With twice the n a weight of the first block is half as large, whatever the length; rows do not sum to 1."""
    torch.manual_seed(7)
    model = HSTU(config=dataclasses.replace(CONFIG, layers=1), n_items=53)
    twice = HSTU(config=dataclasses.replace(CONFIG, layers=1, max_history=46), n_items=53)
    twice.load_state_dict({k: v for k, v in model.state_dict().items() if "position" not in k}, strict=False)
    weight = model.encode(batch.history())[1]
    assert_close(twice.encode(batch.history())[1] * 2, weight)
    assert (weight[:, :, -1].sum(-1) - 1).abs().min() > 0.01


@pytest.mark.parametrize("column", ["item", "behavior", "timestamp"])
def test_no_event_sees_a_later_one(model, batch, column):
    """A change of event t changes states from t on, and none before; a time shows only beside another time."""
    one = only(batch, int(batch.mask.sum(1).argmax()))
    events = one.history()
    before, _ = model.encode(events)
    for t in range(events.mask.shape[1]):
        value = getattr(events, column).clone()
        value[0, t] = {"item": (value[0, t] + 1) % 53, "behavior": (value[0, t] + 1) % 4}.get(column, 10**8)
        after, _ = model.encode(events._replace(**{column: value}))
        assert_close(after[0, :t], before[0, :t], rtol=0, atol=0)
        if t or column != "timestamp":
            assert (after[0, t] - before[0, t]).abs().max() > 1e-6


def test_the_target_is_not_read(model, batch):
    changed = dataclasses.replace(
        batch,
        target_item=(batch.target_item + 1) % 53,
        target_behavior=(batch.target_behavior + 1) % 4,
        target_timestamp=batch.target_timestamp + 10**6,
    )
    assert_close(model.query(changed), model.query(batch), rtol=0, atol=0)


def test_losses_by_loops(model, batch):
    """exp(cos / 0.05) over all items: every event that has one before it, mean by sample, then over samples."""
    table = model.item_embedding.weight
    samples, targets = [], []
    for i in range(len(batch)):
        one = only(batch, i)
        x = model.encode(one.history())[0][0]
        following = one.item[0].tolist()[1:] + [int(one.target_item)]
        nll = []
        for state, item in zip(x, following, strict=True):
            cosine = [torch.dot(state, e) / state.norm() / e.norm() for e in table]
            nll.append(-(torch.stack(cosine) / 0.05).log_softmax(0)[item])
        samples.append(torch.stack(nll).mean())
        targets.append(nll[-1])
    logs = model.pretraining(batch)
    assert_close(logs["loss"], torch.stack(samples).mean())
    assert_close(logs["target_nll"], torch.stack(targets).mean())
    assert_close(model(batch)["loss"], torch.stack(targets).mean())


def test_scores_are_cosines(model, batch):
    vectors, bias = model.items()
    scores = model.query(batch) @ vectors.T + bias
    state = model.encode(batch.history())[0][3, -1]
    expected = torch.cosine_similarity(state, model.item_embedding.weight[17], dim=0) / 0.05
    assert_close(scores[3, 17], expected)


def test_attention_of_the_newest_event(model, batch):
    attention = model.attention(batch)
    weight = model.encode(batch.history())[1]
    assert attention.shape == batch.mask.shape
    assert (weight[:, :, -1].mean(1) < 0).any()  # so that the floor is put to the test
    for i, j in [(0, -1), (5, -2), (11, -1)]:
        assert_close(attention[i, j], ((weight[i, 0, -1, j] + weight[i, 1, -1, j]) / 2).clamp(min=0))
    assert (attention >= 0).all() and (attention[~batch.mask] == 0).all()


def test_sampled_softmax_tends_to_the_full(model, batch):
    torch.manual_seed(7)
    model.config = dataclasses.replace(model.config, temperature=1.0)
    full = model(batch)["loss"]
    model.config = dataclasses.replace(model.config, negatives=4001)
    assert 0 < (model(batch)["loss"] - full).abs() < 0.04


def test_a_tiny_batch_is_learned_by_heart(batch):
    torch.manual_seed(8)
    model = HSTU(config=CONFIG, n_items=53)
    fit(model, batch, steps=50, lr=3e-3, stage=model.pretraining)
    logs = fit(model, batch, steps=100, lr=3e-3)
    assert logs["loss"] < 0.1 and (best(model, batch) == batch.target_item).all()
