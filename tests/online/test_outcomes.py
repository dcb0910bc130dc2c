"""Potential outcomes: what adds up, and what is written and read."""

import dataclasses
import json

import numpy as np
import pytest
from made_up_outcomes import made_up

from rclrec_mini.files import InputError
from rclrec_mini.online.outcomes import TYPES, Outcomes, stack


def test_orders_and_revenue_are_organic_less_cancelled_and_slate():
    outcomes = made_up("tiger", "count")
    expected = outcomes.of("organic_orders") - outcomes.of("cancelled") + outcomes.of("slate_orders")
    assert (outcomes.of("orders") == expected).all()
    assert outcomes.of("orders").shape == (2, 7)
    kinds = sum(outcomes.of(f"{kind}_revenue") for kind in ("cannibalised", "pulled_forward", "incremental"))
    assert np.allclose(kinds, outcomes.of("slate_revenue"))
    kinds = sum(outcomes.of(kind) for kind in ("cannibalised", "pulled_forward", "incremental"))
    assert (kinds == outcomes.of("slate_orders")).all()


def test_a_shorter_test_has_the_first_days():
    outcomes = made_up("tiger")
    assert outcomes.until(2).days == 2
    assert (outcomes.until(2).of("clicks") == outcomes.clicks[:, :, :2].sum(axis=-1)).all()


@pytest.mark.parametrize("bucketed", [False, True])
def test_outcomes_are_read_as_they_were_written(tmp_path, bucketed):
    outcomes = made_up("tiger", "count")
    if bucketed:
        outcomes = dataclasses.replace(outcomes, bucket=np.arange(7) % 2)
    outcomes.save(tmp_path / "out")
    found = Outcomes.load(tmp_path / "out")
    for name in (*TYPES, "users", "bucket"):
        assert np.array_equal(getattr(found, name), getattr(outcomes, name)), name
    assert (found.arms, found.made) == (outcomes.arms, outcomes.made)


def test_what_was_changed_on_the_disk_is_refused(tmp_path):
    made_up("tiger").save(tmp_path / "out")
    path = tmp_path / "out" / "outcomes.safetensors"
    *others, last = path.read_bytes()
    path.write_bytes(bytes([*others, last ^ 1]))
    with pytest.raises(InputError, match="other bytes than were written"):
        Outcomes.load(tmp_path / "out")


def test_a_record_that_tells_of_other_arms_is_refused(tmp_path):
    made_up("tiger").save(tmp_path / "out")
    path = tmp_path / "out" / "outcomes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"arms": ["tiger", "count"]}))
    with pytest.raises(InputError, match=r"visits is uint8 \(1, 7, 3\), expected uint8 \(2, 7, 3\)"):
        Outcomes.load(tmp_path / "out")


def test_nothing_is_overwritten(tmp_path):
    made_up("tiger").save(tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        made_up("tiger").save(tmp_path / "out")


def test_arms_played_one_by_one_are_stacked():
    parts = [made_up("tiger", seed=1), made_up("count", seed=2)]
    both = stack(parts)
    assert both.arms == ("tiger", "count")
    assert (both.of("orders")[both.arm("count")] == parts[1].of("orders")[0]).all()
    with pytest.raises(InputError, match="arm mbgen: expected one of tiger, count"):
        both.arm("mbgen")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (made_up("tiger", seed=3), "tiger: found twice"),
        (made_up("count", days=2), "found 2 days, tiger has 3"),
        (made_up("count", users=6), "found other users"),
        (made_up("count", before=2), "found other events_before"),
    ],
)
def test_arms_of_different_tests_are_not_stacked(other, words):
    with pytest.raises(InputError, match=words):
        stack([made_up("tiger"), other])


def test_an_unknown_number_is_refused():
    with pytest.raises(InputError, match="found profit, expected one of orders, revenue"):
        made_up("tiger").of("profit")
