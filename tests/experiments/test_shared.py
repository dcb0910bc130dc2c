"""What notebooks share is made once, and made anew when anything it was made from changes."""

import dataclasses
import multiprocessing
from pathlib import Path

import pytest
import torch
from small_run import CONFIG

from rclrec_mini.experiments import shared
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.presets import preset

SHORT = dataclasses.replace(CONFIG.pretrain, max_steps=3, evaluate_every=2)
QUICK = dataclasses.replace(CONFIG, pretrain=SHORT, finetune=SHORT)


@pytest.fixture
def materials(tmp_path, monkeypatch) -> Materials:
    monkeypatch.setenv("RCLREC_CACHE", str(tmp_path / "cache"))
    return Materials.load(*shared.shop("tiny", codes=17, users=61))


def fitting(materials: Materials):
    """The small config with as many levels as the shop's ids have."""
    backbone = dataclasses.replace(QUICK.model.backbone, levels=materials.catalog.levels)
    return QUICK.with_model(backbone=backbone)


def logs(cache: Path) -> dict[Path, bytes]:
    """The runs of a cache with their logs, which tell the seconds that each took."""
    return {path: path.read_bytes() for path in cache.rglob("log.jsonl")}


def test_a_shop_is_made_once_and_its_ids_again_when_they_are_lost(materials, tmp_path):
    data, ids = shared.shop("tiny", codes=17, users=61)
    made = (data / "manifest.json").stat().st_mtime_ns
    for file in ids.iterdir():
        file.unlink()
    ids.rmdir()
    assert shared.shop("tiny", codes=17, users=61) == (data, ids)
    assert (data / "manifest.json").stat().st_mtime_ns == made
    assert torch.equal(Materials.load(data, ids).catalog.codes, materials.catalog.codes)
    assert shared.shop("tiny", codes=17, users=67)[0] != data
    assert {path.name.split("-")[0] for path in (tmp_path / "cache").iterdir()} == {"shop"}


def test_a_run_is_trained_once_and_others_share_its_stage_one(materials, tmp_path):
    config = fitting(materials)
    model, result = shared.stage_two(config, materials)
    before = logs(tmp_path / "cache")
    assert len(before) == 2
    again, same = shared.stage_two(config, materials)
    assert same == result and logs(tmp_path / "cache") == before
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    shared.stage_two(config.with_model(selector="none"), materials)
    assert logs(tmp_path / "cache").items() > before.items()
    assert len(logs(tmp_path / "cache")) == 3


def test_another_library_has_entries_of_its_own(materials, tmp_path, monkeypatch):
    run, _ = shared.stage_one(fitting(materials), materials)
    monkeypatch.setattr(shared, "library_key", lambda: "another")
    assert shared.stage_one(fitting(materials), materials)[0] != run


def test_the_key_follows_the_sources_that_numbers_come_from(tmp_path, monkeypatch):
    for name in ("models/one.py", "views/two.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x = 1")
    monkeypatch.setattr(shared, "LIBRARY", tmp_path)
    key = shared.library_key.__wrapped__
    whole, numbers = key(()), key()
    (tmp_path / "views/two.py").write_text("x = 2")
    assert key() == numbers and key(()) != whole
    (tmp_path / "models/one.py").write_text("x = 2")
    assert key() != numbers


def _train(folders, results) -> None:
    torch.set_num_threads(1)
    materials = Materials.load(*folders)
    results.put(shared.stage_one(fitting(materials), materials)[1].seconds)


@pytest.mark.slow
def test_of_two_that_ask_at_once_one_trains(materials, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    folders = shared.shop("tiny", codes=17, users=61)
    both = [context.Process(target=_train, args=(folders, results)) for _ in range(2)]
    for process in both:
        process.start()
    seconds = {results.get(timeout=120) for _ in both}
    for process in both:
        process.join()
    assert len(seconds) == 1 and len(logs(tmp_path / "cache")) == 1


@pytest.mark.parametrize("method", ["rclrec", "pointing"])
def test_a_lesson_is_mini_with_fewer_steps(method):
    whole, lesson, fast = preset("mini", method), shared.lesson(method), shared.lesson(method, fast=True)
    assert lesson.model == fast.model == whole.model
    assert fast.pretrain.max_steps < lesson.pretrain.max_steps < whole.pretrain.max_steps
    assert lesson.finetune == whole.finetune
