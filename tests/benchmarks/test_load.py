import json


def test_all_kinds_of_loading_are_timed_on_a_small_shop(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", InThisProcess)
    config = benchmark.Config(rows=3001, rounds=2, out=tmp_path / "load.json")
    benchmark.main(config)
    result = json.loads(config.out.read_text())
    assert set(result["table"]) == {"columns", "unchecked", "checked", "checked again"}
    assert all(len(runs) == 2 for runs in result["runs"].values())
    assert result["table"]["unchecked"]["ratio"] == 1 and result["rows"] > 1000


class InThisProcess:
    """A pool without processes, which a script loaded by its path could not be sent to."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, run, *arguments):
        value = run(*arguments)
        return type("Done", (), {"result": lambda self: value})()
