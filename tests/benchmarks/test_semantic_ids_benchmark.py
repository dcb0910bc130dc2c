import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from rclrec_mini.data.simulate import preset


@pytest.mark.filterwarnings("ignore:codebooks collapsed")  # 307 items are few for 256 codes
def test_the_ids_of_a_small_shop_are_timed(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", lambda n, context: ThreadPoolExecutor(n))
    monkeypatch.setattr(benchmark, "preset", lambda name, **changes: preset("tiny", **changes))
    config = benchmark.Config(rows=5003, out=tmp_path / "semantic_ids.json")
    benchmark.main(config)
    result = json.loads(config.out.read_text())
    assert result["counts"]["items"] == 307 and len(result["runs"]) == 1
    assert all(value > 0 for value in result["table"].values())
