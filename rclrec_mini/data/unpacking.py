"""Raw files found: folders listed, zips and gzips unpacked, and what is no file refused."""

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rclrec_mini.files import FULL, InputError

COPY_BYTES = 1 << 20
TABLES = (".parquet", ".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Found:
    """A file that is there: its name in messages, the file that the user gave, and the unpacked one to read."""

    name: str
    source: Path
    path: Path

    @property
    def is_parquet(self) -> bool:
        return self.path.suffix.lower() == ".parquet"


def list_files(paths: Iterable[Path]) -> list[Path]:
    """The paths, with each folder replaced by the files below it in the order of their names.

    Raises:
        InputError: a folder holds no table, or tables of more than one kind.
    """
    listed = []
    for path in paths:
        if not path.is_dir():
            listed.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(("_", ".")))
        found = {p: _kind(p) for p in inside if _kind(p) in TABLES}
        if len(set(found.values())) != 1:
            kinds = " and ".join(sorted(set(found.values()))) or "no table"
            raise InputError(f"{path}: found {kinds} in a folder, expected files of one kind: {', '.join(TABLES)}")
        listed += found
    return listed


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def find(source: Path | str, spill: Path, *, member: str = "") -> Found:
    """A regular file; the text file `member` of a zip (if none is named, its only one), or a gzip, is unpacked into
    `spill`.

    Raises:
        InputError: the file is missing, a folder, a pipe or a device, or is not packed as its suffix says.
    """
    source = Path(source)
    if source.is_dir():
        raise InputError(f"{source}: found a folder, expected a file")
    if source.exists() and not source.is_file():
        raise InputError(f"{source}: found a pipe or a device, expected a file")
    try:
        with open(source, "rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{source}: file not found") from None
    except OSError as error:
        raise InputError(f"{source}: could not be opened: {error.strerror}") from None
    suffix = source.suffix.lower()
    if suffix == ".zip":
        return _unzip(source, member, spill)
    return _gunzip(source, spill) if suffix == ".gz" else Found(str(source), source, source)


def _unzip(source: Path, member: str, spill: Path) -> Found:
    try:
        with zipfile.ZipFile(source) as archive:
            names = _members(archive, member)
            if len(names) != 1:
                named = f" named {member}" if member else ""
                raise InputError(f"{source}: found {len(names)} files{named}, expected one")
            path = Path(tempfile.mkdtemp(dir=spill)) / Path(names[0]).name
            with archive.open(names[0]) as packed, open(path, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, COPY_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        if getattr(error, "errno", None) in FULL:
            raise
        raise InputError(f"{source}: expected a whole zip file, found {error}") from None
    return Found(f"{source}/{names[0]}", source, path)


def _members(archive: zipfile.ZipFile, member: str) -> list[str]:
    names = [name for name in archive.namelist() if not name.startswith("__MACOSX/") and not name.endswith("/")]
    return [name for name in names if Path(name).name == member or not member]


def zip_holds(source: Path | str, member: str) -> bool:
    """Whether `source` is a zip file with a file named `member` in it."""
    if Path(source).suffix.lower() != ".zip" or not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return bool(_members(archive, member))


def _gunzip(source: Path, spill: Path) -> Found:
    path = Path(tempfile.mkdtemp(dir=spill)) / source.stem
    try:
        with gzip.open(source) as packed, open(path, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, COPY_BYTES)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{source}: expected a whole gzip file, found {error}") from None
    return Found(str(source), source, path)
