"""The three readings of a history against lists that are written out."""

import numpy as np
import pytest

from rclrec_mini.data.schema import DAY
from rclrec_mini.data.sequences import Sequences

# user 0: day 0: a a b | day 1: c a a d(target) e     user 1: day 1: b b(target)
ITEM = np.array([0, 0, 1, 2, 0, 0, 3, 4, 1, 1])
DAYS = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
TARGETS = np.array([6, 9])


@pytest.fixture
def log():
    return Sequences(ITEM, np.arange(10) % 4, DAYS * DAY, np.array([0, 8, 10]), 5)


def test_the_rows_of_the_day_before_the_target(benchmark, log):
    assert np.flatnonzero(benchmark.same_day(log, TARGETS)).tolist() == [3, 4, 5, 8]


def test_a_day_is_shuffled_by_runs_of_one_item(benchmark, log):
    rows = benchmark.same_day(log, TARGETS)
    found = set()
    for seed in range(20):
        read = benchmark.shuffled(log, rows, seed)
        assert (read.item[~rows] == ITEM[~rows]).all() and (read.timestamp == log.timestamp).all()
        found.add(tuple(zip(read.item[3:6].tolist(), read.behavior[3:6].tolist(), strict=True)))
    assert found == {((2, 3), (0, 0), (0, 1)), ((0, 0), (0, 1), (2, 3))}  # c aa, aa c


def test_earlier_days_are_left(benchmark, log):
    read, at = benchmark.without(log, benchmark.same_day(log, TARGETS), TARGETS)
    assert read.item.tolist() == [0, 0, 1, 3, 4, 1] and read.offsets.tolist() == [0, 5, 6]
    assert at.tolist() == [3, 5] and (read.item[at] == ITEM[TARGETS]).all()


def test_days_that_do_not_come_back_to_an_item(benchmark, log):
    assert benchmark.grouped(log) == 1.0  # two days of several items
    again = Sequences(np.array([0, 1, 0, 2, 3]), np.zeros(5), np.array([0, 0, 0, DAY, DAY]), np.array([0, 5]), 4)
    assert benchmark.grouped(again) == 0.5
