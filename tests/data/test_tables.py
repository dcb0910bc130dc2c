"""Tables of interactions in all the ways in which people have them: whatever rows are written come back equal, and
what is damaged is read right or refused in one line."""

import csv
import gzip
import io
import os
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import reading_logs
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_logs import damage, read

from rclrec_mini.data.prepared import read_table
from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.data.sources import SOURCES
from rclrec_mini.data.sources.userbehavior import FIRST, LAST
from rclrec_mini.files import InputError, read_json

HEADER = ("user", "item", "behavior", "timestamp")


def run(log: Path, source: str = "table", **options) -> tuple[dict, Path]:
    """The manifest of a prepared log, and its folder."""
    return reading_logs.run(source, log, **options), log.with_name("out")


def refusal(log: Path, source: str = "table", **options) -> str:
    with pytest.raises(InputError) as caught:
        run(log, source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The same rows in every format.


def write_csv(path: Path, rows: list[tuple], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> Path:
    text = io.StringIO()
    end = "\r\n" if quoting == csv.QUOTE_MINIMAL else "\n"
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([HEADER, *rows])
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix.lower() == ".gz" else data)
    return path


def write_parquet(path: Path, rows: list[tuple]) -> Path:
    columns = dict(zip(HEADER, zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table(columns), path)
    return path


def in_folder(tmp_path: Path, rows: list[tuple], suffix: str, write) -> Path:
    folder = tmp_path / f"folder{suffix}"
    inner = folder / "user=7" / "behavior=purchase"
    inner.mkdir(parents=True, exist_ok=True)
    half = (len(rows) + 1) // 2
    write(inner / f"a{suffix}", rows[:half])
    if rows[half:]:
        write(inner / f"b{suffix}", rows[half:])
    (inner / "_SUCCESS").touch()
    return folder


FORMATS = {
    "csv": lambda d, rows: write_csv(d / "log.csv", rows),
    "all quoted": lambda d, rows: write_csv(d / "log.CSV", rows, quoting=csv.QUOTE_ALL),
    "tsv": lambda d, rows: write_csv(d / "log.tsv", rows, "\t"),
    "gzip": lambda d, rows: write_csv(d / "log.csv.GZ", rows),
    "parquet": lambda d, rows: write_parquet(d / "log.PARQUET", rows),
    "folder of csv": lambda d, rows: in_folder(d, rows, ".csv", write_csv),
    "folder of parquet": lambda d, rows: in_folder(d, rows, ".parquet", write_parquet),
}
IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=7)
IDS |= st.integers(-9, 10**20).map(str) | st.sampled_from(
    ['a"b', '"', "x,y", "x\ty", "two\nlines", "\r\n\n", " 7 ", "é"]
)
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
ROWS = st.lists(st.tuples(IDS, IDS, st.sampled_from(BEHAVIORS), TIMES), min_size=1, max_size=13)
CLOCKS = {
    "seconds": lambda t: str(int(t.timestamp())),
    "fractions of seconds": lambda t: f"{int(t.timestamp())}.25",
    "milliseconds": lambda t: str(int(t.timestamp()) * 1000 + 10**13 + t.microsecond // 1000),
    "ISO 8601": lambda t: t.isoformat().replace("+00:00", "Z"),
    "with a zone": lambda t: (t + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%d %H:%M:%S+0530"),
    "without": lambda t: t.strftime("%Y-%m-%d %H:%M:%S.%f"),
}


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=11)
@given(rows=ROWS, clock=st.sampled_from(list(CLOCKS)))
def test_rows_come_back_equal(engine, tmp_path, form, rows, clock):
    text = [(user, item, behavior, CLOCKS[clock](time)) for user, item, behavior, time in rows]
    shift = 10**10 if clock == "milliseconds" else 0  # so that none lies before 1978
    expected = [(u, i, BEHAVIORS.index(b), int(t.timestamp()) + shift) for u, i, b, t in rows]
    folder = tmp_path / "case"
    for old in sorted(folder.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    folder.mkdir(exist_ok=True)
    assert read(engine, "table", FORMATS[form](folder, text)) == expected


PLAIN = st.text(st.characters(exclude_characters="\0\t\r\n\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=7)


@settings(max_examples=11)
@given(rows=st.lists(st.tuples(PLAIN, PLAIN, st.integers(0, 10**9)), min_size=1, max_size=13))
def test_recbole_rows_come_back_equal(engine, tmp_path, rows):
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    lines += [f"{user}\t{item}\t5\t{time}.0" for user, item, time in rows]
    log = tmp_path / "log.inter"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    found = read(engine, "recbole", log, behaviors=("*=purchase",))
    assert found == [(user, item, 3, time) for user, item, time in rows]


def test_times_of_parquet(engine, tmp_path):
    time = datetime(2014, 9, 18, 15, 3, 11, 500_000)
    seconds = int(time.replace(tzinfo=UTC).timestamp())
    kinds = {
        "timestamp[s]": seconds,
        "timestamp[us]": seconds,
        "timestamp[ns]": seconds,
        "timestamp[us, tz=Asia/Shanghai]": seconds,
        "date32": seconds // 86_400 * 86_400,
        "float64": seconds,
        "int64": seconds,
    }
    for kind, expected in kinds.items():
        raw = pa.array([time.replace(microsecond=0)] if kind == "timestamp[s]" else [time], pa.timestamp("us"))
        if kind in ("float64", "int64"):
            values = pa.array([seconds + 0.5 * (kind == "float64")]).cast(kind)
        else:
            unit, _, zone = kind.removeprefix("timestamp[").removesuffix("]").partition(", tz=")
            values = raw.cast("date32" if kind == "date32" else pa.timestamp(unit, zone or None))
        columns = {"user": [7.0], "item": pa.array(["a"]).dictionary_encode(), "behavior": [3], "timestamp": values}
        pq.write_table(pa.table(columns), tmp_path / "log.parquet")
        assert read(engine, "table", tmp_path / "log.parquet") == [("7", "a", 3, expected)], kind


# Damaged files: read as plain Python reads them, or refused in one line that names the file.


def twin(path: Path) -> list[tuple]:
    """The rows of a CSV file, read by a few lines of Python; any exception where it is not in order."""
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True))
    indices = [rows[0].index(name) for name in HEADER]
    words = {str(word): index for index, name in enumerate(BEHAVIORS) for word in (name, index)}
    found = []
    for row in rows[1:]:
        assert len(row) == len(rows[0])
        user, item, behavior, time = (row[index] for index in indices)
        assert user and item
        found.append((user, item, words[behavior], int(float(time))))
    return found


@pytest.mark.parametrize("quoting", [csv.QUOTE_NONE, csv.QUOTE_ALL])
@settings(max_examples=67)
@given(data=st.data(), n=st.integers(1, 2))
def test_a_damaged_csv_is_read_right_or_refused(engine, tmp_path, quoting, data, n):
    rows = [("7", "i5", "cart", "1411052591"), ("u", "10", "purchase", "1411052592"), ("7", "é", "0", "1411052593")]
    log = write_csv(tmp_path / "log.csv", rows, quoting=quoting)
    for _ in range(n):
        damage(data, log, b"\r\n", b',"', b'",')
    try:
        found = read(engine, "table", log)
    except InputError as error:
        assert str(error).startswith(f"{log}: ") and "\n" not in str(error)
        assert "engine" not in str(error)
    else:
        assert found == twin(log)


@settings(max_examples=67)
@given(data=st.data(), truncate=st.booleans())
def test_a_damaged_parquet_is_read_or_refused(engine, tmp_path, data, truncate):
    rows = [(str(i % 7), f"i{i % 5}", BEHAVIORS[i % 4], str(1411052591 + i)) for i in range(53)]
    log = write_parquet(tmp_path / "log.parquet", rows)
    whole = log.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    log.write_bytes(whole[:at] if truncate else whole[:at] + flipped + whole[at + 1 :])
    try:
        assert len(read(engine, "table", log)) > 0
    except InputError as error:
        assert str(error).startswith(f"{log}: ") and "\n" not in str(error)


def test_a_fault_in_quoted_rows_names_the_first_line_of_the_row(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text('user,item,behavior,timestamp\n"a\n\nb",7,cart,5\n"c\nd",7,cart,soon\n')
    assert refusal(log).endswith("log.csv: line 5: timestamp: found 'soon', expected seconds UTC, "
                                 "0..253402300799, as in the first row")  # fmt: skip
    log.write_text('user,item,behavior,timestamp\n"a",7,cart,5\n\n1,7,cart,5\n')
    assert "line 3: found an empty line" in refusal(log)
    log.write_text('user,item,behavior,timestamp\n"a",7,cart,5\n"b"x,7,cart,5\n')
    assert "line 3: found quotes or line ends that do not match" in refusal(log)
    log.write_text('user,item,behavior,timestamp\n"a",7,cart\n')
    assert "line 2: found 3 fields, expected 4 separated by ','" in refusal(log)


def test_only_one_of_several_files_has_quotes(engine, tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    write_csv(folder / "a.csv", [("x", "7", "cart", "5")])
    write_csv(folder / "b.csv", [("y,z", "7", "cart", "6")])
    assert read(engine, "table", folder) == [("x", "7", 2, 5), ("y,z", "7", 2, 6)]


def test_line_ends_inside_lines_are_refused_and_mixed_ones_read(engine, tmp_path):
    log = tmp_path / "log.csv"
    rows = b"".join(b"u%d,7,cart,5\n" % i for i in range(997))
    log.write_bytes(b"user,item,behavior,timestamp\n" + rows + b"a\rb,7,cart,5\n")
    assert "line 999: found quotes or line ends that do not match, expected CSV" in refusal(log)
    for end in (b"\n", b"\r\n"):
        log.write_bytes(b"user,item,behavior,timestamp" + end + b"u,7,cart,5\r\nu,7,cart,6\n")
        assert read(engine, "table", log) == [("u", "7", 2, 5), ("u", "7", 2, 6)]


# Names of columns and behaviours.


@pytest.fixture
def shop(tmp_path) -> Path:
    log = tmp_path / "log.csv"
    log.write_text(",uid,User,sku,action,ts,note\n0,b,1,10,view,50,\n1,a,1,9,buy,60,n\n2,a,1,9,share,70,\n")
    return log


NAMES = ("user=uid,item=sku", "behavior=action,timestamp=ts")


def test_columns_and_behaviors_of_other_names(shop):
    manifest, out = run(shop, columns=NAMES, behaviors=("view=click,buy=purchase", "share=drop"))
    assert manifest["dropped"] == {"users_not_sampled": 0, "rows_of_dropped_behaviors": 1, "duplicates": 0}
    assert (manifest["times"], manifest["ignored_columns"]) == ("seconds", ["", "User", "note"])
    assert manifest["filters"]["columns"] == list(NAMES) or manifest["filters"]["columns"] == NAMES
    assert read_json(out / "manifest.json")["filters"]["behaviors"] == ["view=click,buy=purchase", "share=drop"]
    rows = read_table(out, "interactions").to_pylist()
    assert [tuple(row.values()) for row in rows] == [(0, 0, 3, 60, 0), (1, 1, 0, 50, 0)]
    assert [row["raw_id"] for row in read_table(out, "items").to_pylist()] == ["9", "10"]


def test_behaviors_that_nobody_mapped_are_listed(shop):
    expected = "line 2: action: found 'view', expected one of click, 0, favorite, 1, cart, 2, purchase, 3; map all of "
    assert expected + "'view', 'buy', 'share' with --behaviors" in refusal(shop, columns=NAMES)
    assert "map all of 'share' with" in refusal(shop, columns=NAMES, behaviors=("view=click,buy=purchase",))


def test_one_behavior_for_all_or_for_the_rest(engine, shop):
    behaviors = {"*=purchase": [3, 3, 3], "view=click,*=purchase": [0, 3, 3]}
    for flag, expected in behaviors.items():
        assert [row[2] for row in read(engine, "table", shop, columns=NAMES, behaviors=(flag,))] == expected
    none = (*NAMES[:1], "timestamp=ts")
    assert [row[2] for row in read(engine, "table", shop, columns=none, behaviors=("*=purchase",))] == [3, 3, 3]
    found = refusal(shop, columns=none)
    assert found.endswith("--columns behavior=NAME names another, --behaviors '*=purchase' does without")
    assert "column behavior is missing, found ,uid,User,sku" in found


def test_columns_that_are_not_there(shop):
    assert "column user is missing, found ,uid,User,sku,action,ts,note; --columns user=NAME" in refusal(shop)
    found = refusal(shop, columns=(*NAMES, "category=kind"))
    assert found.endswith("log.csv: column kind for category is missing, found ,uid,User,sku,action,ts,note")
    shop.write_text('user,item,behavior,timestamp,"two\nlines"\na,7,3,5,\n')
    assert "found user,item,behavior,timestamp,two\\nlines" in refusal(shop, columns=("category=kind",))


def test_ids_are_numbered_in_order(tmp_path):
    ids = ["-3", "7", "9", "10", "007", "1e3", "99999999999999999999", "Z", "a", "é"]
    log = write_csv(tmp_path / "log.csv", [(i, i, "3", str(t)) for t, i in enumerate(reversed(ids))])
    _, out = run(log)
    for name in ("users", "items"):
        assert read_table(out, name)["raw_id"].to_pylist() == ids


def test_days_keep_repeated_rows(tmp_path):
    days = [("a", "7", "purchase", "2014-09-18")] * 2
    manifest, _ = run(write_csv(tmp_path / "log.csv", days))
    assert (manifest["times"], manifest["counts"]["interactions"]) == ("ISO 8601 days", 2)
    manifest, _ = run(write_csv(tmp_path / "log.csv", [(*row[:3], row[3] + "T00:00:00") for row in days]))
    assert (manifest["times"], manifest["counts"]["interactions"]) == ("ISO 8601", 1)


# What the log says of items and users.


def test_a_log_that_describes_items_and_users(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(
        "user,item,behavior,timestamp,category,price,gender\na,7,3,5,hats,2.5,f\na,9,3,6,,,\na,7,0,7,hats,2.5,f\n"
    )
    manifest, out = run(log)
    items = read_table(out, "items").to_pylist()
    assert [(row["category"], row["price"]) for row in items] == [("hats", 2.5), (None, None)]
    assert read_table(out, "users")["gender"].to_pylist() == ["f"]
    assert manifest["ignored_columns"] == []
    (tmp_path / "items.csv").write_text("item,category\n7,caps\n")
    manifest, out = run(log, items=tmp_path / "items.csv")
    items = read_table(out, "items").to_pylist()
    assert [(row["category"], row["price"]) for row in items] == [("caps", 2.5), (None, None)]
    assert manifest["ignored_columns"] == ["category"]


def test_a_log_that_contradicts_itself(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(f"user,item,behavior,timestamp,category\na,7,3,5,hats\na,7,3,6,{'caps' * 99}\n")
    found = refusal(log)
    assert found.startswith(
        f"{log}: item '7': category: found '{'caps' * 15}…' and 'hats', expected one value for each"
    )
    assert "--columns category= leaves the column out" in found
    manifest, _ = run(log, columns=("category=",))
    assert manifest["ignored_columns"] == ["category"]
    log.write_text(",user,item,behavior,timestamp,category\n0,a,7,3,5,hats\n1,a,7,3,6,caps\n")  # with pandas' index
    manifest, _ = run(log, columns=("category=",))
    assert manifest["ignored_columns"] == ["", "category"]


def test_recbole_with_its_items_and_users(tmp_path):
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "ml.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\ti\t5\t60\nu\tj\t2\t50.5\n"
    )
    (folder / "ml.item").write_text("item_id:token\tmovie_title:token_seq\ni\tToy Story\nk\tHeat\n")
    (folder / "ml.user").write_text("user_id:token\tage:token\tgender:token\nu\t24\tM\n")
    columns = ("title=movie_title,age_range=age,behavior=rating",)
    for log in (folder, folder / "ml.inter"):
        manifest, out = run(log, "recbole", columns=columns, behaviors=("5=purchase,2=drop,*=click",), overwrite=True)
        assert [row["title"] for row in read_table(out, "items").to_pylist()] == ["Toy Story"]
        assert read_table(out, "users").to_pylist()[0] | {"user": 0} == {
            "user": 0,
            "raw_id": "u",
            "age_range": "24",
            "gender": "M",
        }
        assert manifest["dropped"]["rows_of_dropped_behaviors"] == 1
    assert "column behavior is missing, found user_id:token" in refusal(folder, "recbole")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty, "recbole").endswith("empty: found no file with the suffix .inter, expected at least one")


# UserBehavior.csv.


def test_userbehavior_drops_what_lies_outside_its_nine_days(tmp_path):
    log = tmp_path / "UserBehavior.csv"
    assert datetime.fromtimestamp(FIRST, UTC).isoformat() == "2017-11-24T16:00:00+00:00"
    assert datetime.fromtimestamp(LAST, UTC).isoformat() == "2017-12-03T15:59:59+00:00"
    times = [FIRST - 1, FIRST, LAST, LAST + 1, -5, 7_000_000_000]
    words = ["pv", "buy", "cart", "fav", "pv", "pv"]
    lines = [f"10,{i},{90 + i},{word},{time}\n" for i, (word, time) in enumerate(zip(words, times, strict=True))]
    log.write_text("".join(lines) + f"9,2,11,pv,{FIRST}\n" * 2)
    manifest, out = run(log, "userbehavior")
    assert manifest["dropped"] == {"users_not_sampled": 0, "rows_outside_the_nine_days": 4, "duplicates": 1}
    assert manifest["conflicts"] == {"items": 1}
    rows = read_table(out, "interactions").to_pylist()
    assert [tuple(row.values()) for row in rows] == [(0, 1, 0, FIRST, 0), (1, 0, 3, FIRST, 0), (1, 1, 2, LAST, 1)]
    items = read_table(out, "items").to_pylist()
    assert [(row["raw_id"], row["category"]) for row in items] == [("1", "91"), ("2", "11")]


# Files that are not what they seem.


def test_what_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for source in SOURCES:
        assert refusal(tmp_path / "pipe.csv", source).endswith("pipe.csv: found a pipe or a device, expected a file")
    assert refusal(Path("/dev/null"), out=tmp_path / "out").startswith("/dev/null: found a pipe or a device")
    (tmp_path / "folder").mkdir()
    assert "folder: found no table in a folder, expected files of one kind" in refusal(tmp_path / "folder")
    assert refusal(tmp_path / "folder", "ijcai15").endswith("folder: found a folder, expected a file")
    write_csv(tmp_path / "folder" / "a.csv", [("x", "7", "cart", "5")])
    write_parquet(tmp_path / "folder" / "a.parquet", [("x", "7", "cart", "5")])
    assert "folder: found .csv and .parquet in a folder, expected files of one kind" in refusal(tmp_path / "folder")


def test_gzip_that_is_none_or_cut_off(tmp_path):
    log = write_csv(tmp_path / "log.csv.gz", [(str(i), "7", "cart", "5") for i in range(997)])
    log.write_bytes(log.read_bytes()[:500])
    assert "log.csv.gz: expected a whole gzip file, found" in refusal(log)
    log.write_bytes(b"user,item\n")
    assert "log.csv.gz: expected a whole gzip file, found" in refusal(log)


def test_a_zip_of_one_table(engine, tmp_path):
    log = write_csv(tmp_path / "log.csv", [("x", "7", "cart", "5")])
    with zipfile.ZipFile(tmp_path / "log.ZIP", "w") as archive:
        archive.write(log, "inside/log.csv")
    assert read(engine, "table", tmp_path / "log.ZIP") == [("x", "7", 2, 5)]
    with zipfile.ZipFile(tmp_path / "log.ZIP", "a") as archive:
        archive.write(log, "inside/other.csv")
    assert refusal(tmp_path / "log.ZIP").endswith("log.ZIP: found 2 files, expected one")


def test_columns_of_parquet_that_are_no_fields(tmp_path):
    log = tmp_path / "log.parquet"
    columns = {"user": ["a"], "item": [[7]], "behavior": ["cart"], "timestamp": [5]}
    pq.write_table(pa.table(columns), log)
    assert refusal(log).endswith(
        "log.parquet: column item: found list<element: int64>, expected text, numbers or times"
    )
    pq.write_table(pa.table(columns | {"item": [7], "ITEM": [9]}), log)
    assert "log.parquet: column item is there twice" in refusal(log)
    pq.write_table(pa.table([["a"], ["b"]], ["user", "user"]), log)
    assert "log.parquet: column user is there twice" in refusal(log)
    pq.write_table(pa.table([["a"], ["b"]], ["", ""]), log)
    assert "log.parquet: column without a name is there twice" in refusal(log)
