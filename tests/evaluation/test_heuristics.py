from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from rclrec_mini.data.schema import CART, CLICK, PURCHASE
from rclrec_mini.data.sequences import Sequences, split_last_purchase
from rclrec_mini.evaluation import heuristics
from rclrec_mini.evaluation.heuristics import (
    CoOccurrence,
    CoOccurrenceConfig,
    FrequencyDecay,
    FrequencyDecayConfig,
    Markov,
    MarkovConfig,
    Popularity,
    mean_ndcg,
    most_recent,
)
from rclrec_mini.files import InputError


def random_sequences(n_users=31, n_items=47, longest=71, seed=0):
    rng = np.random.default_rng(seed)
    length = rng.integers(0, longest, n_users)
    offsets = np.concatenate([[0], length.cumsum()])
    n = offsets[-1]
    item = np.minimum(rng.zipf(1.3, n) - 1, n_items - 1).astype(np.int32)
    behavior = rng.choice(4, n, p=[0.7, 0.1, 0.1, 0.1]).astype(np.int8)
    timestamp = np.concatenate([np.sort(rng.integers(0, 30 * 86_400, size)) for size in length])
    return Sequences(item, behavior, timestamp, offsets, n_items)


@pytest.fixture(scope="module")
def world():
    sequences = random_sequences()
    split = split_last_purchase(sequences)
    return sequences, split, np.concatenate([split.test, split.validation])


def history(sequences, row, longest):
    start = sequences.offsets[sequences.user_of(np.array([row]))[0]]
    return list(range(max(start, row - longest), row))


def popular(sequences, split):
    count = Counter(sequences.item[split.train_event].tolist())
    return sorted(range(sequences.n_items), key=lambda item: (-count[item], item))


def listed(score, fallback, k, digits=None):
    """Items by score, then the popular ones; rounding makes ties of sums that were added in another order."""
    rounded = score if digits is None else {item: round(value, digits) for item, value in score.items()}
    best = sorted(score, key=lambda item: (-rounded[item], item))
    return (best + [item for item in fallback if item not in score])[:k]


def test_popularity(world):
    sequences, split, rows = world
    items = Popularity.fit(sequences, split).rank(sequences, rows, 11)
    assert items.dtype == np.int64 and items.shape == (len(rows), 11)
    assert (items == popular(sequences, split)[:11]).all()
    purchases = Popularity.fit(sequences, split, weights=(0, 0, 0, 1))
    train = split.train_event & (sequences.behavior == PURCHASE)
    np.testing.assert_array_equal(purchases.score, np.bincount(sequences.item[train], minlength=47))


def test_popularity_reads_training_events_only(world):
    sequences, split, _ = world
    future = np.where(split.train_event, sequences.item, 46).astype(np.int32)
    changed = Sequences(future, sequences.behavior, sequences.timestamp, sequences.offsets, 47)
    before, after = (Popularity.fit(s, split) for s in (sequences, changed))
    np.testing.assert_array_equal(before.score, after.score)
    a, b = (count.related for count in (Markov.fit(sequences, split), Markov.fit(changed, split)))
    assert (a != b).nnz == 0
    a, b = (CoOccurrence.fit(s, split).related for s in (sequences, changed))
    assert (a != b).nnz == 0


def test_catalog_smaller_than_k():
    popularity = Popularity(score=np.array([1.0, 5.0, 2.0]))
    items = popularity.fill(np.array([[-1] * 5, [2, -1, -1, -1, -1]]))
    assert items.tolist() == [[1, 2, 0, -1, -1], [2, 1, 0, -1, -1]]


@pytest.mark.parametrize("max_history", [3, 50])
def test_most_recent(world, max_history):
    sequences, split, rows = world
    items = most_recent(popularity=Popularity.fit(sequences, split), max_history=max_history).rank(sequences, rows, 13)
    for row, found in zip(rows, items, strict=True):
        newest_first = [int(sequences.item[r]) for r in reversed(history(sequences, row, max_history))]
        score = {item: -newest_first.index(item) for item in newest_first}
        assert found.tolist() == listed(score, popular(sequences, split), 13)


@pytest.mark.parametrize("unit", ["events", "days"])
@pytest.mark.parametrize("half_life", [0.7, 5.0])
def test_frequency_decay(world, unit, half_life, monkeypatch):
    monkeypatch.setattr(heuristics, "CELLS", 7 * 50)  # several chunks
    sequences, split, rows = world
    config = FrequencyDecayConfig(weights=(1.0, 2.3, 4.1, 0.0), half_life=half_life, unit=unit, max_history=43)
    items = FrequencyDecay(config, popularity=Popularity.fit(sequences, split)).rank(sequences, rows, 11)
    for row, found in zip(rows, items, strict=True):
        score = defaultdict(float)
        for r in history(sequences, row, 43):
            seconds = int(sequences.timestamp[row - 1] - sequences.timestamp[r])
            age = row - 1 - r if unit == "events" else seconds / 86_400
            weight = config.weights[sequences.behavior[r]]
            if weight:
                score[int(sequences.item[r])] += weight * 0.5 ** (age / half_life)
        assert found.tolist() == listed(score, popular(sequences, split), 11)


