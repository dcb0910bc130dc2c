"""PBAT: a transformer whose events are Gaussians and whose attention knows what one behaviour is to another.

Su, Chen, Lin, Li, Liu, Zheng, "Personalized Behavior-Aware Transformer for Multi-Behavior Sequential
Recommendation", ACM Multimedia 2023. Items, behaviours, users, positions and relations of behaviours are Gaussians
with mean mu and diagonal covariance S, kept positive by ELU + 1. The parts, and where they are here:

    distance            W(g, g') = |mu - mu'|^2 + |sqrt S - sqrt S'|^2, squared 2-Wasserstein     `root`
    fusion of two       mu = (S1 mu2 + S2 mu1) / (S1 + S2),  S = 2 S1 S2 / (S1 + S2)              `fuse`
    fusion of three     S = 1 / sum_k 1/Sk,  mu = S sum_k muk/Sk                                  `fuse`
    pattern             P_ub = fuse(user u, W behaviour b)                                        `PBAT.patterns`
    relation            r_bb' = -W(P_ub, P_ub') E_bb', E learned                                  `PBAT.relations`
    fused attention     Q_ij = fuse(query_i, W1 r_{b_i b_j}, W2 position_i)                       `FusedAttention`
                        K_ij = fuse(key_j,   W3 r_{b_i b_j}, W4 position_j)
                        A_ij = softmax_j(-W(Q_ij, K_ij) / sqrt(d/h))
                        mu_i = sum_j A_ij mu_j,  S_i = sum_j A_ij^2 S_j, of the values
    feed-forward        one network for each behaviour                                            `BehaviorFeedForward`
    score of item i     -W(head(fuse(state, W' P_ub)), item i)                                    `PBAT.items`

It learns as BERT4Rec does: items of some events are replaced by [MASK], their behaviours stay, and are guessed from
both sides. To rank, a [MASK] under the target's behaviour is put behind the history.

No tensor of size T T d is needed. r takes n^2 values a user for n behaviours, so Q_ij takes only T n, one for each
event i and behaviour of the other, and K_ij as well. And W is the squared Euclidean distance of
phi = [mu, sqrt S], so it expands into inner products, of queries and keys as of states and items.

What differs here. The reference code's logit is +W, farther is better; ours is -W. It has four behaviours and fixes
their number; ours is a parameter. It normalises embeddings before ELU and scores items by other values of the same
table; here an item is one Gaussian, on both sides. It has no residual around the feed-forward layer; ours has.
Positions count back from the newest event, so that padding moves none. Attention starts as everywhere here
(`initialization.py`), the head as the identity.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import within
from rclrec_mini.data.sequences import Batch
from rclrec_mini.models.backbone import masked
from rclrec_mini.models.baselines.objectives import item_nll, mean_over_events
from rclrec_mini.models.initialization import start_as_copier
from rclrec_mini.models.sizes import check_behaviors, check_sizes


@dataclass(frozen=True)
class PBATConfig:
    """Sizes of PBAT; the defaults are the reference code's."""

    d: int = 16  # width
    heads: int = 2  # attention heads
    layers: int = 2  # blocks of fused attention
    ffn: int = 4  # width of the feed-forward layers, in d
    dropout: float = 0.2  # share of activations dropped in training
    max_history: int = 50  # T, events
    mask: float = 0.2  # share of events masked in pre-training
    last_only: float = 0.2  # ours: share of samples of pre-training that mask the last event alone
    behaviors: int = 4  # n, kinds of behaviour
    negatives: int = 0  # items that stand for all others in the loss; 0: all items

    def __post_init__(self) -> None:
        check_sizes(self)
        check_behaviors(self)
        within(self, 0, 1, "mask", "last_only")


class Gaussian(NamedTuple):
    """Gaussians with diagonal covariance, both (..., d)."""

    mean: Tensor
    covariance: Tensor


def positive(x: Tensor) -> Tensor:
    """ELU + 1; a little more, because 1 + ELU rounds to 0 below -17 and covariances are divided by."""
    return F.elu(x) + (1 + 1e-6)


def fuse(*parts: Gaussian) -> Gaussian:
    """Product of two or three Gaussians, the surer the weightier; of two the covariance is doubled, as in the paper."""
    precision = [1 / part.covariance for part in parts]
    covariance = 1 / sum(precision)
    mean = covariance * sum(p * part.mean for p, part in zip(precision, parts, strict=True))
    return Gaussian(mean, 2 * covariance if len(parts) == 2 else covariance)


