"""A whole test: its folder, resuming, what is refused, retraining, and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from rclrec_mini.cli import main
from rclrec_mini.data.sequences import Sequences, split_last_purchase
from rclrec_mini.data.simulate import preset, write_prepared
from rclrec_mini.evaluation.metrics import evaluate_rankings
from rclrec_mini.experiments.materials import balanced_ids
from rclrec_mini.experiments.presets import preset as experiment_preset
from rclrec_mini.experiments.run import evaluate_run, run_experiment
from rclrec_mini.files import InputError, read_json, write_json
from rclrec_mini.online import abtest
from rclrec_mini.online.abtest import ABTestConfig, run_abtest
from rclrec_mini.online.arms import NAIVE, named, open_arm
from rclrec_mini.online.buckets import buckets
from rclrec_mini.online.outcomes import TYPES, Outcomes
from rclrec_mini.online.report import ReportConfig
from rclrec_mini.online.retrain import nightly_split
from rclrec_mini.online.slates import Slates

CONFIG = ABTestConfig(users=600, days=5, logged=30, beams=13)
HOW = {"control": "count", "report": ReportConfig(share=0.5, salts=2, aa=2), "progress": False}
ARMS = {"count": None, "popularity": None, "nothing": None}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "data"
    write_prepared(preset("tiny", users=211), folder)
    return folder


@pytest.fixture(scope="module")
def run(data):
    config = experiment_preset("tiny", "sasrec")
    short = {name: replace(getattr(config, name), max_steps=3, evaluate_every=3) for name in ("pretrain", "finetune")}
    ids = balanced_ids(data, data.parent / "ids", codes=16)
    run_experiment(replace(config, **short), data, ids, data.parent / "run", progress=False)
    return data.parent / "run"


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_test_is_played_and_taken_up_to_the_same_bytes(data, run, tmp_path, monkeypatch):
    arms = {**ARMS, "sasrec": run}
    result = run_abtest(CONFIG, data, arms, tmp_path / "a", **HOW)
    outcomes = Outcomes.load(tmp_path / "a" / "outcomes")
    assert outcomes.arms == ("count", "popularity", "nothing", "sasrec") and len(outcomes.users) == 600
    assert result["arms"]["nothing"]["per_user"]["slate_orders"] == 0
    for arm, name in enumerate(outcomes.arms):
        assert result["arms"][name]["per_user"]["orders"] == pytest.approx(outcomes.of("orders")[arm].mean())
    assert len(Slates.load(tmp_path / "a" / "slates.safetensors").user) == 30

    def broken(*args, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(abtest, "offline_rank", broken)
        with pytest.raises(KeyboardInterrupt):
            run_abtest(CONFIG, data, arms, tmp_path / "b", **HOW)
    run_abtest(CONFIG, data, dict(list(arms.items())[:2]), tmp_path / "b", **HOW)

    def not_again(name, *rest, **more):
        assert name not in ("count", "popularity")
        return open_arm(name, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(abtest, "open_arm", not_again)
        run_abtest(CONFIG, data, arms, tmp_path / "b", **HOW)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_offline_metrics_are_those_of_the_evaluation(data, run, tmp_path):
    arms = {"sasrec": run, "count": None}
    result = run_abtest(CONFIG, data, arms, tmp_path / "out", **HOW)
    expected = evaluate_run(run, data, progress=False)["metrics"]
    found = result["offline"]
    for name in ("recall@10", "ndcg@10"):
        assert found[name]["sasrec"]["mean"] == pytest.approx(expected[name]["mean"])
    sequences = Sequences.load(data)
    rows = split_last_purchase(sequences).test
    ranker = open_arm("count", None, data).ranker
    scores = evaluate_rankings(ranker.rank(sequences, rows, 10), sequences.item[rows])
    assert result["offline"]["recall@10"]["count"]["mean"] == pytest.approx(scores["recall@10"].mean())
    offline = load_file(tmp_path / "out" / "offline.safetensors")
    assert offline["rank"].shape == (2, len(rows)) and offline["seen"].shape == (len(rows),)
    assert (offline["rank"][1] < 10).mean() == pytest.approx(scores["recall@10"].mean())


@pytest.mark.slow
def test_arms_side_by_side_come_out_as_one_by_one(data, tmp_path):
    for workers in (1, 2):
        run_abtest(CONFIG, data, ARMS, tmp_path / str(workers), workers=workers, **HOW)
    one, two = (contents(tmp_path / str(workers)) for workers in (1, 2))
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if name != "report.json")


def test_every_naive_ranking_plays(data, tmp_path):
    result = run_abtest(CONFIG, data, dict.fromkeys(NAIVE), tmp_path / "out", **HOW)
    assert list(result["arms"]) == list(NAIVE)
    clicks = {name: arm["per_user"]["clicks"] for name, arm in result["arms"].items()}
    assert min(clicks.values()) == clicks["nothing"] == 0 and clicks["count"] > clicks["popularity"]


def test_what_does_not_fit_is_refused_in_a_line(data, run, tmp_path, capsys):
    other = tmp_path / "other"
    write_prepared(preset("tiny", users=67, seed=1), other)
    log = tmp_path / "log"
    write_prepared(preset("tiny", users=5), log)
    manifest = read_json(log / "manifest.json")
    write_json(log / "manifest.json", manifest | {"result": "prepared log"})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    out = tmp_path / "out"

    def says(*flags: object) -> str:
        given = {"--data": data, "--control": "count", "--out": out, "--arms": "count"} | dict(
            zip(flags[::2], flags[1::2], strict=True)
        )
        args = [str(one) for flag, value in given.items() for one in (flag, *str(value).split())]
        code = main(["abtest", *args, "--users", "20", "--days", "2"])
        told = capsys.readouterr().err
        assert code == 2 and told.count("\n") == 1, told
        return told

    assert "found a prepared log, expected a simulated shop" in says("--data", log)
    assert "--arms: found frequency, expected NAME=RUN or one of count" in says("--arms", "frequency count")
    assert "--arms: found count, expected a name of its own" in says("--arms", "count count")
    assert "--arms: found x=, expected a name of its own" in says("--arms", "count x=")
    assert "--arms: found the name ../a, expected letters" in says("--arms", f"count ../a={run}")
    assert "--control: found tiger, expected one of the arms count" in says("--control", "tiger")
    assert f"the run {run} was trained on" in says("--data", other, "--arms", f"count sasrec={run}")
    assert "file not found" in says("--arms", f"count sasrec={tmp_path}/none", "--out", tmp_path / "two")
    assert "holds no test" in says("--out", tmp_path / "full")
    assert not out.exists() and not (tmp_path / "two").exists()


def test_another_test_in_the_folder_is_refused(data, tmp_path):
    run_abtest(CONFIG, data, {"count": None}, tmp_path / "out", **HOW)
    with pytest.raises(InputError, match=r"config.days is 5, expected 6"):
        run_abtest(replace(CONFIG, days=6), data, {"count": None}, tmp_path / "out", **HOW)
    (tmp_path / "out" / "arms" / "count" / "lists.safetensors").write_text("x")
    with pytest.raises(InputError, match=r"lists\.safetensors: expected safetensors, found"):
        run_abtest(CONFIG, data, {"count": None}, tmp_path / "out", **HOW)


@pytest.mark.parametrize("users", [1, 8])
def test_a_test_to_which_nobody_comes(data, tmp_path, users):
    with pytest.raises(InputError, match="users: found no visit by any of them in the days of the test"):
        run_abtest(replace(CONFIG, users=users, days=1), data, {"count": None}, tmp_path / "out", **HOW)


def test_a_run_that_was_trained_on_is_another_arm(data, run, tmp_path):
    run_abtest(CONFIG, data, {"count": None}, tmp_path / "out", **HOW)
    with pytest.raises(InputError, match="was played with other weights"):
        run_abtest(CONFIG, data, {"count": run}, tmp_path / "out", **HOW)


def test_arms_that_learn_every_night(data, run, tmp_path):
    config, arms = replace(CONFIG, users=211, days=4, retrain=True), {"count": None, "popularity": None, "sasrec": run}
    result = run_abtest(config, data, arms, tmp_path / "a", **HOW)
    outcomes = Outcomes.load(tmp_path / "a" / "outcomes")
    bucket = buckets(np.arange(211), salt=config.salt, shares=[1 / 3] * 3)
    assert np.array_equal(outcomes.bucket, bucket)
    visits = outcomes.of("visits")
    for arm in range(3):
        assert visits[arm, bucket == arm].sum() > 0 and not visits[arm, bucket != arm].any()
    assert "lift" not in result["arms"]["popularity"]
    nights = sorted(path.name for path in (tmp_path / "a" / "nights" / "sasrec").iterdir())
    assert nights == ["day0", "day1", "day2"]

    with pytest.raises(InputError, match=r"settings\.json: key arms|arms is"):
        run_abtest(config, data, {"count": None, "sasrec": run}, tmp_path / "a", **HOW)

    run_abtest(config, data, arms, tmp_path / "b", **HOW)
    again = Outcomes.load(tmp_path / "b" / "outcomes")
    assert all(np.array_equal(getattr(again, name), getattr(outcomes, name)) for name in TYPES)


def test_more_users_than_the_log_has_cannot_be_learned_from(data, tmp_path):
    with pytest.raises(InputError, match="users: found 600, expected at most the 211 of the log"):
        run_abtest(replace(CONFIG, retrain=True), data, ARMS, tmp_path / "out", **HOW)


def test_a_night_keeps_some_purchases_to_choose_by(data):
    sequences = Sequences.load(data)
    split = nightly_split(sequences)
    assert split.train_event.all() and len(split.validation) == pytest.approx(20, abs=3)
    assert (sequences.user_of(split.validation) % 10 == 0).all()
    assert not np.isin(split.validation, split.train).any()
    first = sequences.offsets[:-1]
    assert np.array_equal(np.sort(np.concatenate([split.train, split.validation, first])), np.arange(len(sequences)))


def test_the_verb_prints_the_arms(data, tmp_path, capsys):
    flags = ("--arms", "count", "popularity", "--control", "count", "--users", "800", "--days", "8", "--report.aa", "2")
    assert main(["abtest", "--data", str(data), "--out", str(tmp_path / "out"), *flags]) == 0
    told = capsys.readouterr().out
    assert "800 users, 8 days, against count" in told and "popularity" in told
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["config"]["users"] == 800


def test_names_of_arms():
    assert list(named(("count", "tiger=runs/tiger"))) == ["count", "tiger"]
