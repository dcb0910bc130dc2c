import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchmetrics.functional.retrieval import (
    retrieval_normalized_dcg,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from rclrec_mini.evaluation.metrics import (
    bootstrap_means,
    coverage,
    evaluate_rankings,
    mean_with_interval,
    metric_names,
    paired_test,
    rank_of,
    summarize,
    user_means,
)
from rclrec_mini.files import InputError


def random_rankings(n, k, n_items, seed=0):
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(n_items)[:k] for _ in range(n)])
    return items, rng.integers(0, n_items, n)


def test_by_hand():
    items = np.array([[7, 3, 2, 9, 5, 1], [4, 7, 3, 1, 0, 2], [6, 5, 4, 3, 2, 1], [8, -1, -1, -1, -1, -1]])
    scores = evaluate_rankings(items, np.array([7, 1, 0, 8]), cutoffs=(3, 5))
    assert scores["recall@3"].tolist() == [1, 0, 0, 1]
    assert scores["recall@5"].tolist() == [1, 1, 0, 1]
    np.testing.assert_allclose(scores["ndcg@5"], [1, 1 / math.log2(5), 0, 1])
    assert scores["ndcg@3"].tolist() == [1, 0, 0, 1]
    assert scores["mrr@3"].tolist() == [1, 0, 0, 1]
    assert scores["mrr@5"].tolist() == [1, 1 / 4, 0, 1]
    assert rank_of(items, np.array([7, 1, 0, 8])).tolist() == [0, 3, 6, 0]


def test_coverage_by_hand():
    items = np.array([[7, 3, 2], [3, 7, 2], [6, -1, -1]])
    assert coverage(items, 1, n_items=11) == 3 / 11
    assert coverage(items, 2, n_items=11) == 3 / 11
    assert coverage(items, 3, n_items=11) == 4 / 11
    assert coverage(items[:0], 3, n_items=11) == 0


def loop(items, target, k):
    """Recall and NDCG from their general definitions, with sets and sums."""
    relevant = {target}
    gained = [1.0 if item in relevant else 0.0 for item in items[:k]]
    dcg = sum(gain / math.log2(place + 2) for place, gain in enumerate(gained))
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))
    return sum(gained) / len(relevant), dcg / ideal


@settings(max_examples=40)
@given(st.integers(1, 23), st.integers(10, 17), st.integers(0, 99))
def test_brute_force_twin(n, k, seed):
    items, targets = random_rankings(n, k, 19, seed)
    scores = evaluate_rankings(items, targets)
    for cutoff in (5, 10):
        expected = [loop(row.tolist(), int(t), cutoff) for row, t in zip(items, targets, strict=True)]
        np.testing.assert_allclose(scores[f"recall@{cutoff}"], [r for r, _ in expected])
        np.testing.assert_allclose(scores[f"ndcg@{cutoff}"], [g for _, g in expected])


def test_independent_package():
    """torchmetrics scores every item of the catalogue, we give a list: the same numbers."""
    n_items = 23
    rng = np.random.default_rng(2)
    preference = torch.from_numpy(rng.normal(size=(41, n_items))).softmax(dim=1)  # the package ignores scores <= 0
    items, targets = preference.argsort(dim=1, descending=True).numpy(), rng.integers(0, n_items, 41)
    scores = evaluate_rankings(items[:, :10], targets)
    for row in range(41):
        relevant = torch.arange(n_items) == int(targets[row])
        for k in (5, 10):
            peer = retrieval_recall(preference[row], relevant, top_k=k)
            assert scores[f"recall@{k}"][row] == pytest.approx(float(peer))
            peer = retrieval_reciprocal_rank(preference[row], relevant, top_k=k)
            assert scores[f"mrr@{k}"][row] == pytest.approx(float(peer))
            peer = retrieval_normalized_dcg(preference[row], relevant, top_k=k)
            assert scores[f"ndcg@{k}"][row] == pytest.approx(float(peer), abs=1e-6)


def test_user_means():
    values = np.array([[1.0, 0.0, 0.5, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0, 1.0]])
    user = np.array([7, 3, 7, 7, 3])
    np.testing.assert_allclose(user_means(values, user), [[0.0, 2.5 / 3], [0.5, 2 / 3]])
    np.testing.assert_allclose(user_means(values[0], user), [0.0, 2.5 / 3])


def test_interval_of_a_share_is_the_binomial_one():
    """1009 users of whom 307 hit: a resample's count is binomial, so its quantiles are known."""
    values = np.zeros(1009)
    values[:307] = 1
    estimate = mean_with_interval(values, resamples=20_000)
    assert estimate.mean == pytest.approx(307 / 1009) and estimate.users == 1009
    known = stats.binom(1009, 307 / 1009).ppf([0.025, 0.975]) / 1009
    np.testing.assert_allclose([estimate.low, estimate.high], known, atol=1.5 / 1009)


