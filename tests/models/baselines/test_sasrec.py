import math
from dataclasses import replace

import pytest
import torch
from samples import best, fit
from torch import nn

from rclrec_mini.data.sequences import Events
from rclrec_mini.files import InputError
from rclrec_mini.models.baselines.sasrec import SASRec, SASRecConfig
from rclrec_mini.models.pointer import Pointer, PointerConfig

ITEMS, HISTORY = 53, 23  # of the fixtures in tests/models/conftest.py
CONFIG = SASRecConfig(d=22, heads=2, layers=2, ffn=13, dropout=0.0, max_history=HISTORY)


def sasrec(**changes) -> SASRec:
    torch.manual_seed(5)
    model = SASRec(config=replace(CONFIG, **changes), n_items=ITEMS)
    for parameter in model.parameters():  # no norm is an identity and no bias is zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def twin(model: SASRec, items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """States (T, d) and the last block's attention (h, T, T) of one history without padding, in plain loops."""
    d, heads = model.config.d, model.config.heads
    width = d // heads
    x = []
    for t, item in enumerate(items):
        newest = len(items) - 1 - t
        x.append(math.sqrt(d) * model.item_embedding.weight[item] + model.position_embedding.weight[newest])
    for layer in model.layers:
        w_k, w_v = layer.key_value.weight[:d], layer.key_value.weight[d:]
        b_k, b_v = layer.key_value.bias[:d], layer.key_value.bias[d:]
        states, attention = [], torch.zeros(heads, len(items), len(items))
        for t in range(len(items)):
            own = layer.query_norm(x[t])
            q, parts = layer.query(own), []
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                scores = [q[part] @ (w_k @ x[s] + b_k)[part] / math.sqrt(width) for s in range(t + 1)]
                total = sum(score.exp() for score in scores)
                parts.append(sum(score.exp() / total * (w_v @ x[s] + b_v)[part] for s, score in enumerate(scores)))
                attention[h, t, : t + 1] = torch.stack(scores).exp() / total
            y = layer.ffn_norm(own + torch.cat(parts))
            inner = (layer.ffn[0].weight @ y + layer.ffn[0].bias).clamp(min=0)
            states.append(y + layer.ffn[3].weight @ inner + layer.ffn[3].bias)
        x = states
    return torch.stack([model.norm(state) for state in x]), attention


@torch.no_grad()
def test_states_and_attention_equal_plain_loops(batch):
    model = sasrec().eval()
    x, weight = model.encode(batch.history())
    for row in range(0, len(batch), 5):
        length = int(batch.mask[row].sum())
        states, attention = twin(model, batch.item[row, -length:].tolist())
        torch.testing.assert_close(x[row, -length:], states)
        torch.testing.assert_close(weight[row, :, -length:, -length:], attention)
        torch.testing.assert_close(model.query(batch)[row], states[-1])
        torch.testing.assert_close(model.attention(batch)[row, -length:], attention[:, -1].mean(0))


@torch.no_grad()
def test_encoder_equals_one_of_multihead_attention(batch):
    """The authors' block written with torch.nn.MultiheadAttention, whose output projection is the identity here."""
    model = sasrec().eval()
    d, length = CONFIG.d, batch.mask.shape[1]
    x = model.item_embedding(batch.item) * d**0.5 + model.position_embedding.weight[:length].flip(0)
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    hidden = (hidden | ~batch.mask[:, None]) & ~torch.eye(length, dtype=torch.bool)  # padding sees itself, not nothing
    for layer in model.layers:
        peer = nn.MultiheadAttention(d, CONFIG.heads, batch_first=True).eval()
        peer.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key_value.weight]))
        peer.in_proj_bias.copy_(torch.cat([layer.query.bias, layer.key_value.bias]))
        peer.out_proj.weight.copy_(torch.eye(d))
        own = layer.query_norm(x)
        x = own + peer(own, x, x, attn_mask=hidden.repeat_interleave(CONFIG.heads, 0), need_weights=False)[0]
        x = layer.ffn_norm(x)
        x = x + layer.ffn(x)
    torch.testing.assert_close(model.encode(batch.history())[0][batch.mask], model.norm(x)[batch.mask])


@torch.no_grad()
def test_no_state_depends_on_a_later_event(batch):
    model = sasrec().eval()
    events = batch.history()
    before, _ = model.encode(events)
    for t in range(1, events.item.shape[1]):
        item = events.item.clone()
        item[:, t] = (item[:, t] + 1) % ITEMS
        after, _ = model.encode(Events(item, events.behavior, events.timestamp, events.mask))
        there = events.mask[:, :t]
        torch.testing.assert_close(after[:, :t][there], before[:, :t][there], rtol=0, atol=0)
        assert (after[:, t] != before[:, t]).any(dim=-1).all()


