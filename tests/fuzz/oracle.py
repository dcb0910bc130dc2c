"""What a raw log says, by plain Python that shares nothing with the library's readers, and is slow and strict."""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

LARGEST = 2**63 - 1
NINE_DAYS = range(1_511_539_200, 1_512_316_800)  # of UserBehavior
LAST_SECOND = 253_402_300_799
NAMES = ("click", "favorite", "cart", "purchase")
WORDS = {  # of each source for the same
    "rec-tmall": ("click", "collect", "cart", "alipay"),
    "ijcai15": ("0", "3", "1", "2"),
    "userbehavior": ("pv", "fav", "cart", "buy"),
}


class NoLogError(Exception):
    """The text breaks the format; the reader must refuse it."""


class Log(NamedTuple):
    """Events (user, item, behaviour, seconds) in the order of a prepared data set, ids as text, and by item what the
    log says of it."""

    events: list[tuple[str, str, int, int]]
    items: dict[str, dict[str, str]]


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise NoLogError(what)


def number(text: str, prefix: str = "") -> int:
    expect(text.startswith(prefix), f"{text!r} without {prefix}")
    text = text[len(prefix) :]
    expect(re.fullmatch(r"-?[0-9]{1,19}", text) is not None and str(int(text)) == text, f"no integer: {text!r}")
    expect(abs(int(text)) <= LARGEST, f"too large: {text}")
    return int(text)


def natural(text: str, prefix: str = "") -> int:
    value = number(text, prefix)
    expect(value >= 0, f"negative: {text}")
    return value


def place(text: str, words: tuple[str, ...]) -> int:
    expect(text in words, f"no behaviour: {text!r}")
    return words.index(text)


def moment(text: str, pattern: str, form: str) -> int:
    expect(re.fullmatch(pattern, text, re.ASCII) is not None, f"no time: {text!r}")
    try:
        seconds = int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise NoLogError(f"no time: {text!r}") from None
    expect(seconds >= 0, f"before 1970: {text!r}")
    return seconds


def text_of(data: bytes) -> str:
    expect(b"\0" not in data, "a NUL byte")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise NoLogError("not UTF-8") from None


def lines_of(data: bytes) -> list[str]:
    """Lines without their ends, which must all be alike: LF or CR LF."""
    text = text_of(data)
    end = "\r\n" if text.split("\n")[0].endswith("\r") and "\n" in text else "\n"
    lines = text.removesuffix(end).split(end)
    expect(all(lines), "an empty line")
    expect(not any("\n" in line or "\r" in line for line in lines), "line ends of two kinds")
    return lines


def quoted_rows(data: bytes, delimiter: str) -> list[list[str]]:
    """Fields of text whose fields may stand in quotes, as RFC 4180 has it."""
    text = text_of(data)
    rows: list[list[str]] = [[]]
    at, ends = 0, set()
    field = re.compile(rf'"((?:[^"]|"")*)"|([^"{delimiter}\r\n][^{delimiter}\r\n]*)?')
    while True:
        found = field.match(text, at)
        expect(found[1] is not None or not text.startswith('"', at), "a quote that does not end")
        rows[-1].append(found[1].replace('""', '"') if found[1] is not None else found[2] or "")
        at = found.end()
        if at == len(text):
            break
        if text[at] == delimiter:
            at += 1
            continue
        end = next((end for end in ("\r\n", "\n") if text.startswith(end, at)), None)
        expect(end is not None, f"{text[at]!r} after a field")
        expect(rows[-1] != [""], "an empty line")
        ends.add(end)
        at += len(end)
        if at == len(text):
            break
        rows.append([])
    expect(rows[-1] != [""] and len(ends) <= 1, "an empty line, or line ends of two kinds")
    return rows


def columns_of(rows: list[list[str]], names: Iterable[str], optional: Iterable[str] = ()) -> list[dict[str, str]]:
    """Rows by the names of a header."""
    header, *rows = rows
    for name in names:
        expect(header.count(name) == 1, f"column {name}")
    for name in optional:
        expect(header.count(name) <= 1, f"column {name} twice")
    expect(all(len(row) == len(header) for row in rows), "fields")
    return [dict(zip(header, row, strict=True)) for row in rows]


