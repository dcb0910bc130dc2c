"""The simulated shop: a small world whose truth is known.

A user's history is made of *episodes*. Idle browsing is one lane of short episodes (noise); `journeys_at_once` other
lanes each hold one decision journey after another. A journey settles on a need (a leaf category, often one brand or
one seller of it), compares items, comes back to some of them, most of all to one that it likes best, and now and
then ends in a purchase, `gap` events after its last event. All episodes of a user lie on one axis, measured in
events, and sorting them along it gives the history.

    axis       0         10        20        30          position in the user's history, roughly
    noise      n  n n   n   n  nn   n     n   n
    lane 1      a   a    a     a    b    b b    b
    lane 2        c c cc  c . . . . . . P  d      d      P: the purchase of journey c, its gap is the dotted part

Randomness is a hash of (seed, user, purpose, number), so a user's stream does not depend on who else is simulated,
and users can be made in chunks of any size.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

import rclrec_mini
from rclrec_mini.data.schema import BEHAVIORS, CART, CLICK, FAVORITE, INTERACTIONS, PURCHASE, TRUTH, USERS
from rclrec_mini.data.simulated_items import (
    BY_LEAF,
    BY_LEAF_AND_BRAND,
    BY_LEAF_AND_SELLER,
    BY_SELLER,
    SimulatedItems,
    simulate_items,
    zipf,
)
from rclrec_mini.files import InputError, whole_folder, write_json

NOISE = -1
TASTES = 6  # leaf categories that a user keeps coming back to
LONGEST = 24  # events of one episode before its purchase
AFTER = 3  # most events of one journey after its purchase


@dataclass(frozen=True, kw_only=True)
class ShopConfig:
    """Every knob of the shop, with its unit.

    Attributes:
        users, items, leaves, parents, brands, sellers: how many there are (leaves: leaf categories).
        popularity_exponent: of the Zipf law of item popularity within a shelf.
        events_per_user: mean number of events of a user; events_spread: users lie within +- this share of it.
        journeys_at_once: decision journeys that a user has open at any time.
        gap: mean number of events between a journey's last event and its purchase (geometric; 0 means none).
        noise_share: share of events that are idle browsing and belong to no journey.
        journey_events: mean number of events of a journey, before any purchase.
        revisit_rate: share of a journey's events that return to an item it has seen (idle browsing: half of it).
        purchase_share: share of events that are purchases.
        seen_share: share of purchases that take the item the journey liked best; the others take a close one, not
            seen in the journey, of the same leaf category and mostly of the same brand.
        focus: how much longer a buying journey is than another, and how much denser its events lie (ratio, >= 1).
        after_share: share of purchases that are followed by one to three more clicks of the same journey.
        taste_share: share of journeys whose need is one of the user's own leaf categories.
        days: length of the simulated period; start: its first second (UTC).
        seed: of everything.
    """

    users: int = 3_000
    items: int = 2_000
    leaves: int = 60
    parents: int = 12
    brands: int = 150
    sellers: int = 120
    popularity_exponent: float = 0.8
    events_per_user: int = 300
    events_spread: float = 0.2
    journeys_at_once: int = 3
    gap: float = 10.0
    noise_share: float = 0.4
    journey_events: float = 7.0
    revisit_rate: float = 0.3
    purchase_share: float = 0.0095
    seen_share: float = 0.75
    focus: float = 1.8
    after_share: float = 0.3
    taste_share: float = 0.6
    days: int = 180
    start: int = 1_399_766_400  # 2014-05-11
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "users": self.users >= 1,
            "items": self.items >= self.leaves,
            "leaves": self.leaves >= self.parents,
            "parents": self.parents >= 1,
            "brands": self.brands >= 1,
            "sellers": self.sellers >= 1,
            "events_per_user": self.events_per_user >= 10,
            "journeys_at_once": self.journeys_at_once >= 1,
            "gap": self.gap >= 0,
            "journey_events": self.journey_events >= 2,
            "purchase_share": 0 <= self.purchase_share <= 0.1,
            "focus": self.focus >= 1,
            "days": 1 <= self.days <= 230,
        }
        shares = ("events_spread", "noise_share", "revisit_rate", "seen_share", "after_share", "taste_share")
        checks |= {name: 0 <= getattr(self, name) < (1 if name == "noise_share" else 1.0001) for name in shares}
        for name, good in checks.items():
            if not good:
                raise InputError(f"ShopConfig.{name}: found {getattr(self, name)}, which is outside its range")


PRESETS = {
    "tiny": dict(users=211, items=307, leaves=13, parents=5, brands=23, sellers=19, events_per_user=120),
    "mini": dict(),
    "full": dict(users=60_000, items=40_000, leaves=400, parents=40, brands=1_500, sellers=1_200),
}


def preset(name: str, **changes: object) -> ShopConfig:
    """The configuration `tiny` (seconds), `mini` (the book) or `full` (a GPU hour), with some knobs changed.

    Raises:
        InputError: there is no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name}: expected one of {', '.join(PRESETS)}")
    return ShopConfig(**{**PRESETS[name], **changes})


