"""A whole reproduction in small: jobs that resume, the search, shared stages, and reports that add up."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from rclrec_mini.data.shop_config import preset as shop_preset
from rclrec_mini.data.simulate import write_prepared
from rclrec_mini.evaluation.metrics import mean_with_interval, ndcg, paired_test
from rclrec_mini.experiments import jobs, reports, studies
from rclrec_mini.experiments.post_train import digest
from rclrec_mini.experiments.report_text import comma_separated, gained, markdown
from rclrec_mini.experiments.reports import write_report
from rclrec_mini.experiments.search import Search, at_point
from rclrec_mini.experiments.studies import make_study, run_study
from rclrec_mini.experiments.tables import (
    BASE,
    COUNT,
    LANGUAGE_MODEL,
    METRICS,
    PRACTISED_BASE,
    Row,
    base_of,
    rows_of,
    with_needed,
)
from rclrec_mini.files import InputError, read_json, write_json
from rclrec_mini.training.schedule import TrainConfig

pytestmark = pytest.mark.slow  # a minute in all
SEEDS = (0, 3)
TRAINING = TrainConfig(batch_size=13, max_steps=4, evaluate_every=2, log_every=2, accelerator="cpu")
FINETUNING = dataclasses.replace(TRAINING, evaluate_first=True)
TABLE1 = {name: rows_of("table1")[name] for name in ("SASRec", "RCLRec")}
TABLE2 = {
    name: rows_of("table2")[name] for name in ("RCLRec", BASE, "recent-k", "oracle-k", "all repairs", PRACTISED_BASE)
}


def small(study):
    """The study with few steps and a grid of two points."""
    few = {"pretrain": TRAINING, "finetune": FINETUNING, "validation_targets": 23}
    configs = {name: dataclasses.replace(config, **few) for name, config in study.configs.items()}
    search = Search(lr=(1e-3, 1e-2), dropout=(0.1, 0.3), share=0.5, finetune_lr=(1e-4, 1e-3))
    return dataclasses.replace(study, configs=configs, search=search, seeds=SEEDS)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Both tables of a tiny shop, trained."""
    out = tmp_path_factory.mktemp("study")
    write_prepared(shop_preset("tiny", users=61), out / "data")
    study = small(make_study(out, preset_name="mini", progress=False))
    for rows in (TABLE1, TABLE2):
        run_study(study, rows, threads=1)
    return study


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_what_is_done_is_not_done_again(study):
    before = snapshot(study.out)
    run_study(study, TABLE2, threads=1)
    assert snapshot(study.out) == before


def test_a_lost_run_is_made_again_and_equal(study):
    folder = study.row("recent-k", 3)
    before = load_file(folder / "ranks.safetensors")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    run_study(study, {"recent-k": TABLE2["recent-k"]}, threads=1)
    after = load_file(folder / "ranks.safetensors")
    assert {name: values.tobytes() for name, values in after.items()} == {
        name: values.tobytes() for name, values in before.items()
    }


def test_rows_share_what_they_agree_on(study):
    """Stage one is the same for all rows of table2 without practice, and for both with; RCLRec is one run in all."""
    first = {name: study.stage_one(study.config(row, 0)) for name, row in TABLE2.items()}
    for base in (BASE, PRACTISED_BASE):
        assert len({first[name] for name, row in TABLE2.items() if base_of(row) == base}) == 1
    assert first[BASE] != first[PRACTISED_BASE]
    assert rows_of("figure3")["RCLRec"].changes == {"k": 4}
    assert study.config(rows_of("figure3")["RCLRec"], 0) == study.config(TABLE1["RCLRec"], 0)


def test_the_best_point_of_the_search_is_taken(study):
    for method in ("sasrec", "rclrec"):
        found = read_json(study.out / "search" / method / "search.json")
        tried = [(point["lr"], point["dropout"], point["steps"]) for point in found["points"]]
        rate = max(found["points"][:2], key=lambda point: point["ndcg@10"])["lr"]
        assert tried == [(1e-3, 0.1, 2), (1e-2, 0.1, 2), (rate, 0.3, 2)]
        best = max(found["points"], key=lambda point: point["ndcg@10"])
        assert found["best"] == best
        config = study.config(Row(method), 5)
        assert config == at_point(dataclasses.replace(study.configs[method], seed=5), best["lr"], best["dropout"])


