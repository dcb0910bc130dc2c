"""The curriculum: selection, the straight-through mask and its gradient, the query, and the selectors' rivals."""

import pytest
import torch
from torch.testing import assert_close

from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.models.curriculum import (
    RCPM,
    OracleK,
    RandomK,
    RecentK,
    Selection,
    Sometimes,
    event_counts,
    journey_mask,
    most_relevant,
    recovery,
    straight_through,
    top_k,
    user_profiles,
)

K = 5


@pytest.fixture
def rcpm(backbone, sequences):
    torch.manual_seed(4)
    profiles = user_profiles(n_users=sequences.n_users, buckets=5)
    d = backbone.config.d
    return RCPM(d=d, k=K, tau=0.5, max_history=23, profiles=profiles, behavior_embedding=backbone.behavior_embedding)


@pytest.fixture
def history(backbone, batch, codes):
    return backbone.encode(codes[batch.item], batch.behavior, batch.mask)


def test_top_k_by_hand():
    inf = float("-inf")
    index, valid = top_k(torch.tensor([[0.3, 0.9, 0.1, 0.5], [inf, inf, 0.2, 0.1], [0.5, 0.5, 0.5, 0.5]]), 3)
    assert index.tolist()[0] == [0, 3, 1]  # ascending: the largest stands next to the target
    assert valid.tolist() == [[True] * 3, [False, True, True], [True] * 3]
    assert index.tolist()[1][1:] == [3, 2]
    assert index.tolist()[2] == [1, 2, 3]  # ties go to the more recent
    index, valid = top_k(torch.tensor([[0.2, 0.1]]), 3)
    assert valid.tolist() == [[False, True, True]] and index.tolist()[0][1:] == [1, 0]
    assert top_k(torch.zeros(2, 3), 0)[0].shape == (2, 0)


def test_the_most_relevant_events_are_never_padding():
    relevance = torch.tensor([[0.9, 0.2, 0.2, 0.1, 0.2], [9.0, 9.0, 9.0, -0.3, -0.1]])
    mask = torch.tensor([[True] * 5, [False] * 3 + [True] * 2])
    selection = most_relevant(relevance, mask, 3)
    assert selection.index[0].tolist() == [2, 4, 0]
    assert selection.valid.tolist() == [[True] * 3, [False, True, True]]
    assert selection.index[1, 1:].tolist() == [3, 4]


def test_mask_is_hard_in_the_forward_pass(rcpm, history, batch):
    """p as a straight-through surrogate leaves exactly the k-hot mask: one at the selected events."""
    selection = rcpm(history, batch)
    assert_close(selection.weight, torch.ones_like(selection.weight), rtol=0, atol=1e-6)
    p = selection.scores.softmax(-1).gather(1, selection.index)
    assert (p.diff(dim=1) >= 0).all()
    n = batch.mask.sum(1).clamp(max=K)
    assert (selection.valid.sum(1) == n).all()
    assert (batch.mask.gather(1, selection.index) | ~selection.valid).all()


def test_mask_has_the_gradient_of_p():
    """Finite differences of the surrogate, in double precision."""
    torch.manual_seed(0)
    scores, value = torch.randn(3, 7, dtype=torch.double, requires_grad=True), torch.randn(3, 7, dtype=torch.double)

    def surrogate(s):
        return ((s / 0.5).softmax(-1) * value).sum()

    def masked(s):
        return (straight_through((s / 0.5).softmax(-1)) * value).sum()

    (gradient,) = torch.autograd.grad(masked(scores), scores)
    numeric = torch.zeros_like(gradient)
    for i in range(3):
        for j in range(7):
            step = torch.zeros_like(scores)
            step[i, j] = 1e-6
            numeric[i, j] = (surrogate(scores + step) - surrogate(scores - step)) / 2e-6
    assert gradient.abs().max() > 0.01
    assert_close(gradient, numeric.detach(), rtol=1e-5, atol=1e-8)


def test_mask_of_a_selection_has_the_gradient_of_eq_3(rcpm, history, batch):
    """That of p = softmax(s / tau) over all events of a sample."""
    selection = rcpm(history, batch)
    value = torch.randn(selection.weight.shape, generator=torch.Generator().manual_seed(0))
    p = selection.scores.softmax(-1).gather(1, selection.index)
    found, expected = (
        torch.autograd.grad((part * value).sum(), list(rcpm.parameters()), retain_graph=True)
        for part in (selection.weight, p)
    )
    assert_close(found, expected)


def test_gradient_reaches_query_mlp_and_encoder(rcpm, backbone, history, batch):
    selection = rcpm(history, batch)
    (selection.weight * torch.randn(selection.weight.shape)).sum().backward()
    for name, parameter in rcpm.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert backbone.encoder[0].ffn[1].weight.grad.abs().sum() > 0
    assert backbone.behavior_embedding.weight.grad[PURCHASE].abs().sum() > 0


def test_query_shares_e_pay_and_does_not_see_the_target(rcpm, backbone, history, batch):
    before = rcpm(history, batch).scores
    changed = batch.__class__(
        **{**batch.__dict__, "target_item": batch.target_item * 0, "target_behavior": batch.user * 0}
    )
    assert_close(rcpm(history, changed).scores, before)
    assert "behavior" not in " ".join(name for name, _ in rcpm.named_parameters())
    with torch.no_grad():
        backbone.behavior_embedding.weight[PURCHASE] += 1.0
    assert not torch.allclose(rcpm.query(batch.user), rcpm.query(batch.user) * 0)
    assert not torch.allclose(rcpm(history, batch).scores[batch.mask], before[batch.mask])


