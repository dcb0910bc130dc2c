"""From reviews, in which every event is a purchase, to recommendations, with histories of ten."""

import json

import numpy as np
import pytest

from rclrec_mini.cli import main
from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.experiments.materials import Materials

SHOP = ["--preset", "tiny", "--users", "61", "--items", "67", "--purchase-share", "0.1", "--journey-events", "3"]
FILES = {
    "amazon2018": ("Simulated.json.gz", "meta_Simulated.json.gz", "A0000000000007"),
    "yelp": ("yelp_academic_dataset_review.json", "yelp_academic_dataset_business.json", "u000000000000000000007"),
}
TRAIN = [
    *("--preset=tiny", "--accelerator=cpu", "--model.backbone.levels=3", "--model.backbone.codes=7"),
    *(
        "--model.backbone.d=14",
        "--model.backbone.heads=2",
        "--model.backbone.ffn=13",
        "--model.backbone.max-history=10",
    ),
    *("--pretrain.max-history=10", "--finetune.max-history=10", "--pretrain.max-steps=5", "--finetune.max-steps=3"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "split"), [("amazon2018", "time"), ("yelp", "last-purchase")])
def test_reviews_become_recommendations(tmp_path, monkeypatch, capsys, source, split):
    def done(*args: str) -> str:
        assert main([*args]) == 0
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    log, meta, user = FILES[source]
    done("simulate", *SHOP, "--format", source, "--out", "raw")
    files = ["--log", f"raw/{log}", "--items", f"raw/{meta}"]
    done("prepare", "--source", source, *files, "--out", "data", "--k-core", "5", "--split", split)
    done("tokenize", "--data", "data", "--out", "ids", "--levels", "3", "--codes", "7")
    done("train", *TRAIN, "--data", "data", "--ids", "ids", "--out", "run")
    result = json.loads(done("evaluate", "--run", "run", "--data", "data", "--json"))

    materials = Materials.load("data", "run/ids")
    assert (materials.sequences.behavior == PURCHASE).all()
    assert len(materials.purchases()) == len(materials.split.train)
    buyers = len(np.unique(materials.sequences.user_of(materials.split.test)))
    assert result["targets"] == len(materials.split.test)
    assert {estimate["users"] for estimate in result["metrics"].values()} == {buyers}
    assert (buyers < result["targets"]) == (split == "time")

    (answer,) = json.loads(done("recommend", "--run", "run", "--data", "data", "--users", user, "--json"))
    assert len(answer["items"]) == 10
    assert {event["behavior"] for event in answer["curriculum"]} == {"purchase"}
