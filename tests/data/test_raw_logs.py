import zipfile
from datetime import UTC, datetime
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclrec_mini.data import raw_files
from rclrec_mini.data.columns import Layout, any_id, iso_8601, milliseconds, one_of, price, seconds, text
from rclrec_mini.data.engines import DuckDB
from rclrec_mini.data.raw_logs import Part, find_fault, open_part, read_raw
from rclrec_mini.data.sources import amazon2018, ijcai15, rec_tmall, userbehavior, yelp
from rclrec_mini.data.unpacking import find, zip_holds
from rclrec_mini.files import InputError

WORDS = {"click": 0, "0": 0, "favorite": 1, "1": 1, "cart": 2, "2": 2, "purchase": 3, "3": 3}
LAYOUTS = {
    "rec-tmall": rec_tmall.LOG,
    "sample": rec_tmall.SAMPLE,
    "product": rec_tmall.PRODUCT,
    "ijcai15": ijcai15.log_of(2014),
    "ijcai15-users": ijcai15.USERS,
    "userbehavior": userbehavior.LOG,
    "table": Layout(
        (any_id("user", "user"), any_id("item", "item"), one_of("behavior", "behavior", WORDS), seconds("timestamp")),
        delimiter=",",
        header=True,
        quoted=True,
    ),
    "table-items": Layout(
        (
            any_id("item", "item"),
            *(text(name, name) for name in ("category", "parent_category", "brand", "seller", "title")),
            price("price"),
        ),
        delimiter=",",
        header=True,
        quoted=True,
    ),
    "milliseconds": Layout((milliseconds("time"),), ",", header=True, quoted=True),
    "days": Layout((iso_8601("time", "2014-09-18"),), ",", header=True, quoted=True),
    "iso": Layout((iso_8601("time", "2014-09-18T15:03:11Z"),), ",", header=True, quoted=True),
}
OF_JSON = {
    "amazon2018": amazon2018.REVIEWS,
    "amazon2018-meta": amazon2018.META,
    "yelp": yelp.REVIEWS,
    "yelp-business": yelp.BUSINESSES,
}
LINES = {
    "rec-tmall": "10007\x01u7\x01alipay\x012014-09-18 15:03:11",
    "sample": "i161,u2625,collect,2014/9/8 5:03",
    "product": "10007\x01red wool scarf\x01//x/y.jpg\x0150-5003\x01b123\x01s456",
    "ijcai15": "328862,323294,833,2882,2661.0,0829,3",
    "userbehavior": "1,2268318,2520377,pv,1511544070",
    "table": "u11,i 13,cart,1411052591",
    "milliseconds": "1411052591999",
    "days": "2014-09-18",
    "iso": "2014-09-18T15:03:11.5+08:00",
}
few = settings(max_examples=11)


def header(layout: Layout) -> str:
    headers = dict.fromkeys(column.header for column in layout.columns)
    return layout.delimiter.join(headers) + "\n" if layout.header else ""


def write(path: Path, kind: str, lines: list[str], newline: str = "\n") -> Path:
    text = header(LAYOUTS[kind]) + "".join(line + "\n" for line in lines)
    path.write_bytes(text.replace("\n", newline).encode())
    return path


def rows(engine: DuckDB, table: ibis.Table) -> list[dict]:
    kept = engine.keep_rows(table)
    return [row for batch in engine.batches(kept.order_by("row").drop("row")) for row in batch.to_pylist()]


def opened(layout: Layout, *paths: Path) -> Part:
    return open_part([find(path, path.parent, member="log.csv") for path in paths], layout, paths[0].parent)


def read(engine: DuckDB, kind: str, *paths: Path) -> list[dict]:
    return rows(engine, read_raw(engine, opened(LAYOUTS[kind], *paths)))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_and_several_parts_keep_their_order(engine, tmp_path, newline):
    lines = [f"{i % 7}\x01u{i % 11}\x01click\x012014-06-01 00:00:{i % 60:02}" for i in range(5003)]
    first = write(tmp_path / "part[a].txt", "rec-tmall", lines[:3001], newline)
    second = write(tmp_path / "part b.txt", "rec-tmall", lines[3001:], newline)
    second.write_bytes(second.read_bytes().removesuffix(newline.encode()))  # no line end at the end
    found = read(engine, "rec-tmall", first, second)
    assert [(row["item"], row["user"]) for row in found] == [(i % 7, i % 11) for i in range(5003)]
    assert not any(row["fault"] for row in found)


