"""The library as others get it: installed from its wheel, away from the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
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


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel, and with the packages that it needs from ours."""
    empty = tmp_path_factory.mktemp("environment")
    venv.create(empty)
    packages = next(empty.glob("lib/python3*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # whose own .pth files stay unread
    install = [sys.executable, "-m", "pip", "--python", empty / "bin/python", "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", "--force-reinstall", wheel], check=True, env=variables())
    return empty


def variables(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


def run(*command: str | Path, folder: Path, **more: str) -> str:
    done = subprocess.run(command, cwd=folder, env=variables(**more), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return done.stdout


def test_the_journey_runs_from_the_wheel_alone(environment, tmp_path):
    where = run(environment / "bin/python", "-c", "import rclrec_mini; print(rclrec_mini.__file__)", folder=tmp_path)
    assert Path(where).is_relative_to(environment)
    for command in JOURNEY:
        shown = run(environment / "bin/rclrec", *command.split(), folder=tmp_path)
    assert "user 3\n" in shown


@pytest.mark.timeout(1800)  # nbmake stops a cell that hangs
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_the_wheel_alone(environment, tmp_path, name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    check = f"import rclrec_mini; assert rclrec_mini.__file__.startswith({str(environment)!r})"
    notebook.cells.append(nbformat.v4.new_code_cell(check))
    nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    cache = os.environ.get("RCLREC_CACHE", str(environment / "runs"))  # what one trains, the others share
    pytest_in_the_copy = [
        environment / "bin/python",
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--nbmake",
        "--nbmake-timeout=600",
    ]
    run(*pytest_in_the_copy, f"{name}.ipynb", folder=tmp_path, RCLREC_FAST="1", RCLREC_CACHE=cache)
