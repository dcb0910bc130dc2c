import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rclrec_mini import cli
from rclrec_mini.cli import VERBS, main
from rclrec_mini.files import read_json

ROOT = Path(__file__).parents[1]
TINY = ["--preset", "tiny", "--users", "17", "--items", "31"]


def one_line(text: str) -> str:
    """The only line that is no progress bar."""
    lines = [line.split("\r")[-1] for line in text.splitlines()]
    (line,) = [line for line in lines if line and "%|" not in line]
    return line


def test_help_names_every_verb_and_needs_no_torch():
    command = "import sys; from rclrec_mini.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
    assert all(f"\n  {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_help_with_defaults(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: rclrec {verb}" in shown
    assert "(default:" in shown and "(required)" in shown
    assert "noqa" not in shown
    unexplained = re.findall(r"--[a-z-]+ (?:\S+ )?\((?:default|required)", re.sub(r"[│\s]+", " ", shown))
    assert unexplained == []


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rclrec_mini 0.")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["sell"], ["'sell'", "simulate, prepare"]),
        (["simulate"], ["--out"]),
        (["simulate", "--out", "x", "--colour", "red"], ["--colour"]),
        (["simulate", "--out", "x", "--preset", "huge"], ["'huge'", "tiny"]),
        (["simulate", "--out", "x", "--users", "many"], ["--users", "'many'"]),
        (["simulate", "--out", "x", "--noise-share", "1.5"], ["--noise-share: found 1.5, expected 0..0.95"]),
        (
            ["simulate", "--out", "x", "--users", "9" * 20],
            ["--users: found 99999999999999999999, expected 1..2147483647"],
        ),
        (["simulate", "--outt", "x"], ["Missing", "--out PATH", "Unrecognized options: --outt x"]),
        (["simulate", "--out", "x", "--rows", "0"], ["rows", "0"]),
        (["simulate", "--out", "x", "--zipped"], ["zipped", "ijcai15"]),
        (["prepare", "--source", "table", "--log", "absent.csv", "--out", "x"], ["absent.csv", "not found"]),
        (["prepare", "--source", "table", "--log", "a.csv", "--out", "x", "--memory", "lots"], ["--memory", "'lots'"]),
        (["simulate", "--out", "x", "--parents", "100"], ["--leaves: found 60, expected 100 or more"]),
        (["tokenize", "--data", "d", "--out", "x", "--device", "abacus"], ["--device: found 'abacus'"]),
        (["tokenize", "--data", "d", "--out", "x", "--codes", "0"], ["--codes: found 0"]),
        (["recommend", "--run", "r", "--data", "d"], ["--users: found none, expected one of --users, --users-file"]),
        (["recommend", "--run", "r", "--data", "d", "--users", "3", "--all-users"], ["--users and --all-users"]),
        (["recommend", "--run", "r", "--data", "d", "--all-users", "--out", "x.xlsx"], ["--out: found x.xlsx"]),
        (["evaluate", "--run", "r", "--data", "d", "--beams", "3"], ["--beams: found 3, expected 10 or more"]),
        (["evaluate", "--run", "r", "--data", "d", "--cutoffs", "5", "0"], ["--cutoffs: found 5 0"]),
        (["evaluate", "--run", "r", "--data", "d", "--out", "x.txt"], ["--out: found x.txt", ".json or .csv"]),
        (
            ["evaluate", "--run", "r", "--data", "d", "--out", "r/x.csv"],
            ["r/x.csv: found the input r in the same"],
        ),
        (["reproduce", "table1", "--out", "x", "--workers", "0"], ["--workers: found 0, expected 1 or more"]),
        (["reproduce", "table1", "--out", "x", "--threads=-1"], ["--threads: found -1, expected 0 or more"]),
        (["reproduce", "table1", "--out", "x", "--seeds", "0", "0"], ["--seeds: found (0, 0), expected one or more"]),
        (
            ["abtest", "--data", "d", "--out", "x", "--arms", "count", "--control", "count", "--workers", "0"],
            ["--workers: found 0, expected 1 or more"],
        ),
        (["export", "--data", "d", "--out", "x.js"], ["--run: found none, expected at least 1"]),
        (["export", "--run", "r", "--data", "d", "--out", "x.txt"], ["--out: found x.txt", ".json or .js"]),
        (["export", "--run", "r", "--run", "a/r", "--data", "d", "--out", "x.js"], ["--run: found r twice"]),
        (["export", "--run", "a=r", "--data", "d", "--out", "x.js", "--users", "0"], ["--users: found 0"]),
        (["export", "--run", "a=r", "--data", "d", "--out", "x.js"], ["r/experiment.json: file not found"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    line = one_line(shown.err)
    assert line.startswith("rclrec: ")
    assert all(word in line for word in words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--model.k=0"], "--model.k: found 0, expected 1..6"),
        (["--model.tau", "0"], "--model.tau: found 0.0, expected more than 0"),
        (["--model.backbone.d", "35"], "--model.backbone.heads: found 2, expected a divisor of d, 35"),
        (["--model.backbone.dropout=1"], "--model.backbone.dropout: found 1.0, expected 0 to below 1"),
        (["--model.backbone.behaviors=3"], "--model.backbone.behaviors: found 3, expected 4 or more: "),
        (["--model.user-buckets", "0"], "--model.user-buckets: found 0, expected 1 or more"),
        (["--model.loss.margin=-1"], "--model.loss.margin: found -1.0, expected 0 or more"),
        (["--pretrain.seed=3", "--finetune.seed=-1"], "--finetune.seed: found -1, expected 0..9223372036854775807"),
        (["--pretrain.lr=0.1", "--finetune.lr=0"], "--finetune.lr: found 0.0, expected more than 0"),
        (["--seed=-1"], "--seed: found -1, expected 0..9223372036854775807"),
        (["--beams", "0"], "--beams: found 0, expected 10 or more"),
        (["--devices=2"], "--devices: found 2, expected 1 without strategy ddp"),
        (["--accelerator=cuda"], "--accelerator: found 'cuda', expected one of this machine: cpu"),
        (["--finetune.max-history=60"], "--finetune.max-history: found 60, expected at most the model's 50"),
        (["--pretrain.monitor=hits"], "--pretrain.monitor: found 'hits', expected one of recall@5, "),
    ],
)
def test_training_checks_its_flags_before_any_work(flags, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["train", "--preset", "mini", "--data", "no", "--ids", "no", "--out", "x", *flags]) == 2
    shown = capsys.readouterr()
    assert one_line(shown.err).startswith(f"rclrec: {line}")
    assert shown.out == "" and list(tmp_path.iterdir()) == []


def test_a_catalogue_or_data_that_do_not_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert main(["simulate", *TINY, "--users", "67", "--out", "shop"]) == 0
    assert main(["simulate", *TINY, "--purchase-share", "0", "--out", "window"]) == 0
    for shop in ("shop", "window"):
        assert main(["tokenize", "--data", shop, "--out", f"{shop}-ids", "--codes", "7", "--levels", "3"]) == 0
    capsys.readouterr()
    assert main(["train", "--data", "shop", "--ids", "shop-ids", "--out", "run"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "no GPU found: training with --preset mini; --preset full takes the papers' sizes\n"
    assert "4 levels of 16 codes" in one_line(shown.err)
    flags = shown.err.split("the catalogue's: ")[1].split()
    assert flags == ["--model.backbone.levels", "3", "--model.backbone.codes", "7"]
    assert main(["train", "--data", "window", "--ids", "window-ids", "--out", "run", *flags]) == 2
    assert "window: found no training purchase" in one_line(capsys.readouterr().err)
    assert not Path("run").exists()


def test_a_full_output_folder_is_left_alone_unless_told(tmp_path, capsys):
    out = tmp_path / "shop"
    assert main(["simulate", *TINY, "--out", str(out)]) == 0
    before = read_json(out / "manifest.json")
    assert main(["simulate", *TINY, "--out", str(out), "--seed", "5"]) == 2
    assert read_json(out / "manifest.json") == before
    assert main(["simulate", *TINY, "--out", str(out), "--seed", "5", "--overwrite"]) == 0
    assert read_json(out / "manifest.json")["seed"] == 5


def test_ctrl_c_ends_without_a_traceback(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.VERBS, "simulate", interrupted)
    assert main(["simulate"]) == 130
    assert capsys.readouterr().err == "rclrec: interrupted\n"


def test_a_fault_of_the_machine_is_one_line(monkeypatch, capsys):
    def full(args):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(cli.VERBS, "simulate", full)
    assert main(["simulate"]) == 1
    assert one_line(capsys.readouterr().err).startswith("rclrec: ")


def test_a_raw_log_goes_through_prepare(tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "prepared"
    assert main(["simulate", *TINY, "--format", "ijcai15", "--out", str(raw)]) == 0
    flags = ["--log", str(raw / "user_log_format1.csv"), "--users", str(raw / "user_info_format1.csv")]
    assert main(["prepare", "--source", "ijcai15", *flags, "--out", str(out)]) == 0
    counts = read_json(out / "manifest.json")["counts"]
    assert counts["users"] == 17
    assert f"{out}: 17 users" in capsys.readouterr().out


def test_a_shop_gets_semantic_ids(tmp_path, capsys):
    shop, ids = tmp_path / "shop", tmp_path / "ids"
    assert main(["simulate", *TINY, "--out", str(shop)]) == 0
    assert main(["tokenize", "--data", str(shop), "--out", str(ids), "--codes", "7", "--levels", "3"]) == 0
    assert f"{ids}: 31 items, 3 levels of 7 codes" in capsys.readouterr().out
    assert main(["tokenize", "--data", str(ids), "--out", str(tmp_path / "more")]) == 2
    assert "manifest.json" in one_line(capsys.readouterr().err)


SMALL = [
    "--model.backbone.levels=3",
    "--model.backbone.codes=7",
    "--model.backbone.d=14",
    "--model.backbone.heads=2",
    "--model.backbone.ffn=13",
    "--accelerator=cpu",
    "--pretrain.max-steps=3",
    "--finetune.max-steps=2",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> list[str]:
    """Flags that name a run and its data."""
    root = tmp_path_factory.mktemp("journey")
    shop, ids, run = (str(root / name) for name in ("shop", "ids", "run"))
    assert main(["simulate", *TINY, "--users", "67", "--out", shop]) == 0
    assert main(["tokenize", "--data", shop, "--out", ids, "--codes", "7", "--levels", "3"]) == 0
    assert main(["train", "--data", shop, "--ids", ids, "--out", run, *SMALL]) == 0
    return ["--run", run, "--data", shop]


@pytest.mark.slow
def test_evaluate_prints_pure_json(trained, tmp_path, capsys):
    assert main(["evaluate", *trained, "--json", "--out", str(tmp_path / "result.json")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == read_json(tmp_path / "result.json")
    assert {"recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr@10"} <= result["metrics"].keys()


@pytest.mark.slow
def test_evaluate_writes_a_table_at_chosen_cutoffs(trained, tmp_path, capsys):
    out = tmp_path / "metrics.csv"
    assert main(["evaluate", *trained, "--cutoffs", "1", "23", "--out", str(out)]) == 0
    lines = list(csv.DictReader(out.read_text().splitlines()))
    names = [f"{name}@{k}" for name in ("recall", "ndcg", "mrr", "coverage") for k in (1, 23)]
    assert [line["metric"] for line in lines] == names
    assert all(0 <= float(line["mean"]) <= 1 for line in lines)
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


@pytest.mark.slow
def test_evaluate_prints_a_table(trained, capsys):
    assert main(["evaluate", *trained, "--split", "validation"]) == 0
    assert re.search(r"\n  ndcg@10 +[\d.]+%  \[", capsys.readouterr().out)


@pytest.mark.slow
def test_recommend_prints_pure_json_or_a_list(trained, capsys):
    assert main(["recommend", *trained, "--users", "2", "3", "--k", "5", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [(answer["user"], len(answer["items"])) for answer in answers] == [("2", 5), ("3", 5)]
    assert main(["recommend", *trained, "--users", "2", "--k", "5"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {item['raw_id']}  " in shown for item in answers[0]["items"])


@pytest.mark.slow
def test_recommend_writes_files(trained, tmp_path, capsys):
    (tmp_path / "users.txt").write_text("3\n2\n")
    out = tmp_path / "answers.jsonl"
    assert main(["recommend", *trained, "--users-file", str(tmp_path / "users.txt"), "--out", str(out)]) == 0
    assert [json.loads(line)["user"] for line in out.read_text().splitlines()] == ["3", "2"]
    assert main(["recommend", *trained, "--all-users", "--exclude-seen", "--out", str(out)]) == 0
    assert f"{out}: 10 items for each of 67 users" in capsys.readouterr().out
    assert len(out.read_text().splitlines()) == 67
    (tmp_path / "mine.csv").write_text("my own\n")
    assert main(["recommend", *trained, "--all-users", "--out", str(tmp_path / "mine.csv")]) == 2
    assert (tmp_path / "mine.csv").read_text() == "my own\n"


@pytest.mark.slow
def test_export_writes_one_file(trained, tmp_path, capsys):
    _, run, *data = trained
    out = tmp_path / "live.json"
    assert main(["export", "--run", run, "--run", f"again={run}", *data, "--users", "5", "--out", str(out)]) == 0
    assert f"{out}: run, again, 5 users, " in capsys.readouterr().out
    models = read_json(out)["models"]
    assert list(models) == ["run", "again"] and models["run"]["tensors"] == models["again"]["tensors"]
    assert main(["export", "--run", run, *data, "--out", str(out)]) == 0  # an earlier export may be replaced
    (tmp_path / "mine.js").write_text("const mine = 1;")
    assert main(["export", "--run", run, *data, "--out", str(tmp_path / "mine.js")]) == 2
    assert (tmp_path / "mine.js").read_text() == "const mine = 1;"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["recommend", "--users", "nobody"], ["nobody"]),
        (["recommend", "--users-file", "absent.txt"], ["absent.txt", "not found"]),
        (["recommend", "--history", "absent.csv"], ["absent.csv", "not found"]),
        (["recommend", "--users", "2", "--k", "0"], ["k", "0"]),
        (["evaluate", "--beams", "3"], ["3"]),
    ],
)
def test_bad_questions_to_a_run_are_one_line(trained, args, words, capsys):
    assert main([args[0], *trained, *args[1:], "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(word in one_line(shown.err) for word in words)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--model.backbone.levels=4"], ["--devices=2"], ["--pretrain.lr=-1"]])
def test_training_that_cannot_be_leaves_nothing(trained, flags, tmp_path, capsys):
    _, run, _, shop = trained
    ids, out = str(Path(run).with_name("ids")), tmp_path / "run"
    assert main(["train", "--data", shop, "--ids", ids, "--out", str(out), *SMALL, *flags]) == 2
    assert one_line(capsys.readouterr().err)
    assert not out.exists()


def readme_commands() -> list[list[str]]:
    lines = (ROOT / "README.md").read_text().splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("rclrec ")]


def test_the_readme_shows_every_verb():
    assert {command[0] for command in readme_commands()} == set(VERBS)


@pytest.mark.slow
def test_the_readme_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in readme_commands():
        if command[0] != "prepare":  # which needs a real log
            assert main(command) == 0, command