def root(g: Gaussian) -> Tensor:
    """phi = [mu, sqrt S], where W(g, g') = |phi - phi'|^2: (..., d) -> (..., 2d)"""
    return torch.cat([g.mean, g.covariance.sqrt()], dim=-1)


def pair_distance(query: Tensor, key: Tensor, behavior: Tensor) -> Tensor:
    """|query[i, b_j] - key[j, b_i]|^2 for all pairs of events, where b_i is the behaviour of i.

    key[j, b] is put in place b_j of n, the others zero, and multiplied with all n rows of query[i]: that gives
    query[i, b_j] . key[j, b] for every b, of which b_i is kept. One matrix product, and nothing of size T T d.

    query, key (B, h, T, n, d), behavior one-hot (B, 1, T, n) -> (B, h, T, T)
    """
    placed = key[..., None, :] * behavior[..., None, :, None]  # (B, h, T, n of i, n of j, d)
    product = query.flatten(-2) @ placed.flatten(-2).flatten(2, 3).transpose(-1, -2)  # (B, h, T, T n)
    product = (product.unflatten(-1, (-1, query.shape[3])) * behavior[..., None, :]).sum(-1)  # (B, h, T, T)
    of_query = query.square().sum(-1) @ behavior.transpose(-1, -2)
    of_key = behavior @ key.square().sum(-1).transpose(-1, -2)
    return of_query + of_key - 2 * product


class GaussianEmbedding(nn.Module):
    """A table of n Gaussians."""

    def __init__(self, n: int, d: int):
        super().__init__()
        self.mean = nn.Embedding(n, d)
        self.covariance = nn.Embedding(n, d)  # before ELU + 1
        nn.init.normal_(self.mean.weight, std=d**-0.5)
        nn.init.normal_(self.covariance.weight, std=d**-0.5)

    def forward(self, index: Tensor) -> Gaussian:
        """index (...) -> (..., d)"""
        return Gaussian(self.mean(index), positive(self.covariance(index)))

    def all(self) -> Gaussian:
        """(n, d)"""
        return Gaussian(self.mean.weight, positive(self.covariance.weight))


class Context(NamedTuple):
    """What the layers know of the events besides their content."""

    behavior: Tensor  # (B, T)
    mask: Tensor  # (B, T)
    kind: Gaussian  # of each event's behaviour (B, T, d)
    position: Gaussian  # (T, d)
    outgoing: Gaussian  # relation of each event's behaviour to all behaviours, r_{b_t c} (B, T, n, d)
    incoming: Gaussian  # relation of all behaviours to each event's, r_{c b_t} (B, T, n, d)


