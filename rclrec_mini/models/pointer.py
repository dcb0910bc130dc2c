"""A distribution over the history that points: copying made cheap, beside any model that generates (ours).

Most purchases take an item that stands in the history, and how often and how lately it stands there tells which. With
p over the T events of the history and a gate g, the likelihood of an item i is the mixture

    P(i) = g sum_t p_t [i_t = i] + (1 - g) P_gen(i)

(attention-sum reading, Kadlec et al. 2016; pointer-generator, See et al. 2017; repeat mode, Ren et al. 2019). Ranking
sorts by it. Training maximises it, or with `hard`, the default, the bound of it in which an item of the history is
always copied and any other generated. Nothing about p is hard in either, and its gradient is dense. Two events of one
item under one target, and a third item that only generation can reach:

    events     a    b    a           p = .5 .3 .2    g = .8    P_gen(a, b, c) = .1 .1 .8
    P(a) = .8 (.5 + .2) + .2 .1 = .58     P(b) = .8 .3 + .2 .1 = .26     P(c) = .2 .8 = .16

Softmax attention averages what it reads and so cannot count; here the score of an event is a small network of what one
can count, for every target from the events before it alone:

    - how often the event's item, and each prefix of its semantic id, occurs under each behaviour: log(1 + n), plain and
      with decay;
    - the event's age, in events and in time since the newest event: exponentials, a smooth basis;
    - its behaviour and the target's; and, with `content`, the states of an encoder.

One more slot in the same softmax, "none of these", scored from the target's behaviour and the length and repetition of
the history, takes the mass 1 - g. A history without events has g = 0.
"""

from dataclasses import dataclass
from math import exp
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.data.schema import DAY
from rclrec_mini.data.sequences import Batch, Events
from rclrec_mini.models.curriculum import Selection, most_relevant


@dataclass(frozen=True)
class PointerConfig:
    """Sizes of the pointer's network and the scales of what it is told."""

    width: int = 32  # of the hidden layers
    ages: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0, 40.0)  # events in which each exponential of age falls to 1/e
    days: tuple[float, ...] = (1 / 24, 0.25, 1.0, 4.0, 16.0)  # the same in days
    decay: float = 10.0  # events in which the decayed counts forget to 1/e
    content: bool = False  # whether the states of the encoder take part in the scores
    dropout: float = 0.0  # share of the hidden units dropped in training
    hard: bool = True  # train as if an item of the history were always copied and any other always generated


class Pointing(NamedTuple):
    """Where the G targets of each sample point, and what is left to generation; together the masses are 1.

    log_copy (B, G, T): log(g p_t) of each event, -inf where it is padding or not before the target.
    log_rest (B, G): log(1 - g).
    """

    log_copy: Tensor
    log_rest: Tensor

    def log_p(self) -> Tensor:
        """log p over the events (B, G, T); nan where there is none."""
        return self.log_copy - self.log_copy.logsumexp(-1, keepdim=True)

    def mix(self, log_generated: Tensor, same: Tensor, *, hard: bool = False) -> Tensor:
        """log P of an item a target: log_generated (B, G), log P_gen; same (B, G, T), which events are of that item."""
        least = torch.finfo(self.log_copy.dtype).min  # finite, so that nothing to copy has a gradient
        copied = self.log_copy.masked_fill(~same, least).clamp(min=least).logsumexp(-1)
        generated = self.log_rest + log_generated
        return torch.where(copied > least / 2, copied, generated) if hard else torch.logaddexp(copied, generated)


