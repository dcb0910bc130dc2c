import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import beam_search, first_best
from rclrec_mini.decoding.trie_walk import log_softmax_at
from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.catalog import Catalog


class TableModel:
    """An autoregressive toy: the logits are a random function of the user and of the whole token prefix.

    The state is the code of each beam's prefix, so a wrong parent or token changes all scores that follow.
    """

    def __init__(self, *, n_codes, levels, seed=0, grain=None, n_users=31):
        self.n_codes = n_codes
        size = sum(n_codes**level for level in range(levels))
        logits = np.random.default_rng(seed).normal(size=(n_users, size, n_codes)) * 2
        if grain is not None:  # few distinct values: many exact ties
            logits = np.floor(logits / grain) * grain
        self.logits = torch.from_numpy(logits)  # float64: equal sums are equal bits only with care, see `grain`

    def start(self, batch):
        prefix = torch.zeros(len(batch), 1, dtype=torch.int64)
        return (batch.user, prefix), self.logits[batch.user, 0]

    def step(self, state, tokens, parents, level):
        user, prefix = state
        prefix = prefix.gather(1, parents) * self.n_codes + tokens + 1  # heap numbering of a V-ary tree
        return (user, prefix), self.logits[user[:, None], prefix]

    def log_p(self, user, prefix):
        """Plain Python: the log-probabilities of the next token."""
        node = 0
        for token in prefix:
            node = node * self.n_codes + token + 1
        row = self.logits[user, node].tolist()
        top = max(row)
        norm = top + math.log(sum(math.exp(x - top) for x in row))
        return [x - norm for x in row]


def users(ids):
    n = len(ids)
    column, history = torch.zeros(n, dtype=torch.int64), torch.zeros(n, 1, dtype=torch.int64)
    mask = torch.zeros(n, 1, dtype=torch.bool)
    return Batch(column, torch.tensor(ids), history, history, history, mask, column, column, column)


def random_catalog(n_items, n_codes, levels, seed=0):
    flat = np.random.default_rng(seed).choice(n_codes**levels, n_items, replace=False)
    codes = np.stack(np.unravel_index(flat, (n_codes,) * levels), axis=1)
    return Catalog(torch.from_numpy(codes.astype(np.int64)), n_codes=n_codes)


def exhaustive(model, user, catalog):
    """Every item with its score, best first; equal scores by codes."""
    scored = []
    for item, codes in enumerate(catalog.codes.tolist()):
        score = sum(model.log_p(user, codes[:level])[token] for level, token in enumerate(codes))
        scored.append((-round(score, 9), codes, item))
    return [(item, -score) for score, _, item in sorted(scored)]


def plain_beam_search(model, user, catalog, beams):
    """The same search with Python lists and a set of prefixes."""
    codes = [tuple(row) for row in catalog.codes.tolist()]
    allowed = {row[:level] for row in codes for level in range(catalog.levels + 1)}
    kept = [((), 0.0)]
    for _ in range(catalog.levels):
        longer = [
            (prefix + (token,), score + log_p)
            for prefix, score in kept
            for token, log_p in enumerate(model.log_p(user, prefix))
            if prefix + (token,) in allowed
        ]
        kept = sorted(longer, key=lambda beam: (-round(beam[1], 9), beam[0]))[:beams]
    return [(codes.index(prefix), score) for prefix, score in kept]


def assert_same(items, scores, expected):
    k = items.shape[0]
    expected = expected[:k] + [(-1, -math.inf)] * (k - len(expected))
    assert items.tolist() == [item for item, _ in expected]
    np.testing.assert_allclose(scores.numpy(), [score for _, score in expected], rtol=1e-9)


def test_by_hand():
    """Two levels of two codes, items (0,1), (1,0), (0,0); P(0) = 0.25, then P(0 | 0) = 0.4 and P(0 | 1) = 0.1."""
    catalog = Catalog(torch.tensor([[0, 1], [1, 0], [0, 0]]), n_codes=2)
    model = TableModel(n_codes=2, levels=2)
    model.logits[:, 0] = torch.tensor([0.25, 0.75]).log()
    model.logits[:, 1] = torch.tensor([0.4, 0.6]).log()
    model.logits[:, 2] = torch.tensor([0.1, 0.9]).log()
    items, scores = beam_search(model, users([0]), catalog, beams=5, k=5)
    assert items.tolist() == [[0, 2, 1, -1, -1]]
    expected = torch.tensor([0.15, 0.10, 0.075, 0, 0], dtype=torch.float64).log()
    torch.testing.assert_close(scores[0], expected)
    greedy, _ = beam_search(model, users([0]), catalog, beams=1, k=1)
    assert greedy.tolist() == [[1]]  # code 1 wins level 0, though its only item is the worst


def test_wide_beam_is_exhaustive_scoring():
    catalog, model = random_catalog(97, 7, 3), TableModel(n_codes=7, levels=3)
    for beams in (97, 101, 500):
        items, scores = beam_search(model, users([2, 3, 5]), catalog, beams=beams, k=97)
        for row, user in enumerate([2, 3, 5]):
            assert_same(items[row], scores[row], exhaustive(model, user, catalog))


@pytest.mark.parametrize("beams", [1, 2, 3, 5, 11, 23])
def test_narrow_beam_is_the_plain_search(beams):
    catalog, model = random_catalog(211, 7, 4), TableModel(n_codes=7, levels=4)
    items, scores = beam_search(model, users([0, 1, 29]), catalog, beams=beams, k=beams)
    for row, user in enumerate([0, 1, 29]):
        assert_same(items[row], scores[row], plain_beam_search(model, user, catalog, beams))


