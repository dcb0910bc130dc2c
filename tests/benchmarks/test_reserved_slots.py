import numpy as np
import pytest


@pytest.mark.parametrize("j", [0, 1, 3, 10])
def test_lists_merge_as_one_would_write_them(benchmark, j):
    """Against lists that are written out."""
    rng = np.random.default_rng(j)
    for _ in range(50):
        n_own = int(rng.integers(1, 14))
        own, new = list(range(n_own)), list(range(100, 130))
        listed = own[: 10 - j] + new
        target = int(rng.choice([*own, *new]))
        lists = {
            "own": np.array([min(own.index(target), 10) if target in own else 10]),
            "new": np.array([min(new.index(target), 10) if target in new else 10]),
            "items": np.array([n_own]),
        }
        assert benchmark.merged(lists, j)[0] == min(listed[:10].index(target) if target in listed[:10] else 10, 10)


def test_with_no_slot_reserved_the_history_comes_first(benchmark):
    """What the history leaves free goes to the others."""
    lists = {"own": np.array([0, 9, 10]), "new": np.array([10, 10, 0]), "items": np.array([30, 30, 7])}
    assert benchmark.merged(lists, 0).tolist() == [0, 9, 7]
