"""What a data set must be to be read: each way to break it is refused by name."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rclrec_mini.data import prepared
from rclrec_mini.data.prepared import checksums, numbered, read_table
from rclrec_mini.data.schema import TABLES
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.data.simulate import preset, write_prepared
from rclrec_mini.files import InputError, read_json, sha256, write_json

EVENTS = {
    "user": [0, 0, 2, 2, 2],
    "item": [6, 3, 0, 3, 6],
    "behavior": [0, 3, 1, 2, 3],
    "timestamp": [10, 10, 7, 11, 13],
    "position": [0, 1, 0, 1, 2],
}


def write(folder: Path, name: str, columns: dict) -> None:
    """Put a table into a data set, and its checksum into the manifest, as somebody who means it would."""
    schema = TABLES[name]
    pq.write_table(pa.table(columns, schema), folder / f"{name}.parquet")
    path = folder / "manifest.json"
    if path.exists():
        write_json(path, read_json(path) | {"checksums": checksums(folder)})


def by_hand(folder: Path, **changes: list) -> Path:
    """Five events of three users, the second without any, among seven items."""
    folder.mkdir(exist_ok=True)
    write(folder, "interactions", EVENTS | changes)
    counts = {"users": 3, "items": 7, "interactions": len(EVENTS["user"])}
    manifest = {"result": "prepared log", "source": "table", "counts": counts, "content_hash": "5"}
    write_json(folder / "manifest.json", manifest | {"checksums": checksums(folder)})
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "shop"
    write_prepared(preset("tiny", users=17, items=31), out)
    return out


@pytest.fixture
def copy(shop, tmp_path) -> Path:
    return Path(shutil.copytree(shop, tmp_path / "shop"))


def test_load_gives_offsets_with_users_that_have_no_event(tmp_path):
    assert Sequences.load(by_hand(tmp_path)).offsets.tolist() == [0, 2, 2, 5]


@pytest.mark.parametrize(
    ("changes", "row", "words"),
    [
        ({"user": [0, 0, 2, 2, 3]}, 4, "user 3, expected 0..2"),
        ({"user": [-1, 0, 2, 2, 2]}, 0, "user -1, expected 0..2"),
        ({"user": [0, 2, 0, 2, 2], "position": [0, 0, 0, 0, 1]}, 2, "rows that are not sorted by user"),
        ({"item": [6, 3, 7, 3, 6]}, 2, "item 7, expected 0..6"),
        ({"item": [6, 3, 0, -1, 6]}, 3, "item -1, expected 0..6"),
        ({"behavior": [0, 4, 1, 2, 3]}, 1, "behavior 4, expected 0..3"),
        ({"timestamp": [10, 10, 7, 11, -1]}, 4, "timestamp -1, expected 0 or more"),
        ({"timestamp": [10, 9, 7, 11, 13]}, 1, "a timestamp before that of the user's last event"),
        ({"timestamp": [10, 10, 7, 13, 11]}, 4, "a timestamp before that of the user's last event"),
        ({"position": [1, 2, 0, 1, 2]}, 0, "a position that does not count from 0 within its user"),
        ({"position": [0, 1, 2, 3, 4]}, 2, "a position that does not count from 0 within its user"),
        ({"position": [0, 1, 0, 1, 1]}, 4, "a position that does not count from 0 within its user"),
    ],
)
@pytest.mark.parametrize("block", [1, 2, 3, 1 << 18])
def test_events_that_break_the_contract_are_named_by_row(changes, row, words, block, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "BLOCK", block)
    with pytest.raises(InputError, match=rf"interactions\.parquet: row {row}: found {words}$"):
        Sequences.load(by_hand(tmp_path, **changes))


def test_an_empty_value_or_another_number_of_rows_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"interactions\.parquet: column item has an empty value"):
        Sequences.load(by_hand(tmp_path, item=[6, 3, None, 3, 6]))
    write(by_hand(tmp_path), "interactions", {name: values[:3] for name, values in EVENTS.items()})
    with pytest.raises(InputError, match=r"interactions\.parquet: 3 rows, manifest\.json expects 5"):
        Sequences.load(tmp_path)


@pytest.mark.parametrize("name", TABLES)
def test_a_flipped_bit_is_found_in_every_table(name, copy):
    path = copy / f"{name}.parquet"
    read_table(copy, name)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}\.parquet: found other bytes than were written"):
        read_table(copy, name)


@pytest.mark.parametrize("name", ["items", "users"])
def test_a_table_in_another_order_is_refused(name, copy):
    table = read_table(copy, name)
    order = np.r_[1, 0, 2 : len(table)]
    write(copy, name, {column: table[column].take(order) for column in table.column_names})
    with pytest.raises(InputError, match=rf"{name}\.parquet: row 0: found another {name[:-1]} than the number"):
        read_table(copy, name)


def test_truth_lies_row_for_row_beside_the_events(copy):
    truth = read_table(copy, "truth").to_pydict()
    write(copy, "truth", truth | {"position": [*truth["position"][:5], 97, *truth["position"][6:]]})
    with pytest.raises(InputError, match=r"truth\.parquet: row 5: found another position than interactions"):
        read_table(copy, "truth")
    write(copy, "truth", truth | {"journey": [-2, *truth["journey"][1:]]})
    with pytest.raises(InputError, match=r"truth\.parquet: row 0: found a journey below -1"):
        read_table(copy, "truth")


def test_values_are_numbered_as_they_come():
    column = pa.chunked_array([pa.array(["x", None, "y"]), pa.array(["a", "x"])])
    assert numbered(column).tolist() == [0, -1, 1, 2, 0]


def test_a_file_is_hashed_once_and_again_when_it_changed(copy, monkeypatch):
    hashed = []
    monkeypatch.setattr(prepared, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    for _ in range(3):
        read_table(copy, "users")
    assert hashed == ["users.parquet"]
    os.utime(copy / "users.parquet", ns=(5, 5))
    read_table(copy, "users")
    assert hashed == ["users.parquet"] * 2


def test_what_is_no_table_is_named(tmp_path):
    path = by_hand(tmp_path) / "interactions.parquet"
    pq.write_table(pa.table({"user": [1]}), path)
    write_json(tmp_path / "manifest.json", read_json(tmp_path / "manifest.json") | {"checksums": checksums(tmp_path)})
    with pytest.raises(InputError, match="column user is int64, expected int32"):
        read_table(tmp_path, "interactions")
    pq.write_table(pa.table({"user": pa.array([1], pa.int32())}), path)
    write_json(tmp_path / "manifest.json", read_json(tmp_path / "manifest.json") | {"checksums": checksums(tmp_path)})
    with pytest.raises(InputError, match=r"column item is missing, found \['user'\]"):
        read_table(tmp_path, "interactions")
    path.write_bytes(b"junk")
    write_json(tmp_path / "manifest.json", read_json(tmp_path / "manifest.json") | {"checksums": checksums(tmp_path)})
    with pytest.raises(InputError, match=r"interactions\.parquet: expected Parquet, found"):
        read_table(tmp_path, "interactions")
    path.unlink()
    with pytest.raises(InputError, match=r"interactions\.parquet: file not found"):
        read_table(tmp_path, "interactions")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({}, "key result is missing"),
        ([], r"found \[\], expected an object"),
        (None, "found null, expected an object"),
        ({"counts": {"users": 3, "items": 7}}, "counts: key interactions is missing"),
        ({"counts": {"users": 3, "items": 7, "interactions": 5, "sellers": 2}}, "counts: found the key sellers"),
        ({"counts": {"users": 3, "items": "7", "interactions": 5}}, 'counts: key items is "7", expected an integer'),
        ({"counts": {"users": 3, "items": -7, "interactions": 5}}, "counts: key items is -7, expected 0"),
        ({"counts": 3}, "key counts is 3, expected an object"),
        ({"content_hash": None}, "key content_hash is null, expected a string"),
        ({"content_hash": "../x"}, "key content_hash is '../x', expected hexadecimal digits"),
        ({"checksums": {"interactions.parquet": 3}}, "key checksums is .*, expected an object"),
        ({"checksums": {}}, r"checksums: key interactions\.parquet is missing"),
    ],
)
def test_a_manifest_of_another_shape_is_one_line(manifest, words, tmp_path):
    path = by_hand(tmp_path) / "manifest.json"
    write_json(path, read_json(path) | manifest if manifest else manifest)
    with pytest.raises(InputError, match=rf"manifest\.json: {words}") as error:
        Sequences.load(tmp_path)
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(InputError, match=r"manifest\.json: file not found"):
        Sequences.load(tmp_path)
