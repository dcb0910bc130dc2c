"""Exact ranking against a full sort, whatever the size of a chunk."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from rclrec_mini.decoding.exact_ranking import exact_ranking
from rclrec_mini.files import InputError
from rclrec_mini.models.pointer import Pointing

D = 5


class Table:
    """An item recommender that is given its vectors. Small whole numbers, so that scores are often equal."""

    def __init__(self, users: int, items: int, seed: int):
        g = torch.Generator().manual_seed(seed)
        self.q = torch.randint(-2, 3, (users, D), generator=g).float()
        self.v = torch.randint(-2, 3, (items, D), generator=g).float()
        self.b = torch.randint(-2, 3, (items,), generator=g).float()

    def query(self, batch):
        return self.q

    def items(self):
        return self.v, self.b


@given(st.integers(1, 7), st.integers(1, 41), st.integers(1, 13), st.integers(1, 97), st.integers(0, 10**6))
def test_equals_a_stable_sort_of_all_scores(users, items, k, cells, seed):
    model = Table(users, items, seed)
    found, scores = exact_ranking(model, None, k=k, cells=cells)
    for user in range(users):
        of = [(-float(model.q[user] @ model.v[i] + model.b[i]), i) for i in range(items)]
        expected = sorted(of)[:k]
        assert found[user].tolist() == [i for _, i in expected] + [-1] * (k - len(expected))
        assert_close(scores[user, : len(expected)], torch.tensor([-score for score, _ in expected]))
        assert (scores[user, len(expected) :] == float("-inf")).all()


def test_faults():
    model = Table(2, 11, 0)
    with pytest.raises(InputError, match="k: found 0"):
        exact_ranking(model, None, k=0)
    model.q[1, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="nan"):
        exact_ranking(model, None, k=3, cells=4)


@given(st.integers(1, 5), st.integers(2, 19), st.integers(1, 11), st.integers(1, 97), st.integers(0, 10**6))
def test_with_a_pointer_equals_a_sort_of_the_mixture(users, items, k, cells, seed):
    g = torch.Generator().manual_seed(seed)
    model = Table(users, items, seed)
    length = 7
    item = torch.randint(0, items, (users, length), generator=g)
    mask = torch.arange(length) >= torch.randint(0, length + 1, (users, 1), generator=g)
    scores = torch.randn(users, 1, length + 1, generator=g)
    scores[:, 0, :-1] = scores[:, 0, :-1].masked_fill(~mask, float("-inf"))
    mass = scores.log_softmax(-1)
    pointing = Pointing(mass[..., :-1], mass[..., -1])
    model.pointer = SimpleNamespace(next=lambda batch: pointing)
    found, score = exact_ranking(model, SimpleNamespace(item=item, mask=mask), k=k, cells=cells)
    generated = (model.q @ model.v.T + model.b).softmax(-1)
    for user in range(users):
        p = generated[user] * pointing.log_rest[user].exp()
        for t in range(length):
            p[item[user, t]] += pointing.log_copy[user, 0, t].exp()
        kept = found[user][found[user] >= 0]
        assert len(kept) == len(set(kept.tolist())) == min(k, items)
        assert_close(score[user, : len(kept)], p[kept].log(), atol=1e-4, rtol=1e-4)
        assert_close(score[user, : len(kept)], p.sort(descending=True).values[: len(kept)].log(), atol=1e-4, rtol=1e-4)
