"""GEAR: interleaving and time bias by hand, states against torch's own layers, what predicts what, no leak."""

import copy
import dataclasses
import math

import pytest
import torch
from samples import best, fit, only
from torch import nn
from torch.testing import assert_close

from rclrec_mini.models.baselines.gear import GEAR, GEARConfig, Layer, alternate, time_bias

CONFIG = GEARConfig(d=26, heads=2, layers=3, dropout=0.0, max_history=23)


@pytest.fixture
def model():
    """In double precision, from weights that are not a special start."""
    torch.manual_seed(6)
    model = GEAR(config=CONFIG, n_items=53).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def torch_layer(layer: Layer) -> nn.TransformerEncoderLayer:
    """The same weights in the layer that the public code uses, by its defaults: post-norm, ReLU."""
    d = CONFIG.d
    twin = nn.TransformerEncoderLayer(d, CONFIG.heads, 4 * d, dropout=0.0, batch_first=True, dtype=torch.float64)
    attention = layer.attention
    with torch.no_grad():
        twin.self_attn.in_proj_weight.copy_(
            torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
        )
        twin.self_attn.in_proj_bias.zero_()
        twin.self_attn.out_proj.weight.copy_(attention.out.weight)
        twin.self_attn.out_proj.bias.zero_()
        for ours, theirs in [
            (layer.ffn[0], twin.linear1),
            (layer.ffn[3], twin.linear2),
            (layer.attention_norm, twin.norm1),
            (layer.ffn_norm, twin.norm2),
        ]:
            theirs.load_state_dict(ours.state_dict())
    return twin


def states_by_hand(model: GEAR, one) -> list[torch.Tensor]:
    """States at b_1, i_1, ..., b_T, i_T, b_{T+1} of one sample without padding, from torch's layers and loops."""
    items, times = one.item[0].tolist(), one.timestamp[0].tolist()
    behaviors = one.behavior[0].tolist() + [int(one.target_behavior)]
    bias = torch.full((CONFIG.heads, len(behaviors), len(behaviors)), -math.inf, dtype=torch.float64)
    for h in range(CONFIG.heads):
        for t in range(len(behaviors)):
            bias[h, t, t] = 0.0
            for s in range(t):
                bias[h, t, s] = -(2 ** (-8 * h / CONFIG.heads)) * math.log(1 + times[t - 1] - times[s])

    def lower(layer: Layer, table: nn.Embedding, ids: list[int], mask: torch.Tensor) -> torch.Tensor:
        x = torch.stack([model.norm(table.weight[i]) for i in ids])
        return torch_layer(layer)(x[None], src_mask=mask)[0]

    def triangle(size: int) -> torch.Tensor:
        return nn.Transformer.generate_square_subsequent_mask(size, dtype=torch.float64)

    i = lower(model.item_layer, model.item_embedding, items, triangle(len(items)))
    b = lower(model.behavior_layer, model.behavior_embedding, behaviors, bias)
    x = [b[0]]
    for t in range(len(items)):
        x += [i[t], b[t + 1]]
    y = torch.stack(x)[None]
    for layer in model.upper:
        y = torch_layer(layer)(y, src_mask=triangle(len(x)))
    return list(y[0])


def test_alternation_by_hand():
    assert alternate(torch.tensor([[1, 2, 3]]), torch.tensor([[10, 20]])).tolist() == [[1, 10, 2, 20, 3]]
    b, i = torch.rand(2, 4, 5), torch.rand(2, 3, 5)
    x = alternate(b, i)
    assert_close(x[1, 3], i[1, 1])
    assert_close(x[1, 6], b[1, 3])


def test_time_bias_by_hand():
    """Slopes 2^0, 2^-2, 2^-4, 2^-6 of four heads; b_3 looks at b_1 from the moment 107 of b_2, b_4 from 131."""
    bias = time_bias(torch.tensor([[100, 107, 131]]), 4)[0]
    elapsed = [[0, 0, 0, 0], [0, 0, 0, 0], [7, 0, 0, 0], [31, 24, 0, 0]]
    for h, slope in enumerate([1, 1 / 4, 1 / 16, 1 / 64]):
        for t in range(4):
            for s in range(t + 1):
                assert_close(bias[h, t, s].item(), -slope * math.log(1 + elapsed[t][s]), rtol=1e-6, atol=0)


def test_states_are_those_of_torch_layers(model, batch):
    """Samples with and without padding, in one batch, against one sample at a time."""
    assert not batch.mask[:5].all()
    at_behavior, at_item = model.encode(batch)
    for i in range(5):
        expected = states_by_hand(model, only(batch, i))
        events = len(expected) // 2
        assert_close(at_behavior[i, -events - 1 :], torch.stack(expected[0::2]))
        assert_close(at_item[i, -events:], torch.stack(expected[1::2]))


