import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.catalog import Catalog


def random_codes(n_items: int, levels: int, n_codes: int, seed: int = 0) -> torch.Tensor:
    keys = np.random.default_rng(seed).choice(n_codes**levels, n_items, replace=False)
    return torch.from_numpy(np.stack(np.unravel_index(keys, (n_codes,) * levels), 1))


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    levels, n_codes = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3, 7, 256]))
    code = st.tuples(*[st.integers(0, n_codes - 1)] * levels)
    rows = draw(st.lists(code, min_size=1, max_size=60, unique=True))
    return Catalog(torch.tensor(rows), n_codes=n_codes)


def tuples_of_trie(catalog: Catalog) -> dict[tuple[int, ...], int]:
    """Every leaf's tuple -> item, walking the CSR tensors one node at a time."""
    prefixes = [()]
    for offsets, tokens in zip(catalog.child_offsets, catalog.child_tokens, strict=True):
        children = [None] * len(tokens)
        for node, prefix in enumerate(prefixes):
            for child in range(offsets[node], offsets[node + 1]):
                children[child] = (*prefix, int(tokens[child]))
        prefixes = children
    return dict(zip(prefixes, catalog.leaf_items.tolist(), strict=True))


def test_worked_example_of_the_docstring() -> None:
    catalog = Catalog(torch.tensor([[0, 1], [2, 0], [0, 0]]), n_codes=3)
    assert [part.tolist() for part in catalog.child_offsets] == [[0, 2], [0, 2, 3]]
    assert [part.tolist() for part in catalog.child_tokens] == [[0, 2], [0, 1, 0]]
    assert catalog.leaf_items.tolist() == [2, 0, 1]
    assert catalog.nodes.tolist() == [[0, 0, 1], [0, 1, 2], [0, 0, 0]]


@given(catalogs())
@settings(deadline=None)
def test_trie_and_codes_are_the_same_set(catalog: Catalog) -> None:
    expected = {tuple(codes): item for item, codes in enumerate(catalog.codes.tolist())}
    assert tuples_of_trie(catalog) == expected
    assert list(tuples_of_trie(catalog)) == sorted(expected)  # lexicographic order


@given(catalogs())
@settings(deadline=None)
def test_paths_go_from_the_root_to_each_leaf_by_its_codes(catalog: Catalog) -> None:
    node = torch.zeros(len(catalog), dtype=torch.int64)
    for level in range(catalog.levels):
        assert catalog.nodes[:, level].tolist() == node.tolist()
        node = catalog.child_of(level, node, catalog.codes[:, level])
    assert catalog.nodes[:, -1].tolist() == node.tolist()
    assert catalog.leaf_items[node].tolist() == list(range(len(catalog)))


@given(catalogs())
@settings(deadline=None)
def test_children_are_sorted_and_distinct(catalog: Catalog) -> None:
    for level in range(catalog.levels):
        offsets, tokens = catalog.child_offsets[level].tolist(), catalog.child_tokens[level].tolist()
        assert offsets[0] == 0 and offsets[-1] == len(tokens)
        for start, end in itertools.pairwise(offsets):
            assert start < end and tokens[start:end] == sorted(set(tokens[start:end]))


@given(catalogs(), st.data())
@settings(deadline=None)
def test_items_of_equals_a_dict(catalog: Catalog, data: st.DataObject) -> None:
    items = torch.arange(len(catalog))
    assert torch.equal(catalog.items_of(catalog.codes[items]), items)
    twin = {tuple(codes): item for item, codes in enumerate(catalog.codes.tolist())}
    code = st.tuples(*[st.integers(-2, catalog.n_codes + 1)] * catalog.levels)
    asked = data.draw(st.lists(code, min_size=1, max_size=20))
    assert catalog.items_of(torch.tensor(asked)).tolist() == [twin.get(key, -1) for key in asked]


def test_items_of_keeps_leading_shape() -> None:
    catalog = Catalog(random_codes(211, 3, 7), n_codes=7)
    items = torch.arange(210).reshape(5, 42)
    assert torch.equal(catalog.items_of(catalog.codes[items]), items)
    with pytest.raises(InputError, match="last dimension is 2, expected 3 levels"):
        catalog.items_of(torch.zeros(5, 2, dtype=torch.int64))