def test_scores_by_hand(rcpm, history, batch):
    scores = rcpm(history, batch).scores
    q = rcpm.query(batch.user)
    width = batch.mask.shape[1]
    for i in range(len(batch)):
        for t in range(width):
            if batch.mask[i, t]:
                h_t = history[i, t] + rcpm.recency.weight[width - 1 - t]
                assert_close(scores[i, t], q[i] @ h_t / 26**0.5 / 0.5)
            else:
                assert scores[i, t] == float("-inf")


def test_event_counts_by_loops(batch, codes):
    counts = event_counts(codes, batch, behaviors=4).unflatten(2, (codes.shape[1], 4))
    for one in range(0, len(batch), 3):
        for t in batch.mask[one].nonzero().flatten().tolist():
            own = codes[batch.item[one, t]]
            n = torch.zeros(codes.shape[1], 4)
            for s in batch.mask[one].nonzero().flatten().tolist():
                for level in range(codes.shape[1]):
                    same = torch.equal(codes[batch.item[one, s], : level + 1], own[: level + 1])
                    n[level, batch.behavior[one, s]] += same
            assert_close(counts[one, t], n.log1p())


def test_counting_changes_scores_and_padding_does_not(sequences, backbone, codes):
    torch.manual_seed(4)
    selector = RCPM(
        d=backbone.config.d, k=K, tau=0.5, max_history=23,
        profiles=user_profiles(n_users=sequences.n_users, buckets=5),
        behavior_embedding=backbone.behavior_embedding, codes=codes,
    ).double()  # fmt: skip
    backbone.double()

    def scores(rows):
        batch = sequences.batch(rows, 23)
        history = backbone.encode(codes[batch.item], batch.behavior, batch.mask)
        return selector(history, batch).scores, batch.mask

    rows = sequences.offsets[1:8] - 1
    together, mask = scores(rows)
    for i in range(len(rows)):
        alone, own = scores(rows[i : i + 1])
        assert_close(alone[0][own[0]], together[i][mask[i]])
    with torch.no_grad():
        selector.counts[-1].weight.zero_()
    assert not torch.allclose(scores(rows)[0][mask], together[mask])


def test_recent_k(history, batch):
    selection = RecentK(k=K)(history, batch)
    width = batch.mask.shape[1]
    assert (selection.index[selection.valid.all(1)] == torch.arange(width - K, width)).all()


def test_random_k_depends_on_the_sample_alone(sequences, history, batch):
    selector = RandomK(k=K)
    first, again = selector(history, batch), selector(history, batch)
    assert first.index.tolist() == again.index.tolist()
    rows = batch.row.numpy()[::-1].copy()
    backwards = selector(None, sequences.batch(rows, 23))
    assert backwards.index.flip(0)[first.valid].tolist() == first.index[first.valid].tolist()
    assert RandomK(k=K, seed=1)(history, batch).index.tolist() != first.index.tolist()
    assert len(first.index[first.valid].unique()) > 15  # spread over the whole history of 23


def test_oracle_selects_the_journey_and_recovery_counts_it(sequences, history, batch):
    journey = torch.randint(-1, 4, (len(sequences),), generator=torch.Generator().manual_seed(0))
    selection = OracleK(k=K, journey=journey)(history, batch)
    truth = journey_mask(journey, batch)
    for i, row in enumerate(batch.row.tolist()):
        width = batch.mask.shape[1]
        events = [
            t
            for t in range(width)
            if batch.mask[i, t] and journey[row] >= 0 and journey[row - width + t] == journey[row]
        ]
        assert truth[i].nonzero().flatten().tolist() == events
        assert selection.index[i][selection.valid[i]].tolist() == events[-K:]
    found = recovery(selection, truth)
    some = truth.any(1)
    assert (found.precision[some] == 1).all() and found.recall[~some].isnan().all()
    assert_close(found.recall[some], truth.sum(1)[some].clamp(max=K) / truth.sum(1)[some])


def test_recovery_by_hand():
    truth = torch.tensor([[True, False, True, True]])
    selection = Selection(torch.tensor([[0, 1, 2]]), torch.tensor([[False, True, True]]), torch.ones(1, 3))
    found = recovery(selection, truth)
    assert_close(found.precision, torch.tensor([0.5]))
    assert_close(found.recall, torch.tensor([1 / 3]))


def test_sometimes_drops_whole_prefixes(history, batch):
    torch.manual_seed(0)
    selection = Sometimes(RecentK(k=K), share=0.5)(history, batch)
    kept = selection.valid.any(1)
    assert 0.2 < kept.float().mean() < 0.8
    assert (selection.valid[kept] == RecentK(k=K)(history, batch).valid[kept]).all()


def test_sometimes_is_for_practice_alone(history, batch):
    selector = Sometimes(RecentK(k=K), share=1.0)
    assert selector(history, batch).valid.any()
    assert selector.eval()(history, batch).index.shape == (len(batch), 0)