class FusedAttention(nn.Module):
    """Attention between Gaussians, by distance, where each pair of events sees its relation."""

    def __init__(self, config: PBATConfig):
        super().__init__()
        d, self.heads, self.behaviors = config.d, config.heads, config.behaviors
        self.content = nn.ModuleList(nn.Linear(d, 3 * d, bias=False) for _ in Gaussian._fields)
        self.kind = nn.ModuleList(nn.Linear(d, 3 * d, bias=False) for _ in Gaussian._fields)
        head = d // config.heads
        self.query_relation, self.query_position = nn.Linear(head, head), nn.Linear(head, head)
        self.key_relation, self.key_position = nn.Linear(head, head), nn.Linear(head, head)
        self.out = nn.ModuleList(nn.Linear(d, d) for _ in Gaussian._fields)
        self.dropout = nn.Dropout(config.dropout)
        for content, out in zip(self.content, self.out, strict=True):
            start_as_copier(*content.weight.chunk(3), out.weight)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, ..., d) -> (B, h, T, ..., d/h)"""
        return x.unflatten(-1, (self.heads, -1)).movedim(-2, 1)

    def forward(self, x: Gaussian, context: Context) -> Gaussian:
        """(B, T, d) -> (B, T, d)"""
        mean, covariance = (
            [self.split(part) for part in (content(part) + kind(of_kind)).chunk(3, dim=-1)]
            for content, kind, part, of_kind in zip(self.content, self.kind, x, context.kind, strict=True)
        )
        query, key, value = map(Gaussian, mean, map(positive, covariance))  # each (B, h, T, d/h)
        position = Gaussian(*(self.split(part[None]) for part in context.position))  # (1, h, T, d/h)
        q = self.fused(query, context.outgoing, position, self.query_relation, self.query_position)
        k = self.fused(key, context.incoming, position, self.key_relation, self.key_position)
        behavior = F.one_hot(context.behavior, self.behaviors).to(q.dtype)[:, None]
        score = -pair_distance(q, k, behavior) * query.mean.shape[-1] ** -0.5
        weight = self.dropout(masked(score, context.mask[:, None, None]).softmax(-1))  # (B, h, T, T)
        y = weight @ value.mean, weight.square() @ value.covariance
        return Gaussian(*(out(part.transpose(1, 2).flatten(2)) for out, part in zip(self.out, y, strict=True)))

    def fused(
        self, event: Gaussian, relation: Gaussian, position: Gaussian, of_relation: nn.Module, of_position: nn.Module
    ) -> Tensor:
        """phi of Q or K: of each event, for each behaviour that the other event may have.

        event (B, h, T, d/h), relation (B, T, n, d), position (1, h, T, d/h) -> (B, h, T, n, 2d/h)
        """
        relation = Gaussian(*map(self.split, relation))
        return root(
            fuse(
                Gaussian(*(part[:, :, :, None] for part in event)),
                Gaussian(of_relation(relation.mean), relation.covariance),
                Gaussian(of_position(position.mean)[:, :, :, None], position.covariance[:, :, :, None]),
            )
        )


class BehaviorFeedForward(nn.Module):
    """Linear, ELU, Linear with weights of each behaviour's own; means and covariances share them."""

    def __init__(self, config: PBATConfig):
        super().__init__()
        d, wide = config.d, config.ffn * config.d
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(d, wide), nn.ELU(), nn.Dropout(config.dropout), nn.Linear(wide, d))
            for _ in range(config.behaviors)
        )

    def forward(self, x: Tensor, behavior: Tensor) -> Tensor:
        """x (B, T, ..., d), behavior (B, T) -> (B, T, ..., d)"""
        y = torch.zeros_like(x)
        for b, network in enumerate(self.networks):
            here = (behavior == b).nonzero(as_tuple=True)
            y = y.index_put(here, network(x[here]).to(x.dtype))
        return y


class PBATLayer(nn.Module):
    """Fused attention and feed-forward, each with a residual and a LayerNorm after it."""

    def __init__(self, config: PBATConfig):
        super().__init__()
        self.attention = FusedAttention(config)
        self.ffn = BehaviorFeedForward(config)
        self.attention_norm, self.ffn_norm = nn.LayerNorm(config.d), nn.LayerNorm(config.d)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Gaussian, context: Context) -> Gaussian:
        """(B, T, d) -> (B, T, d)"""
        y = torch.stack(self.attention(x, context), dim=2)  # (B, T, 2, d), mean and covariance
        y = self.attention_norm(torch.stack(x, dim=2) + self.dropout(y))
        mean, covariance = self.ffn_norm(y + self.dropout(self.ffn(y, context.behavior))).unbind(2)
        return Gaussian(mean, positive(covariance))