def test_header_in_any_order_with_other_columns_and_a_byte_order_mark(engine, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("\ufefftimestamp,note,behavior,user,item\n86400,hello,3,5,7\n", encoding="utf-8")
    assert read(engine, "table", path) == [
        {"user": "5", "item": "7", "behavior": 3, "timestamp": 86400, "fault": False}
    ]


def test_zip_with_folders_in_it(engine, tmp_path):
    path = tmp_path / "data.zip"
    text = header(LAYOUTS["ijcai15"]) + LINES["ijcai15"] + "\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data_format1/log.csv", text)
        archive.writestr("__MACOSX/data_format1/log.csv", "junk")
    assert read(engine, "ijcai15", path)[0]["item"] == 323294
    assert zip_holds(path, "log.csv") and not zip_holds(path, "info.csv")


# Every kind of field says the same in Ibis and in Python, for strings that fit and strings that nearly do.

ALMOST = st.one_of(
    st.integers(-5, 2**64).map(str),
    st.integers(0, 99).map(lambda i: f"u{i}"),
    st.from_regex(r"\A[ui]?0{0,2}[0-9]{1,3}[ _.e]?[0-9]?\Z"),
    st.from_regex(r"\A20[0-9]{2}-[0-9]{2}-[0-9]{2}[ T][0-2][0-9]:[0-6][0-9]:[0-6][0-9][Z.]?\Z"),
    st.from_regex(r"\A20[0-9]{2}/[0-9]{1,2}/[0-9]{1,2} [0-9]{1,2}:[0-9]{1,2}\Z"),
    st.from_regex(r"\A[01][0-9][0-3][0-9]\Z"),
    st.datetimes(datetime(1900, 1, 1)).map(str),
    st.datetimes(datetime(1969, 1, 1), datetime(1972, 1, 1)).map(lambda time: f"{time:%Y-%m-%dT%H:%M}+14:00"),
    st.from_regex(r"\A2014-0[12]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9]([.][0-9]+)?)?( ?[-+Z][0-2][0-9])?\Z"),
    st.from_regex(r"\A[0-9]{1,17}([.][0-9]{0,3})?\Z"),
    st.sampled_from(["click", "Click", "pay", "alipay", "cart", "3", "4", "b12", "s3", "5-7", "5-7-9", "-7", "2661.0"]),
    st.from_regex(r"\A[$]?[0-9]{1,4}(,[0-9]{2,3}){0,2}([.][0-9]{0,2})?\Z"),
    st.sampled_from(
        ["$5.00 - $9.99", "a < b", "<b>x", "</b>", "<!-- x", "<3", "var x = Date().getTime();", "getTime", ",a", "a,"]
    ),
    st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), min_size=1, max_size=5),
)


@few
@given(texts=st.lists(ALMOST, min_size=1, max_size=67))
def test_parse_and_fits_agree(engine, texts):
    layouts = LAYOUTS | OF_JSON
    table = engine._connection.create_table("texts", pa.table({"text": texts}), temp=True, overwrite=True)
    columns = {f"{kind} {column.name}": column for kind, layout in layouts.items() for column in layout.columns}
    parsed = table.select(**{key: column.parse(table.text).notnull() for key, column in columns.items()})
    found = pa.Table.from_batches(list(engine.batches(parsed)))
    for key, column in columns.items():
        assert found[key].to_pylist() == [column.fits(text) for text in texts], key


# Random well-formed logs read back as plain Python reads them.

IDS = st.integers(0, 2**63 - 1) | st.integers(0, 31)
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)).map(
    lambda time: time.replace(microsecond=0, tzinfo=UTC)
)
ACTIONS = st.integers(0, 3)
EVENTS = st.lists(st.tuples(IDS, IDS, ACTIONS, TIMES), min_size=1, max_size=37)


@few
@given(events=EVENTS)
def test_random_rec_tmall_log(engine, tmp_path, events):
    names = ["click", "collect", "cart", "alipay"]
    lines = [f"{i}\x01u{u}\x01{names[b]}\x01{t:%Y-%m-%d %H:%M:%S}" for u, i, b, t in events]
    found = read(engine, "rec-tmall", write(tmp_path / "log.txt", "rec-tmall", lines))
    assert [tuple(row.values()) for row in found] == [(i, u, b, int(t.timestamp()), False) for u, i, b, t in events]