def test_bootstrap_draws_users():
    """Twin: draw user indices. Same distribution, so the same quantiles up to Monte Carlo error."""
    values = np.random.default_rng(3).choice([0, 1 / math.log2(3), 0.5, 1], size=211, p=[0.6, 0.1, 0.2, 0.1])
    index = np.random.default_rng(4).integers(0, 211, (20_000, 211))
    drawn, ours = values[index].mean(axis=1), bootstrap_means(values, resamples=20_000, seed=0)
    assert stats.ks_2samp(drawn, ours).pvalue > 0.01
    assert ours.std() == pytest.approx(values.std() / math.sqrt(211), rel=0.03)


def test_chunks_do_not_change_the_draw(monkeypatch):
    values = np.random.default_rng(5).normal(size=53)
    whole = bootstrap_means(values, resamples=97, seed=11)
    monkeypatch.setattr("rclrec_mini.evaluation.metrics.CELLS", 7 * 53)
    np.testing.assert_allclose(bootstrap_means(values, resamples=97, seed=11), whole, rtol=1e-12)


def test_seeds_are_averaged_within_users():
    """Two seeds that hit complementary users: every user's mean is 0.5, so resampling users changes nothing."""
    first = np.tile([0.0, 1.0], 31)
    estimate = mean_with_interval(np.stack([first, 1 - first]))
    assert (estimate.mean, estimate.low, estimate.high, estimate.seed_std) == (0.5, 0.5, 0.5, 0.0)
    assert (estimate.users, estimate.seeds) == (62, 2)
    estimate = mean_with_interval(np.stack([np.full(7, 0.2), np.full(7, 0.4), np.full(7, 0.6)]))
    assert estimate.mean == pytest.approx(0.4) and estimate.seed_std == pytest.approx(0.2)


def test_paired_test_is_the_exact_sign_test_where_differences_are_equal():
    """17 users, 13 better and 4 worse by the same amount: the p-value is the two-sided sign test's."""
    a, b = np.ones(17), np.zeros(17)
    a[13:], b[13:] = 0, 1
    comparison = paired_test(a, b, resamples=40_000)
    assert comparison.difference == pytest.approx(9 / 17)
    assert comparison.p_value == pytest.approx(stats.binomtest(13, 17).pvalue, abs=0.005)


def test_paired_test_against_scipy():
    rng = np.random.default_rng(8)
    a, b = rng.choice([0, 0.5, 1], 101), rng.choice([0, 0.5, 1], 101)
    peer = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=20_000, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert paired_test(a, b, resamples=20_000).p_value == pytest.approx(peer.pvalue, abs=0.02)


def test_paired_test_of_equal_and_of_unequal_methods():
    a = np.random.default_rng(0).integers(0, 2, 307).astype(float)
    same = paired_test(a, a)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    better = paired_test(np.ones(307), a, resamples=999)
    assert better.p_value == pytest.approx(1 / 1000) and better.low > 0
    assert paired_test(np.stack([a, a, a]), a).p_value == 1  # seeds on one side only


def test_paired_test_averages_the_seeds_of_both_first():
    a, b = (np.random.default_rng(seeds).random((seeds, 101)) for seeds in (3, 2))
    found = paired_test(a, b)
    assert found == paired_test(a.mean(axis=0), b.mean(axis=0))
    assert found.difference == pytest.approx(a.mean() - b.mean())


def test_summarize_is_deterministic():
    items, targets = random_rankings(211, 11, 13)
    first, second = (summarize(evaluate_rankings(items, targets), resamples=500, seed=3) for _ in range(2))
    assert first == second and list(first) == metric_names()
    assert all(e.low <= e.mean <= e.high for e in first.values())


def test_bad_input():
    items, targets = random_rankings(5, 10, 13)
    with pytest.raises(InputError, match=r"found items \(5, 10\), targets \(3,\)"):
        evaluate_rankings(items, targets[:3])
    with pytest.raises(InputError, match="found lists of 7 items, expected 10 or more"):
        evaluate_rankings(items[:, :7], targets)
    with pytest.raises(InputError, match="found target -1"):
        evaluate_rankings(items, targets * 0 - 1)
    with pytest.raises(InputError, match="found 3 and 5 users"):
        paired_test(np.zeros(3), np.zeros(5))
    with pytest.raises(InputError, match="not empty"):
        mean_with_interval(np.zeros(0))
    with pytest.raises(InputError, match="not finite"):
        mean_with_interval(np.array([0.0, np.nan]))
