"""The data contracts: behaviours, and the tables of a prepared data set.

A prepared data set is a folder:

    interactions.parquet   INTERACTIONS, sorted by (user, position)
    items.parquet          ITEMS, row i describes item i
    users.parquet          USERS, row u describes user u
    truth.parquet          TRUTH, row for row beside interactions; simulated shops only, read by no model
    manifest.json          where it came from, what was dropped, and the hashes of what it holds: `content_hash` of all
                           values, `checksums` of the files' bytes; and which of SPLITS to train and test on, by
                           default the first
"""

import pyarrow as pa

from rclrec_mini.files import Result

BEHAVIORS = ("click", "favorite", "cart", "purchase")
CLICK, FAVORITE, CART, PURCHASE = range(len(BEHAVIORS))
DAY = 86_400  # seconds
MAX_SECONDS = 253_402_300_799  # the end of the year 9999; larger numbers are milliseconds
SPLITS = ("last-purchase", "time")  # made in sequences.py

INTERACTIONS = pa.schema(
    [
        ("user", pa.int32()),  # 0..n_users-1
        ("item", pa.int32()),  # 0..n_items-1
        ("behavior", pa.int8()),  # index into BEHAVIORS
        ("timestamp", pa.int64()),  # seconds UTC; midnight of the day where the source has days only
        ("position", pa.int32()),  # 0.. within the user, in time order
    ]
)

ITEMS = pa.schema(
    [
        ("item", pa.int32()),
        ("raw_id", pa.string()),
        ("category", pa.string()),  # leaf
        ("parent_category", pa.string()),
        ("brand", pa.string()),
        ("seller", pa.string()),
        ("title", pa.string()),  # words separated by spaces
        ("price", pa.float64()),
    ]
)

USERS = pa.schema(
    [
        ("user", pa.int32()),
        ("raw_id", pa.string()),
        ("age_range", pa.string()),
        ("gender", pa.string()),
    ]
)

TRUTH = pa.schema(
    [
        ("user", pa.int32()),
        ("position", pa.int32()),
        ("journey", pa.int32()),  # which of the user's decision journeys the event belongs to; -1 is noise
    ]
)

TABLES = {"interactions": INTERACTIONS, "items": ITEMS, "users": USERS, "truth": TRUTH}

_FILES = frozenset({"manifest.json"} | {f"{name}.parquet" for name in TABLES})
PREPARED = Result("prepared log", "manifest.json", _FILES)  # what prepare writes
SHOP = Result("simulated shop", "manifest.json", _FILES)  # what simulate writes