@settings(max_examples=60)
@given(st.data())
def test_any_catalog(data):
    levels, n_codes = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    tuples = list(itertools.product(range(n_codes), repeat=levels))
    chosen = data.draw(st.lists(st.sampled_from(tuples), min_size=1, max_size=41, unique=True))
    catalog = Catalog(torch.tensor(chosen), n_codes=n_codes)
    grain = data.draw(st.sampled_from([None, 2.0, 100.0]))
    model = TableModel(n_codes=n_codes, levels=levels, seed=data.draw(st.integers(0, 99)), grain=grain)
    beams = data.draw(st.integers(1, 60))
    k = data.draw(st.integers(1, beams))
    batch = data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=3))
    items, scores = beam_search(model, users(batch), catalog, beams=beams, k=k)
    assert items.shape == scores.shape == (len(batch), k) and items.dtype == torch.int64
    for row in range(len(batch)):
        found = items[row][items[row] >= 0].tolist()
        assert len(set(found)) == len(found) and all(0 <= item < len(chosen) for item in found)
        assert scores[row].tolist() == sorted(scores[row].tolist(), reverse=True)
        assert torch.equal(items[row] < 0, scores[row] == -math.inf)
        if grain is None:
            assert_same(items[row], scores[row], plain_beam_search(model, batch[row], catalog, beams))
        if beams >= len(chosen):
            assert len(found) == min(k, len(chosen))


@pytest.mark.parametrize("beams", [3, 13, 50, 200])
def test_ties_go_to_the_lower_codes(beams):
    """A model that likes all tokens equally must return the first items in code order, at every width."""
    catalog, model = random_catalog(151, 7, 3, seed=5), TableModel(n_codes=7, levels=3, grain=1e6)
    model.logits.zero_()
    items, scores = beam_search(model, users([0, 1]), catalog, beams=beams, k=beams)
    found = items[0][items[0] >= 0]
    assert found.tolist() == catalog.leaf_items[: min(beams, 151)].tolist()
    assert torch.equal(items[0], items[1]) and torch.equal(scores[0], scores[1])


def test_ties_across_the_border_of_the_beam():
    total = torch.tensor([[1.0, 3.0, 2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0, 2.0], [0.0, 5.0, 1.0, 4.0, 3.0]])
    assert first_best(total, 3).tolist() == [[1, 2, 3], [0, 1, 2], [1, 3, 4]]
    assert first_best(total, 7).tolist() == [[0, 1, 2, 3, 4]] * 3


@settings(max_examples=100)
@given(st.lists(st.lists(st.sampled_from([-math.inf, -2.0, -1.0, 0.0, -0.0]), min_size=13, max_size=13), min_size=1),
       st.integers(1, 17))  # fmt: skip
def test_first_best_is_a_stable_sort(rows, n):
    total = torch.tensor(rows)
    expected = total.sort(dim=1, descending=True, stable=True).indices[:, :n].sort(dim=1).values
    assert torch.equal(first_best(total, n), expected)


def test_batch_order_does_not_matter():
    catalog, model = random_catalog(131, 5, 4), TableModel(n_codes=5, levels=4, grain=1.0)
    order = [7, 2, 30, 11, 2]
    items, scores = beam_search(model, users(order), catalog, beams=13, k=11)
    for row, user in enumerate(order):
        alone = beam_search(model, users([user]), catalog, beams=13, k=11)
        assert torch.equal(items[row], alone[0][0]) and torch.equal(scores[row], alone[1][0])


def test_fewer_items_than_beams():
    catalog, model = random_catalog(3, 11, 4), TableModel(n_codes=11, levels=4)
    items, scores = beam_search(model, users([0, 1]), catalog, beams=20, k=10)
    assert sorted(items[0, :3].tolist()) == [0, 1, 2]
    assert (items[:, 3:] == -1).all() and (scores[:, 3:] == -math.inf).all() and scores[:, :3].isfinite().all()


def test_probability_zero_is_not_an_answer():
    catalog, model = random_catalog(5, 5, 1), TableModel(n_codes=5, levels=1)
    model.logits[:, 0, catalog.codes[3, 0]] = -math.inf
    items, _ = beam_search(model, users([0]), catalog, beams=5, k=5)
    assert items[0, -1] == -1 and 3 not in items[0]


def test_softmax_is_over_all_codes():
    logits = torch.randn(2, 3, 7, dtype=torch.float64)
    token = torch.randint(7, (2, 3, 5))
    torch.testing.assert_close(log_softmax_at(logits, token), logits.log_softmax(-1).gather(-1, token))
    assert log_softmax_at(logits.bfloat16(), token).dtype == torch.float32


def test_no_gradient_and_no_change_of_mode():
    catalog, model = random_catalog(13, 5, 2), TableModel(n_codes=5, levels=2)
    model.logits.requires_grad_()
    assert not beam_search(model, users([0]), catalog, beams=3, k=2)[1].requires_grad


@pytest.mark.parametrize(("beams", "k"), [(5, 7), (5, 0), (0, 0)])
def test_bad_k(beams, k):
    catalog, model = random_catalog(13, 5, 2), TableModel(n_codes=5, levels=2)
    with pytest.raises(InputError, match=f"k: found {k}, expected 1..{beams}"):
        beam_search(model, users([0]), catalog, beams=beams, k=k)


def test_nan_is_named():
    catalog, model = random_catalog(13, 5, 2), TableModel(n_codes=5, levels=2)
    model.logits[1, 0, 0] = math.nan
    with pytest.raises(FloatingPointError, match="nan"):
        beam_search(model, users([0, 1]), catalog, beams=3, k=2)
