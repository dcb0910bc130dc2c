"""The users of the simulated shop and what they do, vectorised over users.

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

from dataclasses import dataclass, fields

import numpy as np

from rclrec_mini.data.schema import CART, CLICK, FAVORITE, PURCHASE
from rclrec_mini.data.shop_config import ShopConfig
from rclrec_mini.data.simulated_items import (
    BY_LEAF,
    BY_LEAF_AND_BRAND,
    BY_LEAF_AND_SELLER,
    BY_SELLER,
    SimulatedItems,
    zipf,
)

NOISE = -1
TASTES = 6  # leaf categories that a user keeps coming back to
LONGEST = 24  # events of one episode before its purchase
AFTER = 3  # most events of one journey after its purchase


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
class People:
    """Users of one chunk: user, key, length (events), age, gender, price_level (U,), and tastes (U, TASTES)."""

    user: np.ndarray
    key: np.ndarray
    length: np.ndarray
    age: np.ndarray
    gender: np.ndarray
    price_level: np.ndarray
    tastes: np.ndarray

    @classmethod
    def of(cls, config: ShopConfig, items: SimulatedItems, user: np.ndarray) -> "People":
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
    """E stretches of browsing with one aim, one value each: person (row in People), number (unique in the user),
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


def _episodes(config: ShopConfig, items: SimulatedItems, people: People, *, idle: bool) -> _Episodes:
    """Fill the idle lane, or the lanes of journeys, with one episode after another up to each user's length."""
    lanes = 1 if idle else config.journeys_at_once
    mean_size = 2.0 if idle else config.journey_events
    mean_pace = 1 / config.noise_share if idle else _journey_pace(config)
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


def _buying_share(config: ShopConfig) -> float:
    """Share of journeys that must buy for `purchase_share` of all events to be purchases."""
    plain = config.purchase_share * config.journey_events / (1 - config.noise_share)
    return min(1.0, plain / max(0.1, 1 - plain * (config.focus - 1)))


def _journey_pace(config: ShopConfig) -> float:
    """Mean distance on the axis between two events of one journey that does not buy (events)."""
    events_per_place = 1 + _buying_share(config) * (config.focus - 1)
    return config.journeys_at_once * events_per_place / (1 - config.noise_share)


def _which_buy(config: ShopConfig, key: np.ndarray, place: np.ndarray) -> np.ndarray:
    """One journey of every stretch of 1/rate journeys buys, at a random place in it: (U, 1), (J,) -> (U, J)."""
    # Journeys that are not over, gap included, when the history ends do not buy: the others make up for them.
    lost = config.gap + config.journey_events * _journey_pace(config) / 2
    rate = min(1.0, _buying_share(config) / max(0.2, 1 - lost / config.events_per_user))
    if not rate:
        return np.zeros((len(key), len(place)), bool)
    stretches = np.stack([np.floor(place * rate), np.floor((place + 1) * rate)])  # (2, J): those that touch it
    chosen = np.floor((stretches + _uniform(key[:, :, None], BUYS, stretches)) / rate)  # (U, 2, J)
    return (chosen == place).any(axis=1)


def _shelf(
    config: ShopConfig,
    items: SimulatedItems,
    people: People,
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
class Events:
    """N events in order: person, item, behavior, journey."""

    person: np.ndarray
    item: np.ndarray
    behavior: np.ndarray
    journey: np.ndarray


def browse(config: ShopConfig, items: SimulatedItems, people: People) -> Events:
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
    return Events(person[order], item[keep], behavior[keep], e.journey[episode[keep]])


def _visits(
    config: ShopConfig,
    items: SimulatedItems,
    people: People,
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
    people: People,
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
    tries = np.repeat([BY_LEAF_AND_BRAND, BY_LEAF_AND_SELLER, BY_LEAF], 4)
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
    cart = np.where(late, np.where(on_liked, np.where(buys, 0.15, 0.08), 0.04), 0.01)
    favorite = np.where(on_liked, 0.06, 0.03)
    act = _uniform(key, ACT, number)
    cart = np.where(idle, 0.005, cart)
    return np.where(act < cart, CART, np.where(act < cart + favorite, FAVORITE, CLICK)).astype(np.int8)


def seconds(config: ShopConfig, people: People, person: np.ndarray, position: np.ndarray) -> np.ndarray:
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
