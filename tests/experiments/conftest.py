import pytest
import small_run


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """data, ids, run: read only"""
    root = tmp_path_factory.mktemp("experiment")
    small_run.make(root)
    return root / "data", root / "ids", root / "run"
