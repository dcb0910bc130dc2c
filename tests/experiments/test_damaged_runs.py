"""Runs whose files were damaged, lost or cut short by a full disk: named, and never read as if they were whole."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError
from small_run import CONFIG
from torch.testing import assert_close

from rclrec_mini.experiments.run import load_run, run_experiment
from rclrec_mini.files import InputError
from rclrec_mini.training import checkpoints


def copy_of(folders, tmp_path) -> Path:
    return Path(shutil.copytree(folders[2], tmp_path / "run"))


def test_best_weights_that_are_gone_or_changed_are_an_error(folders, tmp_path):
    data, _, _ = folders
    run = copy_of(folders, tmp_path)
    (weights,) = (run / "finetune" / "best").glob("model-*.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-9] + bytes([content[-9] ^ 2]) + content[-8:])
    with pytest.raises(InputError, match=r"best/model-\d+\.safetensors: found other bytes than were saved"):
        load_run(run, data)
    shutil.rmtree(run / "finetune" / "best")
    with pytest.raises(InputError, match=r"finetune/best/state\.json: file not found"):
        load_run(run, data)


@pytest.mark.parametrize("name", ["experiment.json", "finetune/last/state.json", "finetune/best/state.json"])
@pytest.mark.parametrize("text", ["{}", "[]", "null", "3", "{", "\xff"])
def test_a_record_of_another_shape_is_one_line(folders, tmp_path, name, text):
    run = copy_of(folders, tmp_path)
    (run / name).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=rf"{name}: ") as error:
        load_run(run, folders[0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": 1}, "found the key extra"),
        ({"method": "magic"}, 'key method is "magic", expected'),
        ({"model": {}}, "model: key .* is missing"),
        ({"beams": "13"}, 'key beams is "13", expected an integer'),
        ({"pretrain": None}, "key pretrain is null, expected an object"),
        ({"data_hash": 3}, "key data_hash is 3, expected a string"),
    ],
)
def test_an_experiment_of_other_keys_is_one_line(folders, tmp_path, change, words):
    path = copy_of(folders, tmp_path) / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"experiment\.json: {words}") as error:
        load_run(path.parent, folders[0])
    assert "\n" not in str(error.value)


def test_a_bad_line_of_the_log_is_named_when_a_run_goes_on(folders, tmp_path):
    data, ids, _ = folders
    run = copy_of(folders, tmp_path)
    log = run / "pretrain" / "log.jsonl"
    log.write_text("[]\n" + log.read_text())
    with pytest.raises(InputError, match=r"log\.jsonl: line 1: found \[\], expected an object"):
        run_experiment(CONFIG, data, ids, run, progress=False)


@pytest.mark.parametrize("out", ["data", "ids", "data/run", "link"])
def test_a_run_does_not_lie_in_its_inputs(folders, tmp_path, out):
    data, ids, _ = (shutil.copytree(folder, tmp_path / folder.name) for folder in folders)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="found"):
        run_experiment(CONFIG, data, ids, tmp_path / out, progress=False)
    assert not (data / "run").exists() and (data / "manifest.json").exists() and (tmp_path / "link").is_symlink()


def test_a_disk_that_fills_up_leaves_a_whole_checkpoint(folders, tmp_path, monkeypatch):
    data, ids, run = folders
    save, saved = checkpoints.save_file, []

    def filling(tensors, path):
        saved.append(path)
        if len(saved) > 3:  # the model of the second checkpoint: half of it is written
            path.write_bytes(b"half")
            raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")
        save(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", filling)
    with pytest.raises(InputError, match=r"safetensors: could not be written: No space left"):
        run_experiment(CONFIG, data, ids, tmp_path / "run", progress=False)
    assert not list(tmp_path.rglob("*.partial-*"))
    monkeypatch.undo()
    resumed = run_experiment(CONFIG, data, ids, tmp_path / "run", progress=False)
    assert_close(resumed.state_dict(), load_run(run, data)[0].state_dict(), rtol=0, atol=0)
