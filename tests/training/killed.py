"""Run as a script: train, get killed at every step and at every move of a file, start again, print what was left.

Each run is a fork of this process, so the libraries are imported once.
"""

import contextlib
import io
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import tiny
import torch

from rclrec_mini.training.schedule import TrainConfig
from rclrec_mini.training.trainer import train

torch.set_num_threads(1)
SEQUENCES = tiny.sequences()
ROWS = tiny.rows(SEQUENCES)
CONFIG = TrainConfig(
    epochs=2,
    batch_size=11,
    lr=0.03,
    monitor="MRR",
    log_every=3,
    checkpoint_every=5,
    evaluate_every=4,
    accelerator="cpu",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KilledBag(tiny.Bag):
    """Dies in the forward pass of a step."""

    kill_at: int | None = None
    step = 0

    def forward(self, batch):
        if self.step == self.kill_at:
            die()
        self.step += 1
        return super().forward(batch)


def kill_at_replace(n: int, *, after: bool) -> None:
    """Die just before or just after the n-th move of a finished file to its place."""
    replace, calls = os.replace, [0]

    def replace_or_die(source, target):
        calls[0] += 1
        if calls[0] == n and not after:
            die()
        replace(source, target)
        if calls[0] == n:
            die()

    os.replace = replace_or_die


def run(folder: Path, how: tuple | None = None) -> int:
    """Train in a fork; returns the signal that killed it, 0 if it came to its end."""
    if pid := os.fork():
        return os.WTERMSIG(os.waitpid(pid, 0)[1])
    try:
        model = KilledBag()
        match how:
            case ("step", n):
                model.kill_at = n
            case ("before" | "after", n):
                kill_at_replace(n, after=how[0] == "after")
        with contextlib.redirect_stderr(io.StringIO()):
            result = train(
                model,
                sequences=SEQUENCES,
                rows=ROWS,
                config=CONFIG,
                run=folder,
                evaluate=tiny.evaluator(SEQUENCES, ROWS),
            )
        end = {"result": [result.steps, result.best_step, result.metrics, result.stopped_early]}
        end["weights"] = {k: v.numpy().tobytes().hex() for k, v in model.state_dict().items()}
        (folder.parent / f"{folder.name}.json").write_text(json.dumps(end))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def left(folder: Path) -> dict:
    """Everything a run leaves, apart from times."""
    found = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    names = list(found)
    bytes_of = {k: p.read_bytes().hex() for k, p in found.items() if p.suffix == ".safetensors"}
    state = json.loads((folder / "last" / "state.json").read_text())
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in [state, *log]:
        line.pop("seconds")
    end = json.loads((folder.parent / f"{folder.name}.json").read_text())
    return {"names": names, "bytes": bytes_of, "state": state, "log": log, "end": end}


def main(out: Path) -> None:
    assert run(out / "whole") == 0
    expected = left(out / "whole")
    steps = expected["state"]["step"]
    cases = [("step", n) for n in range(steps)]
    n, alive = 0, False
    while not alive:  # until there are no more moves to die at
        n += 1
        for side in ("before", "after"):
            alive = run(out / f"{side}-{n}", (side, n)) == 0
            if not alive:
                cases.append((side, n))
    for case in cases:
        folder = out / f"{case[0]}-{case[1]}"
        if case[0] == "step":
            assert run(folder, case) == signal.SIGKILL, case
        assert run(folder) == 0, case
        assert left(folder) == expected, case
    print(json.dumps({"steps": steps, "cases": len(cases), "log": expected["log"]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
