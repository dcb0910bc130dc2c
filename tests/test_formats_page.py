"""book/formats.md: its commands run, and it names every source, as does the help."""

import gzip
import json
import re
import shlex
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rclrec_mini.cli import main
from rclrec_mini.data.sources import SOURCES
from rclrec_mini.files import read_json

PAGE = (Path(__file__).parents[1] / "book/formats.md").read_text()
COMMANDS = re.findall(r"^rclrec (.*)$", PAGE.replace("\\\n", ""), re.M)
TEXTS = {
    "log.csv": "user,item,behavior,timestamp\na,7,purchase,1411052591\n",
    "items.csv": 'item,title,price\n7,"hat, blue",19.9\n',
    "ml-100k/ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\na\t7\t5\t1411052591\n",
    "ml-100k/ml-100k.item": "item_id:token\tmovie_title:token_seq\n7\tToy Story\n",
    "tianchi_2014002_rec_tmall_log_parta.txt": "7\x01u5\x01alipay\x012014-09-18 15:03:11\n",
    "tianchi_2014001_rec_tmall_product.txt": "7\x01hat\x01\x0150-5003\x01b1\x01s1\n",
    "UserBehavior.csv": "5,7,11,buy,1511544070\n",
    "yelp_academic_dataset_review.json": '{"user_id": "a", "business_id": "b", "date": "2014-09-18 15:03:11"}\n',
    "yelp_academic_dataset_business.json": '{"business_id": "b", "name": "Eds", "categories": null, "city": "Tampa"}\n',
}
REVIEWS = [  # a 5-core
    {"reviewerID": f"A{user}", "asin": f"B{item}", "unixReviewTime": 1514764800 + 86_400 * (5 * user + item)}
    for user in range(5)
    for item in range(5)
]
IJCAI15 = "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type\n5,7,1,2,3,0829,2\n5,9,1,2,3,0830,2\n"


def write_files(folder: Path) -> None:
    for name in ("ml-100k", "orders"):
        (folder / name).mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    for name, rows in (
        ("Toys", REVIEWS),
        ("meta_Toys", [{"asin": "B0", "price": "$12.99", "category": ["Toys", "Dolls"]}]),
    ):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}_and_Games.json.gz").write_bytes(gzip.compress(lines.encode()))
    rows = "".join(
        f"a\t7\t{word}\t141105259{i}000\n" for i, word in enumerate(("view", "like", "basket", "buy", "share"))
    )
    (folder / "events.tsv.gz").write_bytes(gzip.compress(f"uid\tsku\taction\tts\n{rows}".encode()))
    pq.write_table(pa.table({"user": ["a"], "gender": ["f"]}), folder / "users.parquet")
    times = pa.array([1411052591]).cast(pa.timestamp("s"))
    pq.write_table(pa.table({"customer": ["a"], "product": [7], "ordered_at": times}), folder / "orders" / "a.parquet")
    with zipfile.ZipFile(folder / "data_format1.zip", "w") as archive:
        archive.writestr("user_log_format1.csv", IJCAI15)
        archive.writestr("user_info_format1.csv", "user_id,age_range,gender\n5,6,1\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(command, tmp_path, monkeypatch):
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)) == 0
    assert read_json(tmp_path / "shop" / "manifest.json")["behaviors"]["purchase"] > 0


def test_every_source_is_on_the_page_and_in_the_help(capsys):
    assert re.findall(r"^\| `([a-z][\w-]*)` \|", PAGE, re.M) == list(SOURCES)
    assert {re.search(r"--source (\S+)", command)[1] for command in COMMANDS} == set(SOURCES)
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    shown = capsys.readouterr().out
    assert re.findall(r" ([a-z][\w-]*): ", shown)[: len(SOURCES)] == list(SOURCES)
