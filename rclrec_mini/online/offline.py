"""What is known of the arms before a test: metrics on the log's test purchases, and estimates from logged slates.

Each is one value a user, (A, n), so that its interval and its agreement with the test speak of users:

    recall@10, ndcg@10, recall@1      of the item that the user bought last
    ..., seen; ..., unseen            of users who had, or had not, touched it before
    ..., incremental                  weighed by how many orders of such items are incremental, see weights
    touched@10                        share of the slate that the user touches in the next events, at first visits
    IPS, SNIPS, DR                    orders at a first visit, from logged slates (off_policy.py)
"""

from collections.abc import Mapping

import numpy as np

from rclrec_mini.evaluation.metrics import ndcg, recall
from rclrec_mini.online.off_policy import SlateLog, Value, doubly_robust, fitted, ips, snips
from rclrec_mini.online.slates import FEATURES, Slates


def offline_values(rank: np.ndarray, seen: np.ndarray, slates: Slates | None = None) -> dict[str, np.ndarray]:
    """The metrics of each user's target, by name.

    Args:
        rank: of the target in each arm's list from 0, 10 where it is absent (A, n).
        seen: whether the user had touched it (n,).
        slates: for the weights, and for what is touched; None: without these metrics.
    """
    seen = np.asarray(seen, bool)
    plain = {"recall@10": recall(rank, 10), "ndcg@10": ndcg(rank, 10), "recall@1": recall(rank, 1)}
    found = dict(plain)
    for name in ("recall@10", "ndcg@10"):
        found |= {f"{name}, seen": plain[name][:, seen], f"{name}, unseen": plain[name][:, ~seen]}
        if slates is not None:
            each = np.where(seen, *weights(slates))
            found[f"{name}, incremental"] = plain[name] * each / max(each.mean(), 1e-12)
    if slates is not None:
        rows = np.arange(len(slates.user))[:, None]
        found["touched@10"] = (slates.touched[rows, slates.arms.clip(min=0)] & (slates.arms >= 0)).mean(axis=-1)
    return {name: values for name, values in found.items() if values.shape[1] > 1}


def weights(slates: Slates) -> tuple[float, float]:
    """The share of orders from logged slates that nobody would have placed without them, among items that the user had
    touched and among others. A shop would have to learn it from a test that shows some users nothing."""
    ordered = np.flatnonzero(slates.order)
    place = slates.shown[ordered, slates.slot[ordered]]
    seen = slates.features[ordered, place, FEATURES.index("in the history")] > 0
    shares = [slates.incremental[ordered][among].mean() if among.any() else 0.0 for among in (seen, ~seen)]
    return float(shares[0]), float(shares[1])


def estimates(slates: Slates, arm: int, *, level: float = 0.95) -> Mapping[str, Value]:
    """What an arm's own slates would have brought in orders at a first visit, by each estimator."""
    n, slots = slates.shown.shape
    own, rows = slates.arms[arm], np.arange(n)[:, None]
    log = SlateLog(
        reward=slates.order[:, None] * (slates.slot[:, None] == np.arange(slots)),
        logged=np.broadcast_to(1 / slates.size[:, None], slates.shown.shape),
        policy=(own == slates.shown).astype(float),
    )
    shown, mine = (_at_slots(slates.features[rows, places.clip(min=0)].astype(float)) for places in (slates.shown, own))
    modelled, expected = fitted(shown, log.reward, mine)
    return {
        "IPS": ips(log, level=level),
        "SNIPS": snips(log, level=level),
        "DR": doubly_robust(log, modelled, (expected * (own >= 0)).sum(axis=1), level=level),
    }


def _at_slots(features: np.ndarray) -> np.ndarray:
    """Features of items at slots, (n, S, F) -> (n, S, 2F + 1): also how far down the slot is, and both together."""
    down = 1 / np.sqrt(1.0 + np.arange(features.shape[1]))[:, None] * np.ones((*features.shape[:2], 1))
    return np.concatenate([features, down, features * down], axis=-1)
