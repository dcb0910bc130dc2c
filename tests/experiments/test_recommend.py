"""Many people at once get what each alone gets, in every format; what was seen stays out; strangers are welcome."""

import csv
import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_run import CONFIG

from rclrec_mini.data.prepared import read_table
from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.experiments.answers import open_answers
from rclrec_mini.experiments.methods import METHODS
from rclrec_mini.experiments.recommend import Recommender, recommend, write_recommendations
from rclrec_mini.experiments.run import load_run
from rclrec_mini.files import InputError
from rclrec_mini.models.curriculum import OracleK


def test_recommend(folders):
    data, _, run = folders
    _, _, materials = load_run(run, data)
    users = read_table(data, "users")["raw_id"].to_pylist()
    (answer,) = recommend(run, data, users=[users[3]], k=7, beams=13)
    assert answer["user"] == users[3]
    assert len(answer["curriculum"]) == CONFIG.model.k and len(answer["items"]) == 7
    assert len({item["raw_id"] for item in answer["items"]}) == 7
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    start, end = materials.sequences.offsets[3:5]
    history = materials.sequences.item[max(start, end - 11) : end]
    for event in answer["curriculum"]:
        assert 1 <= event["events_ago"] <= min(11, end - start)
        assert history[-event["events_ago"]] >= 0
    with pytest.raises(InputError, match="user nobody not found among 67 users"):
        recommend(run, data, users=[users[3], "nobody"])


def plain(answers: list[dict]) -> list[dict]:
    """Answers without what is known of their items."""
    kept = {"curriculum": ("raw_id", "behavior", "events_ago"), "items": ("raw_id", "score")}
    return [
        {"user": a["user"]}
        | {part: [{name: one[name] for name in names} for one in a[part]] for part, names in kept.items()}
        for a in answers
    ]


def alike(found: list[dict], expected: list[dict]) -> None:
    for part, name in (("curriculum", "raw_id"), ("curriculum", "events_ago"), ("items", "raw_id")):
        assert [[one[name] for one in a[part]] for a in found] == [[one[name] for one in a[part]] for a in expected]
    assert [a["user"] for a in found] == [a["user"] for a in expected]
    for a, b in zip(found, expected, strict=True):
        assert [one["score"] for one in a["items"]] == pytest.approx([one["score"] for one in b["items"]], abs=1e-4)


