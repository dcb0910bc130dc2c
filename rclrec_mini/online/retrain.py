"""A test whose arms learn every night, from the log and from all that the users of every arm have done so far.

The arms then depend on each other through the log, so no user's outcome under another arm exists: each user is dealt
to one arm before the test (buckets.py). Naive rankings count anew. A model's stage two is run anew, from the weights of
its stage one; the last purchases of every tenth user choose its best step and are no samples.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.data.sequences import Sequences, Split, split_last_purchase
from rclrec_mini.evaluation.ranking import catalog_of
from rclrec_mini.experiments.run import finetune, load_run
from rclrec_mini.files import InputError
from rclrec_mini.online.arms import Arm, ModelArm, naive
from rclrec_mini.online.buckets import buckets
from rclrec_mini.online.choice import ChoiceModel
from rclrec_mini.online.outcomes import Outcomes, stack
from rclrec_mini.online.play import Play, lists
from rclrec_mini.records import read_record

HELD_OUT = 10  # one user of so many chooses the best step of a night's training


def play_and_retrain(
    arms: Mapping[str, Arm], runs: Mapping[str, Path | None], visitors: Mapping[str, ChoiceModel], data: Path,
    nights: Path, *, salt: str, beams: int = 20, progress: bool = False,
) -> Outcomes:  # fmt: skip
    """Play the test day by day.

    Args:
        arms: as they are before the first day.
        runs: the folders of the models' runs, None for naive rankings.
        visitors: of each arm, the same people.
        data: the log; all of them are in it.
        nights: a folder for what is trained; a night that has been trained is not trained again.
        salt: deals the users.
        beams: of models that write semantic ids.
    """
    arms, log, future = dict(arms), Sequences.load(data), next(iter(visitors.values())).future
    bucket = buckets(future.user, salt=salt, shares=[1 / len(arms)] * len(arms))
    worlds = {name: Play(visitors[name], mine=bucket == place) for place, name in enumerate(arms)}
    for day in tqdm(range(future.days), desc="days", unit="day", disable=not progress):
        for name, arm in arms.items():
            for visit in worlds[name].rounds(day):
                worlds[name].answer(visit, lists(arm, worlds[name], visit))
        if day + 1 < future.days:
            longer = longer_log(log, list(worlds.values()), day)
            arms = {
                name: learned(name, runs[name], data, longer, nights / name / f"day{day}", beams=beams) for name in arms
            }
    parts = [world.outcomes(name, {}) for name, world in worlds.items()]
    return dataclasses.replace(stack(parts), bucket=bucket)


def longer_log(log: Sequences, worlds: list[Play], day: int) -> Sequences:
    """The log with what has happened up to the end of `day`, each user's under the user's own arm."""
    user = np.repeat(np.arange(log.n_users), np.diff(log.offsets))
    new = np.concatenate([world.happened(day) for world in worlds], axis=1)  # user, key, item, behavior, timestamp
    new = new[:, np.lexsort((new[1], new[0]))]
    order = np.argsort(np.concatenate([user, new[0]]), kind="stable")  # the log's events come first

    def column(old: np.ndarray, added: np.ndarray) -> np.ndarray:
        return np.concatenate([old, added.astype(old.dtype)])[order]

    offsets = log.offsets + np.searchsorted(new[0], np.arange(log.n_users + 1))
    columns = (column(*pair) for pair in zip((log.item, log.behavior, log.timestamp), new[2:], strict=True))
    return Sequences(*columns, offsets, log.n_items)


def nightly_split(sequences: Sequences) -> Split:
    """All events train, but that the last purchases of every HELD_OUT-th user are validation targets and no samples."""
    last = split_last_purchase(sequences).test
    held = last[sequences.user_of(last) % HELD_OUT == 0]
    rows = np.arange(len(sequences))
    sample = sequences.history_length(rows) > 0
    sample[held] = False
    return Split(train=rows[sample], validation=held, test=held[:0], train_event=np.ones(len(rows), bool))


def learned(name: str, run: Path | None, data: Path, sequences: Sequences, folder: Path, *, beams: int = 20) -> Arm:
    """An arm that has learned from a longer log.

    Args:
        folder: a run of training/trainer.py, for a model alone.

    Raises:
        InputError: the run was post-trained, which cannot be done every night.
    """
    split = nightly_split(sequences)
    if run is None:
        return naive(name, sequences, split)
    if "post_training" in read_record(run / "experiment.json", {}, more=True):
        raise InputError(f"{run}: found a post-trained run, expected one of rclrec train to retrain")
    _, config, materials = load_run(run, data)
    digest = f"{materials.data_hash} and {int((sequences.behavior == PURCHASE).sum())} purchases"
    materials = dataclasses.replace(materials, sequences=sequences, split=split, journey=None, data_hash=digest)
    model, _ = finetune(config, materials, folder, pretrained=run / "pretrain", progress=False)
    return ModelArm(model, catalog_of(model, materials.catalog), n_users=sequences.n_users, beams=beams)
