"""Benchmarks are scripts, not modules of a package."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def benchmark(request):
    """The script that the test module is named after: test_NAME.py or test_NAME_benchmark.py."""
    name = request.path.stem.removeprefix("test_").removesuffix("_benchmark")
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # where a script finds its neighbours
    spec.loader.exec_module(module)
    sys.path.remove(str(path.parent))
    return module