def test_many_get_what_each_alone_gets(folders):
    data, _, run = folders
    recommender = Recommender(run, data)
    everybody = recommender.people()
    assert len(everybody) == 67
    names = everybody.names.to_pylist()
    tables = [batch.table() for batch in recommender.answer(everybody, k=7, beams=13, batch_size=19)]
    assert [table.num_rows for table in tables] == [19, 19, 19, 10]
    together = [row for table in tables for row in table.to_pylist()]
    alike(together, [a for name in names for a in plain(recommend(run, data, users=[name], k=7, beams=13))])


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_files_hold_what_is_told(folders, tmp_path, suffix, capsys):
    data, _, run = folders
    out = tmp_path / f"answers{suffix}"
    users = ["5", "3", "11"]
    assert write_recommendations(out, run, data, users=users, k=7, beams=13, progress=True) == 3
    assert "3/3" in capsys.readouterr().err
    expected = plain(recommend(run, data, users=users, k=7, beams=13))
    if suffix == ".parquet":
        alike(pq.read_table(out).to_pylist(), expected)
    elif suffix == ".jsonl":
        alike([json.loads(line) for line in out.read_text().splitlines()], expected)
    else:
        lines = list(csv.DictReader(out.read_text().splitlines()))
        for part in ("curriculum", "items"):
            found = [(n["user"], int(n["place"]), n["raw_id"], n["behavior"]) for n in lines if n["part"] == part]
            assert found == [
                (a["user"], place, one["raw_id"], one.get("behavior", ""))
                for a in expected
                for place, one in enumerate(a[part], start=1)
            ]
        assert list(dict.fromkeys(n["user"] for n in lines)) == users
        assert [n["user"] for n in lines] == [user for user in users for _ in range(len(lines) // 3)]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_file_is_written_whole_or_not_at_all(folders, tmp_path):
    recommender = Recommender(folders[2], folders[0])
    with pytest.raises(KeyboardInterrupt), open_answers(tmp_path / "answers.jsonl") as write:
        for batch in recommender.answer(recommender.people(), batch_size=19):
            write(batch)
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("k", [7, 13])
def test_what_was_seen_stays_out_and_the_list_is_full(folders, k):
    data, _, run = folders
    recommender = Recommender(run, data)
    everybody, sequences = recommender.people(), recommender.sequences
    raw_ids = recommender.raw_ids.to_pylist()
    answers = [a for b in recommender.answer(everybody, k=k, beams=k, exclude_seen=True) for a in b.table().to_pylist()]
    for user, answer in enumerate(answers):
        seen = {raw_ids[i] for i in sequences.item[sequences.offsets[user] : sequences.offsets[user + 1]]}
        found = [item["raw_id"] for item in answer["items"]]
        assert len(set(found)) == k and not seen & set(found)
        assert answer["curriculum"]


def history_file(path, recommender, user: int, columns=("item", "behavior", "timestamp")) -> None:
    sequences, raw_ids = recommender.sequences, recommender.raw_ids.to_pylist()
    rows = range(*sequences.offsets[user : user + 2])
    lines = [(raw_ids[sequences.item[r]], BEHAVIORS[sequences.behavior[r]], sequences.timestamp[r]) for r in rows]
    path.write_text("\n".join(",".join(map(str, line)) for line in [columns, *lines]) + "\n")


def test_a_stranger_with_the_events_of_a_user_gets_what_the_user_gets(folders, tmp_path):
    recommender = Recommender(folders[2], folders[0])
    history_file(tmp_path / "ann.csv", recommender, 5)
    person = recommender.person(tmp_path / "ann.csv")
    assert person.names.to_pylist() == ["ann"] and 0 <= person.known_as[0] < 67
    (told,) = recommend(folders[2], folders[0], history=tmp_path / "ann.csv", k=7, beams=13)
    assert told["user"] == "ann" and len(told["items"]) == 7
    twin = dataclasses.replace(person, known_as=np.array([5]))
    user = recommender.people([recommender.people().names[5].as_py()])
    for one, other in zip(recommender.answer(twin, k=7), recommender.answer(user, k=7), strict=True):
        assert one.items.tolist() == other.items.tolist() and one.events.tolist() == other.events.tolist()


def test_the_oracle_is_refused(folders, monkeypatch):
    model, config, materials = load_run(folders[2], folders[0])
    model.selector = OracleK(k=3, journey=materials.journey)
    monkeypatch.setattr("rclrec_mini.experiments.run.load_run", lambda run, data: (model, config, materials))
    with pytest.raises(InputError, match="oracle, which must know the purchase"):
        Recommender(folders[2], folders[0])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_recommends_unseen_items(folders, method, monkeypatch):
    _, _, materials = load_run(folders[2], folders[0])
    config = METHODS[method].config()
    if hasattr(config, "backbone"):
        config = dataclasses.replace(config, backbone=CONFIG.model.backbone)
    torch.manual_seed(0)
    made = METHODS[method]
    model = made.second(config, materials, made.first(config, materials)).eval()
    monkeypatch.setattr("rclrec_mini.experiments.run.load_run", lambda run, data: (model, config, materials))
    recommender = Recommender(folders[2], folders[0])
    (batch,) = recommender.answer(recommender.people(["3", "7"]), k=5, exclude_seen=True)
    assert (batch.items >= 0).all() and batch.table().num_rows == 2
    for row, user in enumerate(recommender.people(["3", "7"]).numbers):
        events = slice(*recommender.sequences.offsets[user : user + 2])
        assert not set(batch.items[row]) & set(recommender.sequences.item[events])
