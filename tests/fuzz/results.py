"""Cases of damaged results: a file of a data set, a catalogue or a run is changed, and a verb reads it."""

import functools
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutations
from verdicts import ACCEPTED, WrongError, call, check_contents, check_refusal

SHOP = ("simulate", "--preset", "tiny", "--users", "29", "--items", "31")
IDS = ("tokenize", "--levels", "3", "--codes", "7")
TRAIN = (
    *("train", "--preset", "tiny", "--accelerator", "cpu", "--model.backbone.levels", "3"),
    *("--model.backbone.codes", "7", "--model.backbone.d", "14", "--model.backbone.heads", "2"),
    *("--model.backbone.ffn", "13", "--model.user-buckets", "17", "--pretrain.max-steps", "3"),
    *("--finetune.max-steps", "2"),
)


@functools.cache
def whole() -> Path:
    """A folder with the results of a short journey, `shop`, `ids` and `run`, and another's, `other`; made once."""
    root = Path(tempfile.mkdtemp(prefix="rclrec-fuzz-whole-"))
    for folder, seed in ((root, 0), (root / "other", 5)):
        shop, ids, run = folder / "shop", folder / "ids", folder / "run"
        for command in (
            (*SHOP, "--out", shop, "--seed", str(seed)),
            (*IDS, "--data", shop, "--out", ids),
            (*TRAIN, "--data", shop, "--ids", ids, "--out", run, "--seed", str(seed)),
        ):
            code, _, errors = call(*command)
            assert code == 0, errors
    return root


def tokenized(folder: Path) -> Any:
    done = call(*IDS, "--data", folder / "shop", "--out", folder / "new")
    return done, content(folder / "new") if done[0] == 0 else {}


def trained(folder: Path) -> Any:
    done = train(folder, "new")
    return done, content(folder / "new") if done[0] == 0 else {}


def resumed(folder: Path) -> Any:
    """A run that is finished, and what it then recommends."""
    done = train(folder, "run")
    return recommended(folder) if done[0] == 0 else (done, {})


def train(folder: Path, out: str) -> tuple[int, str, list[str]]:
    return call(*TRAIN, "--data", folder / "shop", "--ids", folder / "ids", "--out", folder / out, "--seed", "0")


def evaluated(folder: Path) -> Any:
    return call("evaluate", "--run", folder / "run", "--data", folder / "shop", "--json"), {}


def recommended(folder: Path) -> Any:
    users = ("--users", "2", "3", "5")
    return call("recommend", "--run", folder / "run", "--data", folder / "shop", *users, "--json"), {}


VERBS: dict[str, list[Callable[[Path], Any]]] = {  # what reads a folder
    "shop": [tokenized, evaluated, recommended, recommended],
    "ids": [trained],
    "run": [evaluated, recommended, recommended, recommended, resumed],
}
CLOCK = {"seconds", "commit", "platform", "processor", "threads"}


def content(folder: Path) -> dict[str, Any]:
    """By name, what the files below a folder hold, without what a clock tells."""
    if not folder.exists():
        return {}
    return {path.relative_to(folder).as_posix(): held(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def held(path: Path) -> Any:
    if path.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in path.read_text().splitlines()]
    return timeless(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in CLOCK}
    return value


@functools.cache
def undamaged(verb: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory(prefix="rclrec-fuzz-") as name:
        folder = copy(Path(name))
        (code, shown, errors), written = verb(folder)
        assert code == 0, errors
        return printed(shown, folder), written


def printed(shown: str, folder: Path) -> str:
    """What a verb printed, without what a clock tells and where its folder lies."""
    if shown.startswith(("{", "[")):
        shown = json.dumps(timeless(json.loads(shown)))
    return shown.replace(str(folder), "")


def copy(folder: Path) -> Path:
    for part in VERBS:
        shutil.copytree(whole() / part, folder / part)
    return folder


def damage_bytes(rng: random.Random, path: Path) -> None:
    path.write_bytes(rng.choice(mutations.OF_BYTES)(rng, path.read_bytes()))


def remove(rng: random.Random, path: Path) -> None:
    path.unlink()


def empty(rng: random.Random, path: Path) -> None:
    path.write_bytes(b"")


def make_folder(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def exchange(rng: random.Random, path: Path) -> None:
    """Put the same file of another journey in its place."""
    own = path.relative_to(path.parents[next(n for n, part in enumerate(path.parents) if part.name in VERBS) + 1])
    if (whole() / "other" / own).is_file():
        shutil.copy(whole() / "other" / own, path)


def change_json(rng: random.Random, path: Path) -> None:
    """Change, drop or add a value somewhere in a JSON file, or put another shape in place of it all."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    at = rng.randrange(len(lines))
    lines[at] = json.dumps(changed(rng, json.loads(lines[at])))
    if rng.random() < 0.1:
        lines[at] = rng.choice(["{", "nan", "[" * 100_000, '{"a": 1, "a": 2}', "\ufeff{}", '"' + "x" * 9_999 + '"'])
    path.write_text("".join(line + "\n" for line in lines))


ODD = (None, [], {}, "", "x", 0, -1, 1, 2, 7, 1.5, 1e300, 10**30, True, False, [1], {"a": 1}, "../x", "0" * 64)


def changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice([*value])
        what = rng.random()
        if what < 0.15:
            return {name: inner for name, inner in value.items() if name != key}
        return value | ({"extra": 1} if what < 0.25 else {key: changed(rng, value[key])})
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], changed(rng, value[at]), *value[at + 1 :]]
    return rng.choice(ODD)


def damage(rng: random.Random, path: Path) -> None:
    kinds = [damage_bytes, damage_bytes, remove, empty, make_folder, exchange]
    if path.suffix in (".json", ".jsonl"):
        kinds = kinds[1:] + [change_json] * 6
    rng.choice(kinds)(rng, path)


def result_case(rng: random.Random, folder: Path, parts: tuple[str, ...] = ("shop", "ids", "run", "run")) -> str:
    """Damage one file of one folder; a verb that reads the folder gives what it gave before, or names a file of it."""
    part = rng.choice(parts)
    verb = rng.choice(VERBS[part])
    expected = undamaged(verb)
    path = rng.choice(sorted(path for path in (copy(folder) / part).rglob("*") if path.is_file()))
    before = path.read_bytes()
    damage(rng, path)
    what = f"{path.relative_to(folder)} read by {verb.__name__}"
    try:
        (code, shown, errors), written = verb(folder)
        if code == 0:
            found = printed(shown, folder), written
            if found != expected:
                raise WrongError(f"another result: {difference(found, expected)}")
            return ACCEPTED
        verdict = check_refusal(code, shown, errors, [f"{folder}/{part}"])
        check_contents(folder, set(VERBS))
        return verdict
    except WrongError as error:
        now = path.read_bytes() if path.is_file() else b"(no file)"
        raise WrongError(f"{what}: {error}\n    was {before[:300]}\n    is  {now[:300]}") from None


def difference(found: Any, expected: Any) -> str:
    if found[0] != expected[0]:
        pairs = zip(found[0], expected[0], strict=False)
        at = next((n for n, (one, other) in enumerate(pairs) if one != other), 0)
        return f"printed …{found[0][max(at - 20, 0) : at + 60]!r}, expected …{expected[0][max(at - 20, 0) : at + 60]!r}"
    names = [name for name in found[1] | expected[1] if found[1].get(name) != expected[1].get(name)]
    return f"files {names}"
