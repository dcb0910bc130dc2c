"""What `prepare` is told: what to read, what to keep, and with what means."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rclrec_mini.checks import FieldError, at_least, check, within
from rclrec_mini.data.engines import ENGINES

UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What to read, what to keep, and with what means."""

    source: Literal["rec-tmall", "ijcai15", "table"]
    """what kind of log it is: REC-Tmall (0x01-separated text, or its CSV sample), IJCAI-15 (CSV or zip), or a table
    (Parquet or CSV) with the columns user, item, behavior (name or index), timestamp (seconds UTC)"""
    log: tuple[Path, ...]
    """the log files, in order"""
    out: Path
    """the folder to write; must not exist or be empty, unless overwrite"""
    items: Path | None = None
    """the product file of REC-Tmall, or a table with the column item and any of category, parent_category, brand,
    seller, title, price; IJCAI-15 has these in its log"""
    users: Path | None = None
    """the user_info file of IJCAI-15 (CSV or zip; found by itself when the log is a zip that holds it), or a table with
    the column user and any of age_range, gender"""
    min_item_count: int = 1
    """drop items with fewer interactions than this"""
    min_user_events: int = 1
    """drop users with fewer interactions than this, counted after items were dropped"""
    min_user_purchases: int = 0
    """drop users with fewer purchases than this, counted after items were dropped"""
    iterate: bool = False
    """repeat the three filters until they drop nothing more; if not, one pass: first items, then users, after which
    an item may again stand below its minimum"""
    sample_users: float = 1.0
    """share of the users to keep, 0..1, chosen by a hash of seed and user id while reading"""
    seed: int = 0
    """seed of the sample"""
    duplicates: Literal["source", "drop", "keep"] = "source"
    """what to do with rows that repeat user, item, behavior and time; source: drop them where time has seconds, keep
    them where it has minutes or days only, since people do click twice"""
    year: int = 2014
    """the year of the days in IJCAI-15, which are written without one"""
    within_day: Literal["file", "funnel"] = "file"
    """order within a day in IJCAI-15: as in the file, or click, favorite, cart, purchase, which leaks: what was
    bought then always comes last"""
    engine: Literal["duckdb", "spark"] = "duckdb"
    """what runs the tables; spark needs Java and rclrec_mini[spark]"""
    memory: str = "2GB"
    """memory to stay within, such as 800MB or 1GB; more than that spills to disk beside the output"""
    threads: int | None = None
    """threads of the engine; default: all cores"""
    overwrite: bool = False
    """replace the output folder if it holds something"""

    def __post_init__(self) -> None:
        """Raise InputError for a value that no data could make right."""
        check(
            self,
            log=(len(self.log) > 0, "at least one file"),
            source=(self.source in ("rec-tmall", "ijcai15", "table"), "rec-tmall, ijcai15 or table"),
            engine=(self.engine in ENGINES, " or ".join(ENGINES)),
            duplicates=(self.duplicates in ("source", "drop", "keep"), "source, drop or keep"),
            within_day=(self.within_day in ("file", "funnel"), "file or funnel"),
            sample_users=(0 < self.sample_users <= 1, "above 0, at most 1"),
        )
        at_least(self, 0, "min_item_count", "min_user_events", "min_user_purchases", "seed")
        at_least(self, 1, "threads")
        within(self, 1970, 9999, "year")
        if self.within_day == "funnel" and self.source != "ijcai15":
            raise FieldError("within_day", f"found funnel for {self.source}, expected file: only ijcai15 has days only")
        if self.source == "ijcai15" and self.items is not None:
            raise FieldError("items", f"found {self.items}, expected none: ijcai15 describes items in its log")
        if self.source == "rec-tmall" and self.users is not None:
            raise FieldError("users", f"found {self.users}, expected none: rec-tmall does not describe users")
        memory_bytes(self.memory)


def memory_bytes(memory: str) -> int:
    """Bytes of a size such as `1GB`.

    Raises:
        InputError: it is not such a size, or below 500MB.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([MGT]B)", memory)
    size = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if size < 500_000_000:
        raise FieldError("memory", f"found {memory!r}, expected at least 500MB, such as 800MB or 1GB")
    return size