@few
@given(events=EVENTS)
def test_random_rec_tmall_sample(engine, tmp_path, events):
    names = ["click", "collect", "cart", "alipay"]
    lines = [f"i{i},u{u},{names[b]},{t.year}/{t.month}/{t.day} {t.hour}:{t:%M}" for u, i, b, t in events]
    found = read(engine, "sample", write(tmp_path / "log.csv", "sample", lines))
    minutes = [int(t.timestamp()) // 60 * 60 for *_, t in events]
    assert [tuple(row.values()) for row in found] == [
        (i, u, b, minute, False) for (u, i, b, _), minute in zip(events, minutes, strict=True)
    ]


@few
@given(events=st.lists(st.tuples(IDS, IDS, ACTIONS, TIMES, IDS, IDS, st.none() | IDS), min_size=1, max_size=31))
def test_random_ijcai15_log(engine, tmp_path, events):
    events = [(u, i, b, t.replace(year=2016), *rest) for u, i, b, t, *rest in events if (t.month, t.day) != (2, 29)]
    theirs = {0: 0, 2: 1, 3: 2, 1: 3}
    lines = [f"{u},{i},{c},{s},{'' if x is None else x},{t:%m%d},{theirs[b]}" for u, i, b, t, c, s, x in events]
    layout = ijcai15.log_of(2016)
    path = write(tmp_path / "log.csv", "ijcai15", lines or ["1,1,1,1,,0229,0"])
    found = rows(engine, read_raw(engine, opened(layout, path)))
    assert not any(row["fault"] for row in found)
    for row, (u, i, b, t, c, s, x) in zip(found, events, strict=bool(events)):
        midnight = int(t.replace(hour=0, minute=0, second=0).timestamp())
        expected = (u, i, c, s, x, midnight, b)
        assert (
            *(row[k] for k in ("user", "item", "category", "seller", "brand")),
            row["timestamp"],
            row["behavior"],
        ) == (expected)


@few
@given(events=EVENTS, parquet=st.booleans())
def test_random_table(engine, tmp_path, events, parquet):
    columns = {
        "user": [u for u, *_ in events],
        "item": [i for _, i, *_ in events],
        "behavior": [["click", "favorite", "cart", "purchase"][b] if t.minute % 2 else str(b) for *_, b, t in events],
        "timestamp": [int(t.timestamp()) for *_, t in events],
    }
    if parquet:
        pq.write_table(pa.table(columns), path := tmp_path / "log.parquet")
    else:
        lines = [",".join(map(str, values)) for values in zip(*columns.values(), strict=True)]
        path = write(tmp_path / "log.csv", "table", lines)
    found = read(engine, "table", path)
    expected = [(str(u), str(i), b, int(t.timestamp()), False) for u, i, b, t in events]
    assert [tuple(row.values()) for row in found] == expected


TITLES = st.text(st.characters(exclude_characters="\0\1\n\r", exclude_categories=["Cs"]), max_size=23)


@few
@given(items=st.lists(st.tuples(IDS, TITLES, st.booleans()), min_size=1, max_size=29))
def test_random_products_with_any_characters_in_their_titles(engine, tmp_path, items):
    lines = [f"{i}\x01{title}\x01\x01{'5-7' if known else ''}\x01\x01s3" for i, title, known in items]
    found = read(engine, "product", write(tmp_path / "product.txt", "product", lines))
    path = {True: ("5", "7"), False: (None, None)}
    expected = [(i, title or None, None, *path[known], None, "s3", False) for i, title, known in items]
    assert [tuple(row.values()) for row in found] == expected


# Bad files: the error names the file, the line, what was found and what was expected.


def fault(kind: str, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        find_fault(opened(LAYOUTS[kind], path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_and_empty_files(tmp_path):
    assert fault("table", tmp_path / "nowhere.csv").endswith("nowhere.csv: file not found")
    (tmp_path / "empty.txt").touch()
    assert fault("rec-tmall", tmp_path / "empty.txt").endswith("the file is empty, expected at least one line")
    assert fault("table", write(tmp_path / "t.csv", "table", [])).endswith("found no rows, expected at least one")


def test_missing_and_doubled_columns(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item,action,timestamp\n1,2,click,3\n")
    assert fault("table", path).endswith("line 1: column behavior is missing, found user,item,action,timestamp")
    path.write_text("user,user,item,behavior,timestamp\n1,1,2,click,3\n")
    assert "column user is there twice" in fault("table", path)
    pq.write_table(pa.table({"user": [1], "item": [2]}), tmp_path / "log.parquet")
    assert fault("table", tmp_path / "log.parquet").endswith("column behavior is missing, found user,item")


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("rec-tmall", "1,u2,click,2014-01-01 00:00:00", "found 1 fields, expected 4 separated by the byte 0x01"),
        ("rec-tmall", "1\x01u2\x01click", "found 3 fields, expected 4 separated by the byte 0x01"),
        ("table", "1\t2\t3\t4", "found 1 fields, expected 4 separated by ','"),
        ("table", "1,2,3,4,5", "found 5 fields, expected 4 separated by ','"),
        ("table", "1,2,3,4,", "found 5 fields, expected 4 separated by ','"),
        ("rec-tmall", LINES["rec-tmall"] + "\x01", "found 5 fields, expected 4 separated by the byte 0x01"),
        ("userbehavior", LINES["userbehavior"] + ",", "found 6 fields, expected 5"),
        ("table", "1,2,pay,4", "behavior: found 'pay', expected one of click, 0, favorite, 1, cart, 2, purchase, 3"),
        ("table", "1,2,,4", "behavior: found nothing, expected one of"),
        ("rec-tmall", "1\x01u2\x01buy\x012014-01-01 00:00:00", "action: found 'buy', expected one of click, collect"),
        ("rec-tmall", "1\x012\x01cart\x012014-01-01 00:00:00", "user_id: found '2', expected u and an integer 0.."),
        ("rec-tmall", "1\x01u2\x01cart\x012014-02-30 00:00:00", "vtime: found '2014-02-30 00:00:00', expected a time"),
        ("rec-tmall", "1\x01u2\x01cart\x012014-02-03 24:00:00", "vtime: found '2014-02-03 24:00:00', expected a time"),
        ("sample", "i1,u2,cart,2014-09-18 15:03:00", "expected a time yyyy/m/d h:mm"),
        ("ijcai15", "1,2,3,4,5,0229,0", "time_stamp: found '0229', expected a day mmdd of 2014"),
        ("ijcai15", "1,2,3,4,5,0829,4", "action_type: found '4', expected one of 0, 1, 2, 3"),
        ("ijcai15", "1,2,3,4,x,0829,0", "brand_id: found 'x', expected empty or a brand"),
        ("userbehavior", "-1,2,0,pv,4", "user: found '-1', expected an integer 0..9223372036854775807"),
        ("userbehavior", "1,9223372036854775808,0,pv,4", "item: found '9223372036854775808', expected an integer 0.."),
        ("userbehavior", "1,2,3,view,4", "behavior: found 'view', expected one of pv, fav, cart, buy"),
        ("table", ",2,0,4", "user: found nothing, expected the id of the user"),
        ("table", "1,2,0,1411052591000", "timestamp: found '1411052591000', expected seconds UTC"),
        ("milliseconds", "1411052591", "time: found '1411052591', expected milliseconds UTC, 253402300800.."),
        (
            "iso",
            "2014-02-30T00:00:00",
            "time: found '2014-02-30T00:00:00', expected a time such as 2014-09-18T15:03:11Z, as in the first row",
        ),
        (
            "iso",
            "2014-02-03",
            "time: found '2014-02-03', expected a time such as 2014-09-18T15:03:11Z, as in the first",
        ),
        (
            "days",
            "2014-02-03T15:03",
            "time: found '2014-02-03T15:03', expected a day such as 2014-09-18, as in the first",
        ),
        ("iso", "1970-01-01T00:00:00+00:01", "time: found '1970-01-01T00:00:00+00:01', expected"),
        ("rec-tmall", "1\x01u2\x01cart\x011969-12-31 23:59:59", "found '1969-12-31 23:59:59', expected a time"),
        ("userbehavior", f"{'7' * 99},2,3,pv,4", f"user: found '{'7' * 60}…', expected"),
        ("table", "1,2,0,soon", "timestamp: found 'soon', expected seconds UTC"),
        ("product", "1\x01t\x01p\x0150\x01b1\x01s1", "category: found '50', expected a category parent-leaf"),
    ],
)
def test_a_line_that_does_not_fit(engine, tmp_path, kind, line, message):
    path = write(tmp_path / "log.txt", kind, [LINES[kind], LINES[kind], line, LINES[kind]])
    number = 3 + LAYOUTS[kind].header
    assert message in fault(kind, path)
    assert f"log.txt: line {number}: " in fault(kind, path)
    if "fields" not in message:  # which nobody hands to the engine
        assert [row["fault"] for row in read(engine, kind, path)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"12\x00\x012014", "line 4: found a NUL byte, expected UTF-8 text"),
        (b"12\xff\x012014", "line 4: found the byte 0xff, which is not UTF-8, expected UTF-8 text"),
        (b"\n" + LINES["rec-tmall"].encode(), "line 4: found an empty line, expected UTF-8 text"),
    ],
)
@pytest.mark.parametrize("scan_bytes", [64, 1 << 20])
def test_bytes_that_are_no_text(tmp_path, monkeypatch, damage, message, scan_bytes):
    monkeypatch.setattr(raw_files, "SCAN_BYTES", scan_bytes)
    line = LINES["rec-tmall"].encode() + b"\n"
    path = tmp_path / "log.txt"
    for end in (b"", b"\n" + line):
        path.write_bytes(3 * line + damage + end)
        assert fault("rec-tmall", path).endswith(message)


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_files, "SCAN_BYTES", 64)
    (tmp_path / "log.txt").write_bytes(b"7" * 1000)
    assert "line 1: found more than 64 bytes, expected a line end" in fault("rec-tmall", tmp_path / "log.txt")


