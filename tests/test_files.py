"""What is written is whole, what is overwritten was a result, and what the dead left goes."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rclrec_mini import files
from rclrec_mini.files import (
    InputError,
    Leftovers,
    Result,
    check_output,
    check_output_file,
    clear_leftovers,
    clear_when_full,
    read_json,
    whole_file,
    whole_folder,
    write_json,
)

CAKE = Result("cake", "recipe.json", frozenset({"recipe.json", "cream"}))


def bake(out: Path, cream: str = "new", **keywords) -> None:
    with whole_folder(out, CAKE, **keywords) as folder:
        (folder / "cream").write_text(cream)
        write_json(folder / "recipe.json", {"result": "cake"})


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_who_may_read_new_files_may_read_those_of_others(tmp_path):
    """safetensors makes files for the owner alone."""

    def secret(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))

    (tmp_path / "plain").write_text("")
    with files.whole_folder(tmp_path / "out") as folder:
        secret(folder / "weights")
    with files.whole_file(tmp_path / "weights") as partial:
        secret(partial)
    modes = {path.stat().st_mode for path in (tmp_path / "out" / "weights", tmp_path / "weights", tmp_path / "plain")}
    assert len(modes) == 1


def test_a_result_is_replaced_when_told_and_nothing_is_left_beside_it(tmp_path):
    bake(tmp_path / "out", "old")
    with pytest.raises(InputError, match="out: found a folder that is not empty"):
        bake(tmp_path / "out")
    bake(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "cream").read_text() == "new"
    assert tree(tmp_path) == {"out", "out/cream", "out/recipe.json"}


@pytest.mark.parametrize(
    ("record", "other", "words"),
    [
        (None, None, "found no cake"),
        ("[]", None, "found no cake"),
        ("{}", None, "found no cake"),
        ('{"result": "bread"}', None, "found no cake"),
        ('{"result": "cake"}', "notes.txt", "found notes.txt, which is no part of a cake"),
    ],
)
def test_what_is_no_such_result_is_never_replaced(record, other, words, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "cream").write_text("mine")
    if record is not None:
        (out / "recipe.json").write_text(record)
    if other is not None:
        (out / other).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=f"out: {words}") as error:
        bake(out, overwrite=True)
    assert "\n" not in str(error.value)
    assert tree(tmp_path) == before and (out / "cream").read_text() == "mine"


@pytest.mark.parametrize("given", ["out", "out/cream", ".", "link/cream", "out/absent"])
def test_an_input_in_the_same_place_is_refused(given, tmp_path):
    bake(tmp_path / "out", "old")
    (tmp_path / "link").symlink_to("out")
    with pytest.raises(InputError, match="out: found the input"):
        bake(tmp_path / "out", inputs=[tmp_path / given], overwrite=True)
    assert (tmp_path / "out" / "cream").read_text() == "old"


@pytest.mark.parametrize("target", ["out", "nowhere", "link"])
def test_a_symbolic_link_is_no_output(target, tmp_path):
    bake(tmp_path / "out", "old")
    (tmp_path / "link").symlink_to(target)
    before = tree(tmp_path)
    for attempt in (lambda path: bake(path, overwrite=True), lambda path: check_output_file(path, (b"",))):
        with pytest.raises(InputError, match="link: found a symbolic link"):
            attempt(tmp_path / "link")
    assert tree(tmp_path) == before and (tmp_path / "link").is_symlink()


def test_a_folder_that_fills_up_in_the_meantime_is_not_replaced(tmp_path):
    with pytest.raises(InputError, match="not empty"), whole_folder(tmp_path / "out", CAKE):
        bake(tmp_path / "out", "another's")
    assert tree(tmp_path) == {"out", "out/cream", "out/recipe.json"}


def test_a_file_of_results_replaces_only_one_of_its_kind(tmp_path):
    begins = (b'{\n  "run": ', b"metric,")
    write_json(tmp_path / "run" / "state.json", {"run": "r"})
    write_json(tmp_path / "old.json", {"run": "r"})
    (tmp_path / "old.csv").write_text("metric,mean\n")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    for name in ("old.json", "old.csv", "new.json"):
        assert check_output_file(tmp_path / name, begins, inputs=[tmp_path / "run"]) == tmp_path / name
    for name, words in [
        ("run/state.json", "found the input"),
        ("run/new.json", "found the input"),
        ("run", "found the input"),
        ("other", "found a folder"),
        ("notes.txt", "found another file"),
    ]:
        with pytest.raises(InputError, match=words):
            check_output_file(tmp_path / name, begins, inputs=[tmp_path / "run"])


def process(tmp_path: Path, body: str) -> subprocess.Popen:
    """Another process in the same folder, stopped where it has printed a line."""
    code = """
        import os, resource, signal, sys
        from rclrec_mini import files
        from test_files import bake, CAKE

        def wait():
            print("here", flush=True)
            sys.stdin.readline()

        from pathlib import Path
        out = Path("out")
    """
    root = Path(__file__).parents[1]
    started = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code) + textwrap.dedent(body)],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'tests'}"},
    )
    assert started.stdout.readline() == "here\n"
    return started


WRITING = """
    with files.whole_folder(out, CAKE, overwrite=True) as folder:
        (folder / "cream").write_bytes(bytes(1_300_000))
        (folder.parent / "spill").write_bytes(bytes(600_000))
        wait()
        files.write_json(folder / "recipe.json", {"result": "cake"})
