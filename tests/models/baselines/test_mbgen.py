"""MBGen: interleaving, routing by role, behaviour before item, one pass against one by one, decoding."""

from dataclasses import replace

import pytest
import torch
from generative import GenerativeMethod
from samples import fit, rows
from torch.testing import assert_close

from rclrec_mini.data.sequences import Batch
from rclrec_mini.models.backbone import BackboneConfig
from rclrec_mini.models.baselines.mbgen import MBGen, MBGenConfig, RoutedFeedForward
from rclrec_mini.models.curriculum import user_bucket
from rclrec_mini.models.pointer import Pointer, PointerConfig

ITEMS, LEVELS, CODES, WIDTH, HISTORY = 53, 3, 11, 26, 23  # those of the fixtures
ROLES, BEHAVIORS = LEVELS + 1, 4


def build(codes, *, causal=True, layers=2, seed=3, pointer=False) -> MBGen:
    """A model whose biases are not the zeros they start from."""
    sizes = BackboneConfig(
        levels=LEVELS, codes=CODES, d=WIDTH, heads=2, encoder_layers=layers, decoder_layers=layers, ffn=41,
        dropout=0.0, max_history=HISTORY, behaviors=BEHAVIORS, causal=causal,
    )  # fmt: skip
    soft = PointerConfig(width=13, hard=False)  # whose loss is the likelihood that ranks
    pointer = Pointer(config=soft, codes=codes, behaviors=BEHAVIORS) if pointer else None
    config = MBGenConfig(backbone=sizes, behavior_width=7, user_buckets=5)
    torch.manual_seed(seed)
    model = MBGen(config=config, codes=codes, pointer=pointer).eval()
    with torch.no_grad():
        for table in (model.distance_bias, model.recency_bias, model.role_bias, model.role_recall_bias):
            table.weight.normal_()
    return model


@pytest.fixture(params=[True, False], ids=["causal", "bidirectional"])
def model(codes, request) -> MBGen:
    return build(codes, causal=request.param)


class TestMBGen(GenerativeMethod):
    build = staticmethod(build)
    variants = ({}, {"pointer": True})


def last_target(model: MBGen, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the target's behaviour (B, b) and tokens (B, L, V)."""
    target = batch.target_behavior[:, None], model.codes[batch.target_item][:, None]
    return tuple(x[:, 0] for x in model.logits(batch, *target, model.next_slot(batch)))


@torch.no_grad()
def perturb(module) -> None:
    for parameter in module.parameters():
        parameter += torch.randn_like(parameter)


def differs(a, b) -> bool:
    return not torch.allclose(a, b, atol=1e-5)


def test_interleaving_by_hand(model):
    """Items 5 then 2, clicked (0) and bought (3), after one column of padding; each token where the grid says."""
    column = torch.zeros(1, dtype=torch.long)
    batch = Batch(
        row=column, user=column + 3, timestamp=torch.zeros(1, 3, dtype=torch.long),
        item=torch.tensor([[0, 5, 2]]), behavior=torch.tensor([[0, 0, 3]]), mask=torch.tensor([[False, True, True]]),
        target_item=column, target_behavior=column, target_timestamp=column,
    )  # fmt: skip
    x, exists, kind = model.interleave(batch)
    x, exists, kind = (part[0].unflatten(0, (-1, ROLES)) for part in (x, exists, kind))
    end = [] if model.sizes.causal else [[1, 0, 0, 0]]  # EOS
    assert exists.int().tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1], *end]
    assert kind[2:4].tolist() == [[0, 1, 1, 1], [0, 4, 4, 4]] and (kind[:2] * exists[:2] == 0).all()
    assert_close(x[1, 3], model.user_embedding.weight[user_bucket(torch.tensor(3), 5)])
    for slot, item, behavior in ((2, 5, 0), (3, 2, 3)):
        assert_close(x[slot, 0], model.behavior_embedding.weight[behavior])
        z1, z2, z3 = (model.token_embedding.weight[CODES * level + model.codes[item, level]] for level in range(3))
        assert_close(x[slot, 1:], torch.stack([z1, z1 + z2, z1 + z2 + z3]))
    if end:
        assert_close(x[4, 0], model.eos.weight[0])


