"""Any table of interactions: CSV (quoted as RFC 4180 has it), TSV, either in gzip, Parquet, or a folder of them.

The log has the columns user, item, behavior and timestamp, and may describe items and users, as may tables of their
own. The flags `columns` and `behaviors` say what things are called elsewhere. Ids are any text.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rclrec_mini.data.columns import Column, Layout, any_id, one_of, price, text, time_like
from rclrec_mini.data.prepare_config import DROPPED, PrepareConfig
from rclrec_mini.data.raw_files import first_line, head, listed
from rclrec_mini.data.raw_logs import Inputs, Part, open_part
from rclrec_mini.data.schema import BEHAVIORS, ITEMS, USERS
from rclrec_mini.data.unpacking import Found, find, list_files
from rclrec_mini.files import InputError

OWN_BEHAVIORS = {str(word): index for index, name in enumerate(BEHAVIORS) for word in (name, index)}
ITEM_COLUMNS, USER_COLUMNS = ITEMS.names[2:], USERS.names[2:]


@dataclass(frozen=True)
class Dialect:
    """How the tables of a source are written.

    plain: the name in a header such as `user_id:token`. names: what our columns are called. delimiter: None where the
    header tells whether it is a tab or a comma.
    """

    plain: Callable[[str], str] = str
    names: dict[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    quoted: bool = True


@dataclass(frozen=True)
class Table:
    """Files of one kind, of which the first was looked into: the names of its columns, and its first row."""

    files: list[Found]
    dialect: Dialect
    names: dict[str, str]

    @cached_property
    def delimiter(self) -> str:
        if self.dialect.delimiter or self.files[0].is_parquet:
            return self.dialect.delimiter or ","
        header = first_line(self.files[0])
        return "\t" if "\t" in header and "," not in header else ","

    @cached_property
    def head(self) -> tuple[list[str], list[str]]:
        return head(self.files[0], delimiter=self.delimiter, quoted=self.dialect.quoted)

    @cached_property
    def plain(self) -> list[str]:
        return [self.dialect.plain(header) for header in self.head[0]]

    def header(self, name: str) -> str:
        """What the file calls a column of ours; where it lacks it, what it should."""
        theirs = self.names.get(name, name)
        here = theirs if theirs in self.plain else name
        if here not in self.plain or theirs == "":
            return theirs
        if self.plain.count(here) > 1:
            raise InputError(f"{self.files[0].name}: line 1: column {here} is there twice, expected it once")
        return self.head[0][self.plain.index(here)]

    def holds(self, name: str) -> bool:
        header = self.header(name)
        return header != "" and header in self.head[0]

    def first(self, header: str) -> str:
        return dict(zip(*self.head, strict=False)).get(header, "")

    def open(self, columns: Iterable[Column], spill: Path, **layout: Any) -> Part:
        columns = tuple(columns)
        return open_part(
            self.files, Layout(columns, self.delimiter, header=True, quoted=self.dialect.quoted, **layout), spill
        )


def open_inputs(config: PrepareConfig, spill: Path) -> Inputs:
    """The tables of the log, the items and the users.

    Raises:
        InputError: as read_tables.
    """
    items, users = ([path] if path else [] for path in (config.items, config.users))
    return read_tables(config, spill, Dialect(), log=config.log, items=items, users=users)


def read_tables(
    config: PrepareConfig,
    spill: Path,
    dialect: Dialect,
    *,
    log: Iterable[Path],
    items: Iterable[Path],
    users: Iterable[Path],
) -> Inputs:
    """Open tables; what a table of items or users describes is not taken from the log.

    Raises:
        InputError: as raw_logs.open_part, or a column that `columns` names is in none of them.
    """
    names = dialect.names | config.column_names
    parts = [[find(path, spill) for path in list_files(paths)] for paths in (log, items, users)]
    log, items, users = (Table(files, dialect, names) if files else None for files in parts)
    tables = [table for table in (log, items, users) if table]
    for name, theirs in config.column_names.items():
        if theirs and not any(theirs in table.plain for table in tables):
            raise InputError(f"{log.files[0].name}: column {theirs} for {name} is missing, found {listed(log.plain)}")

    described = [name for name in ITEM_COLUMNS if not (items and items.holds(name))]
    described += [name for name in USER_COLUMNS if not (users and users.holds(name))]
    times, log_part = _open_log(config, log, described, spill)
    item_part = items and items.open([any_id(items.header("item"), "item"), *_described(items, ITEM_COLUMNS)], spill)
    user_part = users and users.open([any_id(users.header("user"), "user"), *_described(users, USER_COLUMNS)], spill)
    opened = [part for part in (log_part, item_part, user_part) if part]
    notes = {"times": times, "ignored_columns": [name for part in opened for name in _ignored(part)]}
    seconds = times in ("seconds", "milliseconds", "ISO 8601")
    return Inputs(log_part, item_part, user_part, whole_seconds=seconds, one_value=True, notes=notes)


def _described(table: Table, names: Iterable[str]) -> list[Column]:
    headers = {name: table.header(name) for name in names if table.holds(name)}
    return [price(header) if name == "price" else text(header, name) for name, header in headers.items()]


def _ignored(part: Part) -> list[str]:
    used = {column.header for column in part.layout.columns}
    return [header for header in part.files[0].columns if header not in used]


def _open_log(config: PrepareConfig, log: Table, described: list[str], spill: Path) -> tuple[str, Part]:
    """The kind of time in the log, and the log."""
    time = log.header("timestamp")
    times, timestamp = time_like(time, log.first(time))
    columns = [
        any_id(log.header(name), name, missing=f"--columns {name}=NAME names another") for name in ("user", "item")
    ]
    columns += [timestamp, *_described(log, described)]

    values = config.behavior_values or OWN_BEHAVIORS
    rest = values.get("*")
    values = {word: value for word, value in values.items() if word != "*"}
    constants = ()
    if rest is not None and not config.column_names.get("behavior") and not log.holds("behavior"):
        constants = (("behavior", rest),)
    else:
        missing = "--columns behavior=NAME names another, --behaviors '*=purchase' does without"
        others = "map all of {} with --behaviors, as in view=click,buy=purchase,share=drop"
        header = log.header("behavior") or "behavior"
        columns.append(one_of(header, "behavior", values, rest=rest, missing=missing, others=others))
    drops = DROPPED in (rest, *values.values())
    outside = ("rows_of_dropped_behaviors", lambda table: table.behavior == DROPPED) if drops else None
    return times, log.open(columns, spill, constants=constants, outside=outside)
