"""Questions of many kinds about the users of an export, and the comparison of two engines' answers to them."""

import json
import random
import subprocess
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from rclrec_mini.views.live.bundle import JS
from rclrec_mini.views.live.engine import Engine, as_batch

COLUMNS = ("items", "behaviors", "timestamps", "journey")
EDITS = {
    "none": lambda events: events,
    "some removed": lambda events: events[1:4] + events[5:],
    "the newest alone": lambda events: events[-1:],
    "two": lambda events: events[-2:],
    "empty": lambda events: [],
    "the oldest moved to the end": lambda events: events[1:] + [(*events[0][:2], events[-1][2] + 60, events[0][3])],
    "carts turned into clicks": lambda events: [(i, 0 if b == 2 else b, t, j) for i, b, t, j in events],
    "another item": lambda events: [(3, *events[0][1:]), *events[1:]],
    "one item over and over": lambda events: [(events[0][0], *event[1:]) for event in events],
}


def of(person: Mapping[str, Any], **asked: Any) -> dict[str, Any]:
    """The question about a user of the export as they are."""
    target = person["target"]
    return {
        "user": person["user"], **{name: person[name] for name in COLUMNS},
        "timestamps": list(accumulate(person["timestamps"])), "target": target["item"],
        "row": target["row"], "k": 4, "tau": 0.5, **asked,
    }  # fmt: skip


def edited(question: dict[str, Any], edit: str) -> dict[str, Any]:
    events = EDITS[edit](list(zip(*(question[name] for name in COLUMNS), strict=True)))
    columns = zip(*events, strict=True) if events else [()] * len(COLUMNS)
    return {**question, **{name: list(values) for name, values in zip(COLUMNS, columns, strict=True)}}


def many(engine: Engine, users: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each user and model a question with k, temperature, selector and edit drawn at random."""
    draw = random.Random(0)
    asked = []
    for person in users:
        for name, model in engine.models.items():
            question = of(
                person, model=name, k=draw.randint(0, model.backbone.config.max_prefix),
                tau=draw.choice([0.05, 0.2, 0.5, 1.0, 2.0]), selector=draw.choice(engine.selectors(name)),
            )  # fmt: skip
            if draw.random() < 0.05:
                question["target"] = None
            asked.append(edited(question, draw.choice(list(EDITS)) if draw.random() < 0.6 else "none"))
    return asked


def by_node(node: str, exported: Path, asked: list[dict[str, Any]], engine: Path = JS / "engine.js") -> list[Any]:
    """What the page's engine answers."""
    command = [node, Path(__file__).with_name("answers.mjs"), engine, exported]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert all(answer["list"] == answer["with"]["top"] for answer in answers if "error" not in answer)
    return answers


@torch.inference_mode()
def by_python(engine: Engine, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Python answers, with the encoder's states."""
    states = [engine.models[question["model"]].encode(as_batch(question)).flatten().tolist() for question in asked]
    return [{**engine.answer(question), "states": s} for question, s in zip(asked, states, strict=True)]


def largest_difference(a: Mapping[str, Any], b: Mapping[str, Any], names: tuple[str, ...]) -> float:
    """Of numbers and lists of numbers under `names`, each of which both answers have or neither has."""
    largest = 0.0
    for name in names:
        assert (a[name] is None) == (b[name] is None), name
        if a[name] is not None:
            pairs = zip(a[name], b[name], strict=True) if isinstance(a[name], list) else [(a[name], b[name])]
            largest = max([largest, *(abs(x - y) for x, y in pairs)])
    return largest


def compare(a: Mapping[str, Any], b: Mapping[str, Any], within: float) -> bool:
    """Assert that answers agree in every number up to `within`, and in events and items but for near ties; returns
    whether they name the same events and items."""
    assert largest_difference(a, b, ("states", "p", "gate", "copy", "base", "margin")) < within
    sides = ["without"]
    if a["selected"] == b["selected"]:
        assert a["prefix"] == b["prefix"]
        assert largest_difference(a, b, ("gain",)) < within
        sides.append("with")
    else:  # near ties alone
        assert max(abs(a["p"][i] - a["p"][j]) for i, j in zip(a["selected"], b["selected"], strict=True)) < within
    same = len(sides) == 2
    for side in sides:
        assert largest_difference(a[side], b[side], ("target",)) < within
        tops = [[one["item"] for one in answer[side]["top"]] for answer in (a, b)]
        logps = [[one["logp"] for one in answer[side]["top"]] for answer in (a, b)]
        assert len(tops[0]) == len(tops[1])
        assert max((abs(x - y) for x, y in zip(*logps, strict=True)), default=0) < within
        same &= tops[0] == tops[1]
    return same
