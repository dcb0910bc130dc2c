"""The simulated shop written as raw logs, in the exact text formats of their sources, at any size.

rec-tmall   tianchi_2014001_rec_tmall_product.txt           item|title|picture|parent-leaf|b7|s5, | being 0x01
            tianchi_2014002_rec_tmall_log_part{a,b,c}.txt   item|u3|alipay|2014-09-18 15:03:11
ijcai15     user_log_format1.csv, user_info_format1.csv     user,item,category,seller,brand,mmdd,action
both        truth.parquet                                   the journey of every event (TRUTH_OF_LOG)

amazon2018  Simulated.json.gz, meta_Simulated.json.gz       a review of each purchase, on its day; an object for an item
yelp        yelp_academic_dataset_{review,business}.json    likewise, in its second; items as businesses
"""

import contextlib
import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from tqdm import tqdm

from rclrec_mini.data.schema import DAY, PURCHASE
from rclrec_mini.data.shop_config import ShopConfig
from rclrec_mini.data.simulate import Shop, catalogue, simulate_users
from rclrec_mini.files import InputError, Result, whole_folder, write_json

REC_TMALL_PRODUCT = "tianchi_2014001_rec_tmall_product.txt"
REC_TMALL_LOGS = tuple(f"tianchi_2014002_rec_tmall_log_part{part}.txt" for part in "abc")
REC_TMALL_ACTIONS = ("click", "collect", "cart", "alipay")  # by our behavior
IJCAI15_LOG, IJCAI15_USERS, IJCAI15_ZIP = "user_log_format1.csv", "user_info_format1.csv", "data_format1.zip"
IJCAI15_ACTIONS = ("0", "3", "1", "2")  # by our behavior
AMAZON_REVIEWS, AMAZON_META = "Simulated.json.gz", "meta_Simulated.json.gz"
YELP_REVIEWS, YELP_BUSINESSES = "yelp_academic_dataset_review.json", "yelp_academic_dataset_business.json"

TRUTH_OF_LOG = pa.schema(
    [
        ("user_id", pa.string()),  # as in the log
        ("position", pa.int32()),  # 0.. within the user, in time order; in IJCAI-15 the order of the file
        ("timestamp", pa.int64()),  # seconds UTC; with user_id it names one event of a REC-Tmall log
        ("journey", pa.int32()),  # -1 is noise
    ]
)

RAW_LOG = Result(
    "simulated log",
    "written.json",
    frozenset(
        {"written.json", "truth.parquet", REC_TMALL_PRODUCT, *REC_TMALL_LOGS, IJCAI15_LOG, IJCAI15_USERS, IJCAI15_ZIP}
        | {AMAZON_REVIEWS, AMAZON_META, YELP_REVIEWS, YELP_BUSINESSES}
    ),
)

Write = Callable[[Shop], None]
Format = Literal["rec-tmall", "ijcai15", "amazon2018", "yelp"]


