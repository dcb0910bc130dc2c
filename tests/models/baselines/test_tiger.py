"""TIGER: the user's token, ignorance of behaviours, one pass against one by one, decoding, collision digits."""

from dataclasses import replace

import pytest
import torch
from generative import GenerativeMethod
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import fit, rows
from torch.testing import assert_close

from rclrec_mini.models.backbone import BackboneConfig
from rclrec_mini.models.baselines.tiger import TIGER, TIGERConfig, before_oldest, collision_catalog
from rclrec_mini.models.curriculum import user_bucket, user_profiles
from rclrec_mini.semantic_ids.catalog import Catalog

ITEMS, LEVELS, CODES, WIDTH, HISTORY = 53, 3, 11, 26, 23  # those of the fixtures


def build(codes, *, causal=True, flattened=False, buckets=5, seed=3) -> TIGER:
    """A model whose biases are not the zeros they start from."""
    torch.manual_seed(seed)
    sizes = BackboneConfig(
        levels=codes.shape[1], codes=CODES, d=WIDTH, heads=2, encoder_layers=2, decoder_layers=2, ffn=41, dropout=0.0,
        max_history=HISTORY, causal=causal,
    )  # fmt: skip
    model = TIGER(config=TIGERConfig(backbone=sizes, user_buckets=buckets, flattened=flattened), codes=codes).eval()
    with torch.no_grad():
        model.backbone.distance_bias.weight.normal_()
        model.backbone.recency_bias.weight.normal_()
    return model


@pytest.fixture(params=["causal", "bidirectional", "causal flattened", "bidirectional flattened"])
def model(codes, request) -> TIGER:
    return build(codes, causal="causal" in request.param, flattened="flattened" in request.param)


class TestTIGER(GenerativeMethod):
    build = staticmethod(build)
    variants = ({}, {"flattened": True})


def test_user_token_stands_just_before_the_oldest_event():
    mask = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert before_oldest(mask).int().tolist() == expected


def test_user_hash_is_that_of_the_profiles():
    users = torch.tensor([0, 1, 2, 7919, 99_991])
    expected = user_profiles(n_users=100_000, buckets=2000)[users, 0]
    assert torch.equal(user_bucket(users, 2000), expected) and len(expected.unique()) == 5


def test_users_matter_by_their_bucket_alone(model, batch):
    """With 5 buckets, users 0 and 5 k of the same bucket are one; another bucket is another user."""
    bucket = user_bucket(torch.arange(97), 5)
    same = torch.nonzero(bucket == bucket[0])[3].item()
    other = torch.nonzero(bucket != bucket[0])[3].item()
    logits = [model.start(replace(batch, user=torch.full_like(batch.user, user)))[1] for user in (0, same, other)]
    assert_close(logits[0], logits[1], rtol=0, atol=0)
    assert ((logits[0] - logits[2]).abs().amax(1) > 1e-4).all()


def test_behaviors_are_not_seen(model, batch):
    other = replace(batch, behavior=3 - batch.behavior, target_behavior=3 - batch.target_behavior)
    for stage in (model, model.pretraining):
        assert_close(stage(other), stage(batch), rtol=0, atol=0)
    assert_close(model.start(other)[1], model.start(batch)[1], rtol=0, atol=0)
    assert model.backbone.behavior_embedding.weight.shape == (1, WIDTH)


def test_a_flattened_encoder_reads_the_tokens_of_each_event_in_turn(codes, batch, monkeypatch):
    model = build(codes, flattened=True)
    seen = {}
    monkeypatch.setattr(model.backbone, "encode_events", lambda x, mask: seen.update(x=x, mask=mask) or x)
    model.encode(batch.user, codes[batch.item], batch.mask)
    shortest = int(batch.mask.sum(1).argmin())
    item = codes[batch.item[shortest][batch.mask[shortest]]]  # (t, L)
    user = model.user_embedding.weight[user_bucket(batch.user[shortest], 5)]
    tables = model.backbone.token_embedding.weight.unflatten(0, (LEVELS, CODES))
    tokens = [sum(tables[level, z[level]] for level in range(last + 1)) for z in item for last in range(LEVELS)]
    assert_close(seen["x"][shortest][seen["mask"][shortest]], torch.stack([user, *tokens]))
    assert seen["x"].shape[1] == (batch.mask.shape[1] + 1) * LEVELS


def test_steps_equal_teacher_forcing(model, batch):
    """Beams reordered on the way give the likelihood that the loss is made of."""
    order, beams = torch.tensor([2, 0, 2]), torch.tensor([13, 29, 41])
    few = rows(batch, slice(0, 5))
    z = model.codes[beams].expand(5, -1, -1)  # (B, 3, L)
    state, first = model.start(few)
    state, second = model.step(state, z[:, :, 0], torch.zeros(5, 3, dtype=torch.long), 0)
    state, third = model.step(state, z[:, order, 1], order.expand(5, -1), 1)
    for beam, parent in enumerate(order):
        item, logits = beams[parent].expand(5), (first, second[:, parent], third[:, beam])
        log_p = torch.stack(logits, 1).log_softmax(-1).gather(2, model.codes[item][..., None])  # (B, L, 1)
        assert_close(model(replace(few, target_item=item))["loss"], -log_p.sum((1, 2)).mean())


def test_learns_a_tiny_batch(codes, batch):
    model = build(codes).train()
    few = rows(batch, slice(0, 3))
    assert model.pretraining(few)["target_nll"] > 1.5
    assert fit(model, few, steps=60, lr=1e-2, stage=model.pretraining)["target_nll"] < 0.1
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert not unused


def test_collision_digits_by_hand():
    catalog = Catalog(torch.tensor([[2, 7, 4], [2, 9, 0], [2, 7, 1], [0, 7, 8], [2, 7, 0]]), n_codes=11, data_hash="x")
    found = collision_catalog(catalog)
    assert found.codes.tolist() == [[2, 7, 0], [2, 9, 0], [2, 7, 1], [0, 7, 0], [2, 7, 2]]
    assert found.n_codes == 11 and found.data_hash == "x" and catalog.codes[0].tolist() == [2, 7, 4]


@settings(max_examples=100)
@given(st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_collision_digits_of_any_catalog(levels, n_codes, random):
    """Each digit counts the earlier items of the same prefix, and the prefix stays."""
    n_items = random.randint(1, min(41, n_codes**levels))
    flat = torch.tensor(random.sample(range(n_codes**levels), n_items))
    codes = torch.stack([flat // n_codes**level % n_codes for level in range(levels)], dim=1)
    found = collision_catalog(Catalog(codes, n_codes=n_codes)).codes.tolist()
    prefixes = [tuple(row[:-1]) for row in codes.tolist()]
    assert found == [[*prefix, prefixes[:i].count(prefix)] for i, prefix in enumerate(prefixes)]


def test_defaults():
    config = TIGERConfig()
    assert config.user_buckets == 2000 and config.backbone == BackboneConfig()
    assert build(torch.zeros(7, 4, dtype=torch.long)).max_history == HISTORY
