"""Item vectors from what an item is (category path, brand, seller, title words, price) and how it is used
(co-occurrence in users' training events).

Side information is a sparse table of one-hot blocks, reduced by a truncated SVD. Co-occurrence is positive pointwise
mutual information with smoothed contexts, reduced likewise (Levy, Goldberg and Dagan, 2015):
    PPMI_ij = max(0, log(n_ij / (n_i p_j))),   p_j = n_j^0.75 / sum_j' n_j'^0.75
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from scipy import sparse
from scipy.stats import rankdata
from tqdm import tqdm

from rclrec_mini.checks import at_least
from rclrec_mini.data.prepared import numbered
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.files import InputError

PRICE_KNOTS = 11
CONTEXT_SMOOTHING = 0.75
POWER_ITERATIONS = 4


@dataclass(frozen=True)
class FeatureConfig:
    """Weights say how much each part counts in the squared distance of two items; 0 leaves the part out."""

    category: float = 1.0
    """Weight of the category path, leaf and parent in equal shares."""
    brand: float = 0.5
    """Weight of the brand."""
    seller: float = 0.5
    """Weight of the seller."""
    title: float = 0.5
    """Weight of the title's words, rare words first (inverse document frequency)."""
    price: float = 0.25
    """Weight of the price, by its rank among all prices."""
    cooccurrence: float = 1.0
    """Weight of which items the same users touch within a few events, training events only."""
    window: int = 5
    """Events between two items that still count as co-occurring."""
    dimensions: int = 64
    """Most numbers kept of the side information, and as many of the co-occurrence."""

    def __post_init__(self) -> None:
        at_least(self, 0, *_PARTS, "cooccurrence")
        at_least(self, 1, "window", "dimensions")


def item_vectors(
    items: pa.Table,
    sequences: Sequences,
    train_event: np.ndarray,
    config: FeatureConfig,
    *,
    seed: int = 0,
    progress: bool = True,
) -> np.ndarray:
    """One vector per item, (N, D) float32; D <= 2 * config.dimensions.

    A part that is null for every item, or that has no co-occurring pair, is skipped; an item that lacks a part has
    zeros there.

    Args:
        items: the ITEMS table beside them; row i describes item i.
        sequences: all users' events.
        train_event: (events,) bool, the only events that may be counted (`Split.train_event`).

    Raises:
        InputError: a weight is negative, a size is not positive, the table does not fit the sequences, or no part
            is left.
    """
    if items.num_rows != sequences.n_items:
        raise InputError(f"items: found {items.num_rows} rows, expected {sequences.n_items} as in the manifest")
    parts = tqdm(_PARTS.items(), desc="item features", disable=not progress)
    blocks = [_weighted(part(items), getattr(config, name)) for name, part in parts if getattr(config, name) > 0]
    side = sparse.hstack(blocks, "csr") if blocks else sparse.csr_array((items.num_rows, 0))
    vectors = [truncated_svd(side, config.dimensions, seed=seed)]
    if config.cooccurrence > 0:
        counts = cooccurrence_counts(sequences, train_event, window=config.window)
        behavior = truncated_svd(ppmi(counts), config.dimensions, seed=seed, power=0.5)
        vectors.append(config.cooccurrence**0.5 * _unit_rows(behavior))
    vectors = np.concatenate(vectors, 1).astype(np.float32)
    if vectors.shape[1] == 0:
        raise InputError("item features: every part is empty or has weight 0, expected at least one that is not")
    return vectors


def one_hot(column: pa.ChunkedArray) -> sparse.csr_array:
    """A column of text as (N, values); null rows are zero."""
    index = numbered(column)
    rows = np.flatnonzero(index >= 0)
    return sparse.csr_array((np.ones(len(rows)), (rows, index[rows])), shape=(len(column), index.max(initial=-1) + 1))


def category_path(items: pa.Table) -> sparse.csr_array:
    """Leaf and parent category side by side."""
    return sparse.hstack([one_hot(items["category"]), one_hot(items["parent_category"])], "csr")


def title_words(items: pa.Table) -> sparse.csr_array:
    """Which words a title has, (N, words), each counted once and weighted by log(1 + N / titles with it)."""
    lists = pc.utf8_split_whitespace(pc.fill_null(items["title"], "")).combine_chunks()
    lists = pa.chunked_array(lists).combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    words, rows = pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy()
    filled = pc.not_equal(words, "").to_numpy(zero_copy_only=False)
    vocabulary = words.filter(filled).unique()
    index = pc.index_in(words, value_set=vocabulary).fill_null(-1).to_numpy()[filled]
    table = sparse.csr_array((np.ones(len(index)), (rows[filled], index)), shape=(items.num_rows, len(vocabulary)))
    table.data[:] = 1  # repeated words were summed
    titles = np.bincount(table.indices, minlength=len(vocabulary))
    table.data *= np.log1p(items.num_rows / titles[table.indices])
    return table