def write_raw(
    config: ShopConfig,
    out: Path | str,
    *,
    format: Format = "rec-tmall",
    zipped: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> dict:
    """Write the shop's log and its truth to the folder `out`, users by chunks in bounded memory.

    A user's events are in time order, in REC-Tmall each in a second of its own; the three REC-Tmall logs hold one
    third of the period each. Amazon's and Yelp's logs hold the purchases alone, and have no truth. `zipped`
    packs the two IJCAI-15 files into one zip. Returns what was written: format, files, counts, config.

    Raises:
        InputError: an unknown format, an IJCAI-15 period that leaves its year, a zip of something else, or `out` holds
            something and `overwrite` is false.
    """
    _check(config, format, zipped)
    reviews = format in REVIEWS
    items = catalogue(config)
    prefix = "u" if format == "rec-tmall" else ""
    total = 0
    with whole_folder(out, RAW_LOG, overwrite=overwrite) as folder:
        with (
            WRITERS[format](folder, config, items.table) as write,
            contextlib.nullcontext() if reviews else pq.ParquetWriter(folder / "truth.parquet", TRUTH_OF_LOG) as truth,
            tqdm(total=config.users, unit="user", desc=f"simulate {format}", disable=not progress) as bar,
        ):
            for chunk in simulate_users(config, items):
                if reviews:
                    chunk = _purchases(chunk)
                else:
                    truth.write_table(_truth(chunk, prefix))
                if chunk.interactions.num_rows:
                    write(chunk)
                total += chunk.interactions.num_rows
                bar.update(chunk.users.num_rows)
        if zipped:
            _pack(folder)
        written = {
            "result": RAW_LOG.title,
            "format": format,
            "files": sorted(path.name for path in folder.iterdir()),
            "counts": {"users": config.users, "items": config.items, "interactions": total},
            "config": asdict(config),
        }
        write_json(folder / "written.json", written)
    return written


def _check(config: ShopConfig, format: str, zipped: bool) -> None:
    if format not in WRITERS:
        raise InputError(f"format: found {format}, expected one of {', '.join(WRITERS)}")
    if zipped and format != "ijcai15":
        raise InputError("zipped: expected only with ijcai15, the other sources have no zip of their own")
    last = config.start + config.days * DAY - 1
    first_year, last_year = (np.datetime64(t, "s").astype("datetime64[Y]") for t in (config.start, last))
    if format == "ijcai15" and first_year != last_year:
        raise InputError(f"days: {config.days} from start {config.start} leave the year, IJCAI-15 writes days as mmdd")


@contextlib.contextmanager
def _rec_tmall(folder: Path, config: ShopConfig, items: pa.Table) -> Iterator[Write]:
    product = [
        items["raw_id"],
        items["title"],
        _join("//img/", items["raw_id"], ".jpg"),
        _join(items["parent_category"], "-", items["category"]),
        items["brand"],
        items["seller"],
    ]
    with open(folder / REC_TMALL_PRODUCT, "wb") as file:
        _write_lines(file, product, "\x01")
    edges = config.start + np.arange(1, 3) * config.days * DAY // 3

    def write(shop: Shop) -> None:
        events = shop.interactions
        time = events["timestamp"].to_numpy()
        order = np.argsort(time, kind="stable")  # a log comes as it happens, all users mixed
        columns = [
            _raw_item(events["item"]).take(order),
            _join("u", _raw_user(events["user"])).take(order),
            _word(REC_TMALL_ACTIONS, events["behavior"]).take(order),
            _clock(time[order]),
        ]
        cuts = [0, *np.searchsorted(time[order], edges), len(order)]
        for file, start, end in zip(files, cuts[:-1], cuts[1:], strict=True):
            _write_lines(file, [column[start:end] for column in columns], "\x01")

    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(folder / name, "wb")) for name in REC_TMALL_LOGS]
        yield write


