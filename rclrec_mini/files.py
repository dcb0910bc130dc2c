"""Files and folders that are written whole or not at all, and the error that names what is wrong with an input.

All that is written first lies in a workplace, a hidden folder `.NAME.partial-*` beside its destination. Its process
holds a lock on it, which ends with the process however it ends: so the next that writes to the same place can tell what
the dead have left from what the living are at.
"""

import contextlib
import dataclasses
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

MARK = ".partial-"  # between the name of what is being written and eight random letters
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
os.umask(UMASK := os.umask(0o22))  # there is no other way to read it


class InputError(ValueError):
    """Something given from outside is wrong; the message is one line that names the file, the line or key,
    what was found and what was expected."""


def file_name(title: str) -> str:
    """A title as the name of a file or folder: what is no letter, digit, dot or dash becomes an underscore."""
    return re.sub(r"[^\w.-]+", "_", title)


def _settle(path: Path) -> None:
    """Put a new file on the disk for good, readable to whom new files are: safetensors writes for the owner alone."""
    path.chmod(0o666 & ~UMASK)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Leftovers(UserWarning):
    """Something that a process which died had left was cleared away."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a verb writes: how a folder that may be overwritten is told from any other."""

    title: str  # stands under the key `result` of its record
    record: str  # its JSON file
    files: frozenset[str]  # all names that may lie in the folder


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary file name to write to; the file takes the place of `path` only if the block succeeds.

    Raises:
        InputError: the disk is full.
    """
    path = Path(path)
    clear_leftovers(path.parent, path.name)
    with _workplace(path) as place:
        yield place / path.name
        _settle(place / path.name)
        os.replace(place / path.name, path)
        _sync(path.parent)


def check_output(
    out: Path | str, result: Result | None = None, *, inputs: Iterable[Path | str] = (), overwrite: bool = False
) -> Path:
    """Return `out` as a path, after clearing away what processes that died had left of it.

    Raises:
        InputError: `out` is a file or a symbolic link, holds one of `inputs` or lies in one, or holds something while
            `overwrite` is false or that is no `result`.
    """
    out = Path(out)
    check_apart(out, inputs)
    if out.name in ("", ".."):
        raise InputError(f"{out}: expected the name of a folder")
    clear_leftovers(out.parent, out.name)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: found a file, expected a folder that does not exist or is empty")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise InputError(f"{out}: found a folder that is not empty, expected none (--overwrite replaces a result)")
        _check_is(result, out)
    return out


def check_output_file(out: Path | str, begins: tuple[bytes, ...], *, inputs: Iterable[Path | str] = ()) -> Path:
    """Return `out` as a path if it may become a file: it is free, or holds one that begins as results do.

    Raises:
        InputError: `out` is something else, or lies in one of the folders `inputs`.
    """
    out = Path(out)
    check_apart(out, inputs)
    if out.is_dir():
        raise InputError(f"{out}: found a folder, expected a file or nothing")
    if out.exists():
        with open(out, "rb") as file:
            if not file.read(100).startswith(begins):
                raise InputError(f"{out}: found another file, expected none or an earlier result to overwrite")
    return out


def check_apart(out: Path | str, inputs: Iterable[Path | str] = ()) -> None:
    """Raise InputError if `out` is a symbolic link, holds one of `inputs` or lies in one."""
    out = Path(out)
    if out.is_symlink():
        raise InputError(f"{out}: found a symbolic link, expected a place of its own (such as {os.path.realpath(out)})")
    here = Path(os.path.realpath(out))
    for path in inputs:
        there = Path(os.path.realpath(path))
        if there.is_relative_to(here) or here.is_relative_to(there):
            raise InputError(f"{out}: found the input {path} in the same place, expected an output apart from it")


def _check_is(result: Result | None, folder: Path) -> None:
    if result is None:
        raise InputError(f"{folder}: found a folder that is not empty, expected none")
    record = folder / result.record
    found = read_json(record) if record.is_file() else None
    if not isinstance(found, dict) or found.get("result") != result.title:
        raise InputError(f"{folder}: found no {result.title}, and --overwrite replaces nothing else")
    if others := sorted({path.name for path in folder.iterdir()} - result.files):
        raise InputError(f"{folder}: found {others[0]}, which is no part of a {result.title}: it would be lost")


@contextlib.contextmanager
def whole_folder(
    out: Path | str, result: Result | None = None, *, inputs: Iterable[Path | str] = (), overwrite: bool = False
) -> Iterator[Path]:
    """Yield an empty temporary folder; it becomes `out` only if the block succeeds. Until then `out` is as it was.

    What else is written beside the yielded folder is removed at the end.

    Raises:
        InputError: as check_output, or the disk is full.
    """
    inputs = list(inputs)
    out = check_output(out, result, inputs=inputs, overwrite=overwrite)
    with _workplace(out) as place:
        new = place / out.name
        new.mkdir()
        yield new
        for file in new.rglob("*"):
            if file.is_file():
                _settle(file)
        check_output(out, result, inputs=inputs, overwrite=overwrite)  # it may have been filled in the meantime
        if out.exists():
            os.replace(out, _old(place, out))
        os.replace(new, out)
        _sync(out.parent)


@contextlib.contextmanager
def clear_when_full(path: Path | str) -> Iterator[None]:
    """Turn what anybody says about a full disk into an InputError that names `path`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        code = getattr(error, "errno", None)
        said = next((full for full in FULL if code == full or os.strerror(full) in str(error)), None)
        if said is None:
            raise
        raise InputError(f"{path}: could not be written: {os.strerror(said)}, expected room on the disk") from error


