import math
from dataclasses import replace

import pytest
import torch
from samples import best, fit
from torch.nn.functional import gelu, layer_norm

from rclrec_mini.files import InputError
from rclrec_mini.models.baselines.bert4rec import BERT4Rec, BERT4RecConfig

ITEMS, HISTORY = 53, 23  # of the fixtures in tests/models/conftest.py
CONFIG = BERT4RecConfig(d=22, heads=2, layers=3, ffn=13, dropout=0.0, max_history=HISTORY)


def bert4rec(**changes) -> BERT4Rec:
    torch.manual_seed(5)
    model = BERT4Rec(config=replace(CONFIG, **changes), n_items=ITEMS)
    for parameter in model.parameters():  # no norm is an identity and no bias is zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def test_encoder_equals_bert_of_transformers(batch):
    transformers = pytest.importorskip("transformers")
    model = bert4rec().eval()
    sizes = transformers.BertConfig(
        vocab_size=ITEMS + 1, hidden_size=CONFIG.d, num_hidden_layers=CONFIG.layers, intermediate_size=CONFIG.ffn,
        num_attention_heads=CONFIG.heads, hidden_act="gelu", max_position_embeddings=HISTORY + 1, type_vocab_size=1,
    )  # fmt: skip
    peer = transformers.BertModel(sizes, add_pooling_layer=False).eval()
    peer.embeddings.token_type_embeddings.weight.zero_()
    weights = model.state_dict()
    copied = {"embeddings.token_type_embeddings.weight": peer.embeddings.token_type_embeddings.weight}

    def copy(theirs: str, *ours: str) -> None:
        for kind in ("weight", "bias"):
            if f"{ours[0]}.{kind}" in weights:
                copied[f"{theirs}.{kind}"] = weights[f"{ours[0]}.{kind}"]

    copy("embeddings.word_embeddings", "item_embedding")
    copy("embeddings.position_embeddings", "position_embedding")
    copy("embeddings.LayerNorm", "norm")
    for i in range(CONFIG.layers):
        ours, theirs = f"layers.{i}", f"encoder.layer.{i}"
        copy(f"{theirs}.attention.self.query", f"{ours}.query")
        for kind in ("weight", "bias"):
            key, value = weights[f"{ours}.key_value.{kind}"].split(CONFIG.d)
            copied |= {f"{theirs}.attention.self.key.{kind}": key, f"{theirs}.attention.self.value.{kind}": value}
        copy(f"{theirs}.attention.output.dense", f"{ours}.out")
        copy(f"{theirs}.attention.output.LayerNorm", f"{ours}.attention_norm")
        copy(f"{theirs}.intermediate.dense", f"{ours}.ffn.0")
        copy(f"{theirs}.output.dense", f"{ours}.ffn.2")
        copy(f"{theirs}.output.LayerNorm", f"{ours}.ffn_norm")
    peer.load_state_dict(copied)
    events = batch.with_target()
    length = events.item.shape[1]
    expected = peer(
        input_ids=events.item,
        attention_mask=events.mask.long(),
        position_ids=torch.arange(length - 1, -1, -1).expand(len(batch), -1),
    ).last_hidden_state
    found = model.encode(events.item, events.mask)
    torch.testing.assert_close(found[events.mask], expected[events.mask])
    torch.testing.assert_close(model.encode(events.item, events.mask, newest=True)[:, 0], expected[:, -1])