@dataclass(frozen=True, eq=False)
class Shop:
    """A whole simulated shop, as tables of data/schema.py; `truth` lies row for row beside `interactions`."""

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    truth: pa.Table


def simulate(config: ShopConfig) -> Shop:
    """Simulate a shop in memory."""
    items = catalogue(config)
    chunks = list(simulate_users(config, items))
    return Shop(
        interactions=pa.concat_tables([c.interactions for c in chunks]).combine_chunks(),
        items=items.table,
        users=pa.concat_tables([c.users for c in chunks]).combine_chunks(),
        truth=pa.concat_tables([c.truth for c in chunks]).combine_chunks(),
    )


def catalogue(config: ShopConfig) -> SimulatedItems:
    """The items of the shop."""
    names = ("items", "leaves", "parents", "brands", "sellers", "popularity_exponent", "seed")
    return simulate_items(**{name: getattr(config, name) for name in names})


def sized(config: ShopConfig, *, rows: int) -> ShopConfig:
    """The same shop with as many users as make about `rows` interactions (within a few per cent)."""
    sample = replace(config, users=256)
    found = sum(chunk.interactions.num_rows for chunk in simulate_users(sample, catalogue(sample)))
    return replace(config, users=max(1, round(rows * 256 / found)))


def simulate_users(config: ShopConfig, items: SimulatedItems, *, chunk: int = 1_000) -> Iterator[Shop]:
    """Simulate the users `chunk` at a time, in order; the rows do not depend on `chunk`."""
    for first in range(0, config.users, chunk):
        user = np.arange(first, min(first + chunk, config.users))
        people = _People.of(config, items, user)
        yield _tables(config, items, people, _browse(config, items, people))


# ---- randomness: a SplitMix64 stream for every (seed, user, purpose), read at any place -------------------------

