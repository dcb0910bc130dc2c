"""What fills the slates of a test's arms: a trained run, a naive ranking by its name, or nothing at all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import nn

from rclrec_mini.data.sequences import Sequences, Split, split_last_purchase
from rclrec_mini.evaluation.heuristics import CoOccurrence, FrequencyDecay, Markov, Popularity, Ranker, most_recent
from rclrec_mini.evaluation.ranking import catalog_of, rank
from rclrec_mini.experiments.run import load_answering
from rclrec_mini.files import InputError, file_name
from rclrec_mini.semantic_ids.catalog import Catalog

NAIVE_HISTORY = 50  # events that a naive ranking reads
NOTHING = "nothing"  # the arm whose slates are empty: the shop without recommendations


class Arm(Protocol):
    """Ranks the catalogue for visitors."""

    max_history: int  # most events before a visit that it reads

    def rank(self, sequences: Sequences, rows: np.ndarray, user: np.ndarray, k: int) -> np.ndarray:
        """The k best items for each visit, -1 where there are fewer: (n, k).

        Args:
            sequences: the visitors' histories, each with one more event at its end, which stands for the visit.
            rows: rows of the visits (n,).
            user: numbers of the visitors in the shop (n,).
        """
        ...


class NaiveArm:
    """A ranking that needs no training."""

    max_history = NAIVE_HISTORY

    def __init__(self, ranker: Ranker):
        self.ranker = ranker

    def rank(self, sequences: Sequences, rows: np.ndarray, user: np.ndarray, k: int) -> np.ndarray:
        return self.ranker.rank(sequences, rows, k)


class EmptyArm:
    """Shows nothing."""

    max_history = 1

    def rank(self, sequences: Sequences, rows: np.ndarray, user: np.ndarray, k: int) -> np.ndarray:
        return np.full((len(rows), k), -1, np.int64)


class ModelArm:
    """A trained model. Of users that it has not been trained on it takes one for user u modulo the users that it knows.

    Args:
        model: in eval mode.
        catalog: semantic ids that it writes, None if it scores items.
        n_users: users that it was trained on.
        beams: width of the search.
    """

    def __init__(self, model: nn.Module, catalog: Catalog | None, *, n_users: int, beams: int = 20):
        self.model, self.catalog, self.n_users, self.beams = model, catalog, n_users, beams
        self.max_history: int = model.max_history

    @classmethod
    def load(cls, run: Path | str, data: Path | str, *, beams: int = 20) -> "ModelArm":
        """The model of a finished run.

        Raises:
            InputError: the run cannot be loaded, was trained on other data, or asks an oracle for its curriculum.
        """
        model, materials = load_answering(run, data)
        return cls(model, catalog_of(model, materials.catalog), n_users=materials.sequences.n_users, beams=beams)

    def rank(self, sequences: Sequences, rows: np.ndarray, user: np.ndarray, k: int) -> np.ndarray:
        known, beams = user % self.n_users, max(self.beams, k)
        return rank(self.model, sequences, self.catalog, rows, k=k, beams=beams, user=known)


RANKERS: dict[str, Callable[[Sequences, Split], Ranker]] = {
    "count": FrequencyDecay.fit,
    "popularity": Popularity.fit,
    "recent": lambda sequences, split: most_recent(popularity=Popularity.fit(sequences, split)),
    "cooccurrence": CoOccurrence.fit,
    "markov": Markov.fit,
}
NAIVE = (*RANKERS, NOTHING)


def naive(name: str, sequences: Sequences, split: Split) -> Arm:
    """The naive ranking `name`, one of NAIVE, with its statistics of the training events."""
    return EmptyArm() if name == NOTHING else NaiveArm(RANKERS[name](sequences, split))


def open_arm(name: str, run: Path | None, data: Path | str, *, beams: int = 20) -> Arm:
    """The arm of a run, or where there is none the naive ranking of that name.

    Raises:
        InputError: there is no such ranking, or the run does not fit.
    """
    if run is not None:
        return ModelArm.load(run, data, beams=beams)
    if name not in NAIVE:
        raise InputError(f"arm {name}: expected NAME=RUN, the folder of a run, or one of {', '.join(NAIVE)}")
    sequences = Sequences.load(data)
    return naive(name, sequences, split_last_purchase(sequences))


def named(arms: tuple[str, ...]) -> Mapping[str, Path | None]:
    """From `NAME=RUN` and `NAIVE` to names and the folders of their runs, None for naive rankings.

    Raises:
        InputError: a name is there twice, is none, or is none of a naive ranking.
    """
    found: dict[str, Path | None] = {}
    for arm in arms:
        name, equals, run = arm.partition("=")
        if not equals and name not in NAIVE:
            raise InputError(f"--arms: found {arm}, expected NAME=RUN or one of {', '.join(NAIVE)}")
        if not name or name in found or (equals and not run):
            raise InputError(f"--arms: found {arm}, expected a name of its own for each arm, and the folder of its run")
        if name != file_name(name) or not name.strip("."):
            raise InputError(f"--arms: found the name {name}, expected letters, digits, dots, dashes and underscores")
        found[name] = Path(run) if equals else None
    return found
