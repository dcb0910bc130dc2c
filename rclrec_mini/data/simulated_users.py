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

A user's stream depends on the seed and the user alone (counter_random.py), so users can be made in chunks of any size.
"""

from dataclasses import dataclass, fields

import numpy as np

from rclrec_mini.data.counter_random import uniform, user_keys
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


# What a random number is for (counter_random.py).
(AGE, GENDER, LENGTH, TASTE, LANE, SIZE, PACE, BUYS, GAP, LEAF, SHELF, ANCHOR) = range(12)
(VISIT, PICK, LIKED, ACT, BOUGHT, REST, SECONDS, PRICE, AXIS, EXTRA, SHIFT, SESSION) = range(12, 24)
(ITEM_ONE, ITEM_TWO, ALTERNATIVE) = range(24, 27)


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
        key = user_keys(config.seed, user)
        age, gender = (uniform(key, AGE) * 8).astype(int), (uniform(key, GENDER) * 2).astype(int)
        wanted = uniform(key[:, None], TASTE, np.arange(TASTES))
        leaf = np.searchsorted(np.cumsum(items.leaf_share), wanted).clip(max=config.leaves - 1)
        # Half of the tastes follow the user's group, so that age and gender tell something about needs.
        group = (leaf + (age * 2 + gender)[:, None] * 7) % config.leaves
        shared = uniform(key[:, None], SHIFT, np.arange(TASTES)) < 0.5
        spread = 1 + config.events_spread * (2 * uniform(key, LENGTH) - 1)
        return cls(
            user=user,
            key=key,
            length=config.events_per_user * spread,
            age=age,
            gender=gender,
            price_level=uniform(key, PRICE),
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
    longest = max(config.events_per_user * (1 + config.events_spread), people.length.max(initial=0))
    per_lane = int(1.6 * longest / (mean_size * mean_pace)) + 8
    place = np.arange(per_lane)[:, None] * lanes + np.arange(lanes)  # interleaved, so it grows with time
    number = np.broadcast_to((place + (1 << 20) * idle).ravel(), (len(people.user), per_lane * lanes))
    key = people.key[:, None]

    buys = np.zeros(number.shape, bool) if idle else _which_buy(config, key, place.ravel())
    least = 1 if idle else 2
    size = least + np.floor(-np.log1p(-uniform(key, SIZE, number)) * (mean_size - least + 0.5))
    pace = mean_pace * (0.5 + uniform(key, PACE, number))
    size = np.where(buys, np.ceil(size * config.focus), size).clip(max=LONGEST)
    pace = np.where(buys, pace / config.focus, pace)

    lane_shape = (len(people.user), per_lane, lanes)
    duration = (size * pace).reshape(lane_shape)
    delay = uniform(key, LANE, np.arange(lanes) + 64 * idle) * mean_size * mean_pace  # (U, lanes)
    begin = (np.cumsum(duration, axis=1) - duration + delay[:, None, :]).reshape(number.shape)
    person, column = np.nonzero(begin < people.length[:, None])
    number, key = number[person, column], people.key[person]
    after = 1 + np.floor(uniform(key, EXTRA, number) / max(config.after_share, 1e-9) * AFTER)
    gap = np.floor(np.log1p(-uniform(key, GAP, number)) / np.log(config.gap / (1 + config.gap))) if config.gap else 0
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
    chosen = np.floor((stretches + uniform(key[:, :, None], BUYS, stretches)) / rate)  # (U, 2, J)
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
    u = uniform(key, LEAF, number)
    own, rest = u < config.taste_share * (0.5 if idle else 1), uniform(key, REST, number)
    taste = people.tastes[person, np.searchsorted(np.cumsum(zipf(TASTES, 0.7)), rest).clip(max=TASTES - 1)]
    anywhere = np.searchsorted(np.cumsum(items.leaf_share), rest).clip(max=config.leaves - 1)
    leaf = np.where(own, taste, anywhere)
    first_shelf = np.zeros(config.leaves, int)
    first_shelf[items.leaf] = items.shelves.group[BY_LEAF]
    anchor = items.shelves.draw(first_shelf[leaf], uniform(key, ANCHOR, number))
    u = uniform(key, SHELF, number)
    if idle:
        arrangement = np.where(u < 0.3, BY_SELLER, BY_LEAF)
    else:
        brand = np.where(buys, 0.4, 0.25)
        arrangement = np.where(u < brand, BY_LEAF_AND_BRAND, np.where(u < 2 * brand, BY_LEAF_AND_SELLER, BY_LEAF))
    return items.shelves.group[arrangement, anchor]


# ---- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Events:
    """N events in order: person, item, behavior, journey, axis (the place on it)."""

    person: np.ndarray
    item: np.ndarray
    behavior: np.ndarray
    journey: np.ndarray
    axis: np.ndarray


@dataclass(frozen=True, eq=False)
class Journeys:
    """The truth of J journeys, one value each: person, journey (as in Events), begin and end (on the axis; one that
    buys ends with its purchase), shelf, liked (the item it likes best), buys, bought (the item it buys)."""

    person: np.ndarray
    journey: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    shelf: np.ndarray
    liked: np.ndarray
    buys: np.ndarray
    bought: np.ndarray


@dataclass(frozen=True, eq=False)
class _Steps:
    """The N events of all episodes, episode by episode: episode (row in _Episodes), step (0.. within it), person, key,
    number (unique in the user), buying (it is the purchase), later (it comes after the purchase)."""

    episode: np.ndarray
    step: np.ndarray
    person: np.ndarray
    key: np.ndarray
    number: np.ndarray
    buying: np.ndarray
    later: np.ndarray

    @classmethod
    def of(cls, people: People, e: _Episodes) -> "_Steps":
        total = e.size + e.buys + e.after
        episode = np.repeat(np.arange(len(total)), total)
        step = np.arange(len(episode)) - (np.cumsum(total) - total)[episode]
        person, size = e.person[episode], e.size[episode]
        return cls(
            episode=episode,
            step=step,
            person=person,
            key=people.key[person],
            number=e.number[episode] * 64 + step,
            buying=(step == size) & e.buys[episode],
            later=step > size,
        )


def browse(config: ShopConfig, items: SimulatedItems, people: People) -> tuple[Events, Journeys]:
    """Turn episodes into events, sorted by user and place on the axis, up to each user's length; and the truth of the
    journeys that begin before it, which may end after it."""
    parts = [_episodes(config, items, people, idle=idle) for idle in (False, True) if not idle or config.noise_share]
    e = _Episodes(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Episodes)})
    s = _Steps.of(people, e)
    axis = _places(e, s)
    item, liked = _visits(config, items, people, e, s)
    behavior = _behaviors(e, s, item == liked[s.episode])

    keep = np.flatnonzero(axis < people.length[s.person])
    order = np.argsort((s.person[keep].astype(np.int64) << 40) + (axis[keep] * 2**20).astype(np.int64), kind="stable")
    keep = keep[order]
    events = Events(s.person[keep], item[keep], behavior[keep], e.journey[s.episode[keep]], axis[keep])
    return events, _journeys(e, s, axis, item, liked)


def _journeys(e: _Episodes, s: _Steps, axis: np.ndarray, item: np.ndarray, liked: np.ndarray) -> Journeys:
    end, bought, buying = e.begin + e.size * e.pace, liked.copy(), np.flatnonzero(s.buying)
    end[s.episode[buying]], bought[s.episode[buying]] = axis[buying], item[buying]
    columns = (e.person, e.journey, e.begin, end, e.shelf, liked, e.buys, bought)
    return Journeys(*(column[e.journey != NOISE] for column in columns))


def _places(e: _Episodes, s: _Steps) -> np.ndarray:
    """Where each event lies on the axis, (N,): evenly spaced with jitter, the purchase `gap` after the last of them."""
    first = np.flatnonzero(s.step == 0)
    jitter = uniform(s.key, AXIS, s.number) * 0.98
    last = e.size - 1
    bought_at = e.begin + (last + jitter[first + last]) * e.pace + e.gap + 1e-3  # (E,)
    begin, pace, bought_at = e.begin[s.episode], e.pace[s.episode], bought_at[s.episode]
    since = s.step - e.size[s.episode] - 1 + jitter
    browsing = begin + (s.step + jitter) * pace
    return np.where(s.buying, bought_at, np.where(s.later, bought_at + since * pace + 1e-3, browsing))


def _visits(
    config: ShopConfig, items: SimulatedItems, people: People, e: _Episodes, s: _Steps
) -> tuple[np.ndarray, np.ndarray]:
    """The item of every event (N,), and the item that every episode likes best (E,)."""
    rate = config.revisit_rate * np.where(e.journey == NOISE, 0.5, np.where(e.buys, 1.6, 1.0))
    rate = rate.clip(max=0.95)[s.episode]
    u = uniform(s.key, VISIT, s.number)
    fresh = ((s.step == 0) | (u >= rate)) & ~s.buying & ~s.later
    new_item = _new_items(items, people, e, s, np.flatnonzero(fresh))  # of all episodes, one after another
    seen = np.cumsum(fresh)
    start = seen[np.flatnonzero(s.step == 0)] - 1  # (E,) where the new items of each episode start
    count = seen - start[s.episode]  # how many of them it has shown so far

    shown = np.bincount(s.episode, fresh).astype(int)  # (E,)
    liked = np.floor(uniform(people.key[e.person], LIKED, e.number) * np.minimum(shown, 3)).astype(int)
    v = np.divide(u, rate, out=np.zeros_like(u), where=rate > 0)  # uniform again, given that it is a return
    to_liked = ((v < 0.6) & (liked[s.episode] < count)) | s.buying | (s.later & (v < 0.5))
    any_shown = np.floor(uniform(s.key, PICK, s.number) * count).astype(int)
    which = np.where(fresh, count - 1, np.where(to_liked, liked[s.episode], any_shown))
    item = new_item[start[s.episode] + which]

    other = np.flatnonzero(s.buying & (uniform(s.key, BOUGHT, s.number) >= config.seen_share))
    of = s.episode[other]
    seen_before = [new_item[start[of] + np.minimum(i, shown[of] - 1)] for i in range(LONGEST)]
    item[other] = _close_one(items, item[other], seen_before, s.key[other], s.number[other])
    return item, new_item[start + liked]


def _new_items(items: SimulatedItems, people: People, e: _Episodes, s: _Steps, where: np.ndarray) -> np.ndarray:
    """For each event of `where`, draw two items of the episode's shelf and keep the one nearer to the user's price."""
    shelf, key, number = e.shelf[s.episode[where]], s.key[where], s.number[where]
    one, two = (items.shelves.draw(shelf, uniform(key, purpose, number)) for purpose in (ITEM_ONE, ITEM_TWO))
    wanted = people.price_level[s.person[where]]
    nearer = np.abs(items.price_level[one] - wanted) <= np.abs(items.price_level[two] - wanted)
    return np.where(nearer, one, two)


def _close_one(
    items: SimulatedItems, liked: np.ndarray, seen: list[np.ndarray], key: np.ndarray, number: np.ndarray
) -> np.ndarray:
    """An item like `liked` (P,) but none of those `seen` (each (P,)): of its leaf and brand, leaf and seller, or leaf.

    Where a dozen draws find none, an item of the leaf that may have been seen."""
    tries = np.repeat([BY_LEAF_AND_BRAND, BY_LEAF_AND_SELLER, BY_LEAF], 4)
    numbers = number[:, None] * 16 + np.arange(len(tries))
    choice = items.shelves.draw(items.shelves.group[tries, liked[:, None]], uniform(key[:, None], ALTERNATIVE, numbers))
    known = np.any([choice == item[:, None] for item in seen], axis=0)  # (P, tries)
    return choice[np.arange(len(choice)), np.where(known.all(axis=1), len(tries) - 1, known.argmin(axis=1))]


def _behaviors(e: _Episodes, s: _Steps, on_liked: np.ndarray) -> np.ndarray:
    """Clicks, now and then a favourite or a cart (most of all on the liked item, late in a journey that buys), and the
    purchases."""
    size, idle, buys = e.size[s.episode], e.journey[s.episode] == NOISE, e.buys[s.episode]
    late = (s.step >= size / 2) & (s.step < size)
    cart = np.where(late, np.where(on_liked, np.where(buys, 0.15, 0.08), 0.04), 0.01)
    cart = np.where(idle, 0.005, cart)
    favorite = np.where(on_liked, 0.06, 0.03)
    act = uniform(s.key, ACT, s.number)
    act = np.where(act < cart, CART, np.where(act < cart + favorite, FAVORITE, CLICK))
    return np.where(s.buying, PURCHASE, act).astype(np.int8)
