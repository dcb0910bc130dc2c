import pytest

from rclrec_mini.data.engines import DuckDB


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = DuckDB(spill=tmp_path_factory.mktemp("spill"), memory=500_000_000, threads=1)
    yield engine
    engine.close()
