"""The raw logs of the simulated shop, read back by a few lines of plain Python and by the library's own readers."""

import csv
import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from reading_logs import run

from rclrec_mini.data.raw_writers import (
    AMAZON_META,
    AMAZON_REVIEWS,
    REC_TMALL_LOGS,
    REC_TMALL_PRODUCT,
    YELP_BUSINESSES,
    YELP_REVIEWS,
    write_raw,
)
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.data.simulate import preset, simulate
from rclrec_mini.files import InputError, read_json

TINY = preset("tiny", users=53)
NAMES = {"amazon2018": (AMAZON_REVIEWS, AMAZON_META), "yelp": (YELP_REVIEWS, YELP_BUSINESSES)}
Event = tuple[int, int, int, int]  # user, item, behavior, timestamp or day


@pytest.fixture(scope="module")
def events() -> list[Event]:
    table = simulate(TINY).interactions.select(["user", "item", "behavior", "timestamp"])
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.fixture(scope="module")
def items() -> list[dict]:
    return simulate(TINY).items.to_pylist()


def read_rec_tmall(folder: Path) -> list[Event]:
    actions, found = {"click": 0, "collect": 1, "cart": 2, "alipay": 3}, []
    for name in REC_TMALL_LOGS:
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            item, user, action, time = line.split("\x01")
            assert user[0] == "u"
            seconds = int(datetime.strptime(time, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp())
            found.append((int(user[1:]) - 1, int(item) - 1, actions[action], seconds))
    return found


def test_rec_tmall_reads_back(tmp_path: Path, events: list[Event], items: list[dict]) -> None:
    written = write_raw(TINY, tmp_path / "raw", format="rec-tmall")
    found = read_rec_tmall(tmp_path / "raw")
    assert len({(user, time) for user, _, _, time in found}) == len(found)  # a second of its own for each event
    assert sorted(found, key=lambda e: (e[0], e[3])) == events
    assert written == read_json(tmp_path / "raw" / "written.json")
    assert written["counts"]["interactions"] == len(events)
    assert written["files"] == sorted([REC_TMALL_PRODUCT, *REC_TMALL_LOGS, "truth.parquet"])
    times = [time for *_, time in found]
    assert times == sorted(times)  # the parts follow each other in time, with all users mixed

    lines = (tmp_path / "raw" / REC_TMALL_PRODUCT).read_text(encoding="utf-8").splitlines()
    for line, item in zip(lines, items, strict=True):
        raw_id, title, _, category, brand, seller = line.split("\x01")
        assert category == f"{item['parent_category']}-{item['category']}"
        assert [raw_id, title, brand, seller] == [item[n] for n in ("raw_id", "title", "brand", "seller")]


def test_truth_joins_the_log(tmp_path: Path, events: list[Event]) -> None:
    write_raw(TINY, tmp_path / "raw", format="rec-tmall")
    truth = pq.read_table(tmp_path / "raw" / "truth.parquet").to_pylist()
    journey = {(row["user_id"], row["timestamp"]): row["journey"] for row in truth}
    expected = simulate(TINY).truth["journey"].to_pylist()
    assert [journey[f"u{user + 1}", time] for user, _, _, time in events] == expected
    write_raw(TINY, tmp_path / "days", format="ijcai15")
    by_position = pq.read_table(tmp_path / "days" / "truth.parquet").to_pylist()
    assert [row["user_id"] for row in by_position] == [str(user + 1) for user, *_ in events]
    assert [row["journey"] for row in by_position] == expected


@pytest.mark.parametrize("zipped", [False, True])
def test_ijcai15_reads_back(tmp_path: Path, events: list[Event], items: list[dict], zipped: bool) -> None:
    write_raw(TINY, tmp_path / "raw", format="ijcai15", zipped=zipped)
    names = ("user_log_format1.csv", "user_info_format1.csv")
    if zipped:
        with zipfile.ZipFile(tmp_path / "raw" / "data_format1.zip") as archive:
            log, info = (archive.read(f"data_format1/{name}").decode() for name in names)
    else:
        log, info = ((tmp_path / "raw" / name).read_text() for name in names)
    behavior = {"0": 0, "3": 1, "1": 2, "2": 3}
    rows = list(csv.DictReader(io.StringIO(log)))
    assert list(rows[0]) == ["user_id", "item_id", "cat_id", "seller_id", "brand_id", "time_stamp", "action_type"]
    for row, (user, item, action, time) in zip(rows, events, strict=True):  # file order is time order
        assert (int(row["user_id"]), int(row["item_id"])) == (user + 1, item + 1)
        assert behavior[row["action_type"]] == action
        assert row["time_stamp"] == datetime.fromtimestamp(time, UTC).strftime("%m%d")
        known = items[item]
        assert (row["cat_id"], "s" + row["seller_id"], "b" + row["brand_id"]) == (
            known["category"],
            known["seller"],
            known["brand"],
        )
    users = list(csv.DictReader(io.StringIO(info)))
    expected = simulate(TINY).users.to_pylist()
    assert [(u["user_id"], u["age_range"], u["gender"]) for u in users] == [
        (u["raw_id"], u["age_range"], u["gender"]) for u in expected
    ]


@pytest.mark.parametrize("format", ["rec-tmall", "ijcai15"])
def test_prepare_gives_the_shop_back(tmp_path: Path, events: list[Event], format: str) -> None:
    write_raw(TINY, tmp_path / "raw", format=format)
    names = REC_TMALL_LOGS if format == "rec-tmall" else ("user_log_format1.csv",)
    items = tmp_path / "raw" / REC_TMALL_PRODUCT if format == "rec-tmall" else None
    log = tuple(tmp_path / "raw" / name for name in names)
    run(format, *log, items=items, out=tmp_path / "data")
    read = Sequences.load(tmp_path / "data")
    raw_id = pq.read_table(tmp_path / "data" / "items.parquet")["raw_id"].to_pylist()
    user = read.user_of(range(len(read)))
    found = [(int(u), int(raw_id[i]) - 1, int(b)) for u, i, b in zip(user, read.item, read.behavior, strict=True)]
    assert found == [event[:3] for event in events]


@pytest.mark.parametrize("format", ["amazon2018", "yelp"])
def test_reviews_are_the_purchases(tmp_path: Path, events: list[Event], items: list[dict], format: str) -> None:
    written = write_raw(TINY, tmp_path / "raw", format=format)
    assert written["files"] == sorted(name for name in NAMES[format])
    log, meta = (tmp_path / "raw" / name for name in NAMES[format])
    run(format, log, items=meta, out=tmp_path / "data")
    read = Sequences.load(tmp_path / "data")
    known = pq.read_table(tmp_path / "data" / "items.parquet").to_pylist()
    raw_user = pq.read_table(tmp_path / "data" / "users.parquet")["raw_id"].to_pylist()
    found = [
        (int(raw_user[read.user_of(row)][1:]) - 1, int(known[read.item[row]]["raw_id"][1:]) - 1, time)
        for row, time in enumerate(read.timestamp.tolist())
    ]
    resolution = 86_400 if format == "amazon2018" else 1
    bought = [(user, item, time // resolution * resolution) for user, item, action, time in events if action == 3]
    assert found == list(dict.fromkeys(bought)) and len(bought) == written["counts"]["interactions"] > 50
    names = ("title", "category", *(("brand", "parent_category", "price") if format == "amazon2018" else ("seller",)))
    for item in known:
        truth = items[int(item["raw_id"][1:]) - 1]
        assert [item[name] for name in names] == [
            pytest.approx(truth[n], abs=0.01) if n == "price" else truth[n] for n in names
        ]
    assert not (tmp_path / "raw" / "truth.parquet").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "csv"}, "format: found csv, expected one of rec-tmall, ijcai15"),
        ({"zipped": True}, "zipped: expected only with ijcai15"),
    ],
)
def test_bad_requests_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_raw(TINY, tmp_path / "raw", **changes)
    assert not (tmp_path / "raw").exists()


def test_ijcai15_must_stay_in_one_year(tmp_path: Path) -> None:
    late = replace(TINY, start=TINY.start + 100 * 86_400)
    with pytest.raises(InputError, match="leave the year"):
        write_raw(late, tmp_path / "raw", format="ijcai15")