def test_losses_by_loops(model, batch):
    """b_t predicts i_t, i_t predicts b_{t+1}: mean over a sample's events, then over samples; 0.1 for behaviours."""
    samples, targets, last_items = [], [], []
    for i in range(len(batch)):
        one = only(batch, i)
        states = states_by_hand(model, one)
        tokens = [(0, 0)] * len(states)  # what each state predicts
        items = one.item[0].tolist() + [int(one.target_item)]
        behaviors = one.behavior[0].tolist() + [int(one.target_behavior)]
        for t in range(len(items)):
            tokens[2 * t] = ("item", items[t])
            if t + 1 < len(behaviors):
                tokens[2 * t + 1] = ("behavior", behaviors[t + 1])
        nll = {"item": [], "behavior": []}
        for state, (kind, token) in zip(states, tokens, strict=True):
            table = {"item": model.item_embedding, "behavior": model.behavior_embedding}[kind]
            nll[kind].append(-(table.weight @ state).log_softmax(0)[token])
        samples.append(torch.stack(nll["item"]).mean() + 0.1 * torch.stack(nll["behavior"]).mean())
        targets.append(nll["item"][-1] + 0.1 * nll["behavior"][-1])
        last_items.append(nll["item"][-1])
    logs = model.pretraining(batch)
    assert_close(logs["loss"], torch.stack(samples).mean())
    assert_close(logs["target_nll"], torch.stack(last_items).mean())
    logs = model(batch)
    assert_close(logs["loss"], torch.stack(targets).mean())
    assert_close(logs["target_nll"], torch.stack(last_items).mean())


def test_behavior_weight(model, batch):
    heavy = copy.deepcopy(model)
    heavy.config = dataclasses.replace(CONFIG, behavior_weight=3.0)
    for loss in ("pretraining", "forward"):
        light, other = getattr(model, loss)(batch), getattr(heavy, loss)(batch)
        assert_close(other["loss"] - light["loss"], 2.9 * light["behavior_nll"])


def test_one_pass_equals_a_pass_for_each_event(model, batch, sequences):
    """The state at b_t with all that follows is the query of the sample that ends before i_t."""
    at_behavior, _ = model.encode(batch)
    checked = 0
    for back in (1, 2, 5):
        long = batch.mask.sum(1) > back
        earlier = sequences.batch(batch.row[long].numpy() - back, 23)
        whole = earlier.mask.sum(1) + back == batch.mask[long].sum(1)  # else the window begins before the other
        assert_close(model.query(earlier)[whole], at_behavior[long, -1 - back][whole])
        checked += int(whole.sum())
    assert checked > 31


@pytest.mark.parametrize("column", ["item", "behavior", "timestamp"])
def test_what_each_state_sees(model, batch, column):
    """b_t is seen from b_t on, i_t from i_t on (not by b_t, which predicts it), the moment of t from b_{t+1} on."""
    one = only(batch, int(batch.mask.sum(1).argmax()))
    before = alternate(*model.encode(one))[0]  # (2T + 1, d)
    for t in range(one.mask.shape[1]):
        value = getattr(one, column).clone()
        value[0, t] = {"item": (value[0, t] + 1) % 53, "behavior": (value[0, t] + 1) % 4}.get(column, 10**8)
        after = alternate(*model.encode(dataclasses.replace(one, **{column: value})))[0]
        first = 2 * t + {"behavior": 0, "item": 1, "timestamp": 2}[column]
        assert_close(after[:first], before[:first], rtol=0, atol=0)
        if t or column != "timestamp":  # the first moment shows only beside another
            assert (after[first] - before[first]).abs().max() > 1e-6


def test_of_the_target_only_the_behavior_is_read(model, batch):
    changed = dataclasses.replace(
        batch, target_item=(batch.target_item + 1) % 53, target_timestamp=batch.target_timestamp + 10**6
    )
    assert_close(model.query(changed), model.query(batch), rtol=0, atol=0)
    asked = dataclasses.replace(batch, target_behavior=(batch.target_behavior + 1) % 4)
    assert ((model.query(asked) - model.query(batch)).abs().amax(1) > 1e-6).all()


def test_scores_are_dot_products_with_the_shared_embeddings(model, batch):
    vectors, bias = model.items()
    scores = model.query(batch) @ vectors.T + bias
    expected = states_by_hand(model, only(batch, 3))[-1] @ model.item_embedding.weight[17]
    assert_close(scores[3, 17], expected)


def test_a_tiny_batch_is_learned_by_heart(batch, sequences):
    torch.manual_seed(8)
    batch = sequences.batch(batch.row[:11].numpy(), 23)
    model = GEAR(config=dataclasses.replace(CONFIG, layers=2), n_items=53)
    fit(model, batch, steps=40, lr=3e-3, stage=model.pretraining)
    logs = fit(model, batch, steps=120, lr=3e-3)
    assert logs["loss"] < 0.1 and (best(model, batch) == batch.target_item).all()