def positional(lines: list[str], delimiter: str, names: tuple[str, ...]) -> list[dict[str, str]]:
    rows = [line.split(delimiter) for line in lines]
    expect(all(len(row) == len(names) for row in rows), "fields")
    return [dict(zip(names, row, strict=True)) for row in rows]


def rec_tmall(data: bytes) -> Log:
    lines = lines_of(data)
    names = ("item_id", "user_id", "action", "vtime")
    sample = lines[0].startswith("item_id,")
    if sample:
        rows = columns_of([line.split(",") for line in lines], names)
        time = r"\d{4}/\d{1,2}/\d{1,2} \d{1,2}:\d\d", "%Y/%m/%d %H:%M"
    else:
        rows = positional(lines, "\x01", names)
        time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "%Y-%m-%d %H:%M:%S"
    events = [
        (
            natural(row["user_id"], "u"),
            natural(row["item_id"], "i" if sample else ""),
            place(row["action"], WORDS["rec-tmall"]),
            moment(row["vtime"], *time),
        )
        for row in rows
    ]
    return ordered(events, {}, distinct=not sample, prefix="u")


def ijcai15(data: bytes, year: int = 2014) -> Log:
    names = ("user_id", "item_id", "cat_id", "seller_id", "brand_id", "time_stamp", "action_type")
    rows = columns_of([line.split(",") for line in lines_of(data)], names)
    events, items = [], {}
    for row in rows:
        user, item = natural(row["user_id"]), natural(row["item_id"])
        time = moment(f"{year}{row['time_stamp']}", r"\d{8}", "%Y%m%d")
        events.append((user, item, place(row["action_type"], WORDS["ijcai15"]), time))
        brand = row["brand_id"]
        expect(re.fullmatch(r"([0-9]+(\.0)?)?", brand) is not None, f"brand {brand!r}")
        brand = brand.removesuffix(".0")
        expect(not brand or int(brand) <= LARGEST, f"brand {brand}")
        values = {"category": natural(row["cat_id"]), "seller": natural(row["seller_id"])}
        smallest(items, item, values | ({"brand": int(brand)} if brand else {}))
    return ordered(events, items, distinct=False)


def userbehavior(data: bytes) -> Log:
    rows = positional(lines_of(data), ",", ("user", "item", "category", "behavior", "timestamp"))
    events, items = [], {}
    for row in rows:
        user, item, category = (natural(row[name]) for name in ("user", "item", "category"))
        event = (user, item, place(row["behavior"], WORDS["userbehavior"]), number(row["timestamp"]))
        if event[3] in NINE_DAYS:
            events.append(event)
            smallest(items, item, {"category": category})
    return ordered(events, items, distinct=True)


def smallest(items: dict[int, dict[str, int]], item: int, values: dict[str, int]) -> None:
    known = items.setdefault(item, {})
    for name, value in values.items():
        known[name] = min(value, known.get(name, value))


def amazon2018(data: bytes) -> Log:
    rows = objects(data, ("reviewerID", "asin", "unixReviewTime"))
    events = [
        (scalar(row["reviewerID"]), scalar(row["asin"]), 3, natural(scalar(row["unixReviewTime"]))) for row in rows
    ]
    expect(all(seconds <= LAST_SECOND for *_, seconds in events), "no seconds")
    return ordered(events, {}, distinct=True)


def yelp(data: bytes) -> Log:
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "%Y-%m-%d %H:%M:%S"
    rows = objects(data, ("user_id", "business_id", "date"))
    events = [
        (scalar(row["user_id"]), scalar(row["business_id"]), 3, moment(scalar(row["date"]), *time)) for row in rows
    ]
    return ordered(events, {}, distinct=True)


def scalar(value: Any) -> str:
    expect(isinstance(value, str) and value != "", f"no text or number: {value!r}")
    expect("\0" not in value and not re.search("[\ud800-\udfff]", value), "no UTF-8")
    return value


