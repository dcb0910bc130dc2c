import dataclasses
import json

import numpy as np
import pytest
from made_up_outcomes import made_up

from rclrec_mini.files import InputError, read_json
from rclrec_mini.online.buckets import buckets
from rclrec_mini.online.lift import compare, cuped, holm, paired
from rclrec_mini.online.outcomes import BEFORE, COUNTS, MONEY, Outcomes
from rclrec_mini.online.power import users_needed
from rclrec_mini.online.report import Bench, ReportConfig, report, write_report
from rclrec_mini.online.report_text import markdown

FEW = ReportConfig(salts=3, aa=5)
ARMS = ("tiger", "count", "popularity")


def sparse(users: int = 997, *, arms: tuple[str, ...] = ARMS) -> Outcomes:
    """Outcomes in which most users order nothing."""
    outcomes = made_up(*arms, users=users, days=5)
    rng = np.random.default_rng(1)
    counts = {
        name: rng.binomial(1, 0.1, outcomes.visits.shape).astype(np.uint8)
        for name in ("organic_orders", "slate_orders")
    }
    money = {
        f"{name.removesuffix('_orders')}_revenue": n * rng.lognormal(2, 0.5, n.shape).astype(np.float32)
        for name, n in counts.items()
    }
    nothing = {name: np.zeros_like(getattr(outcomes, name)) for name in ("cancelled", "cancelled_revenue")}
    later = {"pulled_forward": counts["slate_orders"] * rng.binomial(1, 0.3, outcomes.visits.shape).astype(np.uint8)}
    return dataclasses.replace(outcomes, **later, **counts, **money, **nothing)


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return sparse()


@pytest.fixture(scope="module")
def offline() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.integers(0, 11, (3, 211)), rng.random(211) < 0.7


def test_true_lifts_are_over_all_users_and_a_test_sees_its_own(outcomes):
    found = report(outcomes, control="tiger", config=FEW)["arms"]["count"]
    orders = outcomes.of("orders")
    assert found["lift"]["orders"] == dataclasses.asdict(paired(orders[1], orders[0]))
    lasting = orders - outcomes.of("pulled_forward")
    assert found["lift"]["lasting_orders"] == dataclasses.asdict(paired(lasting[1], lasting[0]))
    arm = buckets(outcomes.users, salt="rclrec count 0", shares=(0.25, 0.25))
    seen = compare(orders[1][arm == 1], orders[0][arm == 0])
    plain = found["test"]["orders"]["plain"]
    assert {name: plain[name] for name in dataclasses.asdict(seen)} == dataclasses.asdict(seen)
    assert found["test"]["orders"]["looks"]["lift"][-1] == pytest.approx(seen.lift)
    p_values = [found["test"][metric]["plain"]["p_value"] for metric in ("orders", "revenue")]
    assert [found["test"][metric]["plain"]["holm"] for metric in ("orders", "revenue")] == holm(p_values).tolist()


def test_cuped_takes_one_theta_of_both_arms(outcomes):
    arm = buckets(outcomes.users, salt="rclrec count 0", shares=(0.25, 0.25))
    orders = np.where(arm == 1, outcomes.of("orders")[1], outcomes.of("orders")[0])
    before = np.stack([getattr(outcomes, name) for name in BEFORE], axis=1)
    adjusted, arm = cuped(orders[arm >= 0], before[arm >= 0]), arm[arm >= 0]
    expected = dataclasses.asdict(compare(adjusted[arm == 1], adjusted[arm == 0]))
    found = report(outcomes, control="tiger", config=FEW)["arms"]["count"]["test"]["orders"]["cuped"]
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_what_nobody_in_a_test_lived_under_does_not_count(outcomes):
    """Outcomes of the arm that a user was not dealt to are changed: the test says the same."""
    arm = buckets(outcomes.users, salt="rclrec count 0", shares=(0.25, 0.25))
    orders = outcomes.slate_orders.copy()
    orders[0, arm != 0] += 3
    orders[1, arm != 1] += 5
    changed = dataclasses.replace(outcomes, slate_orders=orders)
    one, other = (report(o, control="tiger", config=FEW)["arms"]["count"] for o in (outcomes, changed))
    assert one["test"]["orders"]["plain"] == other["test"]["orders"]["plain"]
    assert one["test"]["orders"]["cuped"] == other["test"]["orders"]["cuped"]
    assert one["lift"]["orders"] != other["lift"]["orders"]


@pytest.mark.slow
def test_a_thousand_tests_without_an_effect_call_five_in_a_hundred():
    found = report(sparse(4001, arms=("tiger", "count")), control="tiger", config=ReportConfig(salts=1, aa=1000))["aa"]
    within = 3.5 * np.sqrt(0.05 * 0.95 / 1000)
    for metric in ("orders", "revenue"):
        assert abs(found[metric]["plain"] - 0.05) < within and abs(found[metric]["cuped"] - 0.05) < within
        assert found[metric]["peeking"] > 0.08 and found[metric]["always_valid"] < 0.05


def test_power_is_that_of_the_controls_spread(outcomes):
    found = report(outcomes, control="tiger", config=FEW)
    orders = outcomes.of("orders")[0]
    cv = orders.std(ddof=1) / orders.mean()
    assert found["shop"]["orders"]["cv"] == pytest.approx(cv)
    assert found["power"]["orders"]["users"] == pytest.approx(users_needed(cv, 0.02))
    assert found["power"]["orders"]["cuped"] <= found["power"]["orders"]["users"]
    low, high = found["paper"]["revenue"]["intervals"]["10 million"]
    assert low < 0.0209 < high