def test_mixed_line_ends(tmp_path):
    line = LINES["rec-tmall"].encode()
    (tmp_path / "log.txt").write_bytes(line + b"\r\n" + line + b"\n" + line + b"\r\n")
    assert "line 2: found the line end LF, expected CR LF as in line 1" in fault("rec-tmall", tmp_path / "log.txt")
    (tmp_path / "log.txt").write_bytes(line + b"\n" + line + b"\r\n")
    assert "line 2: vtime: found '2014-09-18 15:03:11\\r'" in fault("rec-tmall", tmp_path / "log.txt")


def test_truncated_zip_and_zip_without_the_log(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", header(LAYOUTS["ijcai15"]) + "\n".join([LINES["ijcai15"]] * 997))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "data.zip: expected a whole zip file, found" in fault("ijcai15", path)
    damaged = bytearray(whole)
    damaged[60] ^= 0xFF
    path.write_bytes(damaged)
    assert "data.zip: expected a whole zip file, found" in fault("ijcai15", path)
    end = whole.rindex(b"PK\5\6")
    path.write_bytes(whole[:14] + whole[end:])  # the table of contents would begin before the file
    assert "data.zip: expected a whole zip file, found" in fault("ijcai15", path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.csv", "x")
    assert fault("ijcai15", path).endswith("found 0 files named log.csv, expected one")


def test_a_fault_in_a_zip_and_in_parquet_names_its_place(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("a/log.csv", header(LAYOUTS["ijcai15"]) + LINES["ijcai15"] + "\n1,2,3,4,5,1399,0\n")
    assert "data.zip/a/log.csv: line 3: time_stamp: found '1399'" in fault("ijcai15", tmp_path / "data.zip")
    columns = {"user": [5, 3], "item": [7, None], "behavior": ["cart", "cart"], "timestamp": [1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    assert "log.parquet: row 2: item: found nothing, expected the id of the item" in fault(
        "table", tmp_path / "log.parquet"
    )
    (tmp_path / "log.parquet").write_bytes(b"PAR1 no")
    assert "log.parquet: expected a whole Parquet file, found" in fault("table", tmp_path / "log.parquet")


def test_files_that_differ_in_their_columns(engine, tmp_path):
    first = write(tmp_path / "a.csv", "table", [LINES["table"]])
    second = tmp_path / "b.csv"
    second.write_text("item,user,behavior,timestamp\n1,2,0,4\n")
    with pytest.raises(InputError, match=r"b\.csv: columns or line ends differ from .*a\.csv, expected the same"):
        read(engine, "table", first, second)
