"""Cases of killed verbs: SIGKILL at a random moment, then the same command again."""

import functools
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import logs
import results
from verdicts import ACCEPTED, REFUSED, WrongError, check_contents

PRELOAD = [
    *("kills", "rclrec_mini.cli", "rclrec_mini.data.prepare"),
    *("rclrec_mini.experiments.run", "rclrec_mini.semantic_ids.tokenize"),
]
INPUTS = {"shop", "ids", "run", "log.csv"}


def _child(args: list[str]) -> None:
    """The command in a process of its own, silent but for its errors."""
    from rclrec_mini.cli import main

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.exit(main(args))


def start(folder: Path, args: tuple) -> Any:
    server = multiprocessing.get_context("forkserver")  # which imports once what every child needs
    server.set_forkserver_preload(PRELOAD)
    process = server.Process(target=_in_folder, args=(str(folder), [str(arg) for arg in args]))
    process.start()
    return process


def _in_folder(folder: str, args: list[str]) -> None:
    os.chdir(folder)
    _child(args)


VERBS: dict[str, tuple] = {
    "simulate": (*results.SHOP, "--out", "new"),
    "simulate again": (*results.SHOP, "--seed", "0", "--out", "shop", "--overwrite"),
    "prepare": ("prepare", "--source", "ijcai15", "--log", "log.csv", "--out", "new", "--threads", "1"),
    "tokenize": (*results.IDS, "--data", "shop", "--out", "new"),
    "tokenize again": (*results.IDS, "--data", "shop", "--out", "ids", "--overwrite"),
    "train": (*results.TRAIN, "--data", "shop", "--ids", "ids", "--out", "new", "--seed", "0"),
    "evaluate": ("evaluate", "--run", "run", "--data", "shop", "--out", "new.json"),
    "recommend": ("recommend", "--run", "run", "--data", "shop", "--all-users", "--out", "new.jsonl"),
    "export": ("export", "--run", "run", "--data", "shop", "--users", "9", "--out", "new.js"),
}


def written(folder: Path) -> dict[str, Any]:
    return {
        name: held
        for name, held in results.content(folder).items()
        if not name.startswith(".") and name not in ("errors.txt", "log.csv")
    }


def prepare_folder(folder: Path) -> Path:
    (results.copy(folder) / "log.csv").write_text(logs.ijcai15(random.Random(0)))
    return folder


@functools.cache
def undisturbed(verb: str) -> tuple[float, dict[str, Any]]:
    """How long a verb takes, and all that lies in its folder afterwards."""
    with tempfile.TemporaryDirectory(prefix="rclrec-fuzz-") as name:
        folder = prepare_folder(Path(name))
        for attempt in range(2):  # the first of all starts the server
            process, began = start(folder, VERBS[verb]), time.monotonic()
            process.join()
            assert process.exitcode == 0 or attempt, (folder / "errors.txt").read_text()
            if attempt == 0:
                seconds, found = time.monotonic() - began, written(folder)
        return seconds, found


def kill_case(rng: random.Random, folder: Path) -> str:
    """Kill a verb, perhaps twice; called again it ends with the same files, or refuses because it had ended."""
    verb = rng.choice([*VERBS])
    seconds, expected = undisturbed(verb)
    prepare_folder(folder)
    for _ in range(rng.choice([1, 1, 2])):
        process = start(folder, VERBS[verb])
        process.join(rng.uniform(0, 1.1 * seconds))
        process.kill()
        process.join()
    process = start(folder, VERBS[verb])
    process.join()
    said = (folder / "errors.txt").read_text().split("\n")
    if process.exitcode not in (0, 2) or (process.exitcode == 2 and "not empty" not in "".join(said)):
        raise WrongError(f"{verb} after a kill: exit code {process.exitcode}, {said[-3:]}")
    check_contents(folder, INPUTS | {"errors.txt", "new", "new.json", "new.jsonl", "new.js"})
    found = written(folder)
    if found != expected:
        names = [name for name in found | expected if found.get(name) != expected.get(name)]
        raise WrongError(f"{verb} after a kill: other files {names}")
    return ACCEPTED if process.exitcode == 0 else REFUSED
