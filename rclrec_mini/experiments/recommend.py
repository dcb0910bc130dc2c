"""What people would buy next, by the model of a finished run: what `rclrec recommend` calls.

People are answered in batches, those of the data and those of a file of their events alike. Of the methods that know
users, all but PBAT hash them into buckets that many share; somebody who is not in the data takes the place of the user
whom a hash of the history falls on, so the model need not be trained anew.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rclrec_mini.checks import FieldError
from rclrec_mini.data.history import read_history
from rclrec_mini.data.prepared import read_table
from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.evaluation.ranking import best_items, catalog_of
from rclrec_mini.experiments.answers import Answers, open_answers
from rclrec_mini.experiments.decoding import DecodingConfig
from rclrec_mini.experiments.run import load_answering, load_search
from rclrec_mini.files import InputError
from rclrec_mini.models.curriculum import Selection

CELLS = 16_000_000  # marks of seen items held at once


@dataclasses.dataclass(frozen=True)
class People:
    """Whom to answer: their names, their numbers in `sequences`, and the numbers that the model knows them by."""

    names: pa.Array
    sequences: Sequences
    numbers: np.ndarray
    known_as: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)


class Recommender:
    """The model of a finished run with the data it was trained on.

    Args:
        run: the folder of the run.
        data: the prepared data set.
        decoding: how a generative model's lists are found.
        assistant: the folder of the run that helps, where decoding takes one.

    Raises:
        InputError: a run cannot be loaded or is of another kind than decoding needs, or its curriculum is the oracle's,
            who would have to know the target.
    """

    def __init__(
        self, run: Path | str, data: Path | str, *, decoding: DecodingConfig | None = None,
        assistant: Path | str | None = None,
    ):  # fmt: skip
        self.model, materials = load_answering(run, data)
        self.search = load_search(decoding or DecodingConfig(), self.model, materials, assistant)
        self.sequences = materials.sequences
        self.catalog = catalog_of(self.model, materials.catalog)
        self.items = read_table(materials.folder, "items")
        self.raw_ids = self.items["raw_id"].combine_chunks()
        self.users_file = materials.folder / "users.parquet"

    def people(self, users: Sequence[str] | None = None) -> People:
        """The users of these raw ids; None: all who have events.

        Raises:
            InputError: a user is unknown or has no events.
        """
        names = read_table(self.users_file.parent, "users")["raw_id"].combine_chunks()
        if users is None:
            numbers = np.flatnonzero(np.diff(self.sequences.offsets))
        else:
            found = pc.index_in(pa.array(users, pa.string()), value_set=names)
            if found.null_count:
                raw = users[pc.index(found.is_null(), True).as_py()]
                raise InputError(f"{self.users_file}: user {raw[:50]} not found among {len(names)} users")
            numbers = found.to_numpy().astype(np.int64)
            for raw, n in zip(users, np.diff(self.sequences.offsets)[numbers], strict=True):
                if n == 0:
                    raise InputError(f"{self.users_file}: user {raw[:50]} has no events, expected at least 1")
        return People(names.take(pa.array(numbers)), self.sequences, numbers, numbers)

    def person(self, history: Path | str) -> People:
        """Somebody who is not in the data, by a file of events, see data/history.py. It is called by the file's name.

        Raises:
            InputError: the file is not such a history.
        """
        raw_ids = self.raw_ids.to_pylist()
        sequences = read_history(history, {raw: item for item, raw in enumerate(raw_ids)})
        place = int(sha256(sequences.item.tobytes()).hexdigest(), 16) % self.sequences.n_users
        return People(pa.array([Path(history).stem]), sequences, np.array([0]), np.array([place]))

    def answer(
        self, people: People, *, k: int = 10, beams: int = 20, exclude_seen: bool = False, batch_size: int = 512,
        progress: bool = False,
    ) -> Iterator[Answers]:  # fmt: skip
        """The k best items of each of `people` and the curriculum before them, a batch at a time. `exclude_seen`: none
        of the items in their histories, of which all events count.

        Raises:
            FieldError: k, beams or batch_size is below 1.
        """
        for name, value in (("k", k), ("beams", beams), ("batch_size", batch_size)):
            if value < 1:
                raise FieldError(name, f"found {value}, expected 1 or more")
        device = next(self.model.parameters()).device
        if exclude_seen:
            batch_size = max(1, min(batch_size, CELLS // self.sequences.n_items))
        with tqdm(total=len(people), desc="recommend", unit="user", disable=not progress) as bar:
            for first in range(0, len(people), batch_size):
                chunk = slice(first, first + batch_size)
                numbers = people.numbers[chunk]
                batch = people.sequences.batch_after(numbers, self.model.max_history, behavior=PURCHASE)
                batch = dataclasses.replace(batch, user=torch.from_numpy(people.known_as[chunk])).to(device)
                seen = seen_items(people.sequences, numbers).to(device) if exclude_seen else None
                yield self._answer(people.names[chunk], batch, k=k, beams=max(beams, k), seen=seen)
                bar.update(len(numbers))

    @torch.inference_mode()
    def _answer(self, names: pa.Array, batch: Batch, *, k: int, beams: int, seen: Tensor | None) -> Answers:
        selections: list[Selection] = []
        selector = getattr(self.model, "selector", None) or nn.Module()
        watch = selector.register_forward_hook(lambda module, given, selection: selections.append(selection))
        try:  # the search selects on its way
            items, scores = best_items(self.model, batch, self.catalog, k=k, beams=beams, seen=seen, search=self.search)
        finally:
            watch.remove()
        none = torch.zeros(len(batch), 0, dtype=torch.int64)
        index, valid = (selections[0].index, selections[0].valid) if selections else (none, none.bool())
        return Answers(
            names=names,
            raw_ids=self.raw_ids,
            items=items.cpu().numpy(),
            scores=scores.cpu().numpy(),
            events=batch.item.gather(1, index).cpu().numpy(),
            behaviors=batch.behavior.gather(1, index).cpu().numpy(),
            events_ago=(batch.mask.shape[1] - index).cpu().numpy(),
            valid=valid.cpu().numpy(),
        )

    def describe(self, item: int) -> dict[str, Any]:
        """What is known of an item."""
        row = self.items.slice(item, 1).to_pylist()[0]
        return {name: value for name, value in row.items() if value is not None and name != "item"}


def seen_items(sequences: Sequences, users: np.ndarray) -> Tensor:
    """Which items the users (B,) have any event with: (B, N)"""
    seen = np.zeros((len(users), sequences.n_items), bool)
    for row, user in enumerate(users):
        seen[row, sequences.item[sequences.offsets[user] : sequences.offsets[user + 1]]] = True
    return torch.from_numpy(seen)


def recommend(
    run: Path | str, data: Path | str, *, users: Sequence[str] | None = None, history: Path | str | None = None,
    k: int = 10, beams: int = 20, exclude_seen: bool = False, decoding: DecodingConfig | None = None,
    assistant: Path | str | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """What people would buy next, given all their events: for each raw user id (None: all users), or for the person of
    the file `history`, the k best items with the method's scores (generative: natural log-probabilities) and the
    curriculum, empty where the method has none; items with all that is known of them. `decoding` and `assistant` are
    Recommender's.

    Raises:
        InputError: a user is unknown or has no events, or the history or a number is not what it should be.
    """
    recommender = Recommender(run, data, decoding=decoding, assistant=assistant)
    people = recommender.people(users) if history is None else recommender.person(history)
    by_raw_id = {raw: item for item, raw in enumerate(recommender.raw_ids.to_pylist())}
    answers = []
    for batch in recommender.answer(people, k=k, beams=beams, exclude_seen=exclude_seen):
        for answer in batch.table().to_pylist():
            for part in ("curriculum", "items"):
                answer[part] = [{**recommender.describe(by_raw_id[one["raw_id"]]), **one} for one in answer[part]]
            answers.append(answer)
    return answers


def write_recommendations(
    out: Path | str, run: Path | str, data: Path | str, *, users: Sequence[str] | None = None,
    history: Path | str | None = None, k: int = 10, beams: int = 20, exclude_seen: bool = False,
    decoding: DecodingConfig | None = None, assistant: Path | str | None = None, progress: bool = True,
) -> int:  # fmt: skip
    """`recommend` into a file, by batches and whole or not at all, items by their raw ids; returns for how many.

    Raises:
        InputError: as `recommend`, or the name of `out` does not end as one of answers.FORMATS.
    """
    recommender = Recommender(run, data, decoding=decoding, assistant=assistant)
    people = recommender.people(users) if history is None else recommender.person(history)
    with open_answers(out) as write:
        for batch in recommender.answer(people, k=k, beams=beams, exclude_seen=exclude_seen, progress=progress):
            write(batch)
    return len(people)