@pytest.mark.parametrize("span", [1, 3])
def test_markov(world, span, monkeypatch):
    sequences, split, rows = world
    monkeypatch.setattr(heuristics, "CELLS", 50 * 7)  # several blocks and chunks
    config = MarkovConfig(span=span, neighbours=7, half_life=2.0, max_history=41)
    items = Markov.fit(sequences, split, config=config).rank(sequences, rows, 11)
    count = defaultdict(Counter)
    for row in np.flatnonzero(split.train_event):
        for r in history(sequences, row, span):
            count[int(sequences.item[r])][int(sequences.item[row])] += 1 / (row - r)
    for row, found in zip(rows, items, strict=True):
        score = defaultdict(float)
        for r in history(sequences, row, 41):
            source = int(sequences.item[r])
            total = sum(count[source].values())
            best = sorted(count[source], key=lambda j: (-round(count[source][j] / total, 12), j))[:7]
            for j in best:
                score[j] += 0.5 ** ((row - 1 - r) / 2) * count[source][j] / total
        assert found.tolist() == listed(score, popular(sequences, split), 11, digits=14)


@pytest.mark.parametrize("span", [1, 5])
def test_co_occurrence(world, span, monkeypatch):
    sequences, split, rows = world
    monkeypatch.setattr(heuristics, "CELLS", 50 * 7)  # several blocks and chunks
    config = CoOccurrenceConfig(span=span, neighbours=7, half_life=2.0, max_history=41)
    items = CoOccurrence.fit(sequences, split, config=config).rank(sequences, rows, 11)
    events, together = Counter(), defaultdict(Counter)
    for row in np.flatnonzero(split.train_event):
        i = int(sequences.item[row])
        events[i] += 1
        for other in np.flatnonzero(split.train_event):
            if 0 < abs(row - other) <= span and sequences.user_of(row) == sequences.user_of(other):
                together[i][int(sequences.item[other])] += 1
    cosine = {i: {j: c / np.sqrt(events[i] * events[j]) for j, c in near.items()} for i, near in together.items()}
    for row, found in zip(rows, items, strict=True):
        score = defaultdict(float)
        for r in history(sequences, row, 41):
            near = cosine.get(int(sequences.item[r]), {})
            for j in sorted(near, key=lambda j: (-round(near[j], 12), j))[:7]:
                score[j] += 0.5 ** ((row - 1 - r) / 2) * near[j]
        assert found.tolist() == listed(score, popular(sequences, split), 11, digits=14)


def test_co_occurrence_is_symmetric_and_normalised(world):
    sequences, split, _ = world
    similarity = CoOccurrence.fit(sequences, split, config=CoOccurrenceConfig(span=1)).related.toarray()
    np.testing.assert_allclose(similarity, similarity.T)
    assert 0 < similarity.max() <= 2  # an event has one neighbour on either side


def rankers(sequences, split):
    popularity = Popularity.fit(sequences, split)
    recent = most_recent(popularity=popularity)
    return popularity, recent, Markov.fit(sequences, split), CoOccurrence.fit(sequences, split)


def test_lists_are_distinct_and_full(world):
    sequences, split, rows = world
    for ranker in rankers(sequences, split):
        items = ranker.rank(sequences, rows, 23)
        assert items.min() >= 0 and items.max() < 47
        assert all(len(set(row)) == 23 for row in items.tolist())


def test_no_rows(world):
    sequences, split, _ = world
    for ranker in rankers(sequences, split):
        assert ranker.rank(sequences, np.zeros(0, np.int64), 5).shape == (0, 5)


def test_fit_finds_what_decides():
    """Users look at three items, put one in the cart early on, and buy that one: only the cart's weight helps."""
    rng = np.random.default_rng(1)
    item, behavior = [], []
    for _ in range(61):
        a, b, c = rng.choice(101, 3, replace=False)
        for _ in range(3):  # two purchases to test and validate on, one to train
            item += [a, b, c, b, c, c, a]
            behavior += [CART, CLICK, CLICK, CLICK, CLICK, CLICK, PURCHASE]
    offsets = np.arange(62) * 21
    sequences = Sequences(
        np.array(item, np.int32), np.array(behavior, np.int8), np.tile(np.arange(21) * 3600, 61), offsets, 101
    )
    split = split_last_purchase(sequences)
    fitted = FrequencyDecay.fit(sequences, split, max_history=6)
    assert mean_ndcg(fitted, sequences, split.test) == 1
    assert fitted.config.weights[CART] > 1
    assert mean_ndcg(most_recent(popularity=fitted.popularity, max_history=6), sequences, split.test) < 0.7
    again = FrequencyDecay.fit(sequences, split, max_history=6, max_targets=17, seed=3)
    assert again.config == FrequencyDecay.fit(sequences, split, max_history=6, max_targets=17, seed=3).config


def test_fit_never_reads_the_test_targets(world):
    sequences, split, _ = world
    none = split.test[:0]
    chosen, blind, untold = (
        FrequencyDecay.fit(sequences, one, seed=3).config
        for one in (split, replace(split, test=none), replace(split, validation=none))
    )
    assert blind == chosen != untold


def test_bad_config(world):
    popularity = Popularity(score=np.ones(3))
    with pytest.raises(InputError, match="half_life: found 0"):
        FrequencyDecay(FrequencyDecayConfig(half_life=0), popularity=popularity)
    with pytest.raises(InputError, match="expected 4 numbers from 0 up"):
        FrequencyDecay(FrequencyDecayConfig(weights=(1, 1, -1, 1)), popularity=popularity)