class PBAT(nn.Module):
    """The method as a whole.

    Args:
        config: the sizes.
        n_items: N.
        n_users: users, each with a Gaussian of their own.
    """

    every_event = True

    def __init__(self, *, config: PBATConfig, n_items: int, n_users: int):
        super().__init__()
        self.config = config
        self.n_items = n_items
        d, n = config.d, config.behaviors
        self.item = GaussianEmbedding(n_items + 1, d)  # the last is [MASK]
        self.behavior = GaussianEmbedding(n, d)
        self.user = GaussianEmbedding(n_users, d)
        self.position = GaussianEmbedding(config.max_history + 1, d)  # 0 = newest
        self.relation = GaussianEmbedding(n * n, d)  # E
        self.of_behavior = nn.Linear(d, d)  # W of the pattern
        self.of_pattern = nn.Linear(d, d)  # W' of the prediction
        self.layers = nn.ModuleList(PBATLayer(config) for _ in range(config.layers))
        self.head = nn.ModuleList(nn.Linear(d, d) for _ in Gaussian._fields)
        nn.init.eye_(self.head[0].weight)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def max_history(self) -> int:
        return self.config.max_history

    def patterns(self, user: Tensor) -> Gaussian:
        """P_ub, what each behaviour means to each user: (B,) -> (B, n, d)"""
        behavior, user = self.behavior.all(), self.user(user)
        behavior = Gaussian(self.of_behavior(behavior.mean), behavior.covariance)
        return fuse(Gaussian(user.mean[:, None], user.covariance[:, None]), behavior)

    def relations(self, patterns: Gaussian) -> Gaussian:
        """r_bb', the learned E_bb' times how far apart b and b' are for the user: (B, n, d) -> (B, n, n, d)"""
        phi = root(patterns)
        distance = (phi[:, :, None] - phi[:, None]).square().sum(-1, keepdim=True)  # (B, n, n, 1)
        shape = (self.config.behaviors, self.config.behaviors, -1)
        mean, covariance = self.relation.mean.weight.view(shape), self.relation.covariance.weight.view(shape)
        return Gaussian(-distance * mean, positive(-distance * covariance))

    def states(self, user: Tensor, item: Tensor, behavior: Tensor, mask: Tensor) -> Gaussian:
        """What each event's item is thought to be: user (B,), the others (B, T), item N for [MASK] -> (B, T, d)"""
        patterns = self.patterns(user)
        relations = self.relations(patterns)
        recency = torch.arange(item.shape[1] - 1, -1, -1, device=item.device).clamp(max=self.max_history)
        at = torch.arange(len(user), device=user.device)[:, None], behavior
        context = Context(
            behavior=behavior,
            mask=mask,
            kind=self.behavior(behavior),
            position=self.position(recency),
            outgoing=Gaussian(*(part[at] for part in relations)),
            incoming=Gaussian(*(part.transpose(1, 2)[at] for part in relations)),
        )
        x = self.item(item)
        x = Gaussian(self.dropout(x.mean), x.covariance)
        for layer in self.layers:
            x = layer(x, context)
        x = fuse(x, Gaussian(self.of_pattern(patterns.mean)[at], patterns.covariance[at]))
        return Gaussian(self.head[0](x.mean), positive(self.head[1](x.covariance)))

    def cloze(self, batch: Batch, hidden: Tensor) -> dict[str, Tensor]:
        """Loss of guessing the items that are hidden among the history and the target, hidden (B, T + 1)"""
        events = batch.with_target()
        item = events.item.masked_fill(hidden, self.n_items)
        states = root(self.states(batch.user, item, events.behavior, events.mask))[hidden]  # (M, 2d)
        nll = item_nll(states, events.item[hidden], *self.items(), negatives=self.config.negatives)
        loss = mean_over_events(torch.zeros_like(hidden, dtype=nll.dtype).masked_scatter(hidden, nll), hidden)
        return {"loss": loss, "target_nll": loss.detach()}

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Masked items: a share `mask` of the events of every behaviour, or the last alone.

        "target_nll" is the mean of those that are masked.
        """
        exists = batch.with_target().mask
        last = last_of(exists)
        hidden = exists & (torch.rand(exists.shape, device=exists.device) < self.config.mask)
        last_only = torch.rand(len(exists), 1, device=exists.device) < self.config.last_only
        return self.cloze(batch, torch.where(last_only | ~hidden.any(1, keepdim=True), last, hidden))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Masked items: the target alone."""
        return self.cloze(batch, last_of(batch.with_target().mask))

    def query(self, batch: Batch) -> Tensor:
        """phi of a [MASK] under the target's behaviour behind the history: (B, 2d)"""
        events = batch.history()
        item = F.pad(events.item, (0, 1), value=self.n_items)
        behavior = torch.cat([events.behavior, batch.target_behavior[:, None]], dim=1)
        return root(self.states(batch.user, item, behavior, F.pad(events.mask, (0, 1), value=True)))[:, -1]

    def items(self) -> tuple[Tensor, Tensor]:
        """-|phi_q - phi_i|^2 = phi_q . 2 phi_i - |phi_i|^2, but for |phi_q|^2, the same for all: (N, 2d), (N,)"""
        phi = root(self.item.all())[: self.n_items]
        return 2 * phi, -phi.square().sum(-1)


def last_of(mask: Tensor) -> Tensor:
    """True in the last column alone: (B, T) -> (B, T)"""
    return F.pad(torch.zeros_like(mask[:, 1:]), (0, 1), value=True)