class Pointer(nn.Module):
    """p and g of targets from the events before them; see the head of this file.

    Args:
        config: the sizes.
        codes: semantic ids of all items (N, L), each item's its own.
        behaviors: kinds of behaviour, C.
        d: width of the encoder's states; read with `content` alone.
    """

    def __init__(self, *, config: PointerConfig, codes: Tensor, behaviors: int, d: int = 0):
        super().__init__()
        self.config, self.behaviors = config, behaviors
        self.register_buffer("prefixes", _prefixes(codes), persistent=False)
        width, told = config.width, 2 * (codes.shape[1] + 1) * behaviors + len(config.days) + len(config.ages)
        self.score = nn.Sequential(
            nn.Linear(told, width), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1),
        )  # fmt: skip
        self.none = nn.Sequential(nn.Linear(3 * behaviors, width), nn.ReLU(), nn.Linear(width, 1))
        if config.content:
            self.query, self.key = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
            self.trust = nn.Embedding(behaviors, 1)  # in content, by the target's behaviour; none at first
            nn.init.zeros_(self.trust.weight)

    def all(self, events: Events, states: Tensor | None = None) -> Pointing:
        """Every event as a target, from the events before it: G = T. `states` (B, T, d) must be causal."""
        return self._point(events, states, last=False)

    def next(self, batch: Batch, states: Tensor | None = None) -> Pointing:
        """The target of each sample, from its history: G = 1, T events."""
        states = F.pad(states, (0, 0, 0, 1)) if self.config.content else None  # the target has none
        pointing = self._point(batch.with_target(), states, last=True)
        return pointing._replace(log_copy=pointing.log_copy[:, :, :-1])

    def nll_of_all(self, nll: Tensor, events: Events, states: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of every event under the mixture (its bound if `hard`), from `nll` under generation:
        (B, T) -> (B, T)"""
        same = events.item[:, :, None] == events.item[:, None]
        return -self.all(events, states).mix(-nll, same, hard=self.config.hard)

    def nll_of_next(self, nll: Tensor, batch: Batch, states: Tensor | None = None) -> Tensor:
        """The same for the target of each sample: (B,) -> (B,)"""
        same = (batch.item == batch.target_item[:, None])[:, None]
        return -self.next(batch, states).mix(-nll[:, None], same, hard=self.config.hard)[:, 0]

    def _point(self, events: Events, states: Tensor | None, *, last: bool) -> Pointing:
        """Every event (B, T) as a target, or the `last` alone."""
        place = torch.arange(events.mask.shape[1], device=events.mask.device)
        target = place[-1:] if last else place  # (G,)
        size = len(target), len(place)
        j, t = (place < target[:, None]).nonzero().T  # (P,): pairs of G and T
        flat = j * size[1] + t
        told, history = self._told(events, target, j, t)
        score = self.score(told).squeeze(-1)  # (B, P)
        if self.config.content:
            score = score + self._agreement(states, target, events.behavior[:, target])[:, flat]
        score = score.masked_fill(~events.mask[:, t], float("-inf"))
        score = score.new_full((len(score), size[0] * size[1]), float("-inf")).index_copy(1, flat, score)
        mass = torch.cat([score.unflatten(1, size), self.none(history)], -1).log_softmax(-1)
        return Pointing(mass[..., :-1], mass[..., -1])

    @torch.no_grad()
    def _told(self, events: Events, target: Tensor, j: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of each pair of a target j and an event t before it, (B, P, -), and of each target's history,
        (B, G, 3 C): log(1 + n) of its events, and of those whose item had come before; the target's behaviour."""
        own = self.prefixes[events.item]  # (B, T, L)
        agree = (own[:, :, None] == own[:, None]).float()  # (B, S, T, L)
        kind = F.one_hot(events.behavior, self.behaviors).float()  # (B, T, C)
        here = kind * events.mask[..., None]
        repeated = (agree[..., -1] * events.mask[..., None]).triu(1).any(1)  # (B, T)

        age = target[:, None] - 1 - torch.arange(own.shape[1], device=target.device)  # (G, S)
        before = (age >= 0).float()
        counts = counts_before(agree, here, exp(-1 / self.config.decay), last=len(target) == 1)  # (2, B, P, L C)

        newest = events.timestamp[:, (target - 1).clamp(min=0)]  # (B, G)
        days = (newest[:, j] - events.timestamp[:, t]).clamp(min=0).float()[..., None] / DAY
        days = torch.exp(-days / days.new_tensor(self.config.days))
        ages = torch.exp(-age[j, t, None] / days.new_tensor(self.config.ages)).expand(len(own), -1, -1)
        towards = kind[:, target]
        pairs = torch.cat([*counts.log1p_(), days, ages, kind[:, t], towards[:, j]], -1)
        past = before @ torch.cat([here, here * repeated[..., None]], -1)
        dtype = self.none[0].weight.dtype
        return pairs.to(dtype), torch.cat([past.log1p(), towards], -1).to(dtype)

    def _agreement(self, states: Tensor, target: Tensor, behavior: Tensor) -> Tensor:
        """What the state before each target and the state of each event have in common: (B, T', d) -> (B, G T)"""
        query = self.query(states[:, (target - 1).clamp(min=0)])  # (B, G, d)
        agreement = query @ self.key(states).transpose(1, 2) * query.shape[-1] ** -0.5
        return (agreement * self.trust(behavior)).flatten(1)


def counts_before(agree: Tensor, here: Tensor, forget: float, *, last: bool) -> Tensor:
    """How often what agrees with an event t has happened under each behaviour before a target j, plain and weighing
    `forget` to the power of its age: for the P pairs t < j in order, or the S - 1 pairs of the `last` target alone.

    agree (B, S, S, L), here (B, S, C) -> (2, B, P, L C)
    """
    size, levels = agree.shape[2:]
    if last:  # weights and behaviours first: the product of pairs and behaviours is large
        weights = forget ** torch.arange(size - 2, -1, -1, device=agree.device)
        weights = torch.stack([torch.ones_like(weights), weights])[:, None, :, None] * here[:, :-1]  # (2, B, S - 1, C)
        counts = (weights.mT @ agree[:, :-1, :-1].flatten(2)).unflatten(3, (size - 1, levels))  # (2, B, C, S - 1, L)
        return counts.permute(0, 1, 3, 4, 2).flatten(3)
    happened = (agree.unsqueeze(-1) * here[:, :, None, None]).flatten(3)  # (B, S, S, L C)
    so_far = happened.new_zeros(2, *happened[:, 0].shape)
    weight = so_far.new_tensor([1.0, forget]).view(2, 1, 1, 1)
    counts = happened.new_empty(2, len(agree), size * (size - 1) // 2, happened.shape[-1])
    for j, pairs in enumerate(counts.split([*range(size)], dim=2)):
        pairs.copy_(so_far[:, :, :j])
        so_far.mul_(weight).add_(happened[:, j])
    return counts


def _prefixes(codes: Tensor) -> Tensor:
    """Numbers that are equal where the first l codes of two items are, l = 1..L: (N, L) -> (N, L) int32"""
    number, numbers = torch.zeros_like(codes[:, 0]), []
    for code in codes.T:
        number = (number * (codes.max() + 1) + code).unique(return_inverse=True)[1]
        numbers.append(number.int())
    return torch.stack(numbers, -1)


class PointedK(nn.Module):
    """The k events that the pointer's p points at, as a selector: RCPM's p and the pointer's are then one. No gradient
    of the prefix reaches it, since pointing trains it already.

    Args:
        k: events to select.
        pointer: the model's own, which keeps its weights.
    """

    def __init__(self, *, k: int, pointer: Pointer):
        super().__init__()
        self.k, self.shared = k, (pointer,)

    def forward(self, history: Tensor, batch: Batch) -> Selection:
        scores = self.shared[0].next(batch, history).log_copy[:, 0]  # (B, T), log p but for a constant
        return most_relevant(scores.detach(), batch.mask, self.k)._replace(scores=scores)
