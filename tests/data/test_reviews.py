"""Reviews of Amazon and Yelp: JSON lines read as they are, messy items, k-cores, and the split by time."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_logs import damage, read, run

from rclrec_mini.data import json_lines
from rclrec_mini.data.prepared import data_hash, read_table
from rclrec_mini.data.schema import ITEMS
from rclrec_mini.data.sequences import Sequences, split_last_purchase, split_of, split_temporal
from rclrec_mini.files import InputError, read_json, write_json

AMAZON = {"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1411052400, "overall": 4.0, "verified": True}
YELP = {"review_id": "r1", "user_id": "u1", "business_id": "b1", "date": "2014-09-18 15:03:11", "stars": 4}
LINE = {"amazon2018": AMAZON, "yelp": YELP}


def write(path: Path, rows: list[dict | bytes]) -> Path:
    """Lines of JSON, and lines as they are; in gzip if the name says so."""
    lines = b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


def items_of(folder: Path) -> dict[str, dict]:
    return {row.pop("raw_id"): row for row in read_table(folder, "items").to_pylist()}


def test_a_review_is_a_purchase_and_said_twice_is_one(tmp_path):
    log = write(tmp_path / "Toys.json.gz", [AMAZON, AMAZON | {"asin": "B2"}, AMAZON | {"overall": 1.0}])
    manifest = run("amazon2018", log)
    rows = read_table(tmp_path / "out", "interactions").to_pylist()
    assert [(row["item"], row["behavior"], row["timestamp"]) for row in rows] == [
        (0, 3, 1411052400),
        (1, 3, 1411052400),
    ]
    assert (manifest["dropped"]["duplicates"], manifest["behaviors"]["purchase"]) == (1, 1.0)
    assert [file["rows"] for file in manifest["files"]] == [3]


def test_items_of_amazon_as_messy_as_they_come(tmp_path):
    items = {  # what stands in the file; what is read
        "B0": ({"title": "Ken &amp; &quot;Bo&quot;", "price": "$12.99"}, {"title": 'Ken & "Bo"', "price": 12.99}),
        "B1": ({"title": "var aPageStart = (new Date()).getTime();", "price": "$5.00 - $9.99"}, {}),
        "B2": ({"title": "<span class=x>", "price": ".a-box-inner{color:#fff}"}, {}),
        "B3": ({"title": "I <3 dolls", "price": "$1,299.00"}, {"title": "I <3 dolls", "price": 1299.0}),
        "B4": ({"category": ["Toys &amp; Games", "Dolls", "Clothes"], "brand": "Acme"},
               {"category": "Clothes", "parent_category": "Dolls", "brand": "Acme"}),
        "B5": ({"category": ["Toys &amp; Games"], "brand": ""}, {"category": "Toys & Games"}),
        "B6": ({"category": ["Toys", "</span></span></span>"], "title": None}, {"parent_category": "Toys"}),
        "B7": ({"category": [], "price": "", "also_buy": [{"x": [1]}]}, {}),
    }  # fmt: skip
    log = write(tmp_path / "log.json", [AMAZON | {"asin": asin} for asin in items])
    rows = [{"asin": asin, **row} for asin, (row, _) in items.items()]
    meta = write(tmp_path / "meta.json.gz", [*rows, rows[0] | {"title": "again"}, rows[0] | {"asin": "B9"}])
    dropped = run("amazon2018", log, items=meta)["dropped"]
    nothing = dict.fromkeys(ITEMS.names[2:])
    for number, (asin, row) in enumerate(items_of(tmp_path / "out").items()):
        assert row == {"item": number, **nothing, **items[asin][1]}, asin
    assert {name: n for name, n in dropped.items() if n} == {
        "item_rows_not_in_log": 1,
        "item_rows_repeated": 1,
        "item_title_unreadable": 2,
        "item_price_unreadable": 2,
        "item_category_unreadable": 1,
    }


def test_businesses_of_yelp(tmp_path):
    log = write(tmp_path / "review.json", [YELP, YELP | {"business_id": "b2"}, YELP | {"business_id": "b3"}])
    about = {"name": "Ed's", "city": "Tampa", "categories": "Bars, Pizza, Nightlife", "attributes": {"WiFi": "no"}}
    meta = [about | {"business_id": "b1"}, {"business_id": "b2", "name": "", "categories": None}]
    run("yelp", log, items=write(tmp_path / "business.json", meta))
    known = items_of(tmp_path / "out")
    assert [known["b1"][name] for name in ("title", "category", "seller", "price")] == ["Ed's", "Bars", "Tampa", None]
    assert set(known["b2"].values()) == {1, None} and set(known["b3"].values()) == {2, None}


@pytest.mark.parametrize("source", LINE)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "found an empty line, expected a JSON object"),
        (b'{"asin": "B1"', "found Expecting ',' delimiter at "),
        (b"[1, 2]", "found \"['1', '2']\", expected a JSON object"),
        (b"user,item", "found Expecting value at 'user,item', expected a JSON object"),
        (b'{"a": 1}', "is missing, found 'a'"),
        (b'{"a": 1, "a": 2}', "found key 'a' twice, expected it once"),
        (b'{"a": NaN}', "found NaN, expected a number"),
        (b'{"a": "\xff"}', "found the byte 0xff, which is not UTF-8, expected UTF-8 text"),
        (b"[" * 100_000, "found lists in lists without end"),
        (b'"' + b"x" * 700 + b'"', f"found '{'x' * 60}…', expected a JSON object"),
    ],
)
def test_a_line_that_is_no_object(tmp_path, source, line, message):
    log = write(tmp_path / "log.json", [LINE[source], line, LINE[source]])
    with pytest.raises(InputError) as caught:
        run(source, log)
    assert str(caught.value).startswith(f"{log}: line 2: ") and message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "change", "message"),
    [
        ("amazon2018", {"reviewerID": ""}, "reviewerID: found nothing, expected the id of the user"),
        ("amazon2018", {"asin": None}, "asin: found nothing, expected the id of the item"),
        ("amazon2018", {"asin": ["B1"]}, "asin: found '[\"B1\"]', expected text or a number"),
        ("amazon2018", {"asin": True}, "asin: found 'true', expected text or a number"),
        ("amazon2018", {"asin": "\0"}, r"asin: found '\x00', expected UTF-8 text"),
        ("amazon2018", {"asin": "\ud800"}, r"asin: found '\ud800', expected UTF-8 text"),
        ("amazon2018", {"unixReviewTime": -5}, "unixReviewTime: found '-5', expected seconds UTC, 0..253402300799"),
        ("amazon2018", {"unixReviewTime": 1.5}, "unixReviewTime: found '1.5', expected seconds UTC"),
        ("amazon2018", {"unixReviewTime": 10**5000}, "expected seconds UTC"),
        ("yelp", {"date": "2014-09-18"}, "date: found '2014-09-18', expected a time yyyy-mm-dd hh:mm:ss"),
        ("yelp", {"date": "1969-12-31 00:00:00"}, "date: found '1969-12-31 00:00:00', expected a time"),
    ],
)
def test_a_field_that_does_not_fit(tmp_path, source, change, message):
    row = json.loads(json.dumps(LINE[source]))
    text = json.dumps(row | {name: 0 for name in change})
    (name,), (value,) = change.keys(), change.values()
    number = "1" + 5000 * "0" if isinstance(value, int) and value > 10**30 else json.dumps(value)
    bad = text.replace(f'"{name}": 0', f'"{name}": {number}').encode()
    log = write(tmp_path / "log.json", [row, row, bad])
    with pytest.raises(InputError) as caught:
        run(source, log)
    assert str(caught.value).startswith(f"{log}: line 3: {name}: ") and message in str(caught.value)


def test_other_faults_of_files(tmp_path, monkeypatch):
    log = write(tmp_path / "log.json.gz", [])
    with pytest.raises(InputError, match=r"log\.json\.gz: the file is empty, expected at least one line"):
        run("amazon2018", log)
    for row, message in (
        ({"title": "x"}, "key asin is missing, found 'title'"),
        ({"asin": "B1", "category": "Toys"}, "category: found 'Toys', expected a list"),
        ({"asin": "B1", "category": [7, ["x"]]}, r"category: found '\[\"x\"\]', expected text or a number"),
    ):
        log, meta = write(tmp_path / "log.json", [AMAZON]), write(tmp_path / "meta.json", [{"asin": "B1"}, row])
        with pytest.raises(InputError, match=rf"meta\.json: line 2: {message}"):
            run("amazon2018", log, items=meta)
    log = write(tmp_path / "b.json", [YELP])
    meta = write(tmp_path / "business.json", [{"business_id": "b1", "categories": ", Bars"}])
    with pytest.raises(InputError, match=r"line 1: categories: found ', Bars', expected categories such as"):
        run("yelp", log, items=meta)
    monkeypatch.setattr(json_lines, "LINE_BYTES", 64)
    with pytest.raises(InputError, match="line 1: found 64 bytes without a line end, expected a JSON object a line"):
        run("yelp", log)


# Random and damaged lines: read as plain Python reads them, or refused in one line that names file and line.

IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=7)
REVIEWS = st.lists(st.tuples(IDS, IDS, st.integers(0, 4 * 10**9)), min_size=1, max_size=13)


@settings(max_examples=23)
@given(reviews=REVIEWS, ascii_only=st.booleans(), end=st.sampled_from(["\n", "\r\n", " \n"]))
def test_reviews_come_back_equal(engine, tmp_path, reviews, ascii_only, end):
    rows = [{"unixReviewTime": t, "asin": i, "other": [{"a": t}], "reviewerID": u} for u, i, t in reviews]
    text = "".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in rows)
    log = tmp_path / "log.json.gz"
    log.write_bytes(gzip.compress(text.encode()))
    assert read(engine, "amazon2018", log) == [(user, item, 3, time) for user, item, time in reviews]


def plain(log: Path) -> list[tuple]:
    """The reviews in a file, by a few lines of Python; any exception where it is not in order."""
    found = []
    for line in log.read_bytes().removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n"):
        row = json.loads(line.decode())
        user, item, time = row["reviewerID"], row["asin"], row["unixReviewTime"]
        assert user and item and not isinstance(time, bool | float) and str(int(time)) == str(time) and int(time) >= 0
        found.append((str(user), str(item), 3, int(time)))
    return found


JSON_PIECES = (b"{", b"}", b"[", b"]", b":", b"null", b"\\", b"\\ud800")


@settings(max_examples=101)
@given(data=st.data(), n=st.integers(1, 2))
def test_damaged_reviews_are_read_right_or_refused(engine, tmp_path, data, n):
    rows = [("A7", "B5", 1411052400), ("é", "B\n", 0), ("A7", "10", 1411052400)]
    log = write(tmp_path / "log.json", [{"reviewerID": u, "asin": i, "unixReviewTime": t} for u, i, t in rows])
    for _ in range(n):
        damage(data, log, *JSON_PIECES)
    try:
        found = read(engine, "amazon2018", log)
    except InputError as error:
        assert str(error).startswith(f"{log}: ") and "\n" not in str(error)
        assert "engine" not in str(error)
    else:
        assert found == plain(log)


# The k-core is what is left of any order of dropping.


def core(pairs: list[tuple[int, int]], k: int) -> list[tuple[int, int]]:
    """Drop one node with fewer than k reviews at a time."""
    while True:
        degree = Counter(node for user, item in pairs for node in (("user", user), ("item", item)))
        low = next((node for node, n in degree.items() if n < k), None)
        if low is None:
            return pairs
        pairs = [(user, item) for user, item in pairs if low not in (("user", user), ("item", item))]


@settings(max_examples=13)
@given(pairs=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=23, max_size=61), k=st.integers(2, 5))
def test_a_k_core_against_brute_force(tmp_path, pairs, k):
    rows = [AMAZON | {"reviewerID": u, "asin": i, "unixReviewTime": n} for n, (u, i) in enumerate(pairs)]
    log = write(tmp_path / "log.json", rows)
    expected = Counter(core(pairs, k))
    if not expected:
        with pytest.raises(InputError, match="the filters left no interaction"):
            run("amazon2018", log, k_core=k)
        return
    manifest = run("amazon2018", log, k_core=k)
    read = Sequences.load(tmp_path / "out")
    item = [int(name) for name in items_of(tmp_path / "out")]
    user = [int(row["raw_id"]) for row in read_table(tmp_path / "out", "users").to_pylist()]
    found = Counter((user[read.user_of(row)], item[read.item[row]]) for row in range(len(read)))
    assert found == expected
    assert manifest["counts"]["interactions"] == expected.total()


def test_the_split_by_time(tmp_path):
    """Nineteen reviews of three people, one a day: 15 train, 2 validate, 2 test; the first of each has no history."""
    rows = [AMAZON | {"reviewerID": n % 3, "asin": n % 5, "unixReviewTime": 86_400 * n} for n in range(19)]
    log = write(tmp_path / "log.json", rows[::-1])
    assert run("amazon2018", log, split="time")["split"] == "time"
    sequences = Sequences.load(tmp_path / "out")
    split = split_of(tmp_path / "out", sequences)
    days = {
        name: sorted(sequences.timestamp[getattr(split, name)] // 86_400) for name in ("train", "validation", "test")
    }
    assert days == {"train": [*range(3, 15)], "validation": [15, 16], "test": [17, 18]}
    same = split_temporal(sequences, validation_start=15 * 86_400, test_start=17 * 86_400)
    assert (same.train == split.train).all() and (same.test == split.test).all()
    by_time = data_hash(tmp_path / "out")
    run("amazon2018", log)
    assert by_time == f"{data_hash(tmp_path / 'out')} time"  # ids of one split do not serve the other
    assert (split_of(tmp_path / "out", sequences).test == split_last_purchase(sequences).test).all()
    together = write(tmp_path / "log.json", [row | {"unixReviewTime": 0} for row in rows])
    words = "log.json: --split time found that the last two tenths of the events begin at the same time, 1970-01-01"
    with pytest.raises(InputError, match=words):
        run("amazon2018", together, split="time")
    manifest = read_json(tmp_path / "out" / "manifest.json")
    write_json(tmp_path / "out" / "manifest.json", manifest | {"split": ["x"]})
    with pytest.raises(InputError, match=r"manifest\.json: key split is \"\['x'\]\", expected last-purchase or time"):
        Sequences.load(tmp_path / "out")