def objects(data: bytes, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The object of each line, which must have these keys and none twice; numbers as text."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        expect(len({key for key, _ in found}) == len(found), "a key twice")
        return dict(found)

    def constant(word: str) -> None:
        raise NoLogError(f"no number: {word}")

    options = {"object_pairs_hook": pairs, "parse_float": str, "parse_int": str, "parse_constant": constant}
    try:
        lines = data.decode("utf-8").removeprefix("\ufeff").removesuffix("\n").split("\n")
        rows = [json.loads(line, **options) for line in lines]
    except (ValueError, RecursionError) as error:
        raise NoLogError(str(error)) from None
    expect(all(isinstance(row, dict) and {*keys} <= {*row} for row in rows), "an object without a key")
    return rows


def table(data: bytes) -> Log:
    """A table of text with the columns user, item, behavior, timestamp and perhaps category."""
    header = data.split(b"\n")[0]
    delimiter = "\t" if b"\t" in header and b"," not in header else ","
    rows = quoted_rows(data, delimiter) if b'"' in data else [line.split(delimiter) for line in lines_of(data)]
    rows = columns_of(rows, ("user", "item", "behavior", "timestamp"), ("category",))
    expect(bool(rows), "no rows")
    return of_rows(rows, [time_of(row["timestamp"], rows[0]["timestamp"]) for row in rows])


def of_rows(rows: list[dict[str, str]], times: list[int], *, distinct: bool = True) -> Log:
    words = (*NAMES, *"0123")  # by name or number
    events, items = [], {}
    for row, time in zip(rows, times, strict=True):
        expect(row["user"] != "" and row["item"] != "", "no id")
        events.append((row["user"], row["item"], place(row["behavior"], words) % 4, time))
        if row.get("category"):
            known = items.setdefault(row["item"], {"category": row["category"]})
            expect(known["category"] == row["category"], f"two categories of {row['item']}")
    return ordered(events, items, distinct=distinct)


def time_of(text: str, first: str) -> int:
    """Seconds, or milliseconds if the first row has those."""
    pattern = r"([0-9]{1,18})(\.[0-9]+)?"
    values = [re.fullmatch(pattern, value) for value in (first, text)]
    expect(all(values), f"no time: {text!r}")
    start, value = (int(match[1]) for match in values)
    if start <= LAST_SECOND:
        expect(value <= LAST_SECOND, f"no seconds: {text}")
        return value
    expect(LAST_SECOND < value <= 1000 * LAST_SECOND + 999, f"no milliseconds: {text}")
    return value // 1000


def rank(identity: int | str) -> tuple:
    """Integers first, in their order, then texts by code points."""
    if isinstance(identity, int):
        return 0, identity, ""
    canonical = re.fullmatch(r"-?[0-9]{1,19}", identity) and str(int(identity)) == identity
    return (0, int(identity), "") if canonical and -LARGEST - 1 <= int(identity) <= LARGEST else (1, 0, identity)


def ordered(events: list[tuple], items: dict, *, distinct: bool, prefix: str = "") -> Log:
    """Events as prepared: each once if `distinct`, by user and time; the order of the file breaks ties."""
    events = list(dict.fromkeys(events)) if distinct else events
    expect(any(behavior == 3 for _, _, behavior, _ in events), "no purchase")
    events = sorted(events, key=lambda event: (rank(event[0]), event[3]))
    described = {str(item): {name: str(value) for name, value in values.items()} for item, values in items.items()}
    return Log([(f"{prefix}{user}", str(item), b, time) for user, item, b, time in events], described)


def prepared(folder: Path) -> Log:
    """What a prepared data set says, and that users and items are numbered by rank."""
    rows = pq.read_table(folder / "interactions.parquet", partitioning=None).to_pylist()
    users = [row["raw_id"] for row in pq.read_table(folder / "users.parquet", partitioning=None).to_pylist()]
    table = pq.read_table(folder / "items.parquet", partitioning=None).to_pylist()
    items = [row["raw_id"] for row in table]
    for ids, prefix in ((users, "u" if users[0].startswith("u") else ""), (items, "")):
        assert ids == sorted(ids, key=lambda name: rank(name.removeprefix(prefix))), "ids are not numbered by rank"
    described = {
        row["raw_id"]: {name: row[name] for name in ("category", "brand", "seller") if row[name] is not None}
        for row in table
    }
    events = [(users[row["user"]], items[row["item"]], row["behavior"], row["timestamp"]) for row in rows]
    return Log(events, {item: values for item, values in described.items() if values})


READERS = {
    "rec-tmall": rec_tmall,
    "ijcai15": ijcai15,
    "userbehavior": userbehavior,
    "table": table,
    "amazon2018": amazon2018,
    "yelp": yelp,
}
