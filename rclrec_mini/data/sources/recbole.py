"""The atomic files of RecBole: NAME.inter, NAME.item and NAME.user, separated by tabs, with headers such as
user_id:token and timestamp:float."""

from collections.abc import Iterable
from pathlib import Path

from rclrec_mini.data.prepare_config import PrepareConfig
from rclrec_mini.data.raw_logs import Inputs
from rclrec_mini.data.sources.table import Dialect, read_tables
from rclrec_mini.files import InputError

TYPES = ("token", "token_seq", "float", "float_seq")


def _plain(header: str) -> str:
    name, _, kind = header.rpartition(":")
    return name if kind in TYPES else header


ATOMIC = Dialect(_plain, {"user": "user_id", "item": "item_id"}, delimiter="\t", quoted=False)


def open_inputs(config: PrepareConfig, spill: Path) -> Inputs:
    """The interactions, files or a folder that holds them, and what lies beside them about items and users.

    Raises:
        InputError: a folder without .inter files, or as table.read_tables.
    """
    log = [file for path in config.log for file in _files(path)]
    items, users = config.items or _beside(log, ".item"), config.users or _beside(log, ".user")
    return read_tables(config, spill, ATOMIC, log=log, items=[items] if items else [], users=[users] if users else [])


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.inter"))
    if not files:
        raise InputError(f"{path}: found no file with the suffix .inter, expected at least one")
    return files


def _beside(log: list[Path], suffix: str) -> Path | None:
    """`ml-100k.item` beside `ml-100k.inter` or `ml-100k.train.inter`."""
    path = log[0].with_name(log[0].name.split(".")[0] + suffix)
    return path if path.is_file() else None