def test_save_and_load(tmp_path) -> None:
    catalog = Catalog(random_codes(1009, 4, 11), n_codes=11, data_hash="abc")
    catalog.save(tmp_path / "ids")
    loaded = Catalog.load(tmp_path / "ids")
    assert (loaded.n_codes, loaded.data_hash, len(loaded)) == (11, "abc", 1009)
    for name in ("codes", "leaf_items"):
        assert torch.equal(getattr(loaded, name), getattr(catalog, name))
    for name in ("child_offsets", "child_tokens"):
        for ours, theirs in zip(getattr(loaded, name), getattr(catalog, name), strict=True):
            assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    with pytest.raises(InputError, match="not empty"):
        catalog.save(tmp_path / "ids")
    catalog.save(tmp_path / "ids", overwrite=True)


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("rclrec_mini.semantic_ids.catalog.write_json", fail)
    with pytest.raises(OSError, match="no space"):
        Catalog(random_codes(5, 2, 7), n_codes=7).save(tmp_path / "ids")
    assert list(tmp_path.iterdir()) == []


def test_damaged_files(tmp_path) -> None:
    folder = tmp_path / "ids"
    head, table = folder / "catalog.json", folder / "codes.safetensors"
    with pytest.raises(InputError, match=r"catalog\.json: file not found"):
        Catalog.load(folder)
    Catalog(random_codes(101, 3, 7), n_codes=7, data_hash="abc").save(folder)

    good, values = table.read_bytes(), json.loads(head.read_text())
    table.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match="SHA-256"):
        Catalog.load(folder)
    table.write_bytes(good[:50])
    with pytest.raises(InputError, match="expected safetensors"):
        Catalog.load(folder)
    save_file({"codes": torch.zeros(3, 2), "more": torch.zeros(1)}, table)
    with pytest.raises(InputError, match=r"codes\.safetensors: found tensors \['codes', 'more'\], expected codes"):
        Catalog.load(folder)
    table.unlink()
    with pytest.raises(InputError, match=r"codes\.safetensors: file not found"):
        Catalog.load(folder)
    table.write_bytes(good)

    for key, value, message in [
        ("items", 103, r"catalog.json expects torch.int16 \(103, 3\)"),
        ("levels", None, "key levels is null, expected an integer"),
        ("format", 2, "key format is 2, expected 1"),
        ("levels", True, "key levels is true, expected an integer"),
        ("seed", 3, "found the key seed, expected only result, format"),
        ("codes", 2, "expected 0..1"),
        ("codes", 0, r"codes\.safetensors: n_codes: found 0, expected 1..32768"),
    ]:
        head.write_text(json.dumps(values | {key: value}))
        with pytest.raises(InputError, match=message):
            Catalog.load(folder)
    for text, message in [("[]", r"found \[\]"), ("{}", "key result is missing"), ("null", "found null")]:
        head.write_text(text)
        with pytest.raises(InputError, match=rf"catalog\.json: {message}"):
            Catalog.load(folder)


@pytest.mark.parametrize(
    ("codes", "n_codes", "message"),
    [
        (torch.tensor([[0, 1], [2, 0], [0, 1]]), 3, r"items 0 and 2 share the codes \(0, 1\)"),
        (torch.tensor([[0, 3]]), 3, r"found codes 0..3, expected 0..2"),
        (torch.tensor([[-1, 0]]), 3, r"found codes -1..0"),
        (torch.zeros(2, 2), 3, "expected integers"),
        (torch.zeros(0, 2, dtype=torch.int64), 3, "expected integers"),
        (torch.tensor([[0]]), 2**15 + 1, "n_codes"),
    ],
)
def test_bad_codes(codes: torch.Tensor, n_codes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Catalog(codes, n_codes=n_codes)


def test_a_million_items_take_under_20_mb(tmp_path) -> None:
    catalog = Catalog(random_codes(1_000_000, 4, 256), n_codes=256)
    assert catalog.trie_bytes() < 20e6
    items = torch.randint(0, 1_000_000, (1009,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(catalog.items_of(catalog.codes[items]), items)
