"""The library as others get it: installed from its wheel, away from the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
JOURNEY = [
    "simulate --preset tiny --users 67 --items 31 --out shop",
    "tokenize --data shop --out ids --levels 3 --codes 7",
    "train --preset tiny --data shop --ids ids --out run --model.backbone.levels 3 --model.backbone.codes 7 "
    "--pretrain.max-steps 3 --finetune.max-steps 2 --accelerator cpu",
    "evaluate --run run --data shop",
    "recommend --run run --data shop --users 2 3",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """What `make wheel` builds, in a copy of the repository."""
    copy = tmp_path_factory.mktemp("repository")
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "rclrec_mini", copy / "rclrec_mini", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "benchmarks" / "results", copy / "benchmarks" / "results")
    (copy / ".venv").symlink_to(sys.prefix)
    subprocess.run(["make", "wheel"], cwd=copy, check=True, capture_output=True)
    (built,) = (copy / "dist").iterdir()
    assert not (copy / "build").exists()
    return built


def test_the_wheel_holds_the_library_its_results_and_nothing_else(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path for kind in ("*.py", "*.js", "*.css") for path in (ROOT / "rclrec_mini").rglob(kind)]
    library = {path.relative_to(ROOT).as_posix() for path in files}
    results = ROOT / "benchmarks" / "results"
    assert held == library | {f"rclrec_mini/results/{path.relative_to(results)}" for path in results.rglob("*.json")}


def test_the_journey_runs_from_the_wheel_alone(wheel, tmp_path):
    empty, folder = tmp_path / "environment", tmp_path / "elsewhere"
    folder.mkdir()
    venv.create(empty)
    python, packages = empty / "bin/python", next(empty.glob("lib/python3*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # whose own .pth files stay unread
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*install, "--force-reinstall", wheel], check=True, env=variables)

    def run(*command) -> str:
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(python, "-c", "import rclrec_mini; print(rclrec_mini.__file__)")
    assert Path(where).is_relative_to(packages)
    for command in JOURNEY:
        shown = run(empty / "bin/rclrec", *command.split())
    assert "user 3\n" in shown
