"""Likelihoods against the whole catalogue, and each way of drawing a group against the policy that it draws from."""

from dataclasses import fields

import pytest
import torch
from seven_items import ITEMS, everything
from torch.testing import assert_close

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.post_training.groups import draw, given_maximum, with_target
from rclrec_mini.post_training.policy import token_log_probs


def policy(model, batch, catalog):
    """pi of every item (B, N)"""
    with torch.no_grad():
        return token_log_probs(model, batch, catalog, everything(batch)).sum(-1).exp()


def often(batch, n):
    """Each history n times over."""
    return Batch(**{field.name: getattr(batch, field.name).repeat_interleave(n, 0) for field in fields(batch)})


def test_the_constrained_policy_sums_to_one_and_the_free_one_is_the_likelihood(model, batch, catalog):
    assert_close(policy(model, batch, catalog).sum(1), torch.ones(len(batch), dtype=torch.float64))
    free = token_log_probs(model, batch, catalog, everything(batch), constrained=False).sum(-1)
    items, scores = beam_search(model, batch, catalog, beams=ITEMS, k=ITEMS)
    assert_close(free.gather(1, items.clone()), scores.clone())
    assert (free.exp().sum(1) < 1).all()


def test_an_item_that_is_forced_is_certain(model, batch, catalog):
    tokens = token_log_probs(model, batch, catalog, everything(batch))
    assert_close(tokens[:, 4, 1:], torch.zeros_like(tokens[:, 4, 1:]))  # (1, 1, 1) is alone below (1,)
    assert (tokens[:, 0] < 0).all()


def test_items_may_come_in_any_order_and_more_than_once(model, batch, catalog):
    items = torch.randint(ITEMS, (len(batch), 13), generator=torch.Generator().manual_seed(0))
    all_items = token_log_probs(model, batch, catalog, everything(batch))
    expected = all_items.gather(1, items[..., None].expand(-1, -1, 3))
    assert_close(token_log_probs(model, batch, catalog, items), expected)


def test_the_gradient_is_that_of_finite_differences(model, batch, catalog):
    weight = model.backbone.token_embedding.weight
    items = torch.tensor([[0, 5]]).expand(len(batch), 2)

    def total():
        return token_log_probs(model, batch, catalog, items).sum()

    gradient = torch.autograd.grad(total(), list(model.parameters()), allow_unused=True)
    assert all(g.isfinite().all() for g in gradient if g is not None)
    (gradient,) = torch.autograd.grad(total(), weight)
    for place in ((0, 3), (5, 11), (7, 25)):
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += step
                values.append(total().item())
                weight[place] -= step
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(gradient[place].item(), rel=1e-4, abs=1e-7)


def test_beams_are_the_best_items(model, batch, catalog):
    group = draw(model, batch, catalog, size=4, sampling="beam")
    assert_close(group.items, beam_search(model, batch, catalog, beams=4, k=4)[0].clone())
    assert_close(group.weight, torch.full((len(batch), 4), 0.25))
    more = draw(model, batch, catalog, size=11, sampling="beam")
    assert more.valid.sum(1).tolist() == [ITEMS] * len(batch)
    assert_close(more.weight.sum(1), torch.ones(len(batch)))


def test_draws_follow_the_policy(model, batch, catalog):
    torch.manual_seed(0)
    n = 40_000
    group = draw(model, batch, catalog, size=n, sampling="sample")
    found = torch.stack([(group.items == item).double().mean(1) for item in range(ITEMS)], dim=1)
    p = policy(model, batch, catalog)
    assert ((found - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()


def test_gumbel_draws_are_distinct_and_their_weights_unbiased(model, batch, catalog):
    torch.manual_seed(0)
    n, f = 5_000, torch.tensor([3.0, -1.0, 0.5, 7.0, -2.0, 1.0, 11.0]).double()
    p = policy(model, batch, catalog)
    group = draw(model, often(batch, n), catalog, size=3, sampling="gumbel")
    assert all(len(set(row)) == 3 for row in group.items.tolist())
    for values, expected in ((f, p @ f), (torch.ones_like(f), torch.ones(len(batch)).double())):
        estimate = (group.weight * values[group.items]).sum(1).view(-1, n)
        error = estimate.std(1) / n**0.5
        assert ((estimate.mean(1) - expected).abs() < 5 * error).all()
    one = draw(model, often(batch, n), catalog, size=1, sampling="gumbel").items.view(-1, n)  # a plain draw
    found = torch.stack([(one == item).double().mean(1) for item in range(ITEMS)], dim=1)
    assert ((found - p).abs() < 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()


@pytest.mark.parametrize("sampling", ["beam", "sample", "gumbel"])
def test_the_likeliest_of_a_group_comes_first(model, batch, catalog, sampling):
    torch.manual_seed(0)
    group = draw(model, often(batch, 20), catalog, size=5, sampling=sampling)
    free = token_log_probs(model, batch, catalog, everything(batch), constrained=sampling != "beam").sum(-1)
    likelihood = free.repeat_interleave(20, 0).gather(1, group.items)
    assert (likelihood.diff(dim=1) <= 1e-9).all() and group.valid.all()


def test_gumbel_of_the_whole_catalogue_is_the_policy(model, batch, catalog):
    group = draw(model, batch, catalog, size=11, sampling="gumbel")
    assert group.valid.sum(1).tolist() == [ITEMS] * len(batch)
    p = policy(model, batch, catalog)
    assert_close(group.weight, p.gather(1, group.items) * group.valid, check_dtype=False)


def test_siblings_keep_their_order_and_their_largest_is_given():
    perturbed = torch.tensor([[0.3, -2.0, float("-inf"), 1.7]]).double()
    raised = given_maximum(perturbed, torch.tensor([-0.4]).double())
    assert raised.amax().item() == pytest.approx(-0.4)
    assert raised.argsort().tolist() == perturbed.argsort().tolist()
    assert raised[0, 2] == float("-inf")
    # by definition: -log(exp(-maximum) - exp(-largest) + exp(-g))
    for before, after in zip(perturbed[0, :2], raised[0, :2], strict=True):
        expected = -torch.log(torch.tensor(0.4).double().exp() - torch.tensor(-1.7).double().exp() + (-before).exp())
        assert_close(after, expected)


def test_the_target_takes_the_last_place_where_it_is_missing(model, batch, catalog):
    group = draw(model, batch, catalog, size=3, sampling="beam")
    lacking = torch.tensor([next(i for i in range(ITEMS) if i not in row) for row in group.items.tolist()])
    lacks = torch.arange(len(batch)) % 2 == 1
    target = torch.where(lacks, lacking, group.items[:, 1])
    added = with_target(group, target)
    assert (added.items == target[:, None]).sum(1).tolist() == [1] * len(batch)
    assert torch.equal(added.items[~lacks], group.items[~lacks])
    assert torch.equal(added.items[lacks, :2], group.items[lacks, :2])
