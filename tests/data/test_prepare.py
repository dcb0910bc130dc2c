import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading_logs import run

from rclrec_mini.data import engines
from rclrec_mini.data import prepare as module
from rclrec_mini.data.engines import check_spark
from rclrec_mini.data.prepare_config import PrepareConfig, memory_bytes
from rclrec_mini.data.prepared import read_table
from rclrec_mini.data.schema import ITEMS, PREPARED
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.data.table_hash import content_hash
from rclrec_mini.files import InputError, Leftovers, read_json, write_json

Event = tuple[int, int, int, int]  # user, item, behavior, timestamp
JUNE = int(datetime(2014, 6, 1, tzinfo=UTC).timestamp())
CLICK_OR_BUY = ["click", "collect", "cart", "alipay"]


def random_events(n: int, *, seed: int = 0, step: int = 1) -> list[Event]:
    """A few users and items, so that times tie and rows repeat; `step` is the resolution of time in seconds."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(1, 23, n) ** 2, (31 * rng.random(n) ** 3).astype(int) * 1009
    behaviors, times = rng.choice(4, n, p=[0.7, 0.1, 0.1, 0.1]), rng.integers(0, 41, n) * step
    return list(zip(users.tolist(), items.tolist(), behaviors.tolist(), (JUNE + times).tolist(), strict=True))


def rec_tmall(path: Path, events: list[Event]) -> Path:
    lines = (
        f"{item}\x01u{user}\x01{CLICK_OR_BUY[behavior]}\x01{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}\n"
        for user, item, behavior, time in events
    )
    path.write_text("".join(lines))
    return path


def ijcai15(path: Path, events: list[Event]) -> Path:
    lines = [
        f"{user},{item},{item % 7},{item % 5},{'' if item % 3 else f'{item % 11}.0'},"
        f"{datetime.fromtimestamp(time, UTC):%m%d},{(0, 3, 1, 2)[behavior]}\n"
        for user, item, behavior, time in events
    ]
    path.write_text("user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type\n" + "".join(lines))
    return path


def table(path: Path, events: list[Event]) -> Path:
    path.write_text("user,item,behavior,timestamp\n" + "".join(",".join(map(str, event)) + "\n" for event in events))
    return path


def reviews(path: Path, source: str, events: list[Event]) -> Path:
    rows = (
        {"reviewerID": f"A{user}", "asin": f"B{item}", "unixReviewTime": time, "overall": 5.0}
        if source == "amazon2018"
        else {"user_id": f"u{user}", "business_id": f"b{item}", "date": str(datetime.fromtimestamp(time, UTC))[:19]}
        for user, item, _, time in events
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def twin(events: list[Event], *, distinct: bool = True, funnel: bool = False, **filters) -> tuple[list[tuple], dict]:
    """The same job in a few lines of plain Python: interactions as (user, item, behavior, timestamp, position) and
    how many rows each filter dropped."""
    kept = list(dict.fromkeys(events)) if distinct else list(events)
    dropped = Counter(duplicates=len(events) - len(kept))
    while True:
        before = len(kept)
        counts = Counter(item for _, item, *_ in kept)
        left = [event for event in kept if counts[event[1]] >= filters.get("min_item_count", 1)]
        dropped["items_below_min_count"] += len(kept) - len(left)
        counts = Counter(user for user, *_ in left)
        purchases = Counter(user for user, _, behavior, _ in left if behavior == 3)
        kept = []
        for event in left:
            if counts[event[0]] < filters.get("min_user_events", 1):
                dropped["users_below_min_events"] += 1
            elif purchases[event[0]] < filters.get("min_user_purchases", 0):
                dropped["users_below_min_purchases"] += 1
            else:
                kept.append(event)
        if len(kept) == before or not filters.get("iterate"):
            break
    users = {user: i for i, user in enumerate(sorted({user for user, *_ in kept}))}
    items = {item: i for i, item in enumerate(sorted({item for _, item, *_ in kept}))}
    rows, position = [], defaultdict(int)
    for user, item, behavior, seconds in sorted(kept, key=lambda e: (e[0], e[3], e[2] if funnel else 0)):  # stable
        rows.append((users[user], items[item], behavior, seconds, position[user]))
        position[user] += 1
    return rows, dropped


def rows_of(folder: Path) -> list[tuple]:
    return [tuple(row.values()) for row in read_table(folder, "interactions").to_pylist()]


def nothing_left(folder: Path, *expected: str) -> bool:
    """Whether a folder holds only the files named, hidden ones included."""
    return sorted(path.name for path in folder.iterdir()) == sorted(expected)


FILTERS = [
    {},
    {"min_item_count": 23},
    {"min_user_events": 29},
    {"min_user_purchases": 3},
    {"min_item_count": 16, "min_user_events": 17, "min_user_purchases": 2},
    {"min_item_count": 16, "min_user_events": 17, "min_user_purchases": 2, "iterate": True},
]


@pytest.mark.parametrize("filters", FILTERS)
def test_equal_to_plain_python(tmp_path, filters):
    events = random_events(701)
    first, second = rec_tmall(tmp_path / "a.txt", events[:503]), rec_tmall(tmp_path / "b.txt", events[503:])
    manifest = run("rec-tmall", first, second, out=tmp_path / "out", **filters)
    rows, dropped = twin(events, **filters)
    assert rows_of(tmp_path / "out") == rows
    assert manifest["dropped"]["duplicates"] > 0
    assert {name: n for name, n in manifest["dropped"].items() if n} == {name: n for name, n in dropped.items() if n}
    assert manifest["counts"]["interactions"] == len(rows) == 701 - sum(manifest["dropped"].values())
    assert nothing_left(tmp_path, "a.txt", "b.txt", "out")


def test_a_k_core_and_a_time_range(tmp_path):
    events = random_events(701)
    log = table(tmp_path / "log.csv", events)
    start, end = (datetime.fromtimestamp(JUNE + second, UTC) for second in (5, 30))
    inside = [event for event in events if JUNE + 5 <= event[3] < JUNE + 30]
    times = {"start": start.isoformat(), "end": end.replace(tzinfo=None).isoformat()}
    manifest = run("table", log, out=tmp_path / "out", k_core=13, **times)
    rows, dropped = twin(inside, min_item_count=13, min_user_events=13, iterate=True)
    assert rows_of(tmp_path / "out") == rows != twin(inside, min_item_count=13, min_user_events=13)[0]
    assert manifest["dropped"]["rows_outside_the_time_range"] == 701 - len(inside) > 100
    assert manifest["dropped"]["items_below_min_count"] == dropped["items_below_min_count"] > 0
    told = {"min_item_count": 13, "min_user_events": 13, "iterate": True} | times
    assert {name: manifest["filters"][name] for name in told} == told


def test_the_filters_of_the_test_above_differ():
    events = random_events(701)
    assert len({len(twin(events, **filters)[0]) for filters in FILTERS}) == len(FILTERS)


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 53, 10_000])
def test_repeats_are_dropped_however_the_rows_come(tmp_path, monkeypatch, batch_rows):
    """Without filters repeats are dropped while writing, with filters before; both as in plain Python."""
    monkeypatch.setattr(engines, "BATCH_ROWS", batch_rows)
    events = [(user, item % 3, behavior, time // 9 * 9) for user, item, behavior, time in random_events(503)]
    log = table(tmp_path / "log.csv", events)
    first = run("table", log, out=tmp_path / "a")
    second = run("table", log, out=tmp_path / "b", min_item_count=2)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b") == twin(events)[0]
    assert first["dropped"]["duplicates"] == second["dropped"]["duplicates"] == 503 - len(set(events)) > 100
    assert first["content_hash"] == second["content_hash"]


@pytest.mark.parametrize(("duplicates", "distinct"), [("source", False), ("keep", False), ("drop", True)])
def test_days_only_keeps_file_order_and_repeated_rows(tmp_path, duplicates, distinct):
    events = random_events(701, step=86_400 // 4)
    events = [(u, i, b, t // 86_400 * 86_400) for u, i, b, t in events]
    run("ijcai15", ijcai15(tmp_path / "log.csv", events), out=tmp_path / "out", duplicates=duplicates)
    assert rows_of(tmp_path / "out") == twin(events, distinct=distinct)[0]


def test_funnel_order_within_a_day_warns(tmp_path):
    events = [(u, i, b, JUNE) for u, i, b, _ in random_events(307)]
    with pytest.warns(UserWarning, match="histories then leak the target"):
        manifest = run("ijcai15", ijcai15(tmp_path / "l.csv", events), out=tmp_path / "out", within_day="funnel")
    assert rows_of(tmp_path / "out") == twin(events, distinct=False, funnel=True)[0]
    assert manifest["order"] == "user, time, behavior, file order"


def test_year_of_the_days(tmp_path):
    run("ijcai15", ijcai15(tmp_path / "l.csv", [(1, 2, 3, JUNE)]), out=tmp_path / "out", year=2016)
    assert rows_of(tmp_path / "out")[0][3] == datetime(2016, 6, 1, tzinfo=UTC).timestamp()


def test_sample_of_users_by_hash(tmp_path):
    events = random_events(1009)
    log = table(tmp_path / "log.csv", events)
    limit = int(0.37 * 2**64)

    def chosen(user: int, seed: int) -> bool:
        return int(hashlib.md5(f"{seed}:{user}".encode()).hexdigest()[:16], 16) < limit

    for seed in (0, 5):
        manifest = run("table", log, out=tmp_path / f"out{seed}", sample_users=0.37, seed=seed)
        left = [event for event in events if chosen(event[0], seed)]
        assert rows_of(tmp_path / f"out{seed}") == twin(left)[0]
        assert manifest["dropped"]["users_not_sampled"] == len(events) - len(left) > 0
    assert content_hash(tmp_path / "out0") != content_hash(tmp_path / "out5")


def test_faults_outside_the_sample_are_found(tmp_path):
    log = table(tmp_path / "log.csv", random_events(101))
    log.write_text(log.read_text() + "7,7,click,yesterday\n")
    with pytest.raises(InputError, match="line 103: timestamp: found 'yesterday'"):
        run("table", log, out=tmp_path / "out", sample_users=0.01)


def test_manifest(tmp_path):
    events = random_events(211)
    log = rec_tmall(tmp_path / "log.txt", events)
    manifest = run("rec-tmall", log, out=tmp_path / "out", min_item_count=2, seed=7)
    assert read_json(tmp_path / "out" / "manifest.json") == manifest
    rows, _ = twin(events, min_item_count=2)
    digest = hashlib.sha256(log.read_bytes()).hexdigest()
    assert manifest["files"] == [{"name": "log.txt", "sha256": digest, "bytes": log.stat().st_size, "rows": 211}]
    assert (manifest["source"], manifest["seed"], manifest["version"]) == ("rec-tmall", 7, "0.1.0")
    assert manifest["filters"]["min_item_count"] == 2
    counts = {"users": rows[-1][0] + 1, "items": len({row[1] for row in rows}), "interactions": len(rows)}
    assert manifest["counts"] == counts
    shares = Counter(row[2] for row in rows)
    assert manifest["behaviors"]["purchase"] == pytest.approx(shares[3] / len(rows))
    assert sum(manifest["behaviors"].values()) == pytest.approx(1)
    assert manifest["content_hash"] == content_hash(tmp_path / "out")
    sequences = Sequences.load(tmp_path / "out")
    assert (sequences.n_users, sequences.n_items, len(sequences)) == tuple(counts.values())


def test_large_files_are_told_apart_by_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HASHED_BYTES", 10)
    log = table(tmp_path / "log.csv", [(1, 2, 3, 4)])
    (entry,) = run("table", log, out=tmp_path / "out")["files"]
    size = log.stat().st_size
    assert entry == {"name": "log.csv", "size": size, "mtime": log.stat().st_mtime, "bytes": size, "rows": 1}


def test_products_of_rec_tmall(tmp_path):
    log = rec_tmall(tmp_path / "log.txt", [(5, 30, 0, JUNE), (5, 7, 3, JUNE + 1), (3, 200, 0, JUNE)])
    product = tmp_path / "product.txt"
    lines = ["30|red hat|x|5-51|b7|s9", "8|a|b|1-2|b1|s1", "200|||||", "30|other|x|5-52|b7|s9"]
    product.write_text("".join(line.replace("|", "\x01") + "\n" for line in lines))
    manifest = run("rec-tmall", log, out=tmp_path / "out", items=product)
    nothing = dict.fromkeys(ITEMS.names[2:])
    assert read_table(tmp_path / "out", "items").to_pylist() == [
        {"item": 0, "raw_id": "7", **nothing},  # not in the product file: kept, and counted
        {"item": 1, "raw_id": "30", "category": "51", "parent_category": "5", "brand": "b7", "seller": "s9"}
        | {"title": "red hat", "price": None},
        {"item": 2, "raw_id": "200", **nothing},
    ]
    assert manifest["missing"] == {"items": 1, "users": 2}
    assert (manifest["dropped"]["item_rows_not_in_log"], manifest["dropped"]["item_rows_repeated"]) == (1, 1)
    assert [row["raw_id"] for row in read_table(tmp_path / "out", "users").to_pylist()] == ["u3", "u5"]


def test_sample_of_rec_tmall(tmp_path):
    log = tmp_path / "sample.csv"
    log.write_text(
        "item_id,user_id,action,vtime\ni161,u25,alipay,2014/9/8 15:03\n" + 2 * "i7,u25,click,2014/9/8 5:03\n"
    )
    manifest = run("rec-tmall", log, out=tmp_path / "out")
    assert [row[1:3] for row in rows_of(tmp_path / "out")] == [(0, 0), (0, 0), (1, 3)]  # minutes: repeats are clicks
    assert manifest["dropped"]["duplicates"] == 0


def test_items_and_users_of_ijcai15_from_its_zip(tmp_path):
    events = [(5, 9, 0, JUNE), (5, 10, 3, JUNE), (3, 9, 0, JUNE)]
    log = ijcai15(tmp_path / "log.csv", events)
    log.write_text(log.read_text() + "3,10,6,0,4,0602,0\n")  # another category and a brand where there was none
    with zipfile.ZipFile(tmp_path / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data_format1/user_log_format1.csv", log.read_text())
        archive.writestr("data_format1/user_info_format1.csv", "user_id,age_range,gender\n5,6,1\n4,2,0\n")
    manifest = run("ijcai15", tmp_path / "data.zip", out=tmp_path / "out")
    items = read_table(tmp_path / "out", "items").to_pylist()
    assert [(i["raw_id"], i["category"], i["seller"], i["brand"]) for i in items] == [
        ("9", "2", "4", "9"),
        ("10", "3", "0", "4"),
    ]
    users = read_table(tmp_path / "out", "users").to_pylist()
    assert [(u["raw_id"], u["age_range"], u["gender"]) for u in users] == [("3", None, None), ("5", "6", "1")]
    assert manifest["missing"] == {"items": 0, "users": 1}
    assert manifest["conflicts"] == {"items": 1}
    assert [file["name"] for file in manifest["files"]] == [
        f"data.zip/data_format1/user_{kind}_format1.csv" for kind in ("log", "info")
    ]
    assert [file["rows"] for file in manifest["files"]] == [4, 2]
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    folder = tmp_path / "unpacked" / "data_format1"
    again = run("ijcai15", folder / "user_log_format1.csv", out=tmp_path / "b", users=folder / "user_info_format1.csv")
    assert again["content_hash"] == manifest["content_hash"]


def test_a_table_with_its_own_items_and_users(tmp_path):
    pq.write_table(pa.table({"item": [7, 3], "price": ["2.5", None], "brand": ["b", "c"]}), tmp_path / "items.parquet")
    (tmp_path / "users.csv").write_text("user,gender\n1,f\n")
    log = table(tmp_path / "log.csv", [(1, 3, 0, 10), (1, 7, 3, 20)])
    run("table", log, out=tmp_path / "out", items=tmp_path / "items.parquet", users=tmp_path / "users.csv")
    items = read_table(tmp_path / "out", "items").to_pylist()
    assert [(i["raw_id"], i["brand"], i["price"]) for i in items] == [("3", "c", None), ("7", "b", 2.5)]
    assert read_table(tmp_path / "out", "users")["gender"].to_pylist() == ["f"]


def test_a_user_with_one_event_is_kept_unless_asked(tmp_path):
    log = table(tmp_path / "log.csv", [(1, 3, 0, 10), (2, 3, 0, 10), (2, 3, 3, 20)])
    assert run("table", log, out=tmp_path / "all")["counts"]["users"] == 2
    manifest = run("table", log, out=tmp_path / "some", min_user_events=2)
    assert manifest["counts"]["users"] == 1
    assert manifest["dropped"]["users_below_min_events"] == 1


def test_content_hash_sees_values_and_not_how_they_are_written(tmp_path):
    log = table(tmp_path / "log.csv", random_events(211))
    first = run("table", log, out=tmp_path / "out")["content_hash"]
    for name in ("interactions", "items", "users"):
        path = tmp_path / "out" / f"{name}.parquet"
        pq.write_table(pq.read_table(path), path, compression="none", row_group_size=17)
    assert content_hash(tmp_path / "out") == first
    for name, column in (("interactions", "behavior"), ("items", "raw_id"), ("users", "gender")):
        path = tmp_path / "out" / f"{name}.parquet"
        whole = pq.read_table(path)
        values = whole[column].to_pylist()
        values[5] = 2 if column == "behavior" and values[5] != 2 else 1 if column == "behavior" else ""
        field = whole.schema.get_field_index(column)
        pq.write_table(whole.set_column(field, column, pa.array(values, whole.schema.types[field])), path)
        assert content_hash(tmp_path / "out") != first
        pq.write_table(whole, path)
    assert content_hash(tmp_path / "out") == first


def test_bounded_memory_gives_the_same(tmp_path):
    log = table(tmp_path / "log.csv", random_events(3001))
    hashes = {run("table", log, out=tmp_path / m, memory=m)["content_hash"] for m in ("500MB", "1.5 GB")}
    assert len(hashes) == 1


def spark_missing() -> str:
    try:
        check_spark()
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.skipif(bool(spark_missing()), reason=spark_missing())
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_spark_gives_the_same_content(tmp_path):
    events = random_events(2003)
    product = tmp_path / "product.txt"
    product.write_text("".join(f"{i * 1009}\x01wörd {i}\x01\x015-{i}\x01b{i}\x01s{i}\n" for i in range(3, 29)))
    log = (rec_tmall(tmp_path / "a.txt", events[:701]), rec_tmall(tmp_path / "b.txt", events[701:]))
    options = {"items": product, "min_item_count": 5, "min_user_events": 7, "sample_users": 0.9}
    duck = run("rec-tmall", *log, out=tmp_path / "duck", **options)
    spark = run("rec-tmall", *log, out=tmp_path / "spark", engine="spark", **options)
    assert duck == spark
    with log[1].open("a") as file:
        file.write("7\x01u7\x01click\n")
    for engine in ("duckdb", "spark"):
        with pytest.raises(InputError, match=r"b\.txt: line 1303: found 3 fields, expected 4"):
            run("rec-tmall", *log, out=tmp_path / "bad", engine=engine)
    days = [(u, i, b, JUNE) for u, i, b, _ in events]
    log = ijcai15(tmp_path / "log.csv", days)
    hashes = {
        run("ijcai15", log, out=tmp_path / e, overwrite=True, engine=e)["content_hash"] for e in ("duckdb", "spark")
    }
    assert len(hashes) == 1


def named_like_columns(folder: Path) -> Path:
    """A folder that engines would make columns of, if they were let."""
    inside = folder / "behavior=purchase" / "action=alipay" / "user=1" / "user_id=u1" / "c0=7" / "timestamp=5"
    inside.mkdir(parents=True)
    return inside


def write_of(source: str, folder: Path) -> tuple[Path, dict]:
    """A log of a source with 503 events of several kinds of text and of time, and the flags to read it."""
    events = random_events(503)
    if source == "rec-tmall":
        return rec_tmall(folder / "log.txt", events), {}
    if source == "ijcai15":
        return ijcai15(folder / "log.csv", events), {}
    if source == "userbehavior":
        words = ("pv", "fav", "cart", "buy")
        lines = [f"{u},{i},{i % 7},{words[b]},{t - JUNE + 1511539190}\n" for u, i, b, t in events]
        (folder / "log.csv").write_text("".join(lines))
        return folder / "log.csv", {}
    if source in ("amazon2018", "yelp"):
        return reviews(folder / "log.json", source, events), {}
    if source == "recbole":
        lines = [f"u{u}\t{i}\t{b}.0\t{t}.5\n" for u, i, b, t in events]
        header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        (folder / "log.inter").write_text(header + "".join(lines))
        return folder / "log.inter", {"columns": ("behavior=rating",), "behaviors": ("3.0=purchase,2.0=drop,*=click",)}
    users, items, behaviors, times = zip(*events, strict=True)
    if source == "table":
        header = "user,item,behavior,timestamp,title,price\n"
        stamps = (datetime.fromtimestamp(time, UTC).isoformat() for time in times)
        rows = zip(users, items, behaviors, stamps, strict=True)
        lines = [f'"{u} ""x"" é",{i},{b},{stamp},"a,\nb{i}",{i}.5\n' for u, i, b, stamp in rows]
        (folder / "log.csv").write_text(header + "".join(lines))
        return folder / "log.csv", {}
    for part in (slice(0, 211), slice(211, 503)):  # Parquet
        columns = {
            "user": pa.array(users[part]).cast(pa.float64()),
            "item": pa.array([f"i{item}" for item in items[part]]).dictionary_encode(),
            "behavior": behaviors[part],
            "timestamp": pa.array([t * 10**6 for t in times[part]]).cast(pa.timestamp("us", "Asia/Shanghai")),
            "price": [item / 4 for item in items[part]],
        }
        pq.write_table(pa.table(columns), folder / f"log{part.start:03}.parquet")
    return folder, {}


KINDS = ["rec-tmall", "ijcai15", "userbehavior", "recbole", "table", "parquet", "amazon2018", "yelp"]


@pytest.mark.parametrize("kind", KINDS)
def test_folders_named_like_columns_are_none(tmp_path, kind):
    source = "table" if kind == "parquet" else kind
    (tmp_path / "plain").mkdir()
    log, options = write_of(kind, tmp_path / "plain")
    plain = run(source, log, out=tmp_path / "a", **options)
    log, options = write_of(kind, named_like_columns(tmp_path / "named"))
    assert run(source, log, out=tmp_path / "b", **options) == plain


@pytest.mark.slow
@pytest.mark.skipif(bool(spark_missing()), reason=spark_missing())
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_spark_reads_every_source_alike(tmp_path, kind):
    log, options = write_of(kind, named_like_columns(tmp_path))
    runs = [
        run("table" if kind == "parquet" else kind, log, out=tmp_path / engine, engine=engine, **options)
        for engine in ("duckdb", "spark")
    ]
    assert runs[0] == runs[1]


def test_spark_without_java_or_pyspark(monkeypatch, tmp_path):
    log = table(tmp_path / "log.csv", [(1, 2, 3, 4)])
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="no java command found, expected Java 17"):
        run("table", log, out=tmp_path / "out", engine="spark")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="PySpark is not installed, expected `pip install"):
        run("table", log, out=tmp_path / "out", engine="spark")
    assert nothing_left(tmp_path, "log.csv")


# Bad input leaves the output as it was.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "log.csv: the file is empty"),
        ("user;item;behavior;timestamp\n1;2;3;4\n", "line 1: column user is missing, found user;item"),
        ("user,User,item,behavior\n1,2,3,3\n", "column timestamp is missing, found user,User,item,behavior"),
        (",user,item,behavior,timestamp\n0,1,2,3\n", "line 2: found 4 fields, expected 5 separated by ','"),
        ("user,item,behavior,timestamp,\n1,2,3,4\n", "line 2: found 4 fields, expected 5 separated by ','"),
        ("user,item,behavior,timestamp\n1,2,3,4\n1,2,3,-4\n", "line 3: timestamp: found '-4', expected seconds UTC"),
        ("user,item,behavior,timestamp\n1,2,3,4\n1,2\0,3,4\n", "line 3: found a NUL byte"),
        ("user,item,behavior,timestamp\n1,2,0,4\n", "found no purchase among 1 interactions left, expected at least"),
    ],
)
def test_bad_logs_leave_the_output_untouched(tmp_path, text, message):
    (tmp_path / "log.csv").write_text(text)
    out = tmp_path / "out"
    write_json(out / "manifest.json", {"result": PREPARED.title})
    with pytest.raises(InputError, match=message) as caught:
        run("table", tmp_path / "log.csv", out=out, overwrite=True)
    assert "\n" not in str(caught.value) and "log.csv" in str(caught.value)
    assert nothing_left(tmp_path, "log.csv", "out") and nothing_left(out, "manifest.json")


def test_missing_file_and_filters_that_leave_nothing(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt: file not found"):
        run("rec-tmall", tmp_path / "nowhere.txt", out=tmp_path / "out")
    log = table(tmp_path / "log.csv", random_events(53))
    with pytest.raises(InputError, match="the filters left no interaction, expected at least one"):
        run("table", log, out=tmp_path / "out", min_item_count=54)
    with pytest.raises(InputError, match=r"items\.csv: file not found"):
        run("table", log, out=tmp_path / "out", items=tmp_path / "items.csv")
    assert nothing_left(tmp_path, "log.csv")


def test_an_output_that_exists(tmp_path):
    log = table(tmp_path / "log.csv", [(1, 2, 3, 4)])
    run("table", log, out=tmp_path / "out")
    with pytest.raises(InputError, match="found a folder that is not empty, expected none"):
        run("table", log, out=tmp_path / "out")
    table(log, [(1, 2, 3, 4), (2, 3, 3, 4)])
    assert run("table", log, out=tmp_path / "out", overwrite=True)["counts"]["users"] == 2
    assert Sequences.load(tmp_path / "out").n_users == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_users": 0}, "sample_users: found 0, expected above 0, at most 1"),
        ({"sample_users": 1.5}, "sample_users: found 1.5"),
        ({"min_item_count": -1}, "min_item_count: found -1, expected 0 or more"),
        ({"engine": "sqlite"}, "engine: found 'sqlite', expected duckdb or spark"),
        (
            {"source": "tmall"},
            "source: found 'tmall', expected one of table, recbole, rec-tmall, ijcai15, userbehavior, amazon2018, yelp",
        ),
        ({"log": ()}, "log: found (), expected at least one file"),
        ({"within_day": "funnel"}, "within_day: found funnel for table"),
        ({"source": "ijcai15", "items": Path("x")}, "items: found x, expected none"),
        ({"source": "userbehavior", "users": Path("x")}, "users: found x, expected none"),
        (
            {"source": "ijcai15", "columns": ("user=u",)},
            "columns: found ijcai15, expected only with the sources table and",
        ),
        ({"columns": ("usr=u",)}, "columns: found 'usr', expected one of user, item, timestamp, behavior"),
        ({"columns": ("user",)}, "columns: found 'user', expected pairs such as user=uid,item=sku"),
        ({"columns": ("user=a,user=b",)}, "columns: found user twice"),
        ({"columns": ("user=",)}, "columns: found no name for user"),
        ({"behaviors": ("view",)}, "behaviors: found 'view', expected pairs such as view=click,buy=purchase"),
        (
            {"behaviors": ("view=see",)},
            "behaviors: found view=see, expected one of click, favorite, cart, purchase, drop",
        ),
        ({"source": "rec-tmall", "users": Path("x")}, "users: found x, expected none"),
        ({"source": "yelp", "users": Path("x")}, "users: found x, expected none"),
        ({"k_core": 0}, "k_core: found 0, expected 1 or more"),
        ({"split": "random"}, "split: found 'random', expected last-purchase or time"),
        ({"start": "May"}, "start: found 'May', expected a time such as 2017-10-01"),
        ({"end": "1970-01-01"}, "end: found 1970-01-01, expected a time after start, 1970-01-01"),
        (
            {"start": "2018-01-01", "end": "2018-01-01T01:00+02:00"},
            "end: found 2018-01-01T01:00+02:00, expected a time",
        ),
        ({"memory": "1 gigabyte"}, "memory: found '1 gigabyte', expected at least 500MB, such as 800MB or 1GB"),
        ({"memory": "10MB"}, "memory: found '10MB', expected at least 500MB"),
        ({"threads": 0}, "threads: found 0, expected 1 or more"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(InputError) as caught:
        PrepareConfig(**{"source": "table", "log": (Path("log.csv"),), "out": tmp_path, **options})
    assert str(caught.value).startswith(message)


def test_memory_sizes():
    assert [memory_bytes(m) for m in ("800MB", "1GB", "1.5 GB", "2TB")] == [8 * 10**8, 10**9, 15 * 10**8, 2 * 10**12]


# A full disk and a kill, in a process of its own.


def script(tmp_path: Path, body: str) -> subprocess.Popen:
    code = """
        import resource, sys, time
        from pathlib import Path
        from rclrec_mini.data import prepare as module
        from rclrec_mini.data.prepare import PrepareConfig, prepare
        config = PrepareConfig(source="table", log=(Path("log.csv"),), out=Path("out"), overwrite=True)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code) + textwrap.dedent(body)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[2])},
    )


