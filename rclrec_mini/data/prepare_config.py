"""What `prepare` is told: what to read, what to keep, and with what means."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from rclrec_mini.checks import MAX_SEED, FieldError, at_least, check, within
from rclrec_mini.data.engines import ENGINES
from rclrec_mini.data.schema import BEHAVIORS, ITEMS, MAX_SECONDS, SPLITS, USERS

Source = Literal["table", "recbole", "rec-tmall", "ijcai15", "userbehavior", "amazon2018", "yelp"]
TABLES = ("table", "recbole")  # whose columns and behaviours may be called anything
NEEDED = ("user", "item", "timestamp")
COLUMNS = (*NEEDED, "behavior", *ITEMS.names[2:], *USERS.names[2:])
DROPPED = -1  # the number of a behaviour whose rows are dropped
UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What to read, what to keep, and with what means."""

    source: Source
    """what kind of log it is

    table: CSV, TSV or Parquet, also .gz, or a folder
    recbole: RecBole's NAME.inter, or its folder
    rec-tmall: REC-Tmall, as text or its CSV sample
    ijcai15: IJCAI-15, user_log_format1.csv or its zip
    userbehavior: Taobao's UserBehavior.csv or its zip
    amazon2018: Amazon's reviews of 2018, NAME.json.gz
    yelp: Yelp's yelp_academic_dataset_review.json
    """
    log: tuple[Path, ...]
    """the log files, in order"""
    out: Path
    """the folder to write; must not exist or be empty, unless overwrite"""
    items: Path | None = None
    """the product file of REC-Tmall, or a table with the column item and any of category, parent_category, brand,
    seller, title, price; Amazon's meta_NAME.json.gz, Yelp's yelp_academic_dataset_business.json; IJCAI-15 and
    UserBehavior have what they know in their logs"""
    users: Path | None = None
    """the user_info file of IJCAI-15 (CSV or zip; found by itself when the log is a zip that holds it), or a table with
    the column user and any of age_range, gender"""
    columns: tuple[str, ...] = ()
    """what columns of a table are called, such as user=uid,item=sku,timestamp=ts; category= leaves one out"""
    behaviors: tuple[str, ...] = ()
    """what behaviours of a table mean, such as view=click,buy=purchase; share=drop drops rows, and * stands for all
    others, so *=purchase does for a table without behaviours; default: click, favorite, cart, purchase, or 0 to 3"""
    start: str | None = None
    """drop rows before this moment, such as 2017-10-01 (midnight UTC) or 2017-10-01T12:00:00+08:00"""
    end: str | None = None
    """drop rows at this moment and later"""
    k_core: int = 1
    """drop items and users with fewer interactions than this until none is left; short for min-item-count and
    min-user-events of at least so many with iterate"""
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
    split: Literal["last-purchase", "time"] = "last-purchase"
    """what tokenize, train and evaluate keep for validation and test; last-purchase: of each user, the last purchase
    tests and the one before it validates; time: the purchases in the last tenth of all rows by time test, those in the
    tenth before validate"""
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
    """replace the output folder if it holds an earlier result of this verb, and nothing else"""

    def __post_init__(self) -> None:
        """Raise InputError for a value that no data could make right."""
        check(
            self,
            log=(len(self.log) > 0, "at least one file"),
            source=(self.source in get_args(Source), f"one of {', '.join(get_args(Source))}"),
            engine=(self.engine in ENGINES, " or ".join(ENGINES)),
            duplicates=(self.duplicates in ("source", "drop", "keep"), "source, drop or keep"),
            split=(self.split in SPLITS, " or ".join(SPLITS)),
            within_day=(self.within_day in ("file", "funnel"), "file or funnel"),
            sample_users=(0 < self.sample_users <= 1, "above 0, at most 1"),
        )
        at_least(self, 1, "k_core")
        if self.k_core > 1:
            for name in ("min_item_count", "min_user_events"):
                object.__setattr__(self, name, max(self.k_core, getattr(self, name)))
            object.__setattr__(self, "iterate", True)
        at_least(self, 0, "min_item_count", "min_user_events", "min_user_purchases")
        within(self, 0, MAX_SEED, "seed")
        at_least(self, 1, "threads")
        within(self, 1970, 9999, "year")
        if self.within_day == "funnel" and self.source != "ijcai15":
            raise FieldError("within_day", f"found funnel for {self.source}, expected file: only ijcai15 has days only")
        if self.source in ("ijcai15", "userbehavior") and self.items is not None:
            raise FieldError("items", f"found {self.items}, expected none: {self.source} describes items in its log")
        if self.source in ("rec-tmall", "userbehavior", "amazon2018", "yelp") and self.users is not None:
            raise FieldError("users", f"found {self.users}, expected none: {self.source} does not describe users")
        if self.source not in TABLES and (self.columns or self.behaviors):
            flag = "columns" if self.columns else "behaviors"
            raise FieldError(flag, f"found {self.source}, expected only with the sources {' and '.join(TABLES)}")
        for name, theirs in self.column_names.items():
            if name not in COLUMNS:
                raise FieldError("columns", f"found {name!r}, expected one of {', '.join(COLUMNS)}")
            if name in NEEDED and not theirs:
                raise FieldError("columns", f"found no name for {name}, expected one such as {name}=NAME")
        _ = self.behavior_values
        first, after = self.time_range
        if first >= after:
            raise FieldError("end", f"found {self.end}, expected a time after start, {self.start or '1970-01-01'}")
        memory_bytes(self.memory)

    @property
    def time_range(self) -> tuple[int, int]:
        """The first second to keep, and the first after them."""
        return _moment("start", self.start, 0), _moment("end", self.end, MAX_SECONDS + 1)

    @property
    def column_names(self) -> dict[str, str]:
        """By our name of a column, what it is called in a table; empty where it is left out."""
        return _pairs("columns", self.columns, "user=uid,item=sku")

    @property
    def behavior_values(self) -> dict[str, int]:
        """By the word in a table, the behaviour's number, or DROPPED."""
        numbers = {name: number for number, name in enumerate(BEHAVIORS)} | {"drop": DROPPED}
        words = _pairs("behaviors", self.behaviors, "view=click,buy=purchase")
        for word, name in words.items():
            if name not in numbers:
                raise FieldError("behaviors", f"found {word}={name}, expected one of {', '.join(numbers)} behind the =")
        return {word: numbers[name] for word, name in words.items()}


def _moment(flag: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise FieldError(flag, f"found {text!r}, expected a time such as 2017-10-01") from None
    return math.ceil((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def _pairs(flag: str, texts: tuple[str, ...], example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in ",".join(texts).split(",") if texts else ():
        key, equals, value = text.partition("=") if flag == "columns" else text.rpartition("=")
        if not (key and equals):
            raise FieldError(flag, f"found {text!r}, expected pairs such as {example}")
        if key in pairs:
            raise FieldError(flag, f"found {key} twice, expected it once")
        pairs[key] = value
    return pairs


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
