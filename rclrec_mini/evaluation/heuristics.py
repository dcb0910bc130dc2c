"""Naive baselines: rankings of the whole catalogue that need no model, and that any model has to beat.

    Popularity       the items with most training events, the same list for everybody
    most_recent      the distinct items of the history, newest first
    FrequencyDecay   history items by sum over their events of weight[behaviour] * 0.5 ** (age / half-life);
                     people buy what they looked at, so this is the strongest of them
    Markov           items that followed the history's items in training, by transition frequency
    CoOccurrence     items that stood near the history's items in training, before or after, normalised as a cosine

All have `rank(sequences, rows, k) -> items (n, k) int64`: the k best items for the targets at `rows`, from at most
`max_history` events before each. Lists shorter than k are filled with the most popular items that they lack; -1 is
left only where the catalogue has fewer than k items. Equal scores go to the lower item number. An item of the
history may be the answer. Statistics read training events only (`Split.train_event`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, Protocol

import numpy as np
from scipy import sparse

from rclrec_mini.data.schema import BEHAVIORS, DAY
from rclrec_mini.data.sequences import Sequences, Split
from rclrec_mini.evaluation.metrics import ndcg, rank_of
from rclrec_mini.files import InputError

CELLS = 2_000_000  # numbers a chunk of histories or scores may hold
EQUAL_WEIGHTS = (1.0,) * len(BEHAVIORS)


class Ranker(Protocol):
    """Anything that ranks the catalogue for the targets at `rows`."""

    def rank(self, sequences: Sequences, rows: np.ndarray, k: int) -> np.ndarray:
        """rows (n,) -> items (n, k) int64, best first"""
        ...


class Popularity:
    """The most popular items, the same for every user.

    Args:
        score: of each item (n_items,).
    """

    def __init__(self, *, score: np.ndarray):
        self.score = score
        self.order = np.argsort(-score, kind="stable")  # (n_items,)

    @classmethod
    def fit(cls, sequences: Sequences, split: Split, *, weights: tuple[float, ...] = EQUAL_WEIGHTS) -> "Popularity":
        """Sum the weight of the behaviour over each item's training events; (0, 0, 0, 1) counts purchases."""
        _check_weights(weights)
        train = np.flatnonzero(split.train_event)
        weight = np.asarray(weights)[sequences.behavior[train]]
        return cls(score=np.bincount(sequences.item[train], weight, minlength=sequences.n_items))

    def rank(self, sequences: Sequences, rows: np.ndarray, k: int) -> np.ndarray:
        return self.fill(np.full((len(rows), k), -1, np.int64))

    def fill(self, items: np.ndarray) -> np.ndarray:
        """Replace the -1 at the end of each list by the most popular items that the list lacks: (n, k) -> (n, k)"""
        k = items.shape[1]
        top = self.order[:k]  # of the k most popular, at most as many are in the list as it has places taken
        short = np.flatnonzero(items[:, -1] < 0)
        for chunk in np.array_split(short, 1 + len(short) * k * k // CELLS):
            listed = items[chunk]  # (c, k)
            new = ~(listed[:, :, None] == top).any(axis=1)  # (c, len(top))
            usable = np.concatenate([listed >= 0, new], axis=1)
            candidate = np.concatenate([listed, np.broadcast_to(top, new.shape)], axis=1)
            first = np.argsort(~usable, axis=1, kind="stable")[:, :k]
            items[chunk] = np.where(
                np.take_along_axis(usable, first, axis=1), np.take_along_axis(candidate, first, axis=1), -1
            )
        return items


@dataclass(frozen=True)
class FrequencyDecayConfig:
    """How much an event of the history counts."""

    weights: tuple[float, ...] = EQUAL_WEIGHTS  # of each behaviour, in the order of BEHAVIORS; 0 ignores it
    half_life: float = 8.0  # age at which an event counts half
    unit: Literal["events", "days"] = "events"  # of half_life; age is counted from the newest event
    max_history: int = 50  # events


class FrequencyDecay:
    """Items of the history by behaviour-weighted, exponentially decayed frequency.

    Args:
        config: the weights and the decay.
        popularity: fills short lists.

    Raises:
        InputError: a weight is negative or the half-life is not positive.
    """

    # What `fit` tries; the weight of a click is 1, the unit of the others.
    HALF_LIVES = tuple(("events", 0.5 * 2**i) for i in range(8)) + tuple(("days", 4.0**i) for i in range(-3, 3))
    WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

    def __init__(self, config: FrequencyDecayConfig | None = None, *, popularity: Popularity):
        self.config = config or FrequencyDecayConfig()
        self.popularity = popularity
        _check_weights(self.config.weights)
        if not self.config.half_life > 0:
            raise InputError(f"half_life: found {self.config.half_life}, expected more than 0")

    @classmethod
    def fit(
        cls, sequences: Sequences, split: Split, *, max_history: int = 50, max_targets: int = 5000, seed: int = 0
    ) -> "FrequencyDecay":
        """Choose half-life and weights by NDCG@10 on validation targets: the best of 40 random points of the grid,
        then one setting after the other over its grid, twice round. `seed` draws the points, and the targets
        where there are more than `max_targets`."""
        rng = np.random.default_rng(seed)
        popularity, rows = Popularity.fit(sequences, split), split.validation
        if len(rows) > max_targets:
            rows = np.sort(rng.choice(rows, max_targets, replace=False))

        @cache
        def score(config: FrequencyDecayConfig) -> float:
            return mean_ndcg(cls(config, popularity=popularity), sequences, rows)

        start = FrequencyDecayConfig(max_history=max_history)
        best = max([start, *(cls._random(start, rng) for _ in range(40))], key=score)
        for setting in 2 * ("half_life", *range(1, len(BEHAVIORS))):
            best = max([best, *cls._neighbours(best, setting)], key=score)
        return cls(best, popularity=popularity)

    @classmethod
    def _random(cls, config: FrequencyDecayConfig, rng: np.random.Generator) -> FrequencyDecayConfig:
        unit, half_life = cls.HALF_LIVES[rng.integers(len(cls.HALF_LIVES))]
        weights = rng.choice(cls.WEIGHTS, len(BEHAVIORS) - 1).tolist()
        return replace(config, unit=unit, half_life=half_life, weights=(1.0, *weights))

    @classmethod
    def _neighbours(cls, config: FrequencyDecayConfig, setting: str | int) -> list[FrequencyDecayConfig]:
        if setting == "half_life":
            return [replace(config, half_life=half_life, unit=unit) for unit, half_life in cls.HALF_LIVES]
        before, after = config.weights[:setting], config.weights[setting + 1 :]
        return [replace(config, weights=(*before, weight, *after)) for weight in cls.WEIGHTS]

    def scores(self, sequences: Sequences, rows: np.ndarray) -> sparse.csr_array:
        """Decayed frequency of each item in each history, (n, n_items)"""
        config = self.config
        window, mask = sequences.window(rows, config.max_history)  # (n, T), right-aligned
        if config.unit == "events":
            age = np.arange(config.max_history - 1, -1, -1)
        else:  # the newest event's age is 0: another reference would scale all scores of a history alike
            age = (sequences.timestamp[window[:, -1:]] - sequences.timestamp[window]) / DAY
        weight = np.asarray(config.weights)[sequences.behavior[window]]
        weight = np.where(mask, weight * 0.5 ** (age * mask / config.half_life), 0.0)
        row, column = np.nonzero(weight)
        shape = (len(rows), sequences.n_items)
        return sparse.csr_array((weight[row, column], (row, sequences.item[window[row, column]])), shape=shape)

    def rank(self, sequences: Sequences, rows: np.ndarray, k: int) -> np.ndarray:
        lists = [padded_lists(self.scores(sequences, chunk), k) for chunk in _chunks(rows, self.config.max_history)]
        return self.popularity.fill(np.concatenate(lists))


def most_recent(*, popularity: Popularity, max_history: int = 50) -> FrequencyDecay:
    """The distinct items of the history, newest first: a half-life of half an event, where an event outweighs
    all older ones together (1 > 1/4 + 1/16 + ...)."""
    return FrequencyDecay(FrequencyDecayConfig(half_life=0.5, max_history=max_history), popularity=popularity)


@dataclass(frozen=True)
class MarkovConfig:
    """Item-to-item transitions."""

    span: int = 3  # an event is followed by the next `span` events of its user, at lag l with weight 1 / l
    neighbours: int = 100  # most related items kept of an item
    half_life: float = 4.0  # events, decay of the history's items
    max_history: int = 50  # events


@dataclass(frozen=True)
class CoOccurrenceConfig(MarkovConfig):
    """Item-to-item similarity."""

    span: int = 10  # two events of a user co-occur if at most so many places apart


class Related:
    """Items by how they are related to the history's items: sum_i h_i R_ij, where h is the history's decayed frequency.

    Args:
        config: the decay, and how R was made.
        related: R, sparse (n_items, n_items).
        popularity: fills short lists.
    """

    def __init__(self, config: MarkovConfig, *, related: sparse.csr_array, popularity: Popularity):
        self.config, self.related, self.popularity = config, related, popularity
        decay = FrequencyDecayConfig(half_life=config.half_life, max_history=config.max_history)
        self.history = FrequencyDecay(decay, popularity=popularity)

    def rank(self, sequences: Sequences, rows: np.ndarray, k: int) -> np.ndarray:
        most = max(1, int(np.diff(self.related.indptr).max(initial=0)))
        lists = [
            padded_lists(self.history.scores(sequences, chunk) @ self.related, k)
            for chunk in _chunks(rows, self.config.max_history * most)
        ]
        return self.popularity.fill(np.concatenate(lists))


class Markov(Related):
    """R is P(j | i), how often j followed i in training: row-normalised counts."""

    @classmethod
    def fit(cls, sequences: Sequences, split: Split, *, config: MarkovConfig | None = None) -> "Markov":
        """Count transitions between training events of the same user."""
        config = config or MarkovConfig()
        transitions = count_transitions(sequences, split.train_event, config)
        return cls(config, related=transitions, popularity=Popularity.fit(sequences, split))


def count_transitions(sequences: Sequences, train_event: np.ndarray, config: MarkovConfig) -> sparse.csr_array:
    """P(j | i) of the `neighbours` likeliest j of each i, (n_items, n_items)"""
    parts = []
    for _, counts in _pair_counts(sequences, train_event, [1 / lag for lag in range(1, config.span + 1)]):
        total = np.maximum(counts.sum(axis=1), 1e-300)
        parts.append(best_of_rows(sparse.diags_array(1 / total) @ counts, config.neighbours))
    return sparse.vstack(parts, format="csr")


class CoOccurrence(Related):
    """R is C_ij / sqrt(n_i n_j), where C_ij counts pairs of nearby training events of a user, and n_i events. Items to
    which users come back are related to themselves."""

    @classmethod
    def fit(cls, sequences: Sequences, split: Split, *, config: CoOccurrenceConfig | None = None) -> "CoOccurrence":
        """Count pairs of training events of the same user."""
        config = config or CoOccurrenceConfig()
        popularity = Popularity.fit(sequences, split)
        scale = 1 / np.sqrt(np.maximum(popularity.score, 1))
        parts = [
            best_of_rows(sparse.diags_array(scale[block]) @ counts @ sparse.diags_array(scale), config.neighbours)
            for block, counts in _pair_counts(sequences, split.train_event, [1.0] * config.span, symmetric=True)
        ]
        return cls(config, related=sparse.vstack(parts, format="csr"), popularity=popularity)


def _pair_counts(
    sequences: Sequences, train_event: np.ndarray, weights: list[float], *, symmetric: bool = False
) -> Iterator[tuple[slice, sparse.csr_array]]:
    """Pairs of training events of a user, counted by (item, item `lag` events later) with weight `weights[lag - 1]`,
    and the other way round too if symmetric.

    Works on blocks of source items that share about ten million pairs, so memory does not grow with the log's pairs:
    yields the block and its counts (block, n_items).
    """
    later = np.flatnonzero(train_event)
    before = sequences.history_length(later)
    frequency = np.bincount(sequences.item[later], minlength=sequences.n_items).cumsum()
    blocks = 1 + len(later) * len(weights) * (1 + symmetric) // (5 * CELLS)
    edges = np.searchsorted(frequency, np.linspace(0, len(later), blocks + 1)[1:-1])
    for first, end in zip([0, *edges], [*edges, sequences.n_items], strict=True):
        shape = (end - first, sequences.n_items)
        counts = sparse.csr_array(shape)
        for lag, weight in enumerate(weights, start=1):
            target = later[before >= lag]
            pairs = [(sequences.item[target - lag], sequences.item[target])]
            for source, other in pairs + [pair[::-1] for pair in pairs if symmetric]:
                here = (source >= first) & (source < end)
                row = source[here] - first
                counts += sparse.csr_array((np.full(len(row), weight), (row, other[here])), shape=shape)
        yield slice(first, end), counts


def best_of_rows(matrix: sparse.csr_array, k: int) -> sparse.csr_array:
    """The k largest entries of each row, stored best first; of equal entries the lower columns."""
    count = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(count)), count)
    order = np.lexsort((matrix.indices, -matrix.data, row))
    order = order[np.arange(len(row)) - matrix.indptr[row] < k]
    indptr = np.concatenate([[0], np.minimum(count, k).cumsum()])
    return sparse.csr_array((matrix.data[order], matrix.indices[order], indptr), shape=matrix.shape)


