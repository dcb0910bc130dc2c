"""What holds the repository together: pins, notebook pairs, import layers, and a README that is true."""

import ast
import graphlib
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FOLDERS = [
    "data",
    "semantic_ids",
    "models",
    "training",
    "decoding",
    "post_training",
    "evaluation",
    "experiments",
    "online",
    "views",
]
LAYERS = ["files", "checks", "records", *FOLDERS, "cli"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted((ROOT / "rclrec_mini").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    """{name: version} of lines such as `torch==2.13.0`"""
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def direct(*extras: str) -> set[str]:
    """The packages that pyproject.toml itself asks for."""
    project = PYPROJECT["project"]
    asked = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    return {normal(re.match(r"[\w.-]+", one)[0]) for one in asked}


CONSTRAINTS = pins(
    [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
)


def test_every_dependency_is_pinned():
    assert direct("book", "test", "spark") <= CONSTRAINTS.keys()


def test_the_pins_satisfy_the_bounds():
    project = PYPROJECT["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(CONSTRAINTS[normal(requirement.name)]), requirement


def test_environment_yml_agrees_with_the_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *_, packages = environment["dependencies"]
    listed = pins([line for line in packages["pip"] if not line.startswith("--")])
    assert listed == {name: CONSTRAINTS[name] for name in direct("book")}
    assert "python=3.11" in environment["dependencies"]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path) -> Iterator[str]:
    """Modules of the library that a file imports, wherever in the file it does so."""
    known = {module_name(module) for module in MODULES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "rclrec_mini":
                yield name if name in known else name.rpartition(".")[0]


def layer(module: str) -> int:
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 1 else -1


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_layers_to_its_left(path):
    own = layer(module_name(path))
    assert [name for name in imported_modules(path) if layer(name) > own] == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {module_name(path): set(imported_modules(path)) - {module_name(path)} for path in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_pair_is_in_sync(path):
    source = jupytext.read(path)
    paired = json.loads(path.with_suffix(".ipynb").read_text())

    def cells(notebook) -> list[tuple]:
        return [
            (cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in notebook["cells"]
        ]

    assert cells(paired) == cells(source), "run `make pairs`"
    code = [cell for cell in paired["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code), "outputs are not committed"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_fits_the_column_of_a_page_and_prose_the_source(path):
    cells = [cell for cell in jupytext.read(path).cells if "remove-cell" not in cell.metadata.get("tags", [])]
    limits = {"code": 72, "markdown": 118}
    long = [line for cell in cells for line in cell.source.splitlines() if len(line) > limits[cell.cell_type]]
    assert [line for line in long if "http" not in line and not line.startswith("|")] == []


def test_every_notebook_has_a_source_and_a_place_in_the_book():
    stems = {path.stem for path in NOTEBOOKS}
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == stems
    contents = (ROOT / "book/_toc.yml").read_text()
    assert set(re.findall(r"notebooks/(\w+)", contents)) == stems


def code_blocks(path: Path) -> str:
    return "\n".join(re.findall(r"```\w*\n(.*?)```", path.read_text(), re.S))


def test_the_make_commands_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    text = "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", ".ci/run", "book/intro.md"))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M)) <= targets


def test_the_tree_of_the_readme_exists():
    tree = code_blocks(ROOT / "README.md").split("rclrec_mini/  ")[1]
    folders = re.findall(r"^  ([\w.]+)/?  ", tree, re.M)
    assert folders == FOLDERS + ["cli"]
    assert all((ROOT / "rclrec_mini" / folder).exists() for folder in folders)
    assert all((ROOT / folder).is_dir() for folder in re.findall(r"^(\w+)/  ", tree, re.M))


def test_test_modules_have_names_of_their_own():
    """pytest imports them by these, and refuses two of one name."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert not {name for name in names if names.count(name) > 1}


def test_no_file_names_a_place_on_one_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    places = re.compile(r"(?<![\w.])/(home|root|opt|work|Users)/")
    for path in map(ROOT.joinpath, filter(None, listed.stdout.decode().split("\0"))):
        if path.is_file():
            assert not places.search(path.read_text(encoding="utf-8", errors="replace")), path


def test_the_pages_of_the_api_name_every_module():
    pages = {path.stem: path.read_text() for path in (ROOT / "book/api").glob("*.md")}
    named = re.findall(r"automodule:: ([\w.]+)", "".join(pages.values()))
    modules = [module_name(path) for path in MODULES if path.name != "__init__.py"]
    assert sorted(named) == sorted(modules), "run `python book/api_pages.py`"
    assert set(re.findall(r"book/api/(\w+)", (ROOT / "book/_toc.yml").read_text())) == set(pages)
