"""The gradient against the exact one of the expected reward, and what groups, clipping and the reference do."""

import copy
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from seven_items import ITEMS, everything
from torch.testing import assert_close

from rclrec_mini.files import InputError
from rclrec_mini.post_training import rere as module
from rclrec_mini.post_training.groups import Group
from rclrec_mini.post_training.policy import token_log_probs
from rclrec_mini.post_training.rere import ReRe, ReReConfig, RewardConfig
from rclrec_mini.post_training.rewards import ranking, rule

RULE = RewardConfig(ranking=0.0)
PLAIN = ReReConfig(group=2, sampling="sample", reward=RULE, std=False, beta=0.0)


def gradient(model, loss) -> torch.Tensor:
    found = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def exact(model, batch, catalog) -> torch.Tensor:
    """The gradient of the expected rule reward, averaged over histories, by enumeration."""
    p = token_log_probs(model, batch, catalog, everything(batch)).sum(-1).exp()
    return gradient(model, p.gather(1, batch.target_item[:, None]).mean())


def test_plain_draws_follow_the_exact_gradient(model, batch, catalog, monkeypatch):
    """The expectation over all groups of two, each with its probability: half of the gradient is lost to the mean
    that holds the draw itself, and the loss is a mean over three tokens."""
    expected = exact(model, batch, catalog)
    p = token_log_probs(model, batch, catalog, everything(batch)).sum(-1).exp().detach()
    stage = ReRe(policy=model, catalog=catalog, config=PLAIN)
    total = 0.0
    for a, b in itertools.product(range(ITEMS), repeat=2):
        items = torch.tensor([[a, b]]).expand(len(batch), 2)
        weight = (p[:, a] * p[:, b])[:, None] / 2 * torch.ones_like(items)
        group = Group(items, torch.ones_like(items, dtype=torch.bool), weight)
        monkeypatch.setattr(module, "draw", lambda *_, group=group, **__: group)
        total = total + gradient(model, stage(batch)["loss"])
    assert_close(-total * 3 * 2, expected)


def test_draws_without_replacement_follow_the_exact_gradient(model, batch, catalog):
    whole = ReRe(policy=model, catalog=catalog, config=replace(PLAIN, group=ITEMS, sampling="gumbel"))
    expected = exact(model, batch, catalog)
    assert_close(-3 * gradient(model, whole(batch)["loss"]), expected)  # no chance is left in it


def test_groups_without_signal_teach_nothing_but_to_stay(model, batch, catalog):
    config = ReReConfig(group=2, beta=0.0)
    logs = ReRe(policy=model, catalog=catalog, config=config)(batch)
    assert 0 < logs["signal"] < 1 and logs["signal"] == logs["hit"]
    silent = replace(config, reward=RewardConfig(rule=0.0, ranking=0.0))
    stage = ReRe(policy=model, catalog=catalog, config=silent)
    assert gradient(model, stage(batch)["loss"]).abs().max() == 0
    stage = ReRe(policy=model, catalog=catalog, config=replace(silent, beta=1.0))
    assert gradient(model, stage(batch)["loss"]).abs().max() == 0  # of a divergence of zero
    with torch.no_grad():
        model.backbone.token_embedding.weight += 0.1 * torch.randn_like(model.backbone.token_embedding.weight)
    logs = stage(batch)
    assert logs["kl"] > 0 and gradient(model, logs["loss"]).abs().max() > 0


def test_a_step_makes_the_target_likelier(model, batch, catalog):
    stage = ReRe(policy=model, catalog=catalog, config=ReReConfig(group=ITEMS))

    def likelihood():
        return token_log_probs(model, batch, catalog, batch.target_item[:, None]).sum().item()

    before = likelihood()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    stage(batch)["loss"].backward()
    optimizer.step()
    assert likelihood() > before