@pytest.mark.slow
def test_a_full_disk_leaves_the_output_untouched(tmp_path):
    table(tmp_path / "log.csv", random_events(7001))
    run("table", tmp_path / "log.csv", out=tmp_path / "out", seed=5)
    process = script(
        tmp_path,
        """
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            prepare(config, progress=False)
        except module.InputError as error:
            print(error)
        """,
    )
    output, errors = process.communicate(timeout=120)
    assert output == "out: could not be written: File too large, expected room on the disk\n", errors
    assert nothing_left(tmp_path, "log.csv", "out") and read_json(tmp_path / "out" / "manifest.json")["seed"] == 5
    Sequences.load(tmp_path / "out")


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_the_output_untouched(tmp_path):
    table(tmp_path / "log.csv", random_events(7001))
    run("table", tmp_path / "log.csv", out=tmp_path / "out", seed=5)
    process = script(
        tmp_path,
        """
        write = module._write

        def write_and_wait(path, schema, batches):
            write(path, schema, batches)  # all of one table, none of the next
            print(path.name, flush=True)
            time.sleep(100)

        module._write = write_and_wait
        prepare(config, progress=False)
        """,
    )
    assert process.stdout.readline() == "interactions.parquet\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert read_json(tmp_path / "out" / "manifest.json")["seed"] == 5
    (partial,) = tmp_path.glob(".out.partial-*")  # half-written, hidden, and no data set: it has no manifest
    with pytest.raises(InputError, match=r"manifest\.json: file not found"):
        Sequences.load(partial / "out")
    with pytest.warns(Leftovers, match=r"out: removed \d\.\d MB"):
        run("table", tmp_path / "log.csv", out=tmp_path / "out", overwrite=True)
    assert nothing_left(tmp_path, "log.csv", "out")
