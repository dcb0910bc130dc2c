"""RCLRec: each term of the loss by hand, the frozen reference, ablations, and a tiny batch learned by heart."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samples import fit
from torch.testing import assert_close

from rclrec_mini.models.curriculum import RCPM, RandomK, RecentK, user_profiles
from rclrec_mini.models.rclrec import LossConfig, RCLRec, token_nll

K = 5


def rcpm(backbone, sequences):
    profiles = user_profiles(n_users=sequences.n_users, buckets=5)
    return RCPM(d=26, k=K, tau=0.5, max_history=23, profiles=profiles, behavior_embedding=backbone.behavior_embedding)


@pytest.fixture
def model(backbone, sequences, codes):
    torch.manual_seed(5)
    reference = type(backbone)(backbone.config)
    selector = rcpm(backbone, sequences)
    return RCLRec(backbone=backbone, codes=codes, selector=selector, reference=reference)


@pytest.fixture
def causal(backbone, codes):
    """A model whose stage one predicts every event."""
    return RCLRec(backbone=type(backbone)(dataclasses.replace(backbone.config, causal=True)), codes=codes)


def test_token_nll_by_hand():
    logits = torch.tensor([[[0.0, math.log(3.0)]]])
    assert_close(token_nll(logits, torch.tensor([[1]])), torch.tensor([[math.log(4 / 3)]]))


@pytest.mark.parametrize("n", [None, 2, 1])
def test_loss_is_the_sum_of_eq_6_and_8(model, batch, codes, n):
    """Token by token, with no batch: the sum over prefix and target tokens, plus lambda times the hinge."""
    model.prefix_levels = n
    history = model.encode(batch)
    selection = model.select(history, batch)
    total = 0.0
    for i in range(len(batch)):
        chosen = selection.index[i][selection.valid[i]]
        prefix, target = codes[batch.item[i, chosen]], codes[batch.target_item[i]]
        valid = torch.ones(1, len(chosen), dtype=torch.bool)
        x = (history[i : i + 1], batch.mask[i : i + 1], batch.target_behavior[i : i + 1])
        logits = model.backbone.decode(*x, prefix[None, :, :n], valid, target[None])[0]
        items = [*prefix[:, :n], target]
        nll = torch.stack(
            [
                -logits[s, j].log_softmax(-1)[code]
                for s, codes_of_s in enumerate(items)
                for j, code in enumerate(codes_of_s)
            ]
        )
        state = model.reference.encode(codes[batch.item[i : i + 1]], batch.behavior[i : i + 1], batch.mask[i : i + 1])
        base = model.reference.decode(state, *x[1:], prefix[None][:, :0], valid[:, :0], target[None])[0, 0]
        base_nll = F.cross_entropy(base, target)
        total = total + nll.sum() + 0.1 * F.relu(0.1 - (base_nll - nll[-3:].mean()))
    assert_close(model(batch)["loss"], total / len(batch))


def test_reference_stays_frozen_and_has_no_dropout(model, batch):
    assert not any(p.requires_grad for p in model.reference.parameters())
    model.reference.dropout.p = 0.9
    model.train()
    assert not model.reference.training and model.training
    assert_close(model.base_nll(batch), model.base_nll(batch))
    before = [p.clone() for p in model.reference.parameters()]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model(batch)["loss"].backward()
    optimizer.step()
    for old, new in zip(before, model.reference.parameters(), strict=True):
        assert_close(new, old, rtol=0, atol=0)


def test_reference_is_a_copy(backbone, codes, batch):
    model = RCLRec(backbone=backbone, codes=codes, selector=RecentK(k=K), reference=backbone)
    base = model.base_nll(batch)
    with torch.no_grad():
        backbone.token_embedding.weight.mul_(2.0)
    assert_close(model.base_nll(batch), base)


def test_without_selector_it_is_eq_1(backbone, codes, batch):
    model = RCLRec(backbone=backbone, codes=codes)
    terms, selection = model.terms(batch)
    assert selection.index.shape == (len(batch), 0)
    assert set(terms) == {"target", "prefix"} and terms["prefix"].sum() == 0
    assert_close(model(batch)["loss"], terms["target"].mean())


def test_pretraining_predicts_every_event_that_has_a_past(causal, batch, sequences):
    nll, predicted = causal.pretraining_nll(batch)
    assert predicted.sum(1).tolist() == batch.mask.sum(1).tolist()
    assert_close(nll[:, -1], causal.terms(batch)[0]["target"])
    before = sequences.batch(batch.row.numpy()[batch.mask.sum(1).numpy() > 1] - 1, 23)
    again = causal.terms(before)[0]["target"][before.mask.sum(1) < 22]
    assert_close(nll[batch.mask.sum(1) > 1][before.mask.sum(1) < 22, -2], again)


def test_pretraining_counts_samples_alike_and_adds_the_loss_behind_a_prefix(causal, batch):
    nll, predicted = causal.pretraining_nll(batch)
    plain = torch.stack([n[p].mean() for n, p in zip(nll, predicted, strict=True)]).mean()
    assert_close(causal.pretraining(batch)["loss"], plain)
    causal.selector = RandomK(k=3)
    found, expected = causal.pretraining(batch)["loss"], plain + causal(batch)["loss"]
    assert_close(found, expected)
    weight = causal.backbone.slot_embedding.weight  # which practice alone teaches
    assert_close(*(torch.autograd.grad(loss, weight)[0] for loss in (found, expected)))


def test_weights_of_the_terms(model, batch):
    terms, _ = model.terms(batch)
    model.loss = LossConfig(lambda_qual=0.3, prefix_loss=0.1)
    expected = terms["target"] + 0.1 * terms["prefix"] + 0.3 * terms["quality"]
    assert_close(model(batch)["loss"], expected.mean())
    model.loss = LossConfig(lambda_qual=0.0)
    assert_close(model(batch)["loss"], (terms["target"] + terms["prefix"]).mean())
    assert "hinge_active" not in model(batch)


def test_supervision_by_hand(model, batch, codes):
    model.loss = LossConfig(supervision=1.0)
    terms, selection = model.terms(batch)
    for i in range(len(batch)):
        log_p = selection.scores[i].log_softmax(-1)
        shared = []
        for t in range(batch.mask.shape[1]):
            a, b = codes[batch.item[i, t]], codes[batch.target_item[i]]
            n = next((j for j in range(3) if a[j] != b[j]), 3)
            shared.append(n if batch.mask[i, t] else 0)
        total = sum(shared)
        expected = -sum(n / total * log_p[t] for t, n in enumerate(shared) if n) if total else torch.tensor(0.0)
        assert_close(terms["supervision"][i], expected)


def test_supervision_on_unseen_targets_alone(model, batch):
    model.loss = LossConfig(supervision=1.0)
    everywhere = model.terms(batch)[0]["supervision"]
    model.loss = LossConfig(supervision=1.0, unseen=True)
    unseen = model.terms(batch)[0]["supervision"]
    new = torch.stack([(batch.item[i, batch.mask[i]] != batch.target_item[i]).all() for i in range(len(batch))])
    assert 0 < new.sum() < len(batch)
    assert_close(unseen, everywhere * new)


def test_gradient_of_the_loss_reaches_the_selector_through_the_mask(model, batch):
    logs = model.diagnostics(batch)
    for term in ("target", "prefix", "quality"):
        assert logs[f"selector_gradient_{term}"] > 0
    assert 1 / 23 <= logs["largest_p"] <= 1


def test_diagnostics_know_the_journey_only_if_it_is_given(model, batch, sequences):
    assert "selector_precision" not in model.diagnostics(batch)
    model.journey = torch.zeros(len(sequences), dtype=torch.long)  # every event is of the same journey
    assert model.diagnostics(batch)["selector_precision"] == 1.0


@pytest.mark.parametrize("name", ["none", "recent", "random", "rcpm"])
def test_learns_a_tiny_batch_by_heart(name, backbone, sequences, codes):
    torch.manual_seed(0)
    selectors = {"none": None, "recent": RecentK(k=K), "random": RandomK(k=K), "rcpm": rcpm(backbone, sequences)}
    model = RCLRec(backbone=backbone, codes=codes, selector=selectors[name])
    rows = np.setdiff1d(np.arange(len(sequences)), sequences.offsets)[:6]
    batch = sequences.batch(rows, 23)
    assert fit(model, batch, steps=200, lr=1e-2)["target_nll"] < 0.05


def test_start_uses_the_selected_prefix(model, batch):
    model.eval()
    history = model.encode(batch)
    selection = model.select(history, batch)
    _, logits = model.start(batch)
    prefix, target = model.prefix_codes(selection, batch), model.codes[batch.target_item]
    forced = model.backbone.decode(history, batch.mask, batch.target_behavior, prefix, selection.valid, target)
    assert_close(logits, forced[:, -1, 0])
