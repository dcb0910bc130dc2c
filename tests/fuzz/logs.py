"""Cases of raw logs: texts of every source, Parquet, zips and gzips, mutated; the oracle says what each holds."""

import gzip
import io
import json
import math
import random
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import mutations
import oracle
import pyarrow as pa
import pyarrow.parquet as pq
from verdicts import ACCEPTED, WrongError, call, check_contents, check_refusal

START = 1_511_600_000  # in the nine days of UserBehavior


def events(rng: random.Random) -> list[tuple[int, int, int, int]]:
    """User, item, behaviour and seconds of a few events, some of them twice, the first a purchase."""
    found = [
        (
            rng.choice([3, 7, 11, 101]),
            rng.choice([2, 5, 13, 2**40]),
            rng.choice([0, 0, 0, 1, 2, 3]),
            START + 60 * rng.randrange(9_000),
        )
        for _ in range(rng.randrange(3, 19))
    ]
    return [(3, 2, 3, START), *found, *rng.sample(found, 2)]


def rec_tmall(rng: random.Random) -> str:
    words, sample = oracle.WORDS["rec-tmall"], rng.random() < 0.3
    rows = ["item_id,user_id,action,vtime"] if sample else []
    for user, item, behavior, seconds in events(rng):
        time = datetime.fromtimestamp(seconds, UTC)
        if sample:
            shown = f"{time.year}/{time.month}/{time.day} {time.hour}:{time.minute:02}"
            rows.append(f"i{item},u{user},{words[behavior]},{shown}")
        else:
            rows.append("\x01".join((str(item), f"u{user}", words[behavior], f"{time:%Y-%m-%d %H:%M:%S}")))
    return "\n".join(rows) + "\n"


def ijcai15(rng: random.Random) -> str:
    rows = ["user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type"]
    words = oracle.WORDS["ijcai15"]
    for user, item, behavior, seconds in events(rng):
        day = f"{datetime.fromtimestamp(seconds, UTC):%m%d}"
        brand = rng.choice(["", f"{item % 7}", f"{item % 7}.0"])
        rows.append(f"{user},{item},{item % 3},{rng.choice([item % 5, 17])},{brand},{day},{words[behavior]}")
    return "\n".join(rows) + "\n"


def userbehavior(rng: random.Random) -> str:
    words = oracle.WORDS["userbehavior"]
    rows = [(user, item, item % 3, words[behavior], seconds) for user, item, behavior, seconds in events(rng)]
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def table_rows(rng: random.Random) -> list[dict[str, Any]]:
    """Rows of a table with ids and times as people have them."""
    text, unit, category = rng.random() < 0.4, rng.choice([1, 1, 1000]), rng.random() < 0.4
    return [
        {"user": f"user {user}" if text else user, "item": f"sku-{item}" if text else item}
        | {"behavior": oracle.NAMES[behavior], "timestamp": seconds * unit}
        | ({"category": f"c{item % 3}"} if category else {})
        for user, item, behavior, seconds in events(rng)
    ]


def table(rng: random.Random) -> str:
    rows, separator = table_rows(rng), rng.choice([",", ",", "\t"])
    quote = '"' if rng.random() < 0.3 else ""
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    return "".join(separator.join(f"{quote}{value}{quote}" for value in line) + "\n" for line in lines)


def amazon2018(rng: random.Random) -> str:
    rows = [
        {"overall": 5.0, "reviewerID": f"A{user}", "asin": rng.choice([item, f"B{item}"]), "unixReviewTime": seconds}
        | ({"style": {"Size:": " 1"}, "summary": "é 😀"} if rng.random() < 0.3 else {})
        for user, item, _, seconds in events(rng)
    ]
    return "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n" for row in rows)


