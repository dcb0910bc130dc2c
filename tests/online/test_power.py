import numpy as np
import pytest

from rclrec_mini.files import InputError
from rclrec_mini.online.lift import compare
from rclrec_mini.online.power import (
    Bucket,
    Tail,
    power_of,
    simulated_power,
    standard_error,
    users_needed,
    variation,
)


@pytest.fixture(scope="module")
def shop() -> tuple[np.ndarray, np.ndarray]:
    """What 20,011 users spend in the test and spent before it, alike by a correlation of about a half."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(2, 1, 20_011)
    return rng.poisson(rate).astype(float), rng.poisson(rate).astype(float)


def test_formula_and_simulation_agree(shop):
    outcome, before = shop
    cv, corr = variation(outcome), np.corrcoef(outcome, before)[0, 1]
    users = round(users_needed(cv, 0.2))
    assert abs(simulated_power(outcome, 0.2, users) - 0.8) < 4 * np.sqrt(0.16 / 1000)
    fewer = round(users_needed(cv, 0.2, corr=corr))
    assert fewer == pytest.approx((1 - corr**2) * users, rel=0.01)
    assert abs(simulated_power(outcome, 0.2, fewer, before=before) - 0.8) < 4 * np.sqrt(0.16 / 1000)
    assert simulated_power(outcome, 0.2, fewer) < 0.75


@pytest.mark.parametrize("cuped", [False, True])
def test_without_a_lift_it_calls_five_in_a_hundred(shop, cuped):
    called = simulated_power(shop[0], 0.0, 500, before=shop[1] if cuped else None, tests=2000)
    assert abs(called - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_power_at_the_users_needed_is_the_power_asked_for():
    for cv, lift, power in ((2, 0.05, 0.8), (7, -0.02, 0.9)):
        n = users_needed(cv, lift, power=power)
        assert power_of(cv, lift, n) == pytest.approx(power, abs=1e-5)
    assert power_of(2, 0.0, 100) == pytest.approx(0.05)


def test_the_standard_error_is_that_of_two_equal_arms(shop):
    outcome, _ = shop
    half = len(outcome) // 2
    found = compare(outcome[:half], outcome[half : 2 * half])
    assert standard_error(variation(outcome), half) == pytest.approx(found.std, rel=0.05)


@pytest.mark.parametrize("tail", [Tail(sigma=0.7), Tail(pareto=9.0), Tail(sigma=0.5, pareto=11.0)])
def test_a_tail_has_mean_1_and_the_square_it_says(tail):
    factor = tail.draw(np.random.default_rng(0), 2_000_003)
    assert factor.mean() == pytest.approx(1, abs=0.003)
    assert (factor**2).mean() == pytest.approx(tail.squared(), rel=0.01)


def test_fat_tails_need_more_users(shop):
    plain = variation(shop[0])
    assert 1 + Tail(sigma=1.0).variation(plain) ** 2 == pytest.approx((1 + plain**2) * np.e)
    assert Tail(pareto=2.0).variation(plain) == np.inf
    drawn = shop[0] * Tail(sigma=0.5).draw(np.random.default_rng(1), len(shop[0]))
    assert variation(drawn) == pytest.approx(Tail(sigma=0.5).variation(plain), rel=0.05)


def test_the_published_lift_gets_the_interval_of_its_users():
    bucket = Bucket(lift=0.0209)
    low, high = bucket.interval(4_000_000, 5.0)
    assert high - 0.0209 == pytest.approx(1.959964 * 5 * 1.0209 * np.sqrt(2 / 1_000_000))
    assert low == pytest.approx(0.0209 - (high - 0.0209))
    just = bucket.users(5.0)
    assert bucket.interval(just, 5.0)[0] == pytest.approx(0)
    assert bucket.users(5.0, corr=0.6) == pytest.approx(0.64 * just)


def test_a_tail_without_a_mean_is_refused():
    with pytest.raises(InputError, match=r"pareto: found 0\.9, expected 0 or more than 1"):
        Tail(pareto=0.9)
    with pytest.raises(InputError, match="share"):
        Bucket(lift=0.02, share=0.6)