def test_users_who_lived_under_one_arm_only(outcomes):
    """Arms that learn from each other: no true lifts, and each test is of the users who were dealt to it."""
    dealt = dataclasses.replace(outcomes, bucket=buckets(outcomes.users, salt="s", shares=[1 / 3] * 3))
    found = report(dealt, control="tiger", config=FEW)
    orders = outcomes.of("orders")
    seen = compare(orders[2][dealt.bucket == 2], orders[0][dealt.bucket == 0])
    assert found["arms"]["popularity"]["test"]["orders"]["plain"]["lift"] == seen.lift
    assert found["arms"]["popularity"]["per_user"]["orders"] == pytest.approx(orders[2][dealt.bucket == 2].mean())
    assert "aa" not in found and "lift" not in found["arms"]["count"]
    text = markdown(found)
    assert "| popularity | revenue |" in text
    assert "a test with the users dealt to each arm sees" in text and "% of the users in each arm" not in text


def test_offline_metrics_stand_beside_the_test(outcomes, offline):
    rank, seen = offline
    found = report(outcomes, control="tiger", rank=rank, seen=seen, config=FEW)
    assert found["offline"]["recall@10"]["count"]["mean"] == pytest.approx((rank[1] < 10).mean())
    assert found["offline"]["ndcg@10, unseen"]["tiger"]["users"] == (~seen).sum()
    assert set(found["agreement"]["orders"]) == set(found["offline"]) == set(found["reversals"]["revenue"])
    assert -1 <= found["agreement"]["lasting_orders"]["recall@10"]["correlation"] <= 1


def test_the_report_is_written_for_people_and_machines(outcomes, offline, tmp_path):
    found = write_report(tmp_path, outcomes, control="tiger", rank=offline[0], seen=offline[1], config=FEW)
    assert read_json(tmp_path / "report.json") == json.loads(json.dumps(found))
    text = (tmp_path / "report.md").read_text()
    for words in ("997 users, 5 days, against tiger", "| count | orders |", "Users an arm to see +2%", "+2.09"):
        assert words in text
    lift = found["arms"]["count"]["lift"]["revenue"]
    assert f"{100 * lift['lift']:+.2f} [{100 * lift['low']:+.2f}, {100 * lift['high']:+.2f}]" in text


def test_an_arm_that_shows_nothing_is_no_ranking(outcomes, offline):
    """A fourth arm without clicks, the best offline: the other three agree as if it were not there."""
    rank, seen = offline
    wide = {name: np.concatenate([getattr(outcomes, name), getattr(outcomes, name)[:1]]) for name in (*COUNTS, *MONEY)}
    wide["clicks"][3] = 0
    four = dataclasses.replace(outcomes, arms=(*ARMS, "nothing"), **wide)
    ranks = np.concatenate([rank, np.zeros_like(rank[:1])])
    found = report(four, control="tiger", rank=ranks, seen=seen, config=FEW)
    alone = report(outcomes, control="tiger", rank=rank, seen=seen, config=FEW)
    assert found["agreement"] == alone["agreement"] and found["reversals"] == alone["reversals"]
    assert "nothing" in found["offline"]["recall@10"]


def test_looks_begin_when_both_arms_have_thirty_users_who_ordered():
    some = sparse(1009)
    bench = Bench(*(np.cumsum(some.organic_orders[i], axis=1) for i in (1, 0)), np.zeros((1009, 1)), 0.1, 0.95)
    arm = np.arange(1009) % 2
    days = bench.test(arm)["looks"]["day"]
    have = [min((bench.control[arm == 0, d] > 0).sum(), (bench.treated[arm == 1, d] > 0).sum()) for d in range(5)]
    assert days == [d + 1 for d in range(5) if have[d] >= 30 or d == 4] and days != [5]
    few = bench.test(np.where(np.arange(1009) < 40, arm, -1))
    assert few["looks"]["day"] == [5]


def test_a_test_in_which_nobody_orders_calls_nothing(outcomes):
    silent = dataclasses.replace(outcomes, **{
        name: np.zeros_like(getattr(outcomes, name)) for name in (*COUNTS, *MONEY) if name not in ("visits", "clicks")
    })  # fmt: skip
    orders = silent.organic_orders.copy()
    orders[:, :3, 0] = 1
    rare = dataclasses.replace(silent, organic_orders=orders, organic_revenue=orders.astype(np.float32))
    bench = Bench(rare.of("orders")[1][:, None], rare.of("orders")[0][:, None], np.zeros((997, 1)), 0.1, 0.95)
    nobody, somebody = np.arange(997) % 2, np.arange(997) // 500
    nobody[:3] = -1
    assert set(bench.calls([nobody]).values()) == {0.0}
    with pytest.raises(InputError, match="found an arm without orders, expected more users or days"):
        bench.test(somebody)


def test_a_control_that_is_no_arm_is_refused(outcomes):
    with pytest.raises(InputError, match="arm pbat: expected one of tiger, count, popularity"):
        report(outcomes, control="pbat")
    with pytest.raises(InputError, match=r"share: found 0\.6"):
        ReportConfig(share=0.6)
