"""Searching without seen items is searching a catalogue that never held them."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from test_beam_search import TableModel, random_catalog, users
from test_exact_ranking import Table
from torch.testing import assert_close

from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.decoding.exact_ranking import exact_ranking
from rclrec_mini.semantic_ids.catalog import Catalog


@given(
    st.integers(1, 41), st.integers(2, 5), st.sampled_from([0.0, 0.3, 0.7, 0.95, 1.0]), st.integers(1, 13),
    st.integers(0, 10**6),
)  # fmt: skip
def test_equals_a_catalogue_without_them(n_items, n_codes, share, beams, seed):
    catalog = random_catalog(min(n_items, n_codes**3), n_codes, 3, seed)
    model = TableModel(n_codes=n_codes, levels=3, seed=seed)
    batch, k = users([2, 5, 11]), max(1, beams - 2)
    seen = torch.rand(3, len(catalog), generator=torch.Generator().manual_seed(seed)) < share
    items, scores = beam_search(model, batch, catalog, beams=beams, k=k, seen=seen)
    for row, user in enumerate([2, 5, 11]):
        left = (~seen[row]).nonzero()[:, 0]
        if len(left) == 0:
            assert (items[row] == -1).all()
            continue
        smaller = Catalog(catalog.codes[left], n_codes=n_codes)
        twin, twin_scores = beam_search(model, users([user]), smaller, beams=beams, k=k)
        expected = torch.where(twin[0] >= 0, left[twin[0].clamp(min=0)], -1)
        assert items[row].tolist() == expected.tolist()
        assert_close(scores[row], twin_scores[0])
        assert (items[row] >= 0).sum() == min(k, len(left))


@given(st.integers(1, 7), st.integers(1, 41), st.integers(1, 13), st.integers(1, 97), st.integers(0, 10**6))
def test_exact_ranking_without_them(people, n_items, k, cells, seed):
    model = Table(people, n_items, seed)
    seen = torch.rand(people, n_items, generator=torch.Generator().manual_seed(seed)) < 0.6
    found, _ = exact_ranking(model, None, k=k, seen=seen, cells=cells)
    for user in range(people):
        of = [(-float(model.q[user] @ model.v[i] + model.b[i]), i) for i in range(n_items) if not seen[user, i]]
        expected = [i for _, i in sorted(of)[:k]]
        assert found[user].tolist() == expected + [-1] * (k - len(expected))
