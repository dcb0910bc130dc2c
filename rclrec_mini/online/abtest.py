"""A whole test in the simulated shop: what `rclrec abtest` calls.

    out/
      settings.json        what the folder belongs to: shop and knobs; another test is refused
      arms/NAME/           an arm that has been played: outcomes, and lists.safetensors (its slates at first visits, its
                           ranks of the log's test purchases); played arms are not played again, others may join them
      outcomes/            all arms on all users (outcomes.py)
      offline.safetensors  rank (A, n) of the log's test purchases, 10 where absent; seen (n,): in the user's history
      slates.safetensors   logged slates (slates.py)
      report.json, .md     what it tells (report.py)

With `retrain` the arms learn every night, each from the log and all that every arm's users have done so far
(retrain.py): users are dealt to arms before, so the arms belong to settings.json, and the test is played in one go.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rclrec_mini.checks import FieldError, at_least, within
from rclrec_mini.data.prepared import read_manifest
from rclrec_mini.data.sequences import Sequences, split_last_purchase
from rclrec_mini.data.shop_future import Future, shop_of, simulate_future
from rclrec_mini.data.simulate import catalogue
from rclrec_mini.data.simulated_items import SimulatedItems
from rclrec_mini.evaluation.metrics import rank_of
from rclrec_mini.evaluation.slices import in_history
from rclrec_mini.experiments.jobs import side_by_side
from rclrec_mini.files import InputError, check_apart, clear_leftovers, whole_file, whole_folder, write_json
from rclrec_mini.online.arms import NAIVE_HISTORY, Arm, ModelArm, open_arm
from rclrec_mini.online.choice import SHOWN, ChoiceConfig, ChoiceModel
from rclrec_mini.online.outcomes import Outcomes, stack
from rclrec_mini.online.play import Play, play
from rclrec_mini.online.report import ReportConfig, write_report
from rclrec_mini.online.retrain import play_and_retrain
from rclrec_mini.online.slates import Slates, log_slates
from rclrec_mini.records import read_arrays, read_record
from rclrec_mini.training.checkpoints import provenance
from rclrec_mini.training.run_folder import check_same_settings


@dataclass(frozen=True, kw_only=True)
class ABTestConfig:
    """What a test is."""

    users: int = 60_000
    """how many users, the first of the shop; there may be more than in its log"""
    days: int = 8
    """how long the test goes on after the log (days)"""
    retrain: bool = False
    """learn every night from the log and what all arms' users did; users are dealt to arms, and must be in the log"""
    salt: str = "rclrec"
    """deals the users to the arms, with retrain alone"""
    beams: int = 20
    """width of the search of models that write semantic ids"""
    logged: int = 20_000
    """first visits whose slates are logged for off-policy estimates"""
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)

    def __post_init__(self) -> None:
        within(self, 1, 2**31 - 1, "users", "logged")
        at_least(self, SHOWN, "beams")
        within(self, 1, 100, "days")


