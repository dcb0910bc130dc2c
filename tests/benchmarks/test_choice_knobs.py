import numpy as np
import pytest

from rclrec_mini.data.simulate import preset, write_prepared
from rclrec_mini.online.abtest import ABTestConfig, run_abtest
from rclrec_mini.online.report import ReportConfig
from rclrec_mini.online.slates import Slates


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    root = tmp_path_factory.mktemp("test")
    write_prepared(preset("tiny", users=67), root / "data")
    arms = dict.fromkeys(("count", "popularity", "nothing"))
    config = ABTestConfig(users=90, days=5, logged=90)
    report = ReportConfig(share=0.5, salts=2, aa=2)
    run_abtest(config, root / "data", arms, root / "abtest", control="count", report=report, progress=False)
    return root


def test_arms_are_worth_what_the_test_says_and_change_with_the_knobs(benchmark, played, tmp_path):
    config = benchmark.Config(played / "data", played / "abtest", draws=64, out=tmp_path / "knobs.json")
    result = benchmark.main(config)
    found = result["variants"]
    slates = Slates.load(played / "abtest" / "slates.safetensors")
    assert result["visits"] == len(slates.user)
    for what, values in (("clicks", slates.clicks), ("orders", slates.orders)):
        mean = values.mean(axis=1)
        assert found["as set"]["control"][what] == pytest.approx(mean[0])
        assert found["as set"]["lift"]["popularity"][what] == pytest.approx(mean[1] / mean[0] - 1)
        assert found["as set"]["lift"]["nothing"][what] == -1
    assert found["as set"]["correlation"]["orders"] == pytest.approx(1)
    assert found["outside +1"]["control"]["clicks"] < found["as set"]["control"]["clicks"]
    assert found["order +1"]["control"]["orders"] > 1.5 * found["as set"]["control"]["orders"]
    assert found["order +1"]["control"]["clicks"] == found["as set"]["control"]["clicks"]
    assert found["liked x 2"]["control"]["clicks"] > found["liked x 0"]["control"]["clicks"]
    assert all(one["control"]["incremental"] < one["control"]["orders"] for one in found.values())
    assert len(found) == 1 + 9 * 3 + 2 * 2 and np.isfinite(found["eta x 0"]["control"]["clicks"])