@contextlib.contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, gone at the end."""
    with clear_when_full(out), contextlib.ExitStack() as stack:
        out.parent.mkdir(parents=True, exist_ok=True)
        while True:
            place = Path(tempfile.mkdtemp(prefix=f".{out.name}{MARK}", dir=out.parent))
            if stack.enter_context(_locked(place, wait=True)):
                break  # else somebody has swept it between the two
        place.chmod(0o755)
        try:
            yield place
        finally:
            _put_back(place, out)
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a folder, and say whether it could be had and the folder is still there."""
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = folder.exists()
        except OSError:
            held = wait and folder.exists()  # where there are no locks, nobody sweeps
        yield held


def clear_leftovers(folder: Path | str, name: str = "*") -> None:
    """Remove what processes that died had left of `name` in `folder` (default: of anything), and warn of it; what they
    had moved away is put back."""
    folder, freed = Path(folder), 0
    for place in folder.glob(f".{'*' if name == '*' else glob.escape(name)}{MARK}????????"):
        out = folder / place.name[1 : place.name.rindex(MARK)]
        with _locked(place, wait=False) as dead:
            if dead and name in ("*", out.name):
                if _put_back(place, out):
                    warnings.warn(f"{out}: put back, a process died while it replaced it", Leftovers, stacklevel=3)
                freed += sum(file.lstat().st_size for file in place.rglob("*") if not file.is_dir())
                shutil.rmtree(place, ignore_errors=True)
    if freed:
        text = f"{folder / name}: removed {freed / 1e6:.1f} MB that processes which died had left"
        warnings.warn(text, Leftovers, stacklevel=3)


def _old(place: Path, out: Path) -> Path:
    return place / f"{out.name}.old"


def _put_back(place: Path, out: Path) -> bool:
    if _old(place, out).exists() and not out.exists():
        os.replace(_old(place, out), out)
        return True
    return False


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except (IsADirectoryError, NotADirectoryError):
        raise InputError(f"{path}: found no file, expected JSON") from None
    return parse_json(text, str(path))


def parse_json(text: bytes, name: str) -> Any:
    """The value that `text` stands for.

    Raises:
        InputError: it is not JSON; the message begins with `name`.
    """
    try:
        return json.loads(text.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # of bad JSON, bad UTF-8, endless digits; of endless brackets
        raise InputError(f"{name}: expected JSON, found {error}") from None


def _no_number(text: str) -> None:
    raise ValueError(f"{text}, which is no number")


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