def padded_lists(scores: sparse.csr_array, k: int) -> np.ndarray:
    """The items of the k best scores of each row, (n, n_items) -> (n, k) int64, -1 where there are fewer."""
    best = best_of_rows(scores, k)
    count = np.diff(best.indptr)
    items = np.full((len(count), k), -1, np.int64)
    items[np.arange(k) < count[:, None]] = best.indices
    return items


def mean_ndcg(ranker: Ranker, sequences: Sequences, rows: np.ndarray) -> float:
    """Mean NDCG@10 of a ranker over the targets at `rows`."""
    rank = rank_of(ranker.rank(sequences, rows, 10), sequences.item[rows])
    return float(ndcg(rank, 10).mean()) if len(rows) else 0.0


def _chunks(rows: np.ndarray, cells: int) -> Iterator[np.ndarray]:
    """Runs of rows so that a chunk holds about CELLS numbers at `cells` a row; at least one run, if empty."""
    size = max(1, CELLS // cells)
    for start in range(0, max(1, len(rows)), size):
        yield rows[start : start + size]


def _check_weights(weights: tuple[float, ...]) -> None:
    if len(weights) != len(BEHAVIORS) or not all(weight >= 0 for weight in weights):
        raise InputError(f"weights: found {weights}, expected {len(BEHAVIORS)} numbers from 0 up")
