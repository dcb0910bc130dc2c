"""The catalogue of the simulated shop: a category tree, brands, sellers, prices and titles, and how to draw from it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rclrec_mini.data.schema import ITEMS
from rclrec_mini.data.shop_config import ShopConfig

NOUNS = (
    *("shoes", "dress", "coat", "bag", "phone", "lamp", "toy", "tea", "cream", "watch", "book", "quilt", "tent"),
    *("bicycle", "camera", "pen", "sofa", "kettle", "scarf", "guitar"),
)
STYLES = ("running", "evening", "travel", "classic", "compact", "garden", "winter", "office", "kids", "vintage")
COLOURS = ("black", "white", "red", "blue", "green", "ivory", "grey", "rose", "amber", "navy")
MATERIALS = ("cotton", "steel", "linen", "leather", "bamboo", "glass", "wool", "oak", "silk", "ceramic")
BY_LEAF, BY_LEAF_AND_BRAND, BY_LEAF_AND_SELLER, BY_SELLER = range(4)


def zipf(n: int, exponent: float) -> np.ndarray:
    """Probabilities proportional to 1 / rank**exponent, (n,)."""
    weight = np.arange(1, n + 1, dtype=float) ** -exponent
    return weight / weight.sum()


@dataclass(frozen=True, eq=False)
class Shelves:
    """Items arranged four times, by what a visitor may be looking at, each shelf ordered and weighed by popularity.

    group (4, N): the shelf on which each arrangement puts each item. order, cumulative (4 N,): items shelf by shelf
    and the running sum of their popularity. start (S+1,): where each shelf begins.
    """

    group: np.ndarray
    order: np.ndarray
    cumulative: np.ndarray
    start: np.ndarray

    def draw(self, shelf: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """An item of each `shelf` by popularity, from a uniform number in [0, 1): (n,), (n,) -> (n,)."""
        first, end = self.start[shelf], self.start[shelf + 1]
        low = np.where(first > 0, self.cumulative[first - 1], 0.0)
        place = np.searchsorted(self.cumulative, low + uniform * (self.cumulative[end - 1] - low), side="right")
        return self.order[np.clip(place, first, end - 1)]


@dataclass(frozen=True, eq=False)
class SimulatedItems:
    """leaf, brand, seller (N,) as numbers, price_level (N,) the price rank within the leaf in [0, 1),
    leaf_share (leaves,) how often a leaf is wanted, and the shelves to draw from."""

    table: pa.Table
    leaf: np.ndarray
    brand: np.ndarray
    seller: np.ndarray
    price_level: np.ndarray
    leaf_share: np.ndarray
    shelves: Shelves


def catalogue(config: ShopConfig) -> SimulatedItems:
    """The items of the shop; equal configs give equal ones, whatever they say about users.

    Every leaf has at least one item, its own few brands and sellers, and Zipf popularity within it.
    """
    items, leaves = config.items, config.leaves
    rng = np.random.default_rng([config.seed, 0])
    leaf_share = rng.permutation(zipf(leaves, 0.7))
    leaf = rng.permutation(np.concatenate([np.arange(leaves), rng.choice(leaves, items - leaves, p=leaf_share)]))
    brand = _pool(rng, leaf, leaves, config.brands, size=8)
    seller = _pool(rng, leaf, leaves, config.sellers, size=10)
    popularity = rng.permutation(np.arange(1, items + 1, dtype=float) ** -config.popularity_exponent)
    level = rng.lognormal(4, 0.8, leaves)[leaf] * rng.lognormal(0, 0.5, config.brands)[brand]
    price = np.round(level * rng.lognormal(0, 0.3, items) + 0.01, 2)
    return SimulatedItems(
        table=_table(rng, leaf, leaf % config.parents, brand, seller, price),
        leaf=leaf,
        brand=brand,
        seller=seller,
        price_level=_rank_within(leaf, price),
        leaf_share=leaf_share,
        shelves=_shelves(leaf, brand, seller, popularity, leaf_share),
    )


def _pool(rng: np.random.Generator, leaf: np.ndarray, leaves: int, n: int, *, size: int) -> np.ndarray:
    """Give each item one of the `size` brands (or sellers) of its leaf, the first ones more often."""
    size = min(size, n)
    pool = np.stack([rng.choice(n, size, replace=False, p=zipf(n, 0.6)) for _ in range(leaves)])
    return pool[leaf, rng.choice(size, len(leaf), p=zipf(size, 1.0))]


def _rank_within(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    order = np.lexsort((value, group))
    count = np.bincount(group)
    first = np.cumsum(count) - count
    rank = np.empty(len(group))
    rank[order] = (np.arange(len(group)) - first[group[order]]) / count[group[order]]
    return rank


def _shelves(
    leaf: np.ndarray, brand: np.ndarray, seller: np.ndarray, popularity: np.ndarray, leaf_share: np.ndarray
) -> Shelves:
    keys = (leaf, leaf * (brand.max() + 1) + brand, leaf * (seller.max() + 1) + seller, seller)
    in_leaf = popularity / np.bincount(leaf, popularity)[leaf]
    groups, orders, cumulatives, starts, shelves = [], [], [], [], 0
    for arrangement, key in enumerate(keys):
        _, group = np.unique(key, return_inverse=True)
        order = np.lexsort((-popularity, group))
        weight = (in_leaf * leaf_share[leaf] if arrangement == BY_SELLER else in_leaf)[order]
        starts.append(np.searchsorted(group[order], np.arange(group.max() + 1)) + arrangement * len(leaf))
        groups.append(group + shelves)
        orders.append(order)
        cumulatives.append(weight)
        shelves += group.max() + 1
    return Shelves(
        group=np.stack(groups),
        order=np.concatenate(orders),
        cumulative=np.cumsum(np.concatenate(cumulatives)),
        start=np.append(np.concatenate(starts), 4 * len(leaf)),
    )


def _named(words: tuple[str, ...], n: int) -> list[str]:
    """n names: the words, then the words with numbers behind them."""
    return [words[i % len(words)] + (str(i // len(words)) if i >= len(words) else "") for i in range(n)]


def _table(
    rng: np.random.Generator, leaf: np.ndarray, parent: np.ndarray, brand: np.ndarray, seller: np.ndarray,
    price: np.ndarray,
) -> pa.Table:  # fmt: skip
    colour, material = rng.integers(len(COLOURS), size=len(leaf)), rng.integers(len(MATERIALS), size=len(leaf))
    within = leaf // (parent.max() + 1)
    noun, style = _named(NOUNS, parent.max() + 1), _named(STYLES, within.max() + 1)
    titles = [
        f"{COLOURS[c]} {MATERIALS[m]} {style[s]} {noun[p]} brand{b + 1}"
        for c, m, s, p, b in zip(colour, material, within, parent, brand, strict=True)
    ]
    columns = {
        "item": np.arange(len(leaf)),
        "raw_id": [str(i) for i in range(1, len(leaf) + 1)],
        "category": [str(c) for c in leaf + 1],
        "parent_category": [str(c) for c in parent + 1],
        "brand": [f"b{b}" for b in brand + 1],
        "seller": [f"s{s}" for s in seller + 1],
        "title": titles,
        "price": price,
    }
    return pa.table(columns, schema=ITEMS)