def test_every_row_takes_its_best_rate_of_stage_two(study):
    for name, row in {**TABLE1, **TABLE2}.items():
        found = read_json(study.row_folder(name) / "search.json")
        assert [point["lr"] for point in found["points"]] == [1e-4, 1e-3]
        assert found["best"] == max(found["points"], key=lambda point: point["ndcg@10"])
        for seed in SEEDS:
            job = study.job(name, row, seed)
            assert job.folder == study.row(name, seed) and job.config.finetune.lr == found["best"]["lr"]
        other = next(point["lr"] for point in found["points"] if point["lr"] != found["best"]["lr"])
        assert (study.row(name, 0, other) / "result.json").exists() and not study.row(name, 3, other).exists()


def test_another_study_is_refused(study):
    other = dataclasses.replace(study, search=Search(lr=(1e-3,)))
    for use in (run_study, lambda other, rows: write_report(other, "table1", rows)):
        with pytest.raises(InputError, match=r"study\.json: search is"):
            use(other, TABLE1)
    with pytest.raises(InputError, match=r"study\.json: preset is mini, expected tiny \(another study\)"):
        run_study(dataclasses.replace(study, preset="tiny"), TABLE1)
    configs = {**study.configs, "sasrec": dataclasses.replace(study.configs["sasrec"], validation_targets=29)}
    with pytest.raises(InputError, match="result of another config"):
        run_study(dataclasses.replace(study, configs=configs), TABLE1)


def test_rates_are_taken_from_a_study_of_other_data(study, tmp_path):
    write_prepared(shop_preset("tiny", users=61, seed=1), tmp_path / "data")
    other = small(make_study(tmp_path / "other", preset_name="mini", data=tmp_path / "data", progress=False))
    taken = studies.take_rates(other, study.out)
    rows = rows_of("table2")
    for name in ("RCLRec", BASE):
        ours, theirs = (s.job(name, rows[name], 0).config for s in (taken, study))
        assert (ours.pretrain.lr, ours.model.backbone.dropout) == (theirs.pretrain.lr, theirs.model.backbone.dropout)
        assert ours.finetune.lr == theirs.finetune.lr
    assert read_json(taken.search_folder("rclrec") / "search.json")["points"] == []
    for refused in (other, dataclasses.replace(other, search=None)):
        with pytest.raises(InputError, match=r"study\.json: (search|rates_of) is .*another study"):
            refused.claim()
    with pytest.raises(InputError, match="rates_from: found no search in"):
        studies.take_rates(other, tmp_path / "data")


@pytest.fixture(scope="module")
def table2(study):
    return write_report(study, "table2", TABLE2)


def test_the_report_holds_what_the_runs_found(study, table2):
    assert table2 == read_json(study.out / "table2.json")
    assert table2["data"] == "the simulated shop"
    ranks = [load_file(study.row("RCLRec", seed) / "ranks.safetensors")["rank"] for seed in SEEDS]
    hits = np.stack([rank < 10 for rank in ranks]).astype(float)
    assert table2["rows"]["RCLRec"]["recall@10"] == dataclasses.asdict(mean_with_interval(hits))
    base = np.mean([load_file(study.row(BASE, seed) / "ranks.safetensors")["rank"] < 10 for seed in SEEDS])
    difference = table2["rows"]["RCLRec"]["against"]["recall@10"]["difference"]
    assert difference == pytest.approx(hits.mean() - base)
    assert table2["rows"]["RCLRec"]["against"]["other"] == BASE and "against" not in table2["rows"][BASE]
    others = {name: row["against"]["other"] for name, row in table2["rows"].items() if "against" in row}
    assert others["all repairs"] == PRACTISED_BASE and others[PRACTISED_BASE] == BASE
    assert table2["rows"]["RCLRec"]["paper"]["recall@10"] == 29.62 and "paper" not in table2["rows"]["oracle-k"]
    assert table2["rows"]["oracle-k"]["journey"]["precision"]["mean"] == 1
    assert 0 <= table2["rows"]["RCLRec"]["log"]["hinge_active"] <= 1