def price_position(items: pa.Table) -> sparse.csr_array:
    """Where the price ranks, as weights of the two nearest of PRICE_KNOTS knots: near prices are near vectors."""
    price = items["price"].to_numpy()
    rows = np.flatnonzero(~np.isnan(price))
    if len(rows) == 0:
        return sparse.csr_array((len(price), 0))
    position = (rankdata(price[rows]) - 0.5) / len(rows) * (PRICE_KNOTS - 1)
    low = np.floor(position).astype(np.int64)
    share = np.concatenate([low + 1 - position, position - low])
    place = np.tile(rows, 2), np.concatenate([low, low + 1])
    return sparse.csr_array((share, place), shape=(len(price), PRICE_KNOTS))


_PARTS: dict[str, Callable[[pa.Table], sparse.csr_array]] = {
    "category": category_path,
    "brand": lambda items: one_hot(items["brand"]),
    "seller": lambda items: one_hot(items["seller"]),
    "title": title_words,
    "price": price_position,
}


def cooccurrence_counts(sequences: Sequences, train_event: np.ndarray, *, window: int) -> sparse.csr_array:
    """How often two different items stand within `window` training events of one user, (N, N), symmetric."""
    rows = np.flatnonzero(train_event)
    item, user = sequences.item[rows], sequences.user_of(rows)
    shape = (sequences.n_items, sequences.n_items)
    counts = sparse.csr_array(shape, dtype=np.float64)
    for lag in range(1, window + 1):
        pair = (user[lag:] == user[:-lag]) & (item[lag:] != item[:-lag])
        left, right = item[:-lag][pair], item[lag:][pair]
        counts = counts + sparse.csr_array((np.ones(len(left)), (left, right)), shape=shape)
    return sparse.csr_array(counts + counts.T)


def ppmi(counts: sparse.csr_array) -> sparse.csr_array:
    """Positive pointwise mutual information of symmetric counts, (N, N) -> (N, N)."""
    pairs = counts.tocoo()
    total = counts.sum(1)  # (N,)
    context = total**CONTEXT_SMOOTHING
    context = context / max(context.sum(), 1)
    row, column = pairs.row, pairs.col
    information = np.log(pairs.data / (total[row] * context[column]))
    table = sparse.csr_array((np.maximum(information, 0), (row, column)), shape=counts.shape)
    table.eliminate_zeros()
    return table


def truncated_svd(matrix: sparse.csr_array, dimensions: int, *, seed: int, power: float = 1.0) -> np.ndarray:
    """Rows in the basis of the largest singular vectors, U S^power: (N, F) -> (N, at most `dimensions`).

    Randomised range finder with power iterations (Halko, Martinsson and Tropp, 2011, algorithm 4.4), exact where
    dimensions + 10 is at least the smaller side. Directions without any variance are left out. In torch, since numpy's
    dense factorisations are many times slower on a busy machine.
    """
    if matrix.nnz == 0:
        return np.zeros((matrix.shape[0], 0))
    width = min(dimensions + 10, *matrix.shape)
    basis = _orthonormal(matrix @ np.random.default_rng(seed).normal(size=(matrix.shape[1], width)))
    for _ in range(POWER_ITERATIONS):
        basis = _orthonormal(matrix @ _orthonormal(matrix.T @ basis))
    _, values, left = torch.linalg.svd(torch.from_numpy(matrix.T @ basis), full_matrices=False)
    kept = values[:dimensions] > 1e-9 * values[0]
    return basis @ (left[:dimensions][kept].T * values[:dimensions][kept] ** power).numpy()


def _orthonormal(table: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns."""
    return torch.linalg.qr(torch.from_numpy(table))[0].numpy()


def _weighted(block: sparse.csr_array, weight: float) -> sparse.csr_array:
    """Rows of squared length `weight` (zero rows stay zero)."""
    length = np.sqrt(block.multiply(block).sum(1))
    scale = weight**0.5 / np.where(length > 0, length, 1)
    return sparse.csr_array(sparse.diags_array(scale) @ block)


def _unit_rows(table: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(table, axis=1, keepdims=True)
    return table / np.where(length > 0, length, 1)
