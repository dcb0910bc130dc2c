from itertools import permutations

import numpy as np
import pytest

from rclrec_mini.files import InputError
from rclrec_mini.online.off_policy import SlateLog, doubly_robust, fitted, ips, snips

POOL, SLOTS = 5, 2
WORTH = np.random.default_rng(0).random((POOL, SLOTS))  # of an item at a slot
OWN = (3, 1)  # what the policy in question shows


def log_of(slates: np.ndarray, reward: np.ndarray) -> SlateLog:
    """Slates (n, SLOTS) of a logging policy that shows the pool in uniformly random order."""
    return SlateLog(reward=reward, logged=np.full(slates.shape, 1 / POOL), policy=(slates == OWN).astype(float))


def worth(slates: np.ndarray) -> np.ndarray:
    return WORTH[slates, np.arange(SLOTS)]


EVERY = np.array(list(permutations(range(POOL), SLOTS)))  # each as likely as the others
TRUE = WORTH[OWN[0], 0] + WORTH[OWN[1], 1]


class TestOnAverage:
    """Over all slates that could have been shown, each once, the estimates are the truth."""

    def test_ips(self):
        assert ips(log_of(EVERY, worth(EVERY))).value == pytest.approx(TRUE)

    def test_snips(self):
        assert snips(log_of(EVERY, worth(EVERY))).value == pytest.approx(TRUE)

    @pytest.mark.parametrize("model", [np.zeros((POOL, SLOTS)), WORTH, WORTH**2 - 3])
    def test_doubly_robust_with_any_model(self, model):
        expected = np.full(len(EVERY), model[OWN[0], 0] + model[OWN[1], 1])
        found = doubly_robust(log_of(EVERY, worth(EVERY)), model[EVERY, np.arange(SLOTS)], expected)
        assert found.value == pytest.approx(TRUE)

    def test_doubly_robust_with_the_true_model_and_wrong_propensities(self):
        log = SlateLog(reward=worth(EVERY), logged=np.full(EVERY.shape, 0.9), policy=(EVERY == OWN).astype(float))
        found = doubly_robust(log, worth(EVERY), np.full(len(EVERY), TRUE))
        assert (found.value, found.std) == pytest.approx((TRUE, 0))
        assert ips(log).value < 0.5 * TRUE


def test_standard_errors_are_those_of_repeated_logs():
    rng = np.random.default_rng(1)
    found = {"ips": [], "snips": [], "doubly robust": []}
    for _ in range(400):
        slates = EVERY[rng.integers(len(EVERY), size=503)]
        reward = (rng.random(slates.shape) < worth(slates)).astype(float)
        log = log_of(slates, reward)
        expected = np.full(len(slates), TRUE)
        for name, one in zip(found, (ips(log), snips(log), doubly_robust(log, worth(slates), expected)), strict=True):
            found[name].append((one.value, one.std, one.low < TRUE < one.high))
    spread = {}
    for name, rows in found.items():
        value, std, held = np.array(rows).T
        spread[name] = value.std()
        assert value.mean() == pytest.approx(TRUE, abs=4 * value.std() / 20 + 0.005)
        assert std.mean() == pytest.approx(value.std(), rel=0.12) and held.mean() > 0.91
    assert spread["doubly robust"] < spread["snips"] < spread["ips"]


def test_where_items_compete_a_slots_reward_hangs_on_the_others():
    """Only the best item of a slate is bought: the log's other items take sales that the policy's would have had."""
    best = worth(EVERY).argmax(axis=1)
    reward = worth(EVERY) * (np.arange(SLOTS) == best[:, None])
    own = max(WORTH[OWN[0], 0], WORTH[OWN[1], 1])
    assert abs(ips(log_of(EVERY, reward)).value - own) > 0.05


def test_the_model_is_judged_on_slates_that_did_not_teach_it():
    rng = np.random.default_rng(2)
    shown, own = rng.standard_normal((1009, SLOTS, 3)), rng.standard_normal((1009, SLOTS, 3))
    weights = np.array([0.5, -0.2, 0.1])
    reward = shown @ weights + 0.7
    modelled, expected = fitted(shown, reward, own, ridge=1e-9)
    np.testing.assert_allclose(modelled, reward, atol=1e-6)
    np.testing.assert_allclose(expected, own @ weights + 0.7, atol=1e-6)
    changed = reward.copy()
    changed[0] += 1000.0
    again, _ = fitted(shown, changed, own, ridge=1e-9)
    assert np.abs(again[0::2] - modelled[0::2]).max() < 1e-6 < np.abs(again[1::2] - modelled[1::2]).max()


def test_what_is_no_log_is_refused():
    with pytest.raises(InputError, match="logged: found a probability outside"):
        SlateLog(reward=np.ones((2, 2)), logged=np.zeros((2, 2)), policy=np.ones((2, 2)))
    with pytest.raises(InputError, match=r"slates: found \(2, 1\), \(2, 2\), expected one shape"):
        SlateLog(reward=np.ones((2, 1)), logged=np.ones((2, 2)), policy=np.ones((2, 2)))
