import json

import pytest

from rclrec_mini.data.history import read_history
from rclrec_mini.files import InputError

ITEMS = {"a": 0, "b, c": 1, "7": 2}
HEAD = "item,behavior,timestamp\n"


def test_events_are_put_in_order(tmp_path):
    path = tmp_path / "ann.csv"
    path.write_text('timestamp,page,item,behavior\n13,x,a,3\n5,y,"b, c",click\n13,z,7,cart\n')
    read = read_history(path, ITEMS)
    assert (read.item.tolist(), read.behavior.tolist(), read.timestamp.tolist()) == ([1, 0, 2], [0, 3, 2], [5, 13, 13])
    assert read.offsets.tolist() == [0, 3] and read.n_items == 3
    rows = [{"item": 7, "behavior": "purchase", "timestamp": 3}, {"item": "a", "behavior": 1, "timestamp": "2"}]
    lines = tmp_path / "ann.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_history(lines, ITEMS)
    assert (read.item.tolist(), read.behavior.tolist()) == ([0, 2], [1, 3])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("h.csv", "", "found no events"),
        ("h.csv", HEAD, "found no events"),
        ("h.csv", HEAD + "z,0,1\n", "line 2: item z not found among 3 items"),
        ("h.csv", HEAD + "a,0,1\na,look,1\n", "line 3: behavior is 'look', expected one of click"),
        ("h.csv", HEAD + "a,0,soon\n", "line 2: timestamp is 'soon', expected seconds UTC"),
        ("h.csv", HEAD + "a,0\n", "line 2: timestamp is missing"),
        ("h.csv", "item,behavior\na,0\n", "line 2: timestamp is missing"),
        ("h.csv", HEAD + '"a,0,1\n', "expected CSV in UTF-8"),
        ("h.csv", HEAD + "a,0,1411052591000\n", "line 2: timestamp is '1411052591000', expected seconds UTC, 0.."),
        ("h.csv", HEAD + "a,0,99999999999999999999\n", "line 2: timestamp is '99999999999999999999', expected seconds"),
        ("h.jsonl", "[1]\n", "line 1: found .1., expected an object"),
        ("h.jsonl", "[" * 100_000 + "\n", "line 1: expected JSON"),
        ("h.jsonl", '{"item": ' + "7" * 5000 + "}\n", "line 1: expected JSON"),
        ("h.jsonl", "{\n", "line 1: expected JSON"),
        ("absent.csv", None, "file not found"),
    ],
)
def test_bad_histories_are_named(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read_history(tmp_path / name, ITEMS)
    assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)


def test_latin_1_is_refused(tmp_path):
    (tmp_path / "h.csv").write_bytes(HEAD.encode() + b"caf\xe9,0,1\n")
    with pytest.raises(InputError, match="expected CSV in UTF-8"):
        read_history(tmp_path / "h.csv", ITEMS)