@contextlib.contextmanager
def _ijcai15(folder: Path, config: ShopConfig, items: pa.Table) -> Iterator[Write]:
    category, seller, brand = items["category"], _digits(items["seller"]), _digits(items["brand"])

    def write(shop: Shop) -> None:
        events = shop.interactions
        item, time = events["item"], events["timestamp"].to_numpy()
        days = np.datetime_as_string(np.arange(time.min() // DAY, time.max() // DAY + 1).astype("datetime64[D]"))
        month_days = pa.array([day[5:7] + day[8:10] for day in days.tolist()])
        action = _word(IJCAI15_ACTIONS, events["behavior"])
        day = month_days.take(pa.array(time // DAY - time.min() // DAY))
        columns = [_raw_user(events["user"]), _raw_item(item), category.take(item), seller.take(item)]
        _write_lines(log, [*columns, brand.take(item), day, action], ",")
        _write_lines(info, [shop.users[name] for name in ("raw_id", "age_range", "gender")], ",")

    with open(folder / IJCAI15_LOG, "wb") as log, open(folder / IJCAI15_USERS, "wb") as info:
        log.write(b"user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type\n")
        info.write(b"user_id,age_range,gender\n")
        yield write


@contextlib.contextmanager
def _amazon2018(folder: Path, config: ShopConfig, items: pa.Table) -> Iterator[Write]:
    asin = _padded("B", items["raw_id"], 9)
    prices = [f"${price:,.2f}" for price in items["price"].to_pylist()]
    paths = [[row["parent_category"], row["category"]] for row in items.to_pylist()]
    meta = {"category": paths, "title": items["title"], "brand": items["brand"], "price": prices, "asin": asin}

    def write(shop: Shop) -> None:
        events = shop.interactions
        days = events["timestamp"].to_numpy() // DAY * DAY
        users = _padded("A", _raw_user(events["user"]), 13)
        stars = pa.repeat(5.0, len(days))
        columns = {"overall": stars, "reviewerID": users, "asin": asin.take(events["item"]), "unixReviewTime": days}
        _write_json(log, columns)

    with _packed(folder / AMAZON_META) as file:
        _write_json(file, meta)
    with _packed(folder / AMAZON_REVIEWS) as log:
        yield write


@contextlib.contextmanager
def _yelp(folder: Path, config: ShopConfig, items: pa.Table) -> Iterator[Write]:
    business = _padded("b", items["raw_id"], 21)
    tags = _join(items["category"], ", ", items["parent_category"])
    about = {"business_id": business, "name": items["title"], "city": items["seller"], "categories": tags}

    def write(shop: Shop) -> None:
        events = shop.interactions
        user = _raw_user(events["user"])
        review = _join("r", user, "-", events["position"].cast(pa.string()))
        columns = {"review_id": review, "user_id": _padded("u", user, 21), "business_id": business.take(events["item"])}
        _write_json(log, columns | {"stars": pa.repeat(5.0, len(user)), "date": _clock(events["timestamp"].to_numpy())})

    with open(folder / YELP_BUSINESSES, "wb") as file:
        _write_json(file, about)
    with open(folder / YELP_REVIEWS, "wb") as log:
        yield write


WRITERS = {"rec-tmall": _rec_tmall, "ijcai15": _ijcai15, "amazon2018": _amazon2018, "yelp": _yelp}
REVIEWS = ("amazon2018", "yelp")  # of purchases alone


def _purchases(shop: Shop) -> Shop:
    bought = pc.equal(shop.interactions["behavior"], PURCHASE)
    return replace(shop, interactions=shop.interactions.filter(bought), truth=shop.truth.filter(bought))


@contextlib.contextmanager
def _packed(path: Path) -> Iterator[gzip.GzipFile]:
    """A gzip that is equal for equal content."""
    with open(path, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        yield packed


def _write_json(file: BinaryIO, columns: dict[str, Any]) -> None:
    rows = pa.table(columns).to_pylist()
    file.writelines(json.dumps(row).encode() + b"\n" for row in rows)


def _padded(letter: str, numbers: pa.ChunkedArray, width: int) -> pa.ChunkedArray:
    """`7` -> `B000000007`: as long as ids of the source, and sorted like numbers."""
    return _join(letter, pc.utf8_lpad(numbers, width, "0"))


def _pack(folder: Path) -> None:
    with zipfile.ZipFile(folder / IJCAI15_ZIP, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (IJCAI15_LOG, IJCAI15_USERS):
            archive.write(folder / name, f"data_format1/{name}")
            (folder / name).unlink()


def _truth(shop: Shop, prefix: str) -> pa.Table:
    user_id = _join(prefix, _raw_user(shop.truth["user"]))
    columns = [user_id, shop.truth["position"], shop.interactions["timestamp"], shop.truth["journey"]]
    return pa.Table.from_arrays(columns, schema=TRUTH_OF_LOG)


def _write_lines(file: BinaryIO, columns: list, delimiter: str) -> None:
    table = pa.table(columns, names=[str(i) for i in range(len(columns))])
    options = pa.csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="none")
    pa.csv.write_csv(table, file, options)


def _raw_user(user: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.add(user.cast(pa.int64()), 1).cast(pa.string())


_raw_item = _raw_user  # raw ids of items, too, are their numbers from 1


def _digits(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """`b123` -> `123`."""
    return pc.utf8_slice_codeunits(names, 1)


def _join(*parts: pa.ChunkedArray | str) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*parts, "")


def _word(words: tuple[str, ...], index: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(words)]).take(index)


def _clock(seconds: np.ndarray) -> pa.Array:
    """`2014-09-18 15:03:11` of seconds UTC, by looking up the day and the second of the day."""
    first, last = seconds.min() // DAY, seconds.max() // DAY
    days = np.datetime_as_string(np.arange(first, last + 1).astype("datetime64[D]"))
    day = pa.array(days.tolist()).take(pa.array(seconds // DAY - first))
    return _join(day, _SECONDS_OF_DAY.take(pa.array(seconds % DAY)))


_SECONDS_OF_DAY = pa.array([f" {s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}" for s in range(DAY)])
