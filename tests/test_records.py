import json
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
from safetensors.numpy import save_file

from rclrec_mini.files import InputError
from rclrec_mini.records import as_dataclass, read_arrays, read_line, read_lines, read_record


@dataclass(frozen=True)
class Part:
    size: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 0:
            raise InputError(f"size: found {self.size}, expected 0 or more")


@dataclass(frozen=True)
class Whole:
    name: Literal["a", "b"] = "a"
    n: int | None = None
    on: bool = False
    sizes: tuple[int, ...] = (2, 3)
    scores: dict[str, float | None] = field(default_factory=dict)
    part: Part = field(default_factory=Part)


FINE = {"name": "b", "n": 5, "on": True, "sizes": [7], "scores": {"x": 1, "y": None}, "part": {"size": 1}}


def test_lines_come_back(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"step": 1}\n{"step": 2}\n')
    assert list(read_lines(path)) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n[2]\n')
    with pytest.raises(InputError, match=r"log\.jsonl: line 2: found"):
        list(read_lines(path))
    for absent in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="file not found"):
            list(read_lines(absent))


def test_arrays_come_back(tmp_path):
    save_file({"rank": np.arange(3), "more": np.ones(2)}, tmp_path / "a.safetensors")
    assert read_arrays(tmp_path / "a.safetensors", "rank")["rank"].tolist() == [0, 1, 2]
    (tmp_path / "junk").write_bytes(b"junk")
    (tmp_path / "folder").mkdir()
    for name, words in {
        "absent": "absent: file not found",
        "junk": "junk: expected safetensors, found",
        "folder": "folder: expected safetensors, found",
        "a.safetensors": "a.safetensors: found more, rank, expected first",
    }.items():
        with pytest.raises(InputError, match=words):
            read_arrays(tmp_path / name, "first")


def test_a_dataclass_comes_back():
    assert as_dataclass(Whole, FINE, "w") == Whole("b", 5, True, (7,), {"x": 1, "y": None}, Part(1))
    assert as_dataclass(Whole, FINE | {"n": None}, "w").n is None
    del (without := dict(FINE))["part"]
    assert as_dataclass(Whole, without, "w", part=Part(3)).part == Part(3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "c"}, 'key name is "c", expected a or b'),
        ({"n": 5.0}, "key n is 5.0, expected an integer or null"),
        ({"n": True}, "key n is true, expected an integer or null"),
        ({"on": 1}, "key on is 1, expected true or false"),
        ({"sizes": 3}, "key sizes is 3, expected an array"),
        ({"sizes": ["3"]}, r'key sizes is \["3"\], expected an array'),
        ({"scores": {"x": "1"}}, "key scores is .*, expected an object"),
        ({"part": None}, "key part is null, expected an object"),
        ({"part": {}}, "part: key size is missing"),
        ({"part": {"size": -1}}, "part: size: found -1"),
        ({"part": {"size": 1, "s": 2}}, "part: found the key s, expected only size"),
        ({"more": 3}, "found the key more, expected only name, n"),
        ({"n": "x" * 500}, 'key n is "x{50,56}[.]{3}, expected'),
    ],
)
def test_what_does_not_fit_is_named(change, words):
    with pytest.raises(InputError, match=f"^w: {words}") as error:
        as_dataclass(Whole, FINE | change, "w")
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize(("text", "words"), [("[]", r"found \[\]"), ("3", "found 3"), ("{}", "key a is missing")])
def test_records_and_lines_are_objects_with_their_keys(text, words, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"r\.json: {words}"):
        read_record(path, {"a": int})
    with pytest.raises(InputError, match=f"log: line 3: {words}"):
        read_line(text.encode(), "log: line 3", {"a": int})
    path.write_text(json.dumps({"a": 1, "b": 2}))
    assert read_record(path, {"a": int}, more=True) == read_line(path.read_bytes(), "l") == {"a": 1, "b": 2}


@pytest.mark.parametrize("line", [b"", b"{", b"\xff\xfe", b"\x00\x00", b"[" * 100_000])
def test_a_line_that_is_no_json_is_named(line):
    with pytest.raises(InputError, match="log: line 5: expected JSON, found ") as error:
        read_line(line, "log: line 5")
    assert "\n" not in str(error.value)