def test_feed_forward_takes_the_expert_of_the_role():
    """Swapping one expert changes the tokens of its role alone, whichever roles are asked for."""
    torch.manual_seed(0)
    sizes = BackboneConfig(d=WIDTH, heads=2, ffn=41, behaviors=BEHAVIORS)
    ffn = RoutedFeedForward(sizes, experts=ROLES, behavior_width=7)
    x, kind = torch.randn(5, 7 * ROLES, WIDTH), torch.randint(0, BEHAVIORS + 1, (5, 7 * ROLES))
    whole, some = ffn(x, kind, range(ROLES)).unflatten(1, (7, ROLES)), ffn(x[:, :13], kind[:, :13], [2])
    by_hand = ffn.experts[2](torch.cat([ffn.norm(x[:, :13]), ffn.behavior_embedding.weight[kind[:, :13]]], -1))
    assert_close(some, by_hand)
    perturb(ffn.experts[2])
    after = ffn(x, kind, range(ROLES)).unflatten(1, (7, ROLES))
    assert_close(after[:, :, [0, 1, 3]], whole[:, :, [0, 1, 3]], rtol=0, atol=0)
    assert differs(after[:, :, 2], whole[:, :, 2])


@pytest.mark.parametrize("role", range(ROLES))
def test_an_expert_serves_what_its_role_predicts(codes, batch, role):
    """With one decoder layer an expert decides the logits of its role and no other's."""
    model = build(codes, layers=1)
    of_behavior, of_item = last_target(model, batch)
    perturb(model.decoder[0].ffn.experts[role])
    found = last_target(model, batch)
    changed = [differs(found[0], of_behavior)] + [differs(found[1][:, i], of_item[:, i]) for i in range(LEVELS)]
    assert changed == [i == role for i in range(ROLES)]


def test_experts_in_the_decoder_behaviors_in_the_first_two_layers(codes):
    model = build(codes, layers=3)
    assert [len(layer.ffn.experts) for layer in model.encoder] == [1, 1, 1]
    assert [len(layer.ffn.experts) for layer in model.decoder] == [ROLES] * 3
    for layers in (model.encoder, model.decoder):
        assert [layer.ffn.behavior_embedding is None for layer in layers] == [False, False, True]
        assert layers[0].ffn.experts[0][0].in_features == WIDTH + 7
        assert layers[2].ffn.experts[0][0].in_features == WIDTH


def test_behavior_first_then_the_item_given_it(model, batch):
    """Each token changes what is predicted after it, and nothing before or at it."""

    def logits(behavior, codes):
        of_behavior, of_item = model.logits(batch, behavior[:, None], codes[:, None], model.next_slot(batch))
        return of_behavior[:, 0], *of_item[:, 0].unbind(1)  # one for each role

    behavior, codes = batch.target_behavior, model.codes[batch.target_item]
    unchanged = logits(behavior, codes)
    written = [((behavior + 1) % BEHAVIORS, codes)]
    for level in range(LEVELS):
        token = torch.arange(LEVELS) == level
        written.append((behavior, torch.where(token, (codes + 1) % CODES, codes)))
    for role, target in enumerate(written):
        found = logits(*target)
        assert [differs(new, old) for new, old in zip(found, unchanged, strict=True)] == [
            i > role for i in range(ROLES)
        ]


def test_loss_is_cross_entropy_on_behavior_and_tokens(model, batch):
    of_behavior, of_item = last_target(model, batch)
    of_behavior = of_behavior.log_softmax(-1)[torch.arange(len(batch)), batch.target_behavior]
    of_item = of_item.log_softmax(-1).gather(-1, model.codes[batch.target_item][..., None]).sum((1, 2))
    found = model(batch)
    assert_close(found["loss"], -(of_behavior + of_item).mean())
    assert_close(found["target_nll"], -of_item.mean() / LEVELS)
    assert_close(found["behavior_nll"], -of_behavior.mean())


