"""The backbone: shapes, causality, padding and batch invariance, prefix positions, tied embeddings, steps."""

import pytest
import torch
from torch.testing import assert_close

from rclrec_mini.models.backbone import Backbone, BackboneConfig

B, T, K, L, V, D = 5, 23, 3, 3, 11, 26


@pytest.fixture
def inputs():
    g = torch.Generator().manual_seed(0)
    mask = torch.arange(T) >= torch.tensor([0, 3, 11, 20, 22])[:, None]
    return {
        "codes": torch.randint(0, V, (B, T, L), generator=g),
        "behavior": torch.randint(0, 4, (B, T), generator=g),
        "mask": mask,
        "bos": torch.randint(0, 4, (B,), generator=g),
        "prefix": torch.randint(0, V, (B, K, L), generator=g),
        "valid": torch.tensor([[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=torch.bool),
        "target": torch.randint(0, V, (B, L), generator=g),
    }


def decode(model: Backbone, x: dict, **changes) -> torch.Tensor:
    x = {**x, **changes}
    history = model.encode(x["codes"], x["behavior"], x["mask"])
    return model.decode(history, x["mask"], x["bos"], x["prefix"], x["valid"], x["target"])


def test_shapes(backbone, inputs):
    assert backbone.encode(inputs["codes"], inputs["behavior"], inputs["mask"]).shape == (B, T, D)
    assert decode(backbone, inputs).shape == (B, K + 1, L, V)


@pytest.mark.parametrize("n", [1, 2, L])
def test_decoder_is_causal(backbone, inputs, n):
    """Changing one token changes no logit at or before it, and changes some logit after it."""

    def tokens(prefix, target):
        logits = decode(backbone, inputs, prefix=prefix, target=target)[:1]
        return torch.cat([logits[:, :-1, :n].flatten(1, 2), logits[:, -1]], dim=1)  # (1, K n + L, V)

    before = tokens(inputs["prefix"][..., :n], inputs["target"])
    assert before.shape[1] == K * n + L
    for slot in range(K + 1):
        for level in range(L if slot == K else n):
            prefix, target = inputs["prefix"][..., :n].clone(), inputs["target"].clone()
            item = target if slot == K else prefix[:, slot]
            item[:, level] = (item[:, level] + 1) % V
            after = tokens(prefix, target)
            first = slot * n + level + 1
            assert_close(after[:, :first], before[:, :first])
            if first < K * n + L:
                assert not torch.allclose(after[:, first:], before[:, first:])


def test_padding_of_the_history_changes_nothing(backbone, inputs):
    x = {name: inputs[name][:, 9:] for name in ("codes", "behavior", "mask")}
    rows = slice(2, None)  # the samples whose first 9 events are padding
    before, after = decode(backbone, inputs)[rows], decode(backbone, inputs, **x)[rows]
    assert_close(after, before)
    noisy = inputs["codes"].masked_fill(~inputs["mask"][..., None], V - 1)
    assert_close(decode(backbone, inputs, codes=noisy), decode(backbone, inputs))


def test_a_sample_does_not_see_its_batch(backbone, inputs):
    together = decode(backbone, inputs)
    for i in range(B):
        assert_close(decode(backbone, {name: x[i : i + 1] for name, x in inputs.items()})[0], together[i])


@pytest.mark.parametrize("n", [2, L])
@pytest.mark.parametrize("sample, items", [(1, 3), (2, 2), (3, 1), (4, 0)])
def test_padding_of_the_prefix_changes_nothing(backbone, inputs, sample, items, n):
    """A prefix padded on the left to k items gives what a prefix without padding gives: no target token moves."""
    x = {name: value[sample : sample + 1] for name, value in inputs.items()}
    x["prefix"] = x["prefix"][..., :n]
    short = decode(backbone, x, prefix=x["prefix"][:, K - items :], valid=x["valid"][:, K - items :])
    padded = decode(backbone, x)[:, K - items :]
    assert_close(short[:, :, :n], padded[:, :, :n])
    assert_close(short[:, -1], padded[:, -1])


def test_target_positions_do_not_depend_on_the_prefix(backbone, inputs):
    """Swapping the embedding of slot 0 changes the target's logits alone, whatever the length of the prefix."""
    full = {**inputs, "valid": torch.ones(B, K, dtype=torch.bool)}
    before = decode(backbone, full)
    with torch.no_grad():
        backbone.slot_embedding.weight[0] += torch.randn(D)
    after = decode(backbone, full)
    assert_close(after[:, :-1], before[:, :-1])
    assert not torch.allclose(after[:, -1], before[:, -1])


def test_heads_are_tied_to_their_level(backbone):
    x = torch.randn(B, L, D)
    logits = backbone.logits(x)
    for level in range(L):
        by_hand = x[:, level] @ backbone.token_embedding.weight[level * V : (level + 1) * V].T
        assert_close(logits[:, level], by_hand)
        assert_close(backbone.head(x[:, level], level), by_hand)


def test_bos_is_the_behavior_embedding_of_the_encoder(backbone, inputs):
    parameters = dict(backbone.named_parameters())
    assert [name for name in parameters if "behavior" in name] == ["behavior_embedding.weight"]
    decode(backbone, inputs, behavior=torch.zeros(B, T, dtype=torch.long), bos=torch.full((B,), 3)).sum().backward()
    gradient = backbone.behavior_embedding.weight.grad.abs().sum(-1)
    assert (gradient[[0, 3]] > 0).all() and (gradient[[1, 2]] == 0).all()


@pytest.mark.parametrize("n", [1, L])
def test_steps_equal_teacher_forcing(backbone, inputs, n):
    """Beams decoded token by token, reordered on the way, give the logits of the whole sequence at once."""
    backbone.eval()
    inputs["prefix"] = inputs["prefix"][..., :n]
    beams = torch.randint(0, V, (B, 5, L), generator=torch.Generator().manual_seed(1))
    history = backbone.encode(inputs["codes"], inputs["behavior"], inputs["mask"])
    state, first = backbone.start(history, inputs["mask"], inputs["bos"], inputs["prefix"], inputs["valid"])
    order = torch.tensor([3, 0, 4, 4, 1])
    state, second = backbone.step(state, beams[:, :, 0], torch.zeros(B, 5, dtype=torch.long), 0)
    state, third = backbone.step(state, beams[:, order, 1], order.expand(B, -1), 1)
    for beam in range(5):
        expected = decode(backbone, inputs, target=beams[:, beam])[:, -1]
        assert_close(first, expected[:, 0])
        assert_close(second[:, beam], expected[:, 1])
    for beam, parent in enumerate(order):
        expected = decode(backbone, inputs, target=beams[:, parent])[:, -1]
        assert_close(third[:, beam], expected[:, 2])


@pytest.mark.parametrize("causal", [True, False])
def test_encoder_sees_the_future_only_if_not_causal(inputs, causal):
    model = Backbone(BackboneConfig(codes=V, levels=L, d=D, heads=2, ffn=41, dropout=0.0, max_history=T, causal=causal))
    model.eval()
    before = model.encode(inputs["codes"], inputs["behavior"], inputs["mask"])[0]
    changed = inputs["codes"].clone()
    changed[:, 13] = (changed[:, 13] + 1) % V
    after = model.encode(changed, inputs["behavior"], inputs["mask"])[0]
    assert torch.allclose(before[:13], after[:13]) == causal
    assert not torch.allclose(before[13:], after[13:])


def test_all_events_at_once_equal_one_by_one(inputs):
    """One causal pass predicts each event as a pass over the events before it alone would."""
    torch.manual_seed(0)
    model = Backbone(BackboneConfig(codes=V, levels=L, d=D, heads=2, ffn=41, dropout=0.0, max_history=T, causal=True))
    with torch.no_grad():
        model.recency_bias.weight.normal_()
        model.distance_bias.weight.normal_()
    codes, behavior, mask = inputs["codes"], inputs["behavior"], inputs["mask"]
    history = model.encode(codes, behavior, mask)
    every = model.decode_all(history, mask, behavior, codes)
    for t in range(1, T):
        x = {"codes": codes[:, :t], "behavior": behavior[:, :t], "mask": mask[:, :t], "bos": behavior[:, t]}
        x |= {"prefix": codes[:, :0], "valid": mask[:, :0], "target": codes[:, t]}
        some = mask[:, t - 1]  # an event before it exists
        assert_close(every[some, t], decode(model, x)[some, 0])


def test_default_sizes_are_the_papers():
    c = BackboneConfig()
    assert (c.levels, c.encoder_layers, c.decoder_layers, c.d, c.heads) == (4, 4, 2, 256, 8)
