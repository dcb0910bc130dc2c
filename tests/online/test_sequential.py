import numpy as np
import pytest

from rclrec_mini.files import InputError
from rclrec_mini.online.sequential import always_valid_p, always_valid_reach, calls, looks, mixture, paths

KNOWN = {1: 0.05, 2: 0.083, 5: 0.142, 10: 0.193, 20: 0.248, 50: 0.320}  # Armitage, McPherson and Rowe (1969)


@pytest.mark.parametrize(("number", "share"), KNOWN.items())
def test_peeking_calls_as_many_as_armitage_computed(number, share):
    found = calls(np.random.default_rng(number).standard_normal((20_000, number)))
    within = 4 * np.sqrt(share * (1 - share) / 20_000)
    assert abs(found.peeking - share) < within + 0.001
    assert abs(found.at_the_end - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 20_000)
    assert found.always_valid < 0.05


def test_the_ratio_is_that_of_two_integrals():
    """Lambda by its definition: the likelihood, averaged over effects drawn from N(0, tau^2), over that of none."""
    estimate, variance, tau = 0.03, 0.0002, 0.02
    effect = np.linspace(-0.5, 0.5, 200_001)
    density = np.exp(-(effect**2) / (2 * tau**2)) / np.sqrt(2 * np.pi) / tau
    likelihood = np.exp(-((estimate - effect) ** 2) / (2 * variance))
    ratio = np.trapezoid(density * likelihood, effect) / np.exp(-(estimate**2) / (2 * variance))
    p = always_valid_p(np.array([estimate]), np.array([variance]), tau=tau)
    assert p[0] == pytest.approx(1 / ratio)


def test_the_interval_ends_where_p_is_alpha():
    variance = np.array([0.4, 0.01, 0.0003])
    for v in variance:
        reach = always_valid_reach(v, tau=0.05, level=0.9)
        assert always_valid_p(np.array([reach]), np.array([v]), tau=0.05)[0] == pytest.approx(0.1)


def test_p_never_rises_and_the_interval_is_wider_than_at_a_fixed_horizon():
    noise = np.random.default_rng(0).standard_normal((503, 31))
    variance = 1 / np.arange(1, 32)
    p = always_valid_p(paths(noise) * np.sqrt(variance), variance, tau=0.5)
    assert (np.diff(p, axis=1) <= 0).all() and p.max() <= 1
    assert (always_valid_reach(variance, tau=0.5) > 1.96 * np.sqrt(variance)).all()


def test_the_mixture_is_the_narrowest():
    best = always_valid_reach(0.003, tau=mixture(0.003))
    others = [always_valid_reach(0.003, tau=mixture(0.003) * factor) for factor in (0.5, 0.9, 1.1, 2)]
    assert best < min(others)


def test_an_effect_is_found_more_often():
    noise = np.random.default_rng(0).standard_normal((4001, 7))
    found = calls(noise, effect=2.8)  # 80% at a fixed horizon
    assert found.at_the_end == pytest.approx(0.8, abs=0.03)
    assert 0.35 < found.always_valid < found.at_the_end < found.peeking


def test_looks_are_at_the_outcomes_so_far():
    rng = np.random.default_rng(0)
    treated, control = (rng.poisson(rate, (n, 5)).cumsum(axis=1) for rate, n in ((0.4, 211), (0.3, 307)))
    found = looks(treated, control, tau=0.2)
    assert found.lift[2] == pytest.approx(treated[:, 2].sum() / 211 / (control[:, 2].sum() / 307) - 1)
    assert (found.fixed == pytest.approx(1.959964 * found.std)) and (found.valid > found.fixed).all()
    assert (np.diff(found.p_value) <= 0).all() and np.shape(found.p_value) == (5,)
    with pytest.raises(InputError, match=r"looks: found \(5,\) and \(4,\)"):
        looks(treated, control[:, :4], tau=0.2)
