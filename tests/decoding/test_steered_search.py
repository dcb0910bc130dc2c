"""A steered search against enumerated masses, forced tokens by hand, and its two ends."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_beam_search import TableModel, random_catalog, users
from test_exact_ranking import Table
from torch.testing import assert_close

from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.decoding.exact_ranking import exact_ranking
from rclrec_mini.decoding.steered_search import item_probabilities, node_masses, steered_search
from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.catalog import Catalog


class Scores:
    """An assistant that is given its scores of N items (B, N)."""

    def __init__(self, scores):
        self.scores = torch.as_tensor(scores, dtype=torch.float64)

    def query(self, batch):
        return self.scores

    def items(self):
        n = self.scores.shape[1]
        return torch.eye(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)


def twin(model, user, catalog, p, alpha, beams):
    """Python lists: a child's mass is a sum over the items that begin with its prefix."""
    codes = {item: tuple(row) for item, row in enumerate(catalog.codes.tolist()) if p[item] > 0}
    kept = [((), 0.0)]
    for level in range(catalog.levels):
        longer = []
        for prefix, score in kept:
            log_p = model.log_p(user, prefix)
            below = {}
            for item, row in codes.items():
                if row[:level] == prefix:
                    below[row[level]] = below.get(row[level], 0.0) + p[item]
            words, mass = sum(math.exp(log_p[token]) for token in below), sum(below.values())
            for token, part in below.items():
                own, helped = log_p[token] - math.log(words), math.log(part / mass)
                longer.append((prefix + (token,), score + (1 - alpha) * own + alpha * helped))
        kept = sorted(longer, key=lambda beam: (-round(beam[1], 9), beam[0]))[:beams]
    item_of = {row: item for item, row in codes.items()}
    return [(item_of[prefix], score) for prefix, score in kept]


@given(
    st.integers(1, 41), st.integers(2, 5), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(1, 13), st.booleans(),
    st.integers(0, 10**6),
)  # fmt: skip
def test_equals_enumerated_masses(n_items, n_codes, alpha, beams, leave_out, seed):
    catalog = random_catalog(min(n_items, n_codes**3), n_codes, 3, seed)
    model, who = TableModel(n_codes=n_codes, levels=3, seed=seed), [2, 5, 11]
    generator = torch.Generator().manual_seed(seed)
    assistant = Scores(torch.randn(3, len(catalog), generator=generator) * 3)
    seen = torch.rand(3, len(catalog), generator=generator) < 0.4 * leave_out
    seen[:, 0] = False
    found = steered_search(
        model, users(who), catalog, beams=beams, k=beams, assistant=assistant, alpha=alpha, seen=seen
    )
    for row, user in enumerate(who):
        p = assistant.scores[row].softmax(0).masked_fill(seen[row], 0.0).tolist()
        expected = twin(model, user, catalog, p, alpha, beams)
        expected = sorted(expected, key=lambda pair: (-round(pair[1], 9), catalog.codes[pair[0]].tolist()))
        left = beams - len(expected)
        assert found[0][row].tolist() == [item for item, _ in expected] + [-1] * left
        assert found[1][row].tolist() == pytest.approx([s for _, s in expected] + [-math.inf] * left, abs=1e-9)


@given(st.integers(1, 41), st.integers(0, 10**6))
def test_alpha_one_ranks_as_the_assistant(n_items, seed):
    catalog, assistant = random_catalog(n_items, 4, 3, seed), Table(2, n_items, seed)
    model = TableModel(n_codes=4, levels=3, seed=seed)
    _, scores = steered_search(model, users([1, 7]), catalog, beams=n_items, k=n_items, assistant=assistant, alpha=1.0)
    _, exact = exact_ranking(assistant, None, k=n_items)
    assert_close(scores, exact.double().log_softmax(-1), rtol=1e-6, atol=1e-6)


def test_forced_tokens_count_for_nothing():
    """One title of four tokens, of which three are forced, and two of two: (0,1,1,1), (1,0,0,0) and (1,1,0,0). The
    model says 0.4 and 0.6 to the first token, then 0.5 to each."""
    catalog = Catalog(torch.tensor([[0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]]), n_codes=2)
    model = TableModel(n_codes=2, levels=4)
    model.logits[:] = math.log(0.5)
    model.logits[:, 0] = torch.tensor([0.4, 0.6]).log()
    assistant = Scores(torch.zeros(1, 3))
    items, scores = steered_search(model, users([0]), catalog, beams=3, k=3, assistant=assistant, alpha=0.0)
    assert items.tolist() == [[0, 1, 2]]
    assert_close(scores[0], torch.tensor([0.4, 0.3, 0.3], dtype=torch.float64).log())
    free, lost = beam_search(model, users([0]), catalog, beams=3, k=3)
    assert_close(lost[0, free[0] == 0], torch.tensor([0.4 * 0.125], dtype=torch.float64).log())  # paid for every token
    assert free.tolist() == [[1, 2, 0]]
    balanced, mixed = steered_search(model, users([0]), catalog, beams=3, k=3, assistant=assistant, alpha=0.5)
    assert balanced.tolist() == [[0, 1, 2]]  # the assistant gives 1/3 to the left and 2/3 to the right
    expected = torch.tensor([0.4 / 3, 0.6 * 0.5 * 2 / 3 * 0.5, 0.6 * 0.5 * 2 / 3 * 0.5], dtype=torch.float64)
    assert_close(mixed[0], expected.sqrt().log())


def test_masses_add_up():
    catalog = random_catalog(37, 4, 3)
    p = item_probabilities(Table(2, 37, 5), users([1, 7]), 37)
    assert_close(p.sum(1), torch.ones(2, dtype=torch.float64))
    masses = node_masses(p, catalog)
    for level, mass in enumerate(masses):
        assert mass.shape == (2, len(catalog.child_tokens[level]))
        assert_close(mass.exp().sum(1), p.sum(1))
    assert_close(masses[-1].exp(), p[:, catalog.leaf_items.long()])


def test_an_assistant_that_is_sure_leaves_numbers():
    catalog, scores = random_catalog(37, 4, 3), torch.zeros(1, 37)
    scores[0, 5] = 2_000.0  # all other probabilities are 0 in float64, too
    model = TableModel(n_codes=4, levels=3)
    for alpha in (0.0, 0.5, 1.0):
        items, found = steered_search(model, users([0]), catalog, beams=37, k=37, assistant=Scores(scores), alpha=alpha)
        assert sorted(items[0].tolist()) == list(range(37)) and not found.isnan().any()
        assert alpha == 0 or items[0, 0] == 5


def test_faults():
    catalog, model = random_catalog(7, 3, 2), TableModel(n_codes=3, levels=2)
    with pytest.raises(InputError, match="k: found 5"):
        steered_search(model, users([0]), catalog, beams=4, k=5, assistant=Table(1, 7, 0), alpha=0.5)
    broken = Scores(torch.full((1, 7), math.nan))
    with pytest.raises(FloatingPointError):
        steered_search(model, users([0]), catalog, beams=4, k=2, assistant=broken, alpha=0.5)
