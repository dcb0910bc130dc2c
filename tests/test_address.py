"""The one setting that names the repository's address, and all that follows from it."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jupytext
import pytest
import yaml

ROOT = Path(__file__).parents[1]
URL = "https://github.com/some.body/some-where"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def script(path: str):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


repository = script("book/repository.py")


@pytest.fixture
def copy(tmp_path) -> Path:
    """What a copy of the repository needs to have its address written."""
    for path in ("_config.yml", "pyproject.toml", "CITATION.cff", "book", "notebooks"):
        put = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        put(ROOT / path, tmp_path / path)
    return tmp_path


def write(copy: Path, url: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(copy / "book/repository.py"), url]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def texts(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in repository.following("", folder)}


def code(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in jupytext.read(path)["cells"] if cell["cell_type"] == "code"]


def test_every_file_names_the_address_of_the_setting():
    for path, text in repository.following(repository.configured()).items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `make repository URL=…`"


def test_no_other_file_names_an_address():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    followers = {Path(__file__), *repository.following("")} - {ROOT / "book/repository.py"}
    address = re.compile(r"github\.com/(?!OWNER/NAME)\w|raw\.githubusercontent|git\+https")
    for path in {ROOT / name for name in listed.stdout.decode().split("\0") if name} - followers:
        if path.is_file():
            assert not address.search(path.read_text(encoding="utf-8", errors="replace")), path


def test_an_address_is_written_everywhere_and_taken_out_again(copy):
    assert write(copy, "").returncode == 0
    empty = texts(copy)
    assert write(copy, URL).returncode == 0
    assert tomllib.loads((copy / "pyproject.toml").read_text())["project"]["urls"] == {"Source": URL}
    assert yaml.safe_load((copy / "CITATION.cff").read_text())["repository-code"] == URL
    assert yaml.safe_load((copy / "_config.yml").read_text())["repository"]["url"] == URL
    assert f"({URL})" in (copy / "book/intro.md").read_text()
    for path in (copy / "notebooks").glob("*.*py*"):
        assert f'\nREPOSITORY = "{URL}"\n' in code(path)[0]
    assert write(copy, "").returncode == 0
    assert texts(copy) == empty
    assert not any(b"some-where" in text for text in empty.values())


@pytest.mark.parametrize("url", ["github.com/some/where", "https://github.com/some", 'https://github.com/a/b"', "x"])
def test_what_is_no_address_is_refused_and_nothing_written(copy, url):
    before = texts(copy)
    refused = write(copy, url)
    assert refused.returncode == 1 and refused.stderr.startswith("URL: found ") and refused.stderr.count("\n") == 1
    assert texts(copy) == before


@pytest.mark.parametrize(("url", "buttons"), [("", False), (URL, True)])
def test_pages_have_buttons_only_with_an_address(url, buttons):
    config = SimpleNamespace(html_theme_options={"repository_url": url})
    script("book/extensions/static_book.py").add_buttons(None, config)
    options = {"use_repository_button", "use_issues_button", "launch_buttons"}
    assert config.html_theme_options.keys() == {"repository_url"} | (options if buttons else set())


def run_cell(cell: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a cell where no package is installed."""
    return subprocess.run([sys.executable, "-ISc", cell], cwd=folder, capture_output=True, text=True, check=False)


def test_the_first_cell_of_all_notebooks_is_the_same():
    assert len({code(path)[0] for path in NOTEBOOKS}) == 1


def test_the_first_cell_finds_the_library_in_the_repository():
    cell = code(NOTEBOOKS[0])[0] + "\nimport rclrec_mini\nprint(rclrec_mini.__file__)"
    found = run_cell(cell, ROOT / "notebooks")
    assert found.stdout.strip() == str(ROOT / "rclrec_mini/__init__.py")


def test_the_first_cell_says_how_to_install_what_it_cannot_find(copy):
    write(copy, "")
    cell = code(copy / "notebooks/01_quickstart.py")[0]
    missing = run_cell(cell, copy / "notebooks")
    assert missing.returncode == 1
    assert re.search(r"^ModuleNotFoundError: rclrec_mini is missing: run `pip install \.`.*\n\Z", missing.stderr, re.M)
