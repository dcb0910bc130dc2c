"""The curriculum: which k events of the history go before the target in the decoder (paper, section 3.2).

Every selector is a module with one interface, `selector(history, batch) -> Selection`, so that the paper's learned
module (RCPM) and its rivals (recent-k, random-k, the oracle of a simulated shop) are exchangeable.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.data.schema import PURCHASE
from rclrec_mini.data.sequences import Batch


class Selection(NamedTuple):
    """k selected events in ascending relevance: the last one stands next to the target.

    index (B, k): columns of the history.   valid (B, k): False where the history holds fewer than k events.
    weight (B, k): the mask m, one in the forward pass; its gradient reaches the selector.
    scores (B, T): the logits s / tau of p, -inf on padding; None for selectors without parameters.
    """

    index: Tensor
    valid: Tensor
    weight: Tensor
    scores: Tensor | None = None


def top_k(relevance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row in ascending order, eq. 4 and 5: (B, T) -> index (B, k), valid (B, k).

    Entries of -inf are never selected. Ties go to the more recent event. Rows with fewer than k entries are padded
    on the left, away from the target.
    """
    missing = k - relevance.shape[1]
    if missing > 0:
        index, valid = top_k(F.pad(relevance, (missing, 0), value=float("-inf")), k)
        return (index - missing).clamp(min=0), valid  # only padding can point before column 0
    order = relevance.sort(dim=1, stable=True).indices[:, -k:] if k else relevance[:, :0].long()
    return order, relevance.gather(1, order) > float("-inf")


def straight_through(p: Tensor) -> Tensor:
    """The index-backpropagation mask m = m_hard - sg(p) + p of section 3.2.2, at the selected positions.

    p (B, k), the probabilities of the selected events -> m (B, k), equal to one, with the gradient of p
    """
    return torch.ones_like(p) - p.detach() + p


def user_bucket(user: Tensor, buckets: int) -> Tensor:
    """User ids hashed into buckets: (...) -> (...) in 0..buckets - 1"""
    return user * 2654435761 % 2**32 % buckets


def user_profiles(*, n_users: int, buckets: int, demographics: Tensor | None = None) -> Tensor:
    """x_u as category numbers: the user id hashed into buckets, then any demographics (U, f) -> (U, 1 + f)"""
    columns = user_bucket(torch.arange(n_users), buckets)[:, None]
    return columns if demographics is None else torch.cat([columns, demographics], dim=1)


class RCPM(nn.Module):
    """The reverse curriculum prefix module: select by a query that knows the user and e_pay, never the target.

        q = MLP([W_u x_u; e_pay])    s_t = q . h_t / sqrt(d)    p = softmax(s / tau)    K = top-k(p)    (eq. 2 to 4)

    The backbone's encoder knows distances only, so a recency embedding (0 = newest) is added to its states here. Ours,
    with `codes`: so is a network's reading of `event_counts`, for softmax attention averages and cannot count.

    Args:
        d: width.
        k: events to select.
        tau: temperature of p.
        max_history: T, most events of a history.
        profiles: x_u of all users as category numbers (U, f), see `user_profiles`.
        behavior_embedding: the backbone's E, whose row e_pay is shared.
        codes: semantic ids of all items (N, L); None, as in the paper: counts are not told.
    """

    def __init__(
        self, *, d: int, k: int, tau: float, max_history: int, profiles: Tensor, behavior_embedding: nn.Embedding,
        codes: Tensor | None = None,
    ):  # fmt: skip
        super().__init__()
        self.k, self.tau = k, tau
        self.recency = nn.Embedding(max_history, d)
        self.register_buffer("profiles", profiles, persistent=False)
        self.features = nn.ModuleList(nn.Embedding(int(n) + 1, d) for n in profiles.amax(0))
        self.user = nn.Linear(d * len(self.features), d, bias=False)  # W_u
        self.mlp = nn.Sequential(nn.Linear(2 * d, d), nn.GELU(), nn.Linear(d, d))
        self.register_buffer("codes", codes, persistent=False)
        if codes is not None:
            counts = codes.shape[1] * behavior_embedding.num_embeddings
            self.counts = nn.Sequential(nn.Linear(counts, d), nn.GELU(), nn.Linear(d, d))
        self.shared = (behavior_embedding,)  # in a tuple, so that the weights are registered once, in the backbone

    def query(self, user: Tensor) -> Tensor:
        """user (B,) -> q (B, d)"""
        x_u = [embed(column) for embed, column in zip(self.features, self.profiles[user].T, strict=True)]
        e_u = self.user(torch.cat(x_u, dim=-1))
        e_pay = self.shared[0].weight[PURCHASE].expand_as(e_u)
        return self.mlp(torch.cat([e_u, e_pay], dim=-1))

    def forward(self, history: Tensor, batch: Batch) -> Selection:
        """history (B, T, d) -> Selection"""
        q = self.query(batch.user)
        newest_last = torch.arange(history.shape[1] - 1, -1, -1, device=history.device)
        history = history + self.recency(newest_last)
        if self.codes is not None:
            counts = event_counts(self.codes, batch, behaviors=len(self.shared[0].weight))
            history = history + self.counts(counts.to(history.dtype))
        scores = (history @ q.unsqueeze(-1)).squeeze(-1) * q.shape[-1] ** -0.5  # (B, T), eq. 2
        scores = (scores / self.tau).masked_fill(~batch.mask, float("-inf"))
        p = scores.softmax(-1)  # eq. 3
        index, valid = top_k(scores.detach(), self.k)
        return Selection(index, valid, straight_through(p.gather(1, index)), scores)


