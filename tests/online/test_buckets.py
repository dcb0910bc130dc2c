import numpy as np
import pytest
from scipy import stats

from rclrec_mini.files import InputError
from rclrec_mini.online.buckets import OUTSIDE, buckets

USERS = np.arange(60_013)
SHARES = (0.25, 0.25, 0.1)


def test_each_arm_gets_its_share_under_many_salts():
    for salt in range(40):
        count = np.bincount(buckets(USERS, salt=f"test {salt}", shares=SHARES) + 1, minlength=4)
        assert stats.chisquare(count, len(USERS) * np.array([0.4, *SHARES])).pvalue > 1e-4


def test_two_salts_deal_independently():
    """Of what one test put into an arm, another puts the same shares everywhere: chi-squared of the crossed counts."""
    p_values = []
    for pair in range(40):
        one, two = (buckets(USERS, salt=f"{pair}{side}", shares=(0.3, 0.7)) for side in "ab")
        p_values.append(stats.chi2_contingency([np.bincount(two[one == arm]) for arm in (0, 1)], correction=False)[1])
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_a_user_stays_whoever_else_there_is():
    some = np.array([7, 59_999, 11, 10**12])
    assert (buckets(some, salt="s", shares=SHARES)[:3] == buckets(USERS, salt="s", shares=SHARES)[some[:3]]).all()


def test_neighbours_share_nothing():
    arm = buckets(USERS, salt="s", shares=(0.5, 0.5))
    for step in (1, 2, 64):
        assert abs(np.corrcoef(arm[:-step], arm[step:])[0, 1]) < 4 / np.sqrt(len(USERS))


def test_shares_of_all_leave_nobody_over():
    assert buckets(USERS, salt="s", shares=[0.1] * 10).min() != OUTSIDE


@pytest.mark.parametrize("shares", [(), (0.5, 0.0), (0.6, 0.5)])
def test_shares_that_cannot_be_are_refused(shares):
    with pytest.raises(InputError, match=r"shares: found .*, expected each above 0, together at most 1"):
        buckets(USERS, salt="s", shares=shares)
