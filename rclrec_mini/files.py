"""Files and folders that are written whole or not at all, and the error that names what is wrong with an input."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Something given from outside is wrong; the message is one line that names the file, the line or key,
    what was found and what was expected."""


def file_name(title: str) -> str:
    """A title as the name of a file or folder: what is no letter, digit, dot or dash becomes an underscore."""
    return re.sub(r"[^\w.-]+", "_", title)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; it takes the place of `path` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def check_output(out: Path | str, *, overwrite: bool = False) -> Path:
    """Return `out` as a path, or raise InputError if it already holds something and `overwrite` is false."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: found a file, expected a folder that does not exist or is empty")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise InputError(f"{out}: found a folder that is not empty, expected none (use --overwrite to replace it)")
    return out


@contextlib.contextmanager
def whole_folder(out: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty temporary sibling of `out`; it becomes `out` only if the block succeeds.

    A process that dies inside the block leaves `out` as it was; what it had written stays in a hidden folder
    `.NAME.partial-*`, which no reader takes for a result.

    Raises:
        InputError: `out` is a file, or a folder that is not empty while `overwrite` is false.
    """
    out = check_output(out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    partial.chmod(0o755)
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
            os.replace(out, old)
            os.replace(partial, out)
            shutil.rmtree(old)
        else:
            os.replace(partial, out)
        _sync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected JSON, found {error}") from None


def sha256(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