def event_counts(codes: Tensor, batch: Batch, *, behaviors: int) -> Tensor:
    """How often what an event is about occurs in its history: for each level l and behaviour the log(1 + n) of the n
    events that agree with its codes up to level l, itself included.

    codes (N, L) -> (B, T, L * behaviors)
    """
    own = codes[batch.item]  # (B, T, L)
    agree = (own[:, :, None] == own[:, None]).long().cumprod(-1).float()  # (B, T, T, L)
    behavior = F.one_hot(batch.behavior.long(), behaviors) * batch.mask[..., None]  # (B, T, behaviors)
    return torch.einsum("bstl,btc->bslc", agree, behavior.float()).log1p().flatten(2)


def most_relevant(relevance: Tensor, mask: Tensor, k: int) -> Selection:
    """The k events of largest relevance, with which no selector learns: (B, T), (B, T) -> Selection"""
    index, valid = top_k(relevance.masked_fill(~mask, float("-inf")), k)
    return Selection(index, valid, torch.ones(index.shape, device=index.device))


def _recency(mask: Tensor) -> Tensor:
    """Larger is newer: (B, T)"""
    return torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32).expand(mask.shape)


def chance(batch: Batch, *, seed: int) -> Tensor:
    """A random number of 0 to 1 for every event, the same whenever the sample comes again: (B, T)"""
    # a hash of (sample, how long before the target), so that neither batch order nor padding matters
    x = batch.row[:, None] * 1_000_003 + _recency(batch.mask).flip(1).long() + seed * 7_919
    for _ in range(3):
        x = (x ^ (x >> 16)) * 0x45D9F3B % 2**32
    return x.float() / 2**32


class RecentK(nn.Module):
    """The k most recent events (Table 2)."""

    def __init__(self, *, k: int):
        super().__init__()
        self.k = k

    def forward(self, history: Tensor, batch: Batch) -> Selection:
        return most_relevant(_recency(batch.mask), batch.mask, self.k)


class RandomK(nn.Module):
    """k events at random, the same ones whenever the sample comes again."""

    def __init__(self, *, k: int, seed: int = 0):
        super().__init__()
        self.k, self.seed = k, seed

    def forward(self, history: Tensor, batch: Batch) -> Selection:
        return most_relevant(chance(batch, seed=self.seed), batch.mask, self.k)


class Sometimes(nn.Module):
    """Another selector's prefix for a share of the samples and none for the rest: lets pre-training see prefixes.
    They are for practice: in eval mode there is none.

    Args:
        selector: the selector.
        share: share of the samples that get its prefix, 0 to 1.
    """

    def __init__(self, selector: nn.Module, *, share: float):
        super().__init__()
        self.selector, self.share = selector, share

    def forward(self, history: Tensor, batch: Batch) -> Selection:
        selection = self.selector(history, batch)
        if not self.training:
            return Selection(*(part[:, :0] for part in selection[:3]))
        chosen = torch.rand(len(batch), device=history.device) < self.share
        return selection._replace(valid=selection.valid & chosen[:, None])


class OracleK(nn.Module):
    """The k most recent events of the journey that led to the target: only a simulated shop knows them, and no real
    recommender can. Fewer than k are selected where the journey has fewer.

    Args:
        k: events to select.
        journey: journey of every row of the interactions (N,), -1 for noise.
    """

    def __init__(self, *, k: int, journey: Tensor):
        super().__init__()
        self.k = k
        self.register_buffer("journey", journey, persistent=False)

    def forward(self, history: Tensor, batch: Batch) -> Selection:
        return most_relevant(_recency(batch.mask), journey_mask(self.journey, batch), self.k)


def journey_mask(journey: Tensor, batch: Batch) -> Tensor:
    """Which events of the history belong to the target's journey: journey (N,) -> (B, T)"""
    length = batch.mask.shape[1]
    rows = batch.row[:, None] + torch.arange(-length, 0, device=batch.row.device)
    target = journey[batch.row][:, None]
    return batch.mask & (target >= 0) & (journey[rows.clamp(min=0)] == target)


class Recovery(NamedTuple):
    """How many of the selected events are of the target's journey (precision), and how many of the journey's events
    are selected (recall); each (B,), nan where the history holds none of the journey."""

    precision: Tensor
    recall: Tensor


def recovery(selection: Selection, truth: Tensor) -> Recovery:
    """Compare a selection with the truth (B, T) of a simulated shop."""
    hits = (truth.gather(1, selection.index) & selection.valid).sum(1).float()
    total = truth.sum(1).float()
    nan = torch.where(total > 0, 0.0, float("nan"))
    return Recovery(hits / selection.valid.sum(1).clamp(min=1) + nan, hits / total + nan)