def yelp(rng: random.Random) -> str:
    rows = [
        {"review_id": n, "user_id": f"v{user}", "business_id": f"-{item}", "stars": 4, "text": 'a "b"\n'}
        | {"date": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"}
        for n, (user, item, _, seconds) in enumerate(events(rng))
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


TEXTS: dict[str, Callable[[random.Random], str]] = {
    "rec-tmall": rec_tmall,
    "ijcai15": ijcai15,
    "userbehavior": userbehavior,
    "table": table,
    "amazon2018": amazon2018,
    "yelp": yelp,
}


def judge(source: str, log: Path, expected: oracle.Log | None, *, must_read: bool = True) -> str:
    """Prepare a log and compare with what the oracle read, which is None where the log must be refused."""
    out = log.with_name("out")
    code, shown, errors = call("prepare", "--source", source, "--log", log, "--out", out, "--threads", "1")
    if code != 0:
        verdict = check_refusal(code, shown, errors, [log.name])
        check_contents(log.parent, {log.name})
        if expected is not None and must_read:
            raise WrongError(f"refused without need: {errors[0]}")
        return verdict
    check_contents(log.parent, {log.name, "out"})
    if expected is None:
        raise WrongError(f"accepted: {oracle.prepared(out)}"[:1_500])
    found = oracle.prepared(out)
    if found != expected:
        raise WrongError(f"found {found}, expected {expected}"[:3_000])
    return ACCEPTED


def read(source: str, data: bytes) -> oracle.Log | None:
    try:
        return oracle.READERS[source](data)
    except oracle.NoLogError:
        return None


def text_case(rng: random.Random, folder: Path) -> str:
    """A text log of any source, mutated up to three times."""
    source = rng.choice([*TEXTS])
    data = TEXTS[source](rng).encode()
    for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 3])):
        data = rng.choice(mutations.OF_TEXT)(rng, data)
    suffixes = [".csv", ".csv", ".txt"] + ([".CSV"] if source == "table" else [])
    suffixes = [".json"] if source in ("amazon2018", "yelp") else suffixes
    log = folder / f"log{rng.choice(suffixes)}"
    log.write_bytes(data)
    return judge(source, log, read(source, data))


def gzip_case(rng: random.Random, folder: Path) -> str:
    """A table or reviews in gzip, damaged half of the time."""
    source = rng.choice(["table", "amazon2018"])
    text = TEXTS[source](rng).encode()
    data = gzip.compress(text, mtime=0)
    for _ in range(rng.choice([0, 1, 1, 2])):
        data = rng.choice(mutations.OF_BYTES)(rng, data)
    log = folder / ("log.csv.gz" if source == "table" else "log.json.gz")
    log.write_bytes(data)
    return judge(source, log, read(source, text), must_read=data == gzip.compress(text, mtime=0))


def zip_case(rng: random.Random, folder: Path) -> str:
    """A zip of IJCAI-15, with odd members or damaged."""
    text, buffer = ijcai15(rng), io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    inside = rng.choice(["", "data_format1/", "../../", "/"])
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(f"{inside}user_log_format1.csv", text)
        if rng.random() < 0.3:
            archive.writestr("__MACOSX/user_log_format1.csv", "x")
    data = whole = buffer.getvalue()
    for _ in range(rng.choice([0, 1, 1, 2])):
        data = rng.choice(mutations.OF_BYTES)(rng, data)
    log = folder / "log.zip"
    log.write_bytes(data)
    return judge("ijcai15", log, read("ijcai15", text.encode()), must_read=data == whole)


KINDS: dict[str, tuple[Callable[[Any], Any], pa.DataType]] = {
    "int16": (int, pa.int16()),
    "int32": (int, pa.int32()),
    "int64": (int, pa.int64()),
    "uint64": (int, pa.uint64()),
    "double": (float, pa.float64()),
    "decimal": (Decimal, pa.decimal128(38, 0)),
    "text": (str, pa.string()),
    "large text": (str, pa.large_string()),
    "dictionary": (str, pa.dictionary(pa.int32(), pa.string())),
    "bytes": (lambda value: str(value).encode(), pa.binary()),
    "list": (lambda value: [value], pa.list_(pa.int64())),
    "struct": (lambda value: {"id": value}, pa.struct([("id", pa.int64())])),
    "bool": (bool, pa.bool_()),
}
TIMES: dict[str, tuple[Callable[[int], Any], pa.DataType]] = {
    "timestamp": (lambda seconds: datetime.fromtimestamp(seconds, UTC), pa.timestamp("us", "UTC")),
    "naive": (lambda seconds: datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None), pa.timestamp("ms")),
    "elsewhere": (lambda seconds: datetime.fromtimestamp(seconds, UTC), pa.timestamp("ns", "Asia/Shanghai")),
    "date": (lambda seconds: datetime.fromtimestamp(seconds, UTC).date(), pa.date32()),
}


