"""Rewards and advantages of one group, by hand."""

import math

import torch
from torch.testing import assert_close

from rclrec_mini.post_training.groups import Group
from rclrec_mini.post_training.rewards import advantages, ranking, rule, semantic


def group_of(items, valid=None, weight=None):
    items = torch.tensor(items)
    valid = torch.ones_like(items, dtype=torch.bool) if valid is None else torch.tensor(valid)
    weight = valid / valid.sum(1, keepdim=True) if weight is None else torch.tensor(weight)
    return Group(items, valid, weight)


GROUP, TARGET = group_of([[5, 3, 9], [5, 4, 9]]), torch.tensor([3, 3])
W = [1 / math.log2(i + 2) for i in range(3)]  # 1, .631, .5


def test_rule_and_ranking_by_hand():
    assert rule(GROUP, TARGET).tolist() == [[0, 1, 0], [0, 0, 0]]
    assert_close(ranking(GROUP, TARGET), torch.tensor([[-W[0] / sum(W), 0, -W[2] / sum(W)], [0, 0, 0]]))
    assert round(W[0] / sum(W), 2) == 0.47 and round(W[2] / sum(W), 2) == 0.23  # as in the module's head
    ungated = ranking(GROUP, TARGET, gate=False)
    assert_close(ungated[1], -torch.tensor(W) / sum(W))
    assert_close(ungated[0], ranking(GROUP, TARGET)[0])


def test_places_without_an_item_have_no_reward_and_no_weight():
    group = group_of([[3, 5, 0]], valid=[[True, True, False]])
    assert_close(ranking(group, torch.tensor([3])), torch.tensor([[0.0, -W[1] / (W[0] + W[1]), 0.0]]))
    assert rule(group, torch.tensor([0])).tolist() == [[0, 0, 0]]
    value = advantages(rule(group, torch.tensor([3])), group, std=False).value
    assert_close(value, torch.tensor([[0.5, -0.5, 0.0]]))


def test_semantic_is_the_cosine():
    vectors = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    group = group_of([[0, 1, 2]])
    expected = torch.tensor([[math.sqrt(0.5), math.sqrt(0.5), 1.0]])
    assert_close(semantic(group, torch.tensor([2]), vectors), expected)


def test_advantages_by_hand():
    reward = torch.tensor([[0.0, 1.0, 0.0], [2.0, 2.0, 2.0]])
    found = advantages(reward, GROUP)
    std = reward[0].std()
    assert_close(found.value[0], (reward[0] - 1 / 3) / (std + 1e-4))
    assert found.value[1].tolist() == [0, 0, 0] and found.signal.tolist() == [True, False]
    assert_close(advantages(reward, GROUP, std=False).value[0], reward[0] - 1 / 3)


def test_a_mean_with_importance_weights():
    group = group_of([[5, 3, 9]], weight=[[0.5, 0.2, 0.1]])
    value = advantages(torch.tensor([[0.0, 1.0, 0.0]]), group, std=False).value
    assert_close(value, torch.tensor([[-0.25, 0.75, -0.25]]))
    assert_close((value * group.weight).sum(), torch.tensor(0.0))