def test_targets_of_a_user_are_averaged_before_users_are_resampled(tmp_path):
    """Split by time, so that some users have several test targets."""
    write_prepared(shop_preset("tiny", users=307), tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.json"
    write_json(manifest, read_json(manifest) | {"split": "time"})
    study = small(make_study(tmp_path, preset_name="mini", progress=False))
    study, rows = dataclasses.replace(study, seeds=(0,), search=None), {"SASRec": TABLE1["SASRec"]}
    run_study(study, rows, threads=1)
    result = reports.report(study, "table1", rows)
    materials = jobs.load_materials(study.data, study.ids)
    user = materials.sequences.user_of(materials.split.test)
    assert result["targets"] == len(user) > len(np.unique(user))
    sasrec = result["rows"]["SASRec"]
    for row in (sasrec, sasrec["stage_one"], result["naive"]["popularity"]):
        assert row["recall@10"]["users"] == len(np.unique(user))


def test_groups_add_up_to_the_whole(table2):
    for row in (*table2["rows"].values(), *table2["naive"].values()):
        for groups in row["groups"].values():
            total = sum(one["targets"] for one in groups.values())
            assert total <= table2["targets"]
            if total == table2["targets"]:
                mean = sum(one["targets"] * one["estimate"]["mean"] for one in groups.values()) / total
                assert mean == pytest.approx(row["recall@10"]["mean"])


def test_seen_and_unseen_targets_add_up_to_the_whole(table2):
    for row in (*table2["rows"].values(), *table2["naive"].values()):
        assert row["seen"]["targets"] + row["unseen"]["targets"] == table2["targets"]
        for metric in ("recall@10", "ndcg@10"):
            total = sum(row[among]["targets"] * row[among][metric]["mean"] for among in ("seen", "unseen"))
            assert total / table2["targets"] == pytest.approx(row[metric]["mean"])
    assert table2["naive"]["most recent items"]["unseen"]["recall@10"]["mean"] == 0


def test_a_curve_goes_on_from_stage_one_to_stage_two(study, table2):
    for name, row in table2["rows"].items():
        first, second = row["curve"]["stage_one"], row["curve"]["stage_two"]
        assert [p["step"] for p in first] == [2, 4] and [p["step"] for p in second] == [0, 2, 4]
        minutes = [p["minutes"] for p in (*first, *second)]
        assert minutes == sorted(minutes) and minutes[0] > 0
        runs = [read_json(study.row(name, seed) / "result.json") for seed in SEEDS]
        assert max(p["ndcg@10"] for p in second) <= np.mean([run["validation"]["ndcg@10"] for run in runs]) + 1e-9
        assert second[0]["ndcg@10"] == pytest.approx(np.mean([run["curve"][0]["ndcg@10"] for run in runs]))


def test_table1_compares_with_the_best_other_method(study):
    result = reports.report(study, "table1", TABLE1)
    trained = result["rows"]
    best = max(trained, key=lambda name: trained[name]["ndcg@10"]["mean"])
    (second,) = set(trained) - {best}
    assert trained[best]["against"]["other"] == second and trained[second]["against"]["other"] == best
    assert all(row["against"]["other"] == best for row in result["naive"].values())
    assert trained["SASRec"]["journey"]["precision"]["mean"] > 0


def test_every_row_is_compared_with_the_count(study, table2):
    ranks = np.stack([load_file(study.row("RCLRec", seed) / "ranks.safetensors")["rank"] for seed in SEEDS])
    count = reports.naive_ranks(studies.load_materials(study.data, study.ids))[COUNT]
    expected = dataclasses.asdict(paired_test(ndcg(ranks, 10), ndcg(count[None], 10)))
    assert table2["rows"]["RCLRec"]["to_count"]["ndcg@10"] == expected
    assert gained(expected) in (study.out / "table2.md").read_text()
    assert "to_count" not in table2["naive"][COUNT] and "to_count" in table2["naive"]["popularity"]
    letter = table2["rows"][BASE]["to_rclrec"]["recall@10"]["difference"]
    assert letter == pytest.approx(-table2["rows"]["RCLRec"]["against"]["recall@10"]["difference"])
    assert "to_rclrec" not in table2["rows"]["RCLRec"]


def test_curricula_over_the_pointing_backbone_are_compared_with_none():
    rows = rows_of("pointing")
    assert {row.method for row in rows.values()} == {"pointing"} and rows["pointing"].changes == {}
    assert {row.changes["selector"] for name, row in rows.items() if name != "pointing"} == {
        "rcpm", "recent", "random", "oracle", "counting", "pointer",
    }  # fmt: skip
    scores = {name: {"ndcg@10": np.zeros(1)} for name in rows}
    assert {name: reports.opponent("pointing", name, scores, rows) for name in rows} == {
        name: None if name == "pointing" else "pointing" for name in rows
    }


def test_markdown_and_csv_show_every_row(study, table2):
    text = (study.out / "table2.md").read_text()
    assert text == markdown(table2) and "the simulated shop" in text and "industrial data set" in text
    best = read_json(study.out / "search" / "rclrec" / "search.json")["best"]
    assert f"the best of 3 points each: rclrec {best['lr']:g}, {best['dropout']:g}." in text
    assert table2["rows"]["RCLRec"]["runs"]["3"]["commit"] in text
    assert f"RCLRec {table2['rows']['RCLRec']['search_two']['best']['lr']:g}; " in text
    assert "| target's behaviour, behaviours, user |" in text
    lines = list(csv.DictReader(comma_separated(table2).splitlines()))
    names = [*table2["rows"], *table2["naive"]]
    whole = [line for line in lines if line["targets"] == "all"]
    assert [(line["row"], line["metric"]) for line in whole] == [(name, metric) for name in names for metric in METRICS]
    parts = [(line["row"], line["targets"], line["metric"]) for line in lines if line["targets"] != "all"]
    assert parts == [
        (name, among, metric) for name in names for among in ("seen", "unseen") for metric in ("recall@10", "ndcg@10")
    ]
    for line in whole:
        row = {**table2["rows"], **table2["naive"]}[line["row"]]
        assert float(line["mean"]) == row[line["metric"]]["mean"]
        assert line["data"] == "the simulated shop"
    for name in names:
        assert f"| {name} |" in text


def test_means_of_a_log_take_what_any_line_holds():
    lines = [
        {"step": 0, "loss": 4.0, "seconds": 1.0},
        {"step": 1, "loss": 3.0, "norm": 0.5, "hits": None},
        {"step": 1, "validation": {"ndcg@10": 0.5}},
        {"step": 2, "loss": 2.0, "hits": 0.25},
    ]
    assert jobs.means_of_log(lines) == {"loss": 3.0, "norm": 0.5, "hits": 0.25}
    assert jobs.means([{"loss": 1.0}, {"loss": 3.0, "norm": 2.0}]) == {"loss": 2.0, "norm": 2.0}


def test_a_report_needs_a_run(study, tmp_path):
    empty = dataclasses.replace(study, out=tmp_path)
    with pytest.raises(InputError, match="no finished run of table1"):
        write_report(empty, "table1", TABLE1)


def test_two_workers_find_the_same(study, tmp_path):
    other = dataclasses.replace(study, out=tmp_path)
    run_study(other, TABLE1, workers=2, threads=1)
    for name in TABLE1:
        ours, theirs = (load_file(s.row(name, 0) / "ranks.safetensors")["rank"] for s in (study, other))
        assert ours.tolist() == theirs.tolist()


def test_real_data_have_no_oracle(study, tmp_path):
    assert study.rows("table2") == rows_of("table2")
    shutil.copytree(study.data, tmp_path / "data")
    (tmp_path / "data" / "truth.parquet").unlink()
    manifest = read_json(tmp_path / "data" / "manifest.json")
    del manifest["checksums"]["truth.parquet"]
    write_json(tmp_path / "data" / "manifest.json", manifest)
    real = dataclasses.replace(study, data=tmp_path / "data", out=tmp_path).rows("table2")
    assert set(rows_of("table2")) - set(real) == {"oracle-k"} and len(real) > 5


def test_the_command(study, monkeypatch, capsys, tmp_path):
    from rclrec_mini.cli import main

    monkeypatch.setattr(studies, "make_study", lambda out, **_: study)
    figure3 = {name: rows_of("figure3")[name] for name in (BASE, "RCLRec")}
    monkeypatch.setattr(studies, "rows_of", lambda table, _: {"figure3": figure3, "table1": TABLE1}[table])
    assert main(["reproduce", "figure3", "--out", str(study.out)]) == 0
    assert "| RCLRec |" in capsys.readouterr().out
    assert (study.out / "figure3.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((study.out / "figure3.json").read_text())["table"] == "figure3"
    assert main(["reproduce", "table1", "--collect", "--out", str(study.out)]) == 0
    assert (study.out / "table1.png").read_bytes().startswith(b"\x89PNG")


DECODED = ("language model, D3", "language model, BigRec, re-weighed")


@pytest.fixture(scope="module")
def rere(study):
    """Some rows of post-training, in few steps."""
    rows = rows_of("rere")
    names = ("RCLRec, ReRe", "RCLRec, ReRe, collaborative", "RCLRec, S-DPO, beam", *DECODED)
    names = with_needed(rows, names)
    short = dataclasses.replace(FINETUNING, batch_size=7)
    few = {
        name: dataclasses.replace(row, post=row.post and dataclasses.replace(row.post, training=short))
        for name, row in ((name, rows[name]) for name in names)
    }
    study = dataclasses.replace(study, seeds=(0,))
    run_study(study, few, threads=1)
    return study, few


def test_post_training_goes_on_from_the_row_it_names(rere):
    study, rows = rere
    before = study.job("RCLRec", rows["RCLRec"], 0)
    for name in ("RCLRec, ReRe", "RCLRec, ReRe, collaborative", "RCLRec, S-DPO, beam"):
        job = study.job(name, rows[name], 0)
        assert job.from_stage_two == before.folder and job.config == before.config
        assert job.post.training.lr == read_json(study.row_folder(name) / "search.json")["best"]["lr"]
        assert (job.judge is None) == ("collaborative" not in name)
        settings = read_json(job.folder / "post_training" / "config.json")
        assert settings["policy"] == digest(jobs.trained(before, jobs.load_materials(job.data, job.ids))[0])
    assert len({lr.name for lr in study.row_folder("RCLRec, ReRe").glob("lr*")}) == len(study.search.post_lr)
    at = study.row("RCLRec, ReRe", 0)
    kept = snapshot(study.out)
    run_study(study, rows, threads=1)  # nothing is done twice
    assert snapshot(study.out) == kept and (at / "ranks.safetensors").exists()


def test_other_decoding_reads_the_model_of_the_row_it_names(rere):
    study, rows = rere
    result = write_report(study, "rere", rows)["rows"]
    base = study.job(LANGUAGE_MODEL, rows[LANGUAGE_MODEL], 0)
    for name in DECODED:
        job = study.job(name, rows[name], 0)
        assert job.from_stage_two == base.folder and not list(job.folder.glob("finetune"))
        assert result[name]["against"]["other"] == LANGUAGE_MODEL
        assert result[name]["config"]["decoding"]["method"] in ("d3", "bigrec")
        run, before = read_json(job.folder / "result.json"), read_json(base.folder / "result.json")
        assert run["best_step"] == before["best_step"] and run["validation"] != before["validation"]


def test_the_report_of_post_training_compares_with_what_it_came_from(rere):
    study, rows = rere
    result = write_report(study, "rere", rows)
    row = result["rows"]["RCLRec, ReRe"]
    assert row["against"]["other"] == "RCLRec" and "against" not in result["rows"]["SASRec"]
    assert {"signal", "hit", "reward", "kl", "distinct"} <= row["training"][0].keys()
    assert row["config"]["post_training"]["objective"]["group"] == 16
    assert row["seconds"] > result["rows"]["RCLRec"]["seconds"]  # which it goes on from
    assert "ReRe" in markdown(result) and "collaborative" in comma_separated(result)


def test_every_row_of_post_training_has_its_base():
    rows = rows_of("rere")
    assert {row.base for row in rows.values()} == {None, "pointing", "RCLRec", BASE, LANGUAGE_MODEL}
    assert all(
        (b := rows[row.base]).method == row.method and b.changes == row.changes for row in rows.values() if row.base
    )
    judged = {name for name, row in rows.items() if row.judged}
    assert judged == {"RCLRec, ReRe, collaborative", *(f"{LANGUAGE_MODEL}, {n}" for n in ("constrained policy", "D3"))}


def test_rows_come_with_what_they_need():
    rows = rows_of("rere")
    assert with_needed(rows, ()) == rows
    assert list(with_needed(rows, ["language model, D3", "TIGER"])) == [
        "SASRec",
        "TIGER",
        "language model",
        "language model, D3",
    ]
    with pytest.raises(InputError, match="only: found 'D4', expected rows of the table"):
        with_needed(rows, ["D4"])