"""


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def test_what_a_killed_process_left_goes_with_the_next_call(tmp_path):
    kill(process(tmp_path, WRITING))
    assert len(tree(tmp_path)) == 4
    bake(tmp_path / "other")  # another place: none of its business
    (tmp_path / ".out.partial-notes").mkdir()
    (tmp_path / ".out.partial-12345678").write_text("a file")
    with pytest.warns(Leftovers, match=r"out: removed 1\.9 MB"):
        bake(tmp_path / "out")
    mine = {".out.partial-notes", ".out.partial-12345678"}
    assert {path.name for path in tmp_path.iterdir()} == {"out", "other"} | mine


def test_a_workplace_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    made, make = [], files.tempfile.mkdtemp

    def swept(**where):
        made.append(make(**where))
        if len(made) == 1:
            clear_leftovers(tmp_path)
        return made[-1]

    monkeypatch.setattr(files.tempfile, "mkdtemp", swept)
    bake(tmp_path / "out")
    assert len(made) == 3  # of out twice, of recipe.json once
    assert tree(tmp_path) == {"out", "out/cream", "out/recipe.json"}


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    living = process(tmp_path, WRITING)
    bake(tmp_path / "out", "mine")
    clear_leftovers(tmp_path)
    assert len(list(tmp_path.glob(".out.partial-*"))) == 1
    living.communicate("go on\n", timeout=60)
    assert living.returncode == 0
    assert tree(tmp_path) == {"out", "out/cream", "out/recipe.json"}
    assert (tmp_path / "out" / "cream").read_bytes() == bytes(1_300_000)


def test_a_kill_between_the_two_moves_loses_nothing(tmp_path):
    bake(tmp_path / "out", "old")
    killed = process(
        tmp_path,
        """
        replace, moves = os.replace, []

        def stop_at_the_second(source, target):
            moves.append(target)
            if Path(target) == out:
                wait()
            replace(source, target)

        files.os.replace = stop_at_the_second
        bake(out, overwrite=True)
        """,
    )
    assert not (tmp_path / "out").exists()
    kill(killed)
    with pytest.warns(Leftovers) as told, pytest.raises(InputError, match="not empty"):
        check_output(tmp_path / "out", CAKE)
    assert any("out: put back" in str(warning.message) for warning in told)
    assert (tmp_path / "out" / "cream").read_text() == "old"
    assert tree(tmp_path) == {"out", "out/cream", "out/recipe.json"}


def test_a_move_that_fails_puts_the_old_back(tmp_path, monkeypatch):
    bake(tmp_path / "out", "old")
    replace = os.replace

    def failing(source, target):
        if Path(target) == tmp_path / "out" and Path(source).name == "out":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr("rclrec_mini.files.os.replace", failing)
    with pytest.raises(OSError, match="Input/output"):
        bake(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "cream").read_text() == "old"
    assert tree(tmp_path) == {"out", "out/cream", "out/recipe.json"}


def test_a_killed_file_goes_too(tmp_path):
    killed = process(
        tmp_path,
        """
        with files.whole_file("result.json") as partial:
            partial.write_bytes(bytes(2_300_000))
            wait()
        """,
    )
    kill(killed)
    with pytest.warns(Leftovers, match=r"result\.json: removed 2\.3 MB"):
        write_json(tmp_path / "result.json", {})
    assert tree(tmp_path) == {"result.json"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize(
    "kind", [lambda code: OSError(code, "x"), lambda code: RuntimeError(f"I/O: {os.strerror(code)}!")]
)
def test_a_full_disk_is_named_whoever_tells(code, kind, tmp_path):
    with pytest.raises(InputError, match=f"a: could not be written: {os.strerror(code)}"), whole_file(tmp_path / "a"):
        raise kind(code)
    with pytest.raises(KeyError), clear_when_full(tmp_path):
        raise KeyError("other")
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000, "1" * 5_000, '{"a": NaN}'])
def test_what_is_no_json_is_named(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"a\.json: expected JSON, found ") as error:
        read_json(path)
    assert "\n" not in str(error.value)
    for other, words in [(tmp_path, "found no file"), (path / "b", "found no file"), (tmp_path / "c", "not found")]:
        with pytest.raises(InputError, match=words):
            read_json(other)
