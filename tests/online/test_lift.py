from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from rclrec_mini.files import InputError
from rclrec_mini.online.lift import bootstrap, compare, cuped, holm, paired, per


def spending(n: int, seed: int) -> np.ndarray:
    """Most users spend nothing, some a lot."""
    rng = np.random.default_rng(seed)
    return rng.poisson(0.3, n) * rng.lognormal(3, 0.8, n)


class TestCompare:
    def test_by_hand(self):
        found = compare(np.array([2.0, 4.0, 6.0]), np.array([1.0, 3.0]))
        assert (found.control, found.treated, found.lift, found.users) == (2, 4, 1, 5)
        std = np.sqrt(4 / 3 + 2**2 * 2 / 2) / 2  # s_T^2 = 4, s_C^2 = 2, ratio 2
        assert found.std == pytest.approx(std)
        assert (found.low, found.high) == pytest.approx((1 - 1.959964 * std, 1 + 1.959964 * std))

    def test_the_interval_leaves_out_0_just_when_p_is_small(self):
        for seed in range(60):
            found = compare(spending(997, seed), spending(1009, 1000 + seed) * 1.15, level=0.9)
            assert (found.low > 0 or found.high < 0) == (found.p_value < 0.1)

    def test_the_bootstrap_agrees(self):
        treated, control = spending(10_007, 1) * 1.03, spending(8009, 2)
        plain, resampled = compare(treated, control), bootstrap(treated, control, resamples=2000)
        assert resampled.lift == plain.lift
        assert resampled.std == pytest.approx(plain.std, rel=0.06)
        assert (resampled.low, resampled.high) == pytest.approx((plain.low, plain.high), abs=0.2 * plain.std)
        assert resampled.p_value == pytest.approx(plain.p_value, abs=0.03)

    def test_the_bootstrap_resamples_each_arm_for_itself(self):
        y = spending(2003, 0)
        assert bootstrap(y, y).std == pytest.approx(compare(y, y).std, rel=0.06)

    def test_near_0_it_is_welchs_test(self):
        treated, control = spending(3001, 3), spending(2003, 4)
        welch = stats.ttest_ind(treated, control, equal_var=False)
        assert compare(treated, control).p_value == pytest.approx(welch.pvalue, abs=0.02)

    def test_intervals_hold_the_truth_as_often_as_they_say(self):
        held = []
        for seed in range(600):
            found = compare(spending(701, seed) * 1.3, spending(701, 10_000 + seed))
            held.append(found.low < 0.3 < found.high)
        assert abs(np.mean(held) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 600)

    def test_what_cannot_be_compared_is_refused(self):
        with pytest.raises(InputError, match=r"outcomes: found \(1,\), expected"):
            compare(np.ones(1), np.ones(3))
        with pytest.raises(InputError, match="control: found a mean of 0, expected more than 0"):
            compare(np.ones(3), np.zeros(3))


class TestPaired:
    def test_it_is_the_delta_method_with_the_covariance(self):
        control = spending(2003, 5)
        treated = control * np.random.default_rng(0).binomial(1, 0.9, 2003) * 1.2
        found, (mean_c, mean_t) = paired(treated, control), (control.mean(), treated.mean())
        gradient = np.array([1 / mean_c, -mean_t / mean_c**2])
        assert found.std == pytest.approx(np.sqrt(gradient @ np.cov(treated, control) @ gradient / 2003))
        assert found.std < 0.5 * compare(treated, control).std

    def test_equal_outcomes_are_no_lift(self):
        found = paired(spending(101, 0), spending(101, 0))
        assert (found.lift, found.std, found.p_value) == (0, 0, 1)

    def test_other_users_are_refused(self):
        with pytest.raises(InputError, match="users: found 3 and 4, expected the same"):
            paired(np.ones(3), np.ones(4))


class TestCuped:
    @pytest.mark.parametrize("corr", [0.0, 0.5, 0.9])
    def test_the_variance_falls_by_the_squared_correlation(self, corr):
        x, noise = np.random.default_rng(0).standard_normal((2, 5003))
        y = 3 + corr * x + np.sqrt(1 - corr**2) * noise
        measured = np.corrcoef(x, y)[0, 1]
        adjusted = cuped(y, x)
        assert adjusted.var() == pytest.approx((1 - measured**2) * y.var())
        assert adjusted.mean() == pytest.approx(y.mean())
        theta = np.cov(x, y)[0, 1] / x.var(ddof=1)
        np.testing.assert_allclose(adjusted, y - theta * (x - x.mean()))

    def test_two_numbers_tell_no_less_than_one(self):
        x = np.random.default_rng(1).standard_normal((5003, 2))
        y = x.sum(axis=1) + np.random.default_rng(2).standard_normal(5003)
        assert cuped(y, x).var() < min(cuped(y, x[:, 0]).var(), cuped(y, x[:, 1]).var())

    def test_a_constant_tells_nothing(self):
        y = spending(101, 0)
        np.testing.assert_allclose(cuped(y, np.ones(101)), y)

    def test_another_number_of_users_is_refused(self):
        with pytest.raises(InputError, match=r"before: found \(4,\)"):
            cuped(np.ones(3), np.ones(4))


class TestPer:
    def test_users_not_visits_are_the_units(self):
        """Users click on all of their visits or on none: as many independent visits would vary far less."""
        visits = np.random.default_rng(0).integers(1, 30, size=(400, 211))
        clicks = visits * (np.random.default_rng(1).random((400, 211)) < 0.3)
        ratio = clicks.sum(1) / visits.sum(1)
        as_users = [per(*pair).std(ddof=1) / np.sqrt(211) for pair in zip(clicks, visits, strict=True)]
        as_visits = np.sqrt(ratio * (1 - ratio) / visits.sum(1))
        assert np.mean(as_users) == pytest.approx(ratio.std(ddof=1), rel=0.1)
        assert np.mean(as_visits) < 0.4 * ratio.std(ddof=1)
        assert per(clicks[0], visits[0]).mean() == pytest.approx(ratio[0])


def closed_testing(p: np.ndarray) -> np.ndarray:
    """The same by brute force: a hypothesis falls when Bonferroni rejects each set of hypotheses that holds it."""
    sets = [s for size in range(1, len(p) + 1) for s in combinations(range(len(p)), size)]
    return np.array([max(min(1, len(s) * min(p[list(s)])) for s in sets if i in s) for i in range(len(p))])


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_closed_testing_with_bonferroni(seed):
    p = np.random.default_rng(seed).random(7) ** 4
    np.testing.assert_allclose(holm(p), closed_testing(p))


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