def test_k3_and_the_clipped_ratio_by_hand(model, batch, catalog):
    """Against the formulas, token by token, with an old policy and a reference that differ from the policy."""
    config = ReReConfig(group=3, lag=7, beta=0.3, clip=0.1)
    stage = ReRe(policy=model, catalog=catalog, config=config)
    stage(batch)
    torch.manual_seed(1)
    with torch.no_grad():
        weight = model.backbone.token_embedding.weight
        weight += 0.3 * torch.randn_like(weight)
    logs = stage(batch)
    group = module.draw(stage.old, batch, catalog, size=3, sampling="beam")
    advantage = module.advantages(stage.reward(group, batch), group).value
    new, old = (token_log_probs(m, batch, catalog, group.items).detach() for m in (model, stage.old))
    expected, clipped = 0.0, 0
    for b, g, t in itertools.product(range(len(batch)), range(3), range(3)):
        rho, a = (new[b, g, t] - old[b, g, t]).exp().item(), advantage[b, g].item()
        held = min(max(rho, 0.9), 1.1)
        d = (old[b, g, t] - new[b, g, t]).item()  # the reference is what the policy was, too
        k3 = torch.tensor(d).exp().item() - d - 1
        expected -= (min(rho * a, held * a) - 0.3 * k3) / 9 / len(batch)
        clipped += rho != held
    assert logs["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert logs["clipped"].item() == pytest.approx(clipped / 9 / len(batch)) and clipped > 0


def test_the_old_policy_and_the_reference_look_when_it_is_their_turn(model, batch, catalog):
    stage = ReRe(policy=model, catalog=catalog, config=ReReConfig(group=2, lag=2, sync=3))
    weight = model.backbone.token_embedding.weight
    seen = {"old": [], "reference": []}
    for step in range(7):
        with torch.no_grad():
            weight.fill_(step + 1.0)
        stage(batch)
        for name, values in seen.items():
            values.append(getattr(stage, name).backbone.token_embedding.weight[0, 0].item())
    assert seen["old"] == [1, 1, 3, 3, 5, 5, 7]
    assert seen["reference"] == [1, 1, 1, 4, 4, 4, 7]
    stage.eval()
    stage(batch)
    assert int(stage.steps) == 7


def test_dynamic_sampling_averages_over_groups_with_signal(model, batch, catalog):
    config = ReReConfig(group=2, beta=0.0)
    plain = ReRe(policy=model, catalog=catalog, config=config)(batch)
    dynamic = ReRe(policy=model, catalog=catalog, config=replace(config, dynamic=True))(batch)
    assert_close(gradient(model, dynamic["loss"]), gradient(model, plain["loss"]) / plain["signal"])


def test_a_group_that_is_given_the_target_always_has_signal(model, batch, catalog):
    logs = ReRe(policy=model, catalog=catalog, config=ReReConfig(group=2, add_target=True))(batch)
    assert logs["hit"] == logs["signal"] == 1


def test_draws_repeat_themselves_and_beams_do_not(model, batch, catalog):
    share = {}
    for sampling in ("beam", "sample", "gumbel"):
        config = ReReConfig(group=5, sampling=sampling)
        share[sampling] = ReRe(policy=model, catalog=catalog, config=config)(batch)["distinct"]
    assert share["beam"] == share["gumbel"] == 1 > share["sample"]


@pytest.mark.parametrize("gate", [True, False])
def test_the_reward_is_the_weighted_sum_with_or_without_the_gate(model, batch, catalog, gate):
    config = ReReConfig(group=3, reward=RewardConfig(rule=2.0, ranking=3.0, gate=gate))
    group, target = module.draw(model, batch, catalog, size=3, sampling="beam"), batch.target_item
    assert not rule(group, target).any(1).all()  # some group lacks the target
    expected = 2 * rule(group, target) + 3 * ranking(group, target, gate=gate)
    assert_close(ReRe(policy=model, catalog=catalog, config=config).reward(group, batch), expected)


class Judge:
    """Scores item i by i."""

    def query(self, batch):
        return torch.ones(len(batch), 1, dtype=torch.float64)

    def items(self):
        return torch.arange(ITEMS).double()[:, None], torch.zeros(ITEMS, dtype=torch.float64)


def test_other_judges(model, batch, catalog):
    config = ReReConfig(group=3, reward=RewardConfig(rule=0.0, ranking=0.0, collaborative=1.0))
    stage = ReRe(policy=model, catalog=catalog, config=config, judge=Judge())
    group = module.draw(model, batch, catalog, size=3, sampling="beam")
    reward = stage.reward(group, batch)
    assert torch.equal(reward.argsort(1), group.items.argsort(1))
    assert_close(reward.mean(1), torch.zeros(len(batch), dtype=torch.float64))
    with pytest.raises(InputError, match=r"collaborative: found 1\.0, expected 0 without what judges it"):
        ReRe(policy=model, catalog=catalog, config=config)
    semantic = replace(config, reward=RewardConfig(rule=0.0, ranking=0.0, semantic=1.0))
    stage = ReRe(policy=model, catalog=catalog, config=semantic, vectors=torch.eye(ITEMS))
    assert torch.equal(stage.reward(group, batch) == 1, group.items == batch.target_item[:, None])


def test_models_stay_in_eval_mode_and_only_the_policy_learns(model, batch, catalog):
    before = copy.deepcopy(model.state_dict())
    stage = ReRe(policy=model, catalog=catalog, config=ReReConfig(group=3, lag=2)).train()
    assert stage.training and not any(m.training for m in (stage.policy, stage.reference, stage.old))
    trained = {id(p) for p in stage.parameters() if p.requires_grad}
    assert trained == {id(p) for p in model.parameters()}
    stage(batch)["loss"].backward()
    assert all(p.grad is None for p in stage.reference.parameters())
    for name, value in stage.reference.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    script, weights = Path(__file__).parent / "two_processes.py", []
    for devices, strategy in ((1, "auto"), (2, "ddp")):
        out = tmp_path / strategy
        subprocess.run([sys.executable, script, out, str(devices), strategy], check=True, capture_output=True)
        weights.append(load_file(next((out / "last").glob("model-*"))))
    assert weights[0].keys() == weights[1].keys() and int(weights[0]["steps"]) == 11
    for name, tensor in weights[0].items():
        assert_close(tensor, weights[1][name], msg=name)


def test_the_judge_follows_the_policy_to_its_device(model, catalog):
    config = ReReConfig(reward=RewardConfig(rule=0.0, ranking=0.0, collaborative=1.0))
    stage = ReRe(policy=model, catalog=catalog, config=config, judge=torch.nn.Linear(2, 3)).to("meta")
    assert stage.catalog.device == stage.judge[0].weight.device == torch.device("meta")
    assert not any(name.startswith("judge") for name in stage.state_dict())