(AGE, GENDER, LENGTH, TASTE, LANE, SIZE, PACE, BUYS, GAP, LEAF, SHELF, ANCHOR) = range(12)
(VISIT, PICK, LIKED, ACT, BOUGHT, REST, SECONDS, PRICE, AXIS, EXTRA, SHIFT, SESSION) = range(12, 24)
(ITEM_ONE, ITEM_TWO, ALTERNATIVE) = range(24, 27)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _uniform(key: np.ndarray, purpose: int, number: np.ndarray | int = 0) -> np.ndarray:
    """Numbers in [0, 1) that depend on nothing but the user's key, the purpose and the number."""
    stream = _mix(key + np.uint64((purpose + 1) * 0xD1342543DE82EF95 % 2**64))
    bits = _mix(stream + (np.asarray(number).astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(float) * 2.0**-53


@dataclass(frozen=True, eq=False)
class _People:
    """Users of one chunk: user, key, length (events), age, gender, price_level (U,), and tastes (U, TASTES)."""

    user: np.ndarray
    key: np.ndarray
    length: np.ndarray
    age: np.ndarray
    gender: np.ndarray
    price_level: np.ndarray
    tastes: np.ndarray

    @classmethod
    def of(cls, config: ShopConfig, items: SimulatedItems, user: np.ndarray) -> "_People":
        key = _mix(_mix(np.array([config.seed + 1], np.uint64)) + (user.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
        age, gender = (_uniform(key, AGE) * 8).astype(int), (_uniform(key, GENDER) * 2).astype(int)
        wanted = _uniform(key[:, None], TASTE, np.arange(TASTES))
        leaf = np.searchsorted(np.cumsum(items.leaf_share), wanted).clip(max=config.leaves - 1)
        # Half of the tastes follow the user's group, so that age and gender tell something about needs.
        group = (leaf + (age * 2 + gender)[:, None] * 7) % config.leaves
        shared = _uniform(key[:, None], SHIFT, np.arange(TASTES)) < 0.5
        spread = 1 + config.events_spread * (2 * _uniform(key, LENGTH) - 1)
        return cls(
            user=user,
            key=key,
            length=config.events_per_user * spread,
            age=age,
            gender=gender,
            price_level=_uniform(key, PRICE),
            tastes=np.where(shared, leaf, group),
        )


# ---- episodes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Episodes:
    """E stretches of browsing with one aim, one value each: person (row in _People), number (unique in the user),
    journey (NOISE for idle browsing), begin and pace (events on the axis), size (events before a purchase), buys,
    after (events after the purchase), gap, shelf (where its items come from)."""

    person: np.ndarray
    number: np.ndarray
    journey: np.ndarray
    begin: np.ndarray
    pace: np.ndarray
    size: np.ndarray
    buys: np.ndarray
    after: np.ndarray
    gap: np.ndarray
    shelf: np.ndarray


def _episodes(config: ShopConfig, items: SimulatedItems, people: _People, *, idle: bool) -> _Episodes:
    """Fill the idle lane, or the lanes of journeys, with one episode after another up to each user's length."""
    lanes = 1 if idle else config.journeys_at_once
    share = config.noise_share if idle else 1 - config.noise_share
    mean_size = 2.0 if idle else config.journey_events
    mean_pace = lanes / share
    longest = config.events_per_user * (1 + config.events_spread)
    per_lane = int(1.6 * longest / (mean_size * mean_pace)) + 8
    place = np.arange(per_lane)[:, None] * lanes + np.arange(lanes)  # interleaved, so it grows with time
    number = np.broadcast_to((place + (1 << 20) * idle).ravel(), (len(people.user), per_lane * lanes))
    key = people.key[:, None]

    buys = np.zeros(number.shape, bool) if idle else _which_buy(config, key, place.ravel())
    least = 1 if idle else 2
    size = least + np.floor(-np.log1p(-_uniform(key, SIZE, number)) * (mean_size - least + 0.5))
    pace = mean_pace * (0.5 + _uniform(key, PACE, number))
    size = np.where(buys, np.ceil(size * config.focus), size).clip(max=LONGEST)
    pace = np.where(buys, pace / config.focus, pace)

    lane_shape = (len(people.user), per_lane, lanes)
    duration = (size * pace).reshape(lane_shape)
    delay = _uniform(key, LANE, np.arange(lanes) + 64 * idle) * mean_size * mean_pace  # (U, lanes)
    begin = (np.cumsum(duration, axis=1) - duration + delay[:, None, :]).reshape(number.shape)
    person, column = np.nonzero(begin < people.length[:, None])
    number, key = number[person, column], people.key[person]
    after = 1 + np.floor(_uniform(key, EXTRA, number) / max(config.after_share, 1e-9) * AFTER)
    gap = np.floor(np.log1p(-_uniform(key, GAP, number)) / np.log(config.gap / (1 + config.gap))) if config.gap else 0
    buys = buys[person, column]
    return _Episodes(
        person=person,
        number=number,
        journey=np.where(idle, NOISE, number),
        begin=begin[person, column],
        pace=pace[person, column],
        size=size[person, column].astype(int),
        buys=buys,
        after=np.where(buys & (after <= AFTER), after, 0).astype(int),
        gap=np.broadcast_to(gap, person.shape),
        shelf=_shelf(config, items, people, person, number, buys, idle=idle),
    )


def _which_buy(config: ShopConfig, key: np.ndarray, place: np.ndarray) -> np.ndarray:
    """One journey of every stretch of 1/rate journeys buys, at a random place in it: (U, 1), (J,) -> (U, J)."""
    # Journeys that begin near the end of a history do not live to buy: the factor makes up for them.
    lost = (config.gap + config.journey_events * config.journeys_at_once / (1 - config.noise_share)) / 2
    rate = config.purchase_share * config.journey_events / (1 - config.noise_share)
    rate = min(1.0, rate / max(0.2, 1 - lost / config.events_per_user))
    if not rate:
        return np.zeros((len(key), len(place)), bool)
    stretches = np.stack([np.floor(place * rate), np.floor((place + 1) * rate)])  # (2, J): those that touch it
    chosen = np.floor((stretches + _uniform(key[:, :, None], BUYS, stretches)) / rate)  # (U, 2, J)
    return (chosen == place).any(axis=1)


def _shelf(
    config: ShopConfig,
    items: SimulatedItems,
    people: _People,
    person: np.ndarray,
    number: np.ndarray,
    buys: np.ndarray,
    *,
    idle: bool,
) -> np.ndarray:
    """What each episode looks at: a leaf category, often only one brand or seller of it; idle, perhaps a whole shop."""
    key = people.key[person]
    u = _uniform(key, LEAF, number)
    own, rest = u < config.taste_share * (0.5 if idle else 1), _uniform(key, REST, number)
    taste = people.tastes[person, np.searchsorted(np.cumsum(zipf(TASTES, 0.7)), rest).clip(max=TASTES - 1)]
    anywhere = np.searchsorted(np.cumsum(items.leaf_share), rest).clip(max=config.leaves - 1)
    leaf = np.where(own, taste, anywhere)
    first_shelf = np.zeros(config.leaves, int)
    first_shelf[items.leaf] = items.shelves.group[BY_LEAF]
    anchor = items.shelves.draw(first_shelf[leaf], _uniform(key, ANCHOR, number))
    u = _uniform(key, SHELF, number)
    if idle:
        arrangement = np.where(u < 0.3, BY_SELLER, BY_LEAF)
    else:
        brand = np.where(buys, 0.4, 0.25)
        arrangement = np.where(u < brand, BY_LEAF_AND_BRAND, np.where(u < 2 * brand, BY_LEAF_AND_SELLER, BY_LEAF))
    return items.shelves.group[arrangement, anchor]


# ---- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Events:
    """N events in order: person, item, behavior, journey."""

    person: np.ndarray
    item: np.ndarray
    behavior: np.ndarray
    journey: np.ndarray


def _browse(config: ShopConfig, items: SimulatedItems, people: _People) -> _Events:
    """Turn episodes into events, and sort them by user and place on the axis."""
    parts = [_episodes(config, items, people, idle=idle) for idle in (False, True) if not idle or config.noise_share]
    e = _Episodes(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Episodes)})
    total = e.size + e.buys + e.after
    first = np.cumsum(total) - total
    episode = np.repeat(np.arange(len(total)), total)  # (N,)
    step = np.arange(len(episode)) - first[episode]
    size, pace = e.size[episode], e.pace[episode]
    key, number = people.key[e.person[episode]], e.number[episode] * 64 + step
    buying, later = (step == size) & e.buys[episode], step > size

    jitter = _uniform(key, AXIS, number) * 0.98
    last = np.maximum(e.size - 1, 0)
    end = e.begin + (last + jitter[first + last]) * e.pace  # (E,) where its last event before a purchase lies
    bought_at = end + e.gap + 1e-3
    axis = e.begin[episode] + (step + jitter) * pace
    axis = np.where(buying, bought_at[episode], axis)
    axis = np.where(later, bought_at[episode] + (step - size - 1 + jitter) * pace + 1e-3, axis)

    item, liked = _visits(config, items, people, e, episode, step, key, number, buying, later)
    behavior = _behaviors(e, episode, step, key, number, item == liked[episode])
    behavior[buying] = PURCHASE

    keep = np.flatnonzero(axis < people.length[e.person[episode]])
    person = e.person[episode[keep]]
    order = np.argsort((person.astype(np.int64) << 40) + (axis[keep] * 2**20).astype(np.int64), kind="stable")
    keep = keep[order]
    return _Events(person[order], item[keep], behavior[keep], e.journey[episode[keep]])


def _visits(
    config: ShopConfig,
    items: SimulatedItems,
    people: _People,
    e: _Episodes,
    episode: np.ndarray,
    step: np.ndarray,
    key: np.ndarray,
    number: np.ndarray,
    buying: np.ndarray,
    later: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The item of every event (N,), and the item that every episode likes best (E,)."""
    rate = config.revisit_rate * np.where(e.journey == NOISE, 0.5, np.where(e.buys, 1.6, 1.0))
    rate = rate.clip(max=0.95)[episode]
    u = _uniform(key, VISIT, number)
    fresh = ((step == 0) | (u >= rate)) & ~buying & ~later
    seen = np.cumsum(fresh)
    before = seen[np.flatnonzero(step == 0)] - 1  # (E,) fresh visits of all earlier episodes
    count = seen - before[episode]  # items that the episode has shown so far

    where = np.flatnonzero(fresh)
    new_item = _draw_near(items, e.shelf[episode[where]], key[where], number[where], people, e.person[episode[where]])

    shown = np.bincount(episode, fresh).astype(int)  # (E,)
    liked = np.floor(_uniform(people.key[e.person], LIKED, e.number) * np.minimum(shown, 3)).astype(int)
    v = np.divide(u, rate, out=np.zeros_like(u), where=rate > 0)  # uniform again, given that it is a return
    to_liked = ((v < 0.6) & (liked[episode] < count)) | buying | (later & (v < 0.5))
    other = np.floor(_uniform(key, PICK, number) * count).astype(int)
    which = np.where(fresh, count - 1, np.where(to_liked, liked[episode], other))
    item = new_item[before[episode] + which]
    liked_item = new_item[before + liked]

    elsewhere = np.flatnonzero(buying & (_uniform(key, BOUGHT, number) >= config.seen_share))
    place = before[episode[elsewhere]]
    item[elsewhere] = _close_one(
        items, item[elsewhere], new_item, place, shown[episode[elsewhere]], key[elsewhere], number[elsewhere]
    )
    return item, liked_item


def _draw_near(
    items: SimulatedItems,
    shelf: np.ndarray,
    key: np.ndarray,
    number: np.ndarray,
    people: _People,
    person: np.ndarray,
) -> np.ndarray:
    """Draw two items of the shelf and keep the one nearer to the user's price level."""
    one = items.shelves.draw(shelf, _uniform(key, ITEM_ONE, number))
    two = items.shelves.draw(shelf, _uniform(key, ITEM_TWO, number))
    wanted = people.price_level[person]
    nearer = np.abs(items.price_level[one] - wanted) <= np.abs(items.price_level[two] - wanted)
    return np.where(nearer, one, two)


def _close_one(
    items: SimulatedItems,
    liked: np.ndarray,
    new_item: np.ndarray,
    first: np.ndarray,
    shown: np.ndarray,
    key: np.ndarray,
    number: np.ndarray,
) -> np.ndarray:
    """An item like `liked` that its episode has not shown: of its leaf and brand if one is found, else of its leaf."""
    tries = np.repeat([BY_LEAF_AND_BRAND, BY_LEAF], 6)
    uniform = _uniform(key[:, None], ALTERNATIVE, number[:, None] * 16 + np.arange(len(tries)))
    choice = items.shelves.draw(items.shelves.group[tries, liked[:, None]], uniform)  # (P, tries)
    known = np.zeros(choice.shape, bool)
    for i in range(shown.max(initial=0)):
        known |= choice == new_item[first + np.minimum(i, shown - 1)][:, None]
    return choice[np.arange(len(choice)), np.where(known.all(axis=1), len(tries) - 1, known.argmin(axis=1))]


def _behaviors(
    e: _Episodes, episode: np.ndarray, step: np.ndarray, key: np.ndarray, number: np.ndarray, on_liked: np.ndarray
) -> np.ndarray:
    """Clicks, and now and then a favourite or a cart: most of all on the liked item, late in a buying journey."""
    idle, buys = e.journey[episode] == NOISE, e.buys[episode]
    late = (step >= e.size[episode] / 2) & (step < e.size[episode])
    cart = np.where(late, np.where(on_liked, np.where(buys, 0.20, 0.08), 0.03), 0.01)
    favorite = np.where(on_liked, 0.06, 0.03)
    act = _uniform(key, ACT, number)
    cart = np.where(idle, 0.003, cart)
    return np.where(act < cart, CART, np.where(act < cart + favorite, FAVORITE, CLICK)).astype(np.int8)


# ---- tables ------------------------------------------------------------------------------------------------------


def _seconds(config: ShopConfig, people: _People, person: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Time of each event: sessions of about ten events, seconds to minutes within one, hours to days between two.

    Strictly increasing within a user, and inside the period."""
    key = people.key[person]
    new = (_uniform(key, SESSION, position) < 0.1) & (position > 0)
    u = _uniform(key, SECONDS, position)
    within = np.where(position == 0, 0, 1 + np.floor(90 * u)).astype(np.int64)
    users = len(people.user)
    weight = np.where(new | (position == 0), -np.log1p(-u) + 0.01, 0.0)
    total = np.bincount(person, weight, users) + 0.5
    room = config.days * 86_400 - 1 - np.bincount(person, within, users)
    pause = np.floor(weight / total[person] * np.maximum(room, 0)[person]).astype(np.int64)
    clock = np.cumsum(within + pause)
    first = np.searchsorted(person, np.arange(users))
    before = np.concatenate([[0], clock])[first]
    return config.start + clock - before[person]


def _tables(config: ShopConfig, items: SimulatedItems, people: _People, events: _Events) -> Shop:
    offsets = np.searchsorted(events.person, np.arange(len(people.user)))
    position = np.arange(len(events.person)) - offsets[events.person]
    user = people.user[events.person]
    interactions = {
        "user": user,
        "item": events.item,
        "behavior": events.behavior,
        "timestamp": _seconds(config, people, events.person, position),
        "position": position,
    }
    users = {
        "user": people.user,
        "raw_id": [str(u) for u in people.user + 1],
        "age_range": [str(a) for a in people.age + 1],
        "gender": [str(g) for g in people.gender],
    }
    truth = {"user": user, "position": position, "journey": events.journey}
    return Shop(
        interactions=_table(interactions, INTERACTIONS),
        items=items.table,
        users=_table(users, USERS),
        truth=_table(truth, TRUTH),
    )


def _table(columns: dict, schema: pa.Schema) -> pa.Table:
    arrays = [
        pa.array(columns[f.name], f.type)
        if isinstance(columns[f.name], list)
        else pa.array(columns[f.name]).cast(f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def write_prepared(config: ShopConfig, out: Path | str, *, overwrite: bool = False, progress: bool = False) -> dict:
    """Write the shop as a prepared data set, users by chunks in bounded memory; returns its manifest.

    Raises:
        InputError: `out` holds something and `overwrite` is false.
    """
    try:
        from rclrec_mini.data.prepare import content_hash
    except ModuleNotFoundError:
        content_hash = lambda folder: None  # noqa: E731

    items = catalogue(config)
    rows, behaviors = 0, np.zeros(len(BEHAVIORS), int)
    with whole_folder(out, overwrite=overwrite) as folder:
        pq.write_table(items.table, folder / "items.parquet")
        with (
            pq.ParquetWriter(folder / "interactions.parquet", INTERACTIONS) as interactions,
            pq.ParquetWriter(folder / "users.parquet", USERS) as users,
            pq.ParquetWriter(folder / "truth.parquet", TRUTH) as truth,
            tqdm(total=config.users, unit="user", desc="simulate", disable=not progress) as bar,
        ):
            for chunk in simulate_users(config, items):
                interactions.write_table(chunk.interactions)
                users.write_table(chunk.users)
                truth.write_table(chunk.truth)
                rows += chunk.interactions.num_rows
                behaviors += np.bincount(chunk.interactions["behavior"].to_numpy(), minlength=len(BEHAVIORS))
                bar.update(chunk.users.num_rows)
        manifest = {
            "source": "simulated-shop",
            "files": [],
            "filters": asdict(config),
            "dropped": {},
            "counts": {"users": config.users, "items": config.items, "interactions": rows},
            "behaviors": {name: int(n) / max(rows, 1) for name, n in zip(BEHAVIORS, behaviors, strict=True)},
            "seed": config.seed,
            "version": rclrec_mini.__version__,
            "content_hash": content_hash(folder),
        }
        write_json(folder / "manifest.json", manifest)
    return manifest