def parquet_column(rng: random.Random, values: list[Any], kinds: list[str]) -> pa.Array:
    name = rng.choice(kinds)
    turn, kind = (KINDS | TIMES)[name]
    if rng.random() < 0.05:
        values = [None, *values[1:]]
    try:
        return pa.array([None if value is None else turn(value) for value in values], kind)
    except (pa.ArrowInvalid, ValueError, OverflowError, ArithmeticError):
        return pa.array([None if value is None else str(value) for value in values])


def parquet_case(rng: random.Random, folder: Path) -> str:
    """A Parquet table of odd types and names, perhaps damaged, and perhaps below folders named key=value."""
    rows = table_rows(rng)
    plain = ["int64", "int64", "int32", "text", "large text", "dictionary", "uint64", "double", "decimal"]
    odd = [*plain, *(["bytes", "list", "struct", "bool", "int16"] if rng.random() < 0.2 else [])]
    kinds = {"user": odd, "item": odd, "timestamp": ["int64", "text", "double", *TIMES]}
    columns = {name: parquet_column(rng, [row[name] for row in rows], kinds.get(name, ["text"])) for name in rows[0]}
    if isinstance(rows[0]["timestamp"], int) and rows[0]["timestamp"] > oracle.LAST_SECOND:
        columns["timestamp"] = pa.array([row["timestamp"] for row in rows])
    names = [rng.choice(["", name.upper(), "user", "price"]) if rng.random() < 0.03 else name for name in columns]
    buffer = io.BytesIO()
    written = pa.Table.from_arrays([*columns.values()], names)
    pq.write_table(written, buffer, row_group_size=rng.choice([None, 2]), compression=rng.choice(["snappy", "none"]))
    data = whole = buffer.getvalue()
    for _ in range(rng.choice([0, 0, 1, 2])):
        data = rng.choice(mutations.OF_BYTES)(rng, data)
    below = folder / rng.choice([".", ".", "user=7", "behavior=purchase/item=1"])
    below.mkdir(parents=True, exist_ok=True)
    log = below / "log.parquet"
    log.write_bytes(data)
    return judge("table", log, parquet_log(data), must_read=data == whole and not {"", "price"} & {*names})


def parquet_log(data: bytes) -> oracle.Log | None:
    """What pyarrow reads in a Parquet table, None where it cannot, or where it is no log."""
    try:
        table = pq.read_table(io.BytesIO(data), use_threads=False)
        table.validate(full=True)
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        return None
    names = table.column_names
    if len({name.lower() for name in names}) != len(names):
        return None
    try:
        oracle.expect({"user", "item", "behavior", "timestamp"} <= {*names} and bool(rows), "columns")
        plain = [{name: as_text(value) for name, value in row.items()} for row in rows]
        times = [time_of(row["timestamp"], rows[0]["timestamp"]) for row in rows]
        distinct = not isinstance(rows[0]["timestamp"], date) or isinstance(rows[0]["timestamp"], datetime)
        return oracle.of_rows(plain, times, distinct=distinct)
    except oracle.NoLogError:
        return None


def as_text(value: Any) -> str:
    oracle.expect(not isinstance(value, bytes | list | dict | bool), "a column of another kind")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float | Decimal):
        return str(int(value)) if value == value // 1 and abs(value) < 2**63 else str(value)
    text = str(value)
    oracle.expect("\0" not in text, "a NUL byte")
    return text


def time_of(value: Any, first: Any) -> int:
    if isinstance(value, datetime):
        seconds = int(value.replace(tzinfo=value.tzinfo or UTC).timestamp() // 1)
        oracle.expect(seconds >= 0, "before 1970")
        return seconds
    if isinstance(value, date):
        return time_of(datetime(value.year, value.month, value.day, tzinfo=UTC), None)
    return oracle.time_of(as_text(value), as_text(first))
