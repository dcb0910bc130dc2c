"""A slice of the fuzz script; `make fuzz` runs a thousand cases."""

import random

import fuzz
import logs
import oracle
import pytest


def test_the_oracle_reads_what_the_generators_write():
    for source, text in logs.TEXTS.items():
        log = logs.read(source, text(random.Random(7)).encode())
        assert log is not None and any(behavior == 3 for _, _, behavior, _ in log.events)


def test_the_oracle_on_a_log_by_hand():
    data = b'item,"user",behavior,timestamp\r\n"a,""1""",7,3,20.5\r\nb,7,click,10\r\nb,7,0,10\r\n9,x,click,0\r\n'
    assert oracle.table(data).events == [("7", "b", 0, 10), ("7", 'a,"1"', 3, 20), ("x", "9", 0, 0)]
    with pytest.raises(oracle.NoLogError):
        oracle.table(data + b'"')


def numbers(count: int, *families: str) -> list[int]:
    return [number for number in range(count) if fuzz.draw(0, number)[0] in families]


def test_mutated_logs_are_read_right_or_refused_by_name():
    counts, failures = fuzz.run(numbers(40, "text", "parquet", "gzip", "zip"), seed=0)
    assert failures == [] and counts.total() > 20


@pytest.mark.slow
def test_damaged_results_and_killed_verbs():
    counts, failures = fuzz.run(numbers(150, "result", "kill"), seed=0)
    assert failures == [] and counts.total() > 30