@torch.no_grad()
def test_one_block_by_hand():
    """Two positions, one head: every step of eq. 1 to 7 with explicit weights."""
    torch.manual_seed(7)
    model = BERT4Rec(config=BERT4RecConfig(d=3, heads=1, layers=1, ffn=5, dropout=0.0, max_history=2), n_items=7)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter))
    w = model.state_dict()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return layer_norm(x, (3,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-12)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    x = [
        norm(w["item_embedding.weight"][4] + w["position_embedding.weight"][1], "norm"),
        norm(w["item_embedding.weight"][7] + w["position_embedding.weight"][0], "norm"),  # [MASK]
    ]
    key_value = [linear(y, "layers.0.key_value") for y in x]
    scores = torch.stack([linear(x[1], "layers.0.query") @ kv[:3] / math.sqrt(3) for kv in key_value])
    seen = sum(p * kv[3:] for p, kv in zip(scores.softmax(0), key_value, strict=True))
    y = norm(x[1] + linear(seen, "layers.0.out"), "layers.0.attention_norm")
    y = norm(y + linear(gelu(linear(y, "layers.0.ffn.0")), "layers.0.ffn.2"), "layers.0.ffn_norm")
    q = norm(gelu(linear(y, "head.0")), "head.2")
    expected = w["item_embedding.weight"][:7] @ q + w["item_bias"]
    item, mask = torch.tensor([[4, 7]]), torch.ones(1, 2, dtype=torch.bool)
    vectors, bias = model.items()
    torch.testing.assert_close(vectors @ model.head(model.encode(item, mask))[0, 1] + bias, expected)


def test_masks_hold_the_share_of_the_events_or_the_last_alone():
    exists = torch.zeros(6000, 20, dtype=torch.bool)
    for row, length in enumerate([1, 2, 7, 20] * 1500):
        exists[row, 20 - length :] = True
    torch.manual_seed(0)
    hidden = bert4rec(mask_share=0.3, last_share=0.0).draw_masked(exists)
    assert not (hidden & ~exists).any()
    assert (hidden.sum(1) == torch.tensor([1, 1, 2, 6] * 1500)).all()  # round(0.3 n), at least 1
    torch.testing.assert_close(hidden[3::4].float().mean(0), torch.full((20,), 0.3), atol=0.05, rtol=0)
    last = torch.arange(20) == 19
    assert (bert4rec(last_share=1.0).draw_masked(exists) == last).all()
    alone = (bert4rec(mask_share=0.3, last_share=0.25).draw_masked(exists)[3::4] == last).all(1).float().mean()
    assert alone == pytest.approx(0.25, abs=0.04)


@torch.no_grad()
def test_the_loss_counts_masked_positions_alone_and_never_sees_their_items(batch):
    model = bert4rec(mask_share=0.4)
    torch.manual_seed(1)
    hidden = model.draw_masked(batch.with_target().mask)
    torch.manual_seed(1)
    loss = model.pretraining(batch)["loss"]
    events = batch.with_target()
    samples, vectors = [], model.items()[0]
    for row in range(len(batch)):
        there = events.mask[row]
        item = torch.where(hidden[row], ITEMS, events.item[row])[there][None]
        q = model.head(model.encode(item, torch.ones_like(item, dtype=torch.bool)))[0]  # one sample, no padding
        nll = -(q @ vectors.T + model.item_bias).log_softmax(-1)
        at = hidden[row, there].nonzero().flatten().tolist()
        samples.append(sum(nll[t, events.item[row, there][t]] for t in at) / len(at))
    torch.testing.assert_close(loss, torch.stack(samples).mean())


@torch.no_grad()
def test_every_state_sees_both_sides(batch):
    model = bert4rec().eval()
    before = model.encode(batch.item, batch.mask)
    for t in (0, 11, batch.item.shape[1] - 1):
        item = batch.item.clone()
        item[:, t] = (item[:, t] + 1) % ITEMS
        changed = (model.encode(item, batch.mask) != before).any(-1)
        there = batch.mask[:, t]
        assert (changed[there] | ~batch.mask[there]).all()
        assert not changed[~there][batch.mask[~there]].any()


@torch.no_grad()
def test_fine_tuning_masks_the_target_alone(batch):
    model = bert4rec()
    vectors, bias = model.items()
    assert vectors.shape == (ITEMS, CONFIG.d)
    nll = -(model.query(batch) @ vectors.T + bias).log_softmax(-1)
    expected = nll.gather(1, batch.target_item[:, None]).mean()
    torch.testing.assert_close(model(batch)["loss"], expected)
    only_last = bert4rec(last_share=1.0)
    torch.testing.assert_close(only_last.pretraining(batch)["loss"], expected)


def test_every_weight_learns_in_pretraining(batch):
    model = bert4rec()
    model.pretraining(batch)["loss"].backward()
    key_bias = {f"layers.{i}.key_value.bias" for i in range(CONFIG.layers)}  # half of it moves no softmax
    for name, parameter in model.named_parameters():
        gradient = parameter.grad[CONFIG.d :] if name in key_bias else parameter.grad
        assert gradient.abs().sum() > 1e-6, name
    assert (model.item_bias.grad != 0).all()


def test_it_learns_to_repeat(batch):
    torch.manual_seed(0)
    batch = replace(batch, target_item=batch.item[:, -1])
    model = BERT4Rec(config=CONFIG, n_items=ITEMS)
    fit(model, batch, steps=120, lr=1e-2)
    assert (best(model, batch) == batch.target_item).all()


def test_bad_configs_are_named():
    with pytest.raises(InputError, match="heads: found 3, expected a divisor of d, 22"):
        bert4rec(heads=3)
    with pytest.raises(InputError, match=r"mask_share: found 1\.5, expected 0\.\.1"):
        bert4rec(mask_share=1.5)
