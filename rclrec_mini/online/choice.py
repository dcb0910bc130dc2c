"""What a visitor does with a slate: which item is clicked, if any, whether it is ordered, and which need that meets.

    examined   slot i is looked at with probability (1 + i) ** -eta, each for itself
    u(item)  = need_j + liked_j + shelf_j, of the open journey j for which that is most, else 0
               + taste - price * |the item's price rank in its leaf - the user's price level|
    click      the examined item, or nothing at all, with the largest utility + Gumbel noise: a conditional logit

    order      a click becomes one with probability 1 / (1 + exp(-x)),
               x = order + order_need + order_liked + order_buys, of the journey that the item is for

A journey's truth is in data/shop_future.py. It is open from its begin to its end, unless an order has met its need: an
order meets that of the journey whose leaf it has, and so the journey's own purchase, if there was to be one, is
cancelled. An item is *liked* if it is the one that the journey likes best or the one that it will buy.

The defaults were set once, for TIGER on the shop `mini`: clicks on 5 to 10% of visits, 10 to 25% of all orders from
slates (measured: 7.6% and 15.8%, benchmarks/results/abtest), and by no difference of two arms.

All noise is looked up by (seed, user, visit, item or slot), so two arms that show the same item at a visit get the
same answer to it (common random numbers); with `independent` the arm's name salts the seed.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from rclrec_mini.checks import MAX_SEED, at_least, within
from rclrec_mini.data.counter_random import uniform, user_keys
from rclrec_mini.data.shop_future import Future
from rclrec_mini.data.simulated_items import BY_LEAF_AND_BRAND, BY_LEAF_AND_SELLER, SimulatedItems

EXAMINED, NOISE, ORDERED, SHUFFLED = range(100, 104)  # what a random number is for; the shop's own purposes are below
SHOWN = 10  # items of a slate
DRAWS = 1 << 20  # visits of a user between two draws: more than any test has


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig:
    """The knobs of the choice model. Utilities are in nats: one more makes an item e times as likely as before
    against each other; so do the odds of an order.

    Raises:
        InputError: a value is outside its range.
    """

    eta: float = 0.4
    """how fast the chance to be examined falls with the slot (exponent; 0: all are)"""
    outside: float = 6.5
    """utility of clicking on nothing (nats)"""
    need: float = 1.5
    """of an item of the leaf category of an open journey (nats)"""
    liked: float = 1.5
    """more, if the journey likes it best or will buy it (nats)"""
    shelf: float = 0.5
    """more, if the journey keeps to one brand or seller and the item has it (nats)"""
    taste: float = 0.5
    """of an item of a leaf that the user keeps coming back to (nats)"""
    price: float = 1.0
    """less, for the whole range of prices in a leaf between the item's and the user's level (nats)"""
    order: float = -3.0
    """log-odds that a click becomes an order (nats)"""
    order_need: float = 1.0
    """more, if it meets the need of an open journey (nats)"""
    order_liked: float = 1.0
    """more, if the journey likes the item (nats)"""
    order_buys: float = 1.0
    """more, if the journey is one that buys (nats)"""
    independent: bool = False
    """each arm has noise of its own instead of common random numbers"""
    seed: int = 0
    """of all noise"""

    def __post_init__(self) -> None:
        at_least(self, 0, "eta", "need", "liked", "shelf", "taste", "price")
        within(self, -50, 50, "outside", "order", "order_need", "order_liked", "order_buys")
        within(self, 0, MAX_SEED - 2**32, "seed")


@dataclass(frozen=True, eq=False)
class Choices:
    """What v visitors did, each (v,): slot (-1: no click), item (-1), order, and journey (place in the user's journeys
    that an order meets, -1: none)."""

    slot: np.ndarray
    item: np.ndarray
    order: np.ndarray
    journey: np.ndarray


class ChoiceModel:
    """Visitors of a shop.

    Args:
        config: the knobs.
        items: the catalogue.
        future: the users and their truth.
        arm: whose noise it is, where arms are `independent`.
    """

    def __init__(self, config: ChoiceConfig, items: SimulatedItems, future: Future, *, arm: str = ""):
        salt = int(sha256(arm.encode()).hexdigest()[:8], 16) if config.independent else 0
        self.config, self.items, self.future = config, items, future
        self.key = user_keys(config.seed + salt, future.user)

    def utilities(self, visit: np.ndarray, slate: np.ndarray, met: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Utility of each item, -inf where there is none, and the journey that it is for, -1 if none: each (v, S).

        Args:
            visit: numbers of the visits (v,).
            slate: items (v, S), -1 where there is none.
            met: which journeys of each user have had their need met (U, M).
        """
        config, items, future = self.config, self.items, self.future
        person, item = future.visit_person[visit], slate.clip(min=0)
        liked, shelf, bought = (table[person][:, None] for table in (future.liked, future.shelf, future.bought))
        at = future.visit_axis[visit][:, None]
        open_ = (future.begin[person] <= at) & (at <= future.end[person]) & ~met[person]  # (v, M)
        fits = open_[:, None] & (items.leaf[liked] == items.leaf[item][:, :, None])  # (v, S, M)
        wants = (liked == item[:, :, None]) | (future.buys[person][:, None] & (bought == item[:, :, None]))
        group = items.shelves.group
        narrow = (group[BY_LEAF_AND_BRAND][item][:, :, None] == shelf) | (
            group[BY_LEAF_AND_SELLER][item][:, :, None] == shelf
        )
        value = np.where(fits, config.need + config.liked * wants + config.shelf * narrow, -1.0)
        journey = value.argmax(axis=2)
        best = np.take_along_axis(value, journey[:, :, None], axis=2)[:, :, 0]
        taste = (items.leaf[item][:, :, None] == future.tastes[person][:, None]).any(axis=2)
        distance = np.abs(items.price_level[item] - future.price_level[person][:, None])
        utility = best.clip(min=0) + config.taste * taste - config.price * distance
        return np.where(slate < 0, -np.inf, utility), np.where(best >= 0, journey, -1)

    def examined(self, visit: np.ndarray, slots: int, draw: int = 0) -> np.ndarray:
        """Which slots the visitors look at: (v, S) bool"""
        key, number = self._of(visit, draw)
        look = uniform(key[:, None], EXAMINED, number[:, None] * slots + np.arange(slots))
        return look < self.chance(slots)

    def chance(self, slots: int) -> np.ndarray:
        """The chance of each slot to be examined (S,)"""
        return (1.0 + np.arange(slots)) ** -self.config.eta

    def order_chance(self, visit: np.ndarray, item: np.ndarray, journey: np.ndarray) -> np.ndarray:
        """The chance that a click on `item` (v, ...), which is for `journey` (v, ...), becomes an order."""
        config, future = self.config, self.future
        person = future.visit_person[visit].reshape(-1, *[1] * (item.ndim - 1))
        liked, buys, bought = (table[person, journey] for table in (future.liked, future.buys, future.bought))
        wants = (liked == item) | (buys & (bought == item))
        log_odds = config.order_need + config.order_liked * wants + config.order_buys * buys
        return 1 / (1 + np.exp(-config.order - np.where(journey >= 0, log_odds, 0)))

    def choose(self, visit: np.ndarray, slate: np.ndarray, met: np.ndarray, *, draw: int = 0) -> Choices:
        """What the visitors do with their slates; arguments as in `utilities`. `draw` tells other noise from this."""
        utility, journey = self.utilities(visit, slate, met)
        utility = np.where(self.examined(visit, slate.shape[1], draw), utility, -np.inf)
        outside = np.full((len(visit), 1), self.config.outside)
        items = np.concatenate([slate, np.full_like(slate[:, :1], len(self.items.leaf))], axis=1)  # the last: nothing
        key, number = self._of(visit, draw)
        look_up = number[:, None] * (len(self.items.leaf) + 1) + items.clip(min=0)
        noise = -np.log(-np.log(uniform(key[:, None], NOISE, look_up).clip(min=2.0**-54)))
        slot = (np.concatenate([utility, outside], axis=1) + noise).argmax(axis=1)
        clicked = slot < slate.shape[1]
        place = np.arange(len(visit)), slot.clip(max=slate.shape[1] - 1)
        item, journey = slate[place], journey[place]
        likely = self.order_chance(visit, item, journey)
        order = clicked & (uniform(key, ORDERED, number * (len(self.items.leaf) + 1) + item.clip(min=0)) < likely)
        return Choices(
            slot=np.where(clicked, slot, -1),
            item=np.where(clicked, item, -1),
            order=order,
            journey=np.where(order, journey, -1),
        )

    def expected(
        self, visit: np.ndarray, slate: np.ndarray, met: np.ndarray, *, draws: int = 64
    ) -> tuple[np.ndarray, np.ndarray]:
        """Chance of a click and of an order on each slot (v, S), exact but for which slots are examined, of which
        `draws` draws are averaged."""
        utility, journey = self.utilities(visit, slate, met)
        weight, outside = np.exp(utility), np.exp(self.config.outside)
        click = np.zeros(slate.shape)
        for draw in range(1, draws + 1):
            seen = weight * self.examined(visit, slate.shape[1], draw)
            click += seen / (outside + seen.sum(axis=1, keepdims=True))
        return click / draws, click / draws * self.order_chance(visit, slate, journey)

    def _of(self, visit: np.ndarray, draw: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys of the visitors and the numbers of their visits, (v,) each."""
        person, number = self.future.visit_person[visit], self.future.visit_number[visit]
        return self.key[person], number + draw * DRAWS