@pytest.mark.parametrize("changed", ["item", "behavior"])
def test_the_encoder_sees_the_future_only_if_not_causal(model, batch, changed):
    """Change event 13 of full histories: its slot is 14, and its behaviour stands in front of its item."""
    full = rows(batch, batch.mask.all(1))
    event = getattr(full, changed).clone()
    event[:, 13] = (event[:, 13] + 1) % 4
    if changed == "item":
        model.codes[:4, 0] = torch.arange(4)  # neighbours differ from the first code on
    first, user = 14 * ROLES + (changed == "item"), ROLES - 1  # nothing exists before the user's token
    states, _ = model.encode(full)
    found, _ = model.encode(replace(full, **{changed: event}))
    assert differs(found[:, user:first], states[:, user:first]) != model.sizes.causal
    assert differs(found[:, first], states[:, first])


def test_targets_see_only_the_events_before_them(codes, batch):
    """Changing event 13 changes the logits of events 14 and on, for behaviour and item, and none before."""
    model = build(codes)
    full = rows(batch, batch.mask.all(1))
    item = full.item.clone()
    item[:, 13] = (item[:, 13] + 1) % ITEMS
    behavior, targets = torch.zeros_like(item[:, 1:]), codes[full.item[:, 1:]]  # of events 1..T-1, held fixed
    at = torch.arange(2, HISTORY + 1)
    logits = model.logits(full, behavior, targets, at)
    found = model.logits(replace(full, item=item), behavior, targets, at)
    for new, old in zip(found, logits, strict=True):
        assert_close(new[:, :13], old[:, :13])
        assert all(differs(new[:, t], old[:, t]) for t in range(13, HISTORY - 1))


def test_eos_ends_the_bidirectional_history_alone(model, batch):
    assert (model.eos is None) == model.sizes.causal
    if model.eos is not None:
        logits = model.start(batch)[1]
        perturb(model.eos)
        assert differs(model.start(batch)[1], logits)


def test_a_sample_does_not_see_its_batch(model, batch):
    together = model.start(batch)[1]
    for i in (0, 7, 30):
        assert_close(model.start(rows(batch, slice(i, i + 1)))[1][0], together[i])


def test_steps_equal_teacher_forcing(model, batch):
    """Beams reordered on the way give the logits of the whole target at once, under the forced behaviour."""
    order, beams = torch.tensor([2, 0, 2]), torch.tensor([13, 29, 41])
    few = rows(batch, slice(0, 5))
    z = model.codes[beams].expand(5, -1, -1)  # (B, 3, L)
    state, first = model.start(few)
    state, second = model.step(state, z[:, :, 0], torch.zeros(5, 3, dtype=torch.long), 0)
    state, third = model.step(state, z[:, order, 1], order.expand(5, -1), 1)
    for beam, parent in enumerate(order):
        _, expected = last_target(model, replace(few, target_item=beams[parent].expand(5)))
        assert_close(torch.stack([first, second[:, parent], third[:, beam]], 1), expected)


def test_a_pointer_is_asked_for_the_item_alone(codes, batch):
    plain, pointing = build(codes)(batch), build(codes, pointer=True)(batch)
    assert_close(plain["behavior_nll"], pointing["behavior_nll"])
    assert differs(plain["target_nll"], pointing["target_nll"])


def test_learns_a_tiny_batch(model, batch):
    """And no weight is left without a gradient."""
    few = rows(batch, slice(0, 3))
    first = model.train().pretraining(few)
    last = fit(model, few, steps=60, lr=5e-3, stage=model.pretraining)
    assert first["target_nll"] > 1.5 and last["target_nll"] < 0.1
    assert first["behavior_nll"] > 0.5 and last["behavior_nll"] < 0.2
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_defaults_are_the_papers():
    config = MBGenConfig()
    assert (config.behavior_width, config.injected_layers, config.user_buckets) == (64, 2, 2000)