def run_abtest(
    config: ABTestConfig, data: Path | str, arms: Mapping[str, Path | None], out: Path | str, *, control: str,
    report: ReportConfig | None = None, workers: int = 1, progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Play all arms into the folder `out`, and return what its report.json holds; started again, it goes on.

    Args:
        data: a simulated shop.
        arms: their names, and the folders of their runs, None for naive rankings.
        control: the arm that the others are compared with.
        report: how what they did is made into tests.
        workers: processes that play arms side by side.

    Raises:
        InputError: the data are no simulated shop, an arm does not fit, or `out` holds another test.
    """
    data, out = Path(data), Path(out)
    if control not in arms:
        raise FieldError("control", f"found {control}, expected one of the arms {', '.join(arms)}")
    shop = shop_of(data)
    if config.retrain and config.users > shop.users:
        raise FieldError("users", f"found {config.users}, expected at most the {shop.users} of the log, to retrain")
    for run in filter(None, arms.values()):
        ModelArm.load(run, data)  # refuses a misfit before any work
    _claim(out, config, data, arms)
    slates = None
    if config.retrain:
        opened = {name: open_arm(name, run, data, beams=config.beams) for name, run in arms.items()}
        outcomes = _retrained(config, data, arms, opened, out, progress=progress)
        ranks = {name: offline_rank(arm, data) for name, arm in opened.items()}
    else:
        _play_all(config, data, arms, out, workers=workers, progress=progress)
        parts = {name: _read(out, name, run) for name, run in arms.items()}
        outcomes = stack([part for part, _ in parts.values()])
        ranks = {name: lists["rank"] for name, (_, lists) in parts.items()}
        slates = _logged(config, data, progress, [lists["first"] for _, lists in parts.values()])
        slates.save(out / "slates.safetensors")
    made = {
        "control": control,
        "arms": {name: str(run) for name, run in arms.items() if run},
        **_described(config, data),
    }
    dataclasses.replace(outcomes, made=made).save(out / "outcomes", overwrite=True)
    rank, seen = np.stack(list(ranks.values())), seen_targets(data)
    with whole_file(out / "offline.safetensors") as partial:
        save_file({"rank": rank, "seen": seen}, partial)
    return write_report(
        out, outcomes, control=control, rank=rank, seen=seen, slates=slates, config=report,
        made={**made, **provenance()},
    )  # fmt: skip


def offline_rank(arm: Arm, data: Path) -> np.ndarray:
    """Where an arm has the log's test purchases, from 0, SHOWN where its lists lack them: (n,)"""
    sequences = Sequences.load(data)
    rows = split_last_purchase(sequences).test
    items = arm.rank(sequences, rows, sequences.user_of(rows), SHOWN)
    return rank_of(items, sequences.item[rows])


def seen_targets(data: Path) -> np.ndarray:
    """Whether the item of each of the log's test purchases is in the user's history (n,)"""
    sequences = Sequences.load(data)
    return in_history(sequences, split_last_purchase(sequences).test, NAIVE_HISTORY)


def _visitors(config: ABTestConfig, data: Path, keep: int, *, arm: str = "", progress: bool) -> ChoiceModel:
    """Those who come in the days of the test, with `keep` events of the log before."""
    items, future = _shop_ahead(data, config.users, config.days, keep, progress)
    return ChoiceModel(config.choice, items, future, arm=arm)


@lru_cache(maxsize=1)
def _shop_ahead(data: Path, users: int, days: int, keep: int, progress: bool) -> tuple[SimulatedItems, Future]:
    shop = shop_of(data)
    items = catalogue(shop)
    return items, simulate_future(shop, items, users=users, days=days, keep=keep, progress=progress)


def _play_all(
    config: ABTestConfig, data: Path, arms: Mapping[str, Path | None], out: Path, *, workers: int, progress: bool
) -> None:
    todo = [(config, data, name, run, out) for name, run in arms.items() if not _is_played(out, name, run)]
    if workers == 1 or len(todo) < 2:
        for job in todo:
            _play_one(*job, progress=progress)
        return
    for _ in side_by_side(_play_one, todo, workers=workers, threads=1):
        pass


def _play_one(
    config: ABTestConfig, data: Path, name: str, run: Path | None, out: Path, *, progress: bool = False
) -> None:
    arm = open_arm(name, run, data, beams=config.beams)
    visitors = _visitors(config, data, max(NAIVE_HISTORY, arm.max_history), arm=name, progress=progress)
    played, first = play(arm, visitors, title=name, progress=progress)
    with whole_folder(out / "arms" / name) as folder:
        played.outcomes(name, {"weights": weights_of(run)}).save(folder / "outcomes")
        save_file({"first": first, "rank": offline_rank(arm, data)}, folder / "lists.safetensors")


def _is_played(out: Path, name: str, run: Path | None) -> bool:
    folder = out / "arms" / name
    clear_leftovers(folder.parent, name)
    return folder.exists() and _read(out, name, run) is not None


def _read(out: Path, name: str, run: Path | None) -> tuple[Outcomes, dict[str, np.ndarray]]:
    """A played arm.

    Raises:
        InputError: it was played with other weights.
    """
    folder = out / "arms" / name
    outcomes = Outcomes.load(folder / "outcomes")
    if outcomes.made["weights"] != weights_of(run):
        raise InputError(f"{folder}: was played with other weights than those of {run or name}; expected another --out")
    return outcomes, read_arrays(folder / "lists.safetensors", "first", "rank")


def weights_of(run: Path | None) -> str | None:
    """Tells the weights of a run from others; None for a naive ranking."""
    if run is None:
        return None
    states = sorted((run / "finetune").glob("*/state.json"))
    digests = [read_record(state, {"sha256": dict[str, str]}, more=True)["sha256"]["model"] for state in states]
    return sha256("".join(digests).encode()).hexdigest()


def _logged(config: ABTestConfig, data: Path, progress: bool, first: list[np.ndarray]) -> Slates:
    untouched = Play(_visitors(config, data, NAIVE_HISTORY, progress=progress))
    return log_slates(untouched, first, Sequences.load(data), most=config.logged)


def _retrained(
    config: ABTestConfig, data: Path, arms: Mapping[str, Path | None], opened: Mapping[str, Arm], out: Path, *,
    progress: bool,
) -> Outcomes:  # fmt: skip
    keep = max(NAIVE_HISTORY, *(arm.max_history for arm in opened.values()))
    visitors = {name: _visitors(config, data, keep, arm=name, progress=progress) for name in arms}
    return play_and_retrain(
        opened, arms, visitors, data, out / "nights", salt=config.salt, beams=config.beams, progress=progress
    )


def _described(config: ABTestConfig, data: Path) -> dict[str, Any]:
    return {"config": asdict(config), "data_hash": read_manifest(data)["content_hash"]}


def _claim(out: Path, config: ABTestConfig, data: Path, arms: Mapping[str, Path | None]) -> None:
    """Make `out` the folder of this test, unless it is already."""
    check_apart(out, (data, *filter(None, arms.values())))
    record, settings = out / "settings.json", _described(config, data)
    if config.retrain:
        settings["arms"] = list(arms)
    if record.exists():
        return check_same_settings(record, settings)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: found a folder that is not empty and holds no test, expected none")
    out.mkdir(parents=True, exist_ok=True)
    write_json(record, settings)