@torch.no_grad()
def test_attention_is_a_distribution_over_the_history(batch):
    weight = sasrec().attention(batch)
    torch.testing.assert_close(weight.sum(1), torch.ones(len(batch)))
    assert (weight[~batch.mask] == 0).all() and (weight[batch.mask] > 0).all()


@torch.no_grad()
def test_softmax_loss_by_hand(batch):
    model = sasrec()
    x, _ = model.encode(batch.history())
    samples, targets = [], []
    for row in range(len(batch)):
        items = [*batch.item[row].tolist(), int(batch.target_item[row])]
        there = batch.mask[row].nonzero().flatten().tolist()
        nll = [-(model.item_embedding.weight @ x[row, t]).log_softmax(0)[items[t + 1]] for t in there]
        samples.append(torch.stack(nll).mean())
        targets.append(nll[-1])
    losses = model.pretraining(batch)
    torch.testing.assert_close(losses["loss"], torch.stack(samples).mean())
    torch.testing.assert_close(losses["target_nll"], torch.stack(targets).mean())
    torch.testing.assert_close(model(batch)["loss"], torch.stack(targets).mean())


@torch.no_grad()
def test_with_a_pointer_both_losses_are_those_of_the_mixture(batch, codes):
    model = sasrec()
    model.pointer = pointer = Pointer(config=PointerConfig(width=11, hard=False), codes=codes, behaviors=4)
    events, pointing = batch.with_target(), pointer.all(batch.with_target())
    generated = (model.encode(batch.history())[0] @ model.items()[0].T).softmax(-1)  # (B, T, N), of the item after t
    samples, targets = [], []
    for row in range(len(batch)):
        nll = []
        for t in batch.mask[row].nonzero().flatten().tolist():
            item = events.item[row, t + 1]
            copied = pointing.log_copy[row, t + 1][events.item[row] == item].exp().sum()
            nll.append(-(copied + pointing.log_rest[row, t + 1].exp() * generated[row, t, item]).log())
        samples.append(torch.stack(nll).mean())
        targets.append(nll[-1])
    torch.testing.assert_close(model.pretraining(batch)["loss"], torch.stack(samples).mean())
    torch.testing.assert_close(model(batch)["loss"], torch.stack(targets).mean())


@torch.no_grad()
def test_bce_loss_by_hand(batch, monkeypatch):
    model = sasrec(loss="bce")
    scores = model.query(batch) @ model.item_embedding.weight.T  # (B, N)
    drawn = torch.randint(ITEMS - 1, (len(batch),))
    drawn[0] = batch.target_item[0]  # the right item itself: the next one is taken
    drawn[1] = 0
    monkeypatch.setattr(torch, "randint", lambda high, size, device: drawn)
    found = []
    for row, (target, item) in enumerate(zip(batch.target_item.tolist(), drawn.tolist(), strict=True)):
        other = item if item < target else item + 1
        assert other != target
        found.append(-scores[row, target].sigmoid().log() - (1 - scores[row, other].sigmoid()).log())
    torch.testing.assert_close(model(batch)["loss"], torch.stack(found).mean())


def test_bce_draws_all_items_but_the_right_one():
    torch.manual_seed(0)
    model = SASRec(config=replace(CONFIG, loss="bce"), n_items=5)
    x, item = torch.zeros(4000, CONFIG.d, requires_grad=True), torch.full((4000,), 2)
    model._nll(x, item).sum().backward()
    e = model.item_embedding.weight.detach()  # at a score of 0 the gradient of each is (e_other - e_right) / 2
    other = (2 * x.grad + e[2])[:, None].sub(e).square().sum(-1).argmin(1)
    share = other.bincount(minlength=5) / 4000
    torch.testing.assert_close(share, torch.tensor([0.25, 0.25, 0, 0.25, 0.25]), atol=0.03, rtol=0)


def test_every_weight_learns_in_pretraining(batch):
    for loss in ("softmax", "bce"):
        model = sasrec(loss=loss)
        model.pretraining(batch)["loss"].backward()
        length = batch.mask.shape[1]
        gradients = {name: p.grad for name, p in model.named_parameters()}
        assert all(g is not None and g.abs().sum() > 0 for g in gradients.values())
        assert (gradients["position_embedding.weight"][:length].abs().sum(1) > 0).all()


def test_it_learns_to_repeat(batch):
    torch.manual_seed(0)
    batch = replace(batch, target_item=batch.item[:, -1])
    model = SASRec(config=CONFIG, n_items=ITEMS)
    fit(model, batch, steps=60, lr=1e-2)
    assert (best(model, batch) == batch.target_item).all()


def test_bad_configs_are_named():
    with pytest.raises(InputError, match="heads: found 3, expected a divisor of d, 22"):
        sasrec(heads=3)
    with pytest.raises(InputError, match="loss: found 'hinge'"):
        sasrec(loss="hinge")
