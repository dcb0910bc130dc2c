import numpy as np
import torch

from rclrec_mini.views.post_training import moved, through_training


def test_moved_shows_groups_with_signal_alone():
    change = torch.tensor([[-0.5, 0.8, -0.1], [-0.3, -0.2, 0.4], [9.0, 9.0, 9.0]])
    hit = torch.tensor([[False, True, False], [False, False, True], [False, False, False]])
    (axis,) = moved(change, hit, torch.tensor([True, True, False])).axes
    np.testing.assert_allclose([bar.get_height() for bar in axis.patches], [0.6, -0.4, -0.2, -0.1], rtol=1e-6)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["target", "0", "1", "2"]


def test_through_training_shows_what_is_earned_and_what_it_is_worth():
    lines = [
        {"step": 0, "validation": {"ndcg@10": 0.2}},
        {"step": 5, "reward": 0.1},
        {"step": 5, "validation": {"ndcg@10": 0.3}},
    ]
    earned, worth = through_training({"a": lines, "b": lines[:2]}, metric="ndcg@10").axes
    np.testing.assert_allclose(earned.lines[0].get_xydata(), [[5, 0.1]])
    np.testing.assert_allclose(worth.lines[0].get_xydata(), [[0, 20], [5, 30]])
    assert [line.get_label() for line in earned.lines] == ["a", "b"] and "ndcg@10" in worth.get_ylabel()
