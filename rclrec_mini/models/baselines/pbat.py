"""PBAT: a transformer whose events are Gaussians and whose attention knows what one behaviour is to another.

Su, Chen, Lin, Li, Liu, Zheng, "Personalized Behavior-Aware Transformer for Multi-Behavior Sequential
Recommendation", ACM Multimedia 2023. Items, behaviours, users, positions and relations of behaviours are Gaussians
with mean mu and diagonal covariance S, kept positive by ELU + 1. The parts, and where they are here:

    distance            W(g, g') = |mu - mu'|^2 + |sqrt S - sqrt S'|^2, squared 2-Wasserstein     `root`
    fusion of two       mu = (S1 mu2 + S2 mu1) / (S1 + S2),  S = 2 S1 S2 / (S1 + S2)              `fuse`
    fusion of three     S = 1 / sum_k 1/Sk,  mu = S sum_k muk/Sk                                  `product`
    pattern             P_ub = fuse(user u, W behaviour b)                                        `PBAT.patterns`
    relation            r_bb' = -W(P_ub, P_ub') E_bb' / d, E learned                              `PBAT.relations`
    fused attention     Q_ij = fuse(query_i, W1 r_{b_i b_j}, W2 position_i)                       `FusedAttention`
                        K_ij = fuse(key_j,   W3 r_{b_i b_j}, W4 position_j)
                        A_ij = softmax_j(-W(Q_ij, K_ij) / sqrt(d/h))
                        mu_i = sum_j A_ij mu_j,  S_i = sum_j A_ij^2 S_j, of the values
    feed-forward        one network for each behaviour                                            `BehaviorFeedForward`
    score of item i     -W(head(fuse(state, W' P_ub)), item i)                                    `PBAT.items`

It learns as BERT4Rec does: items of some events are replaced by [MASK], their behaviours stay, and are guessed from
both sides. To rank, a [MASK] under the target's behaviour is put behind the history.

As in the reference code, rows of all tables but positions are normalised before their ELU, a state ends in an ELU, and
items are scored by their raw rows, which no norm makes equally long.

No tensor of size T T d is needed, and no event is compared under a relation that is not its own. r takes n^2 values a
user for n behaviours, so Q_ij takes only T n, one for each event i and behaviour of the other, and K_ij as well. With
events in the order of their behaviours (`Groups`), A consists of n^2 blocks, each one matrix product, because W is the
squared Euclidean distance of phi = [mu, sqrt S] and expands into inner products, of queries and keys as of states and
items.

What differs here. The reference code's logit is +W, farther is better; ours is -W. It has four behaviours and fixes
their number; ours is a parameter. Its relations grow with d, and where embeddings are normalised they drown everything
else: at the start an event sees only those of its own behaviour, [MASK] itself, and stays there. Here r takes the mean
over the d squares of W instead of their sum. Its feed-forward has no residual; without one a small budget ends before
an item of the history gets through it. Its head is one map for means and covariances; here there are two.
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
from rclrec_mini.models.attention import masked
from rclrec_mini.models.baselines.gaussians import Gaussian, GaussianEmbedding, distances, fuse, positive, product, root
from rclrec_mini.models.baselines.objectives import item_nll, mean_over_events
from rclrec_mini.models.dropout import Dropout
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


class Groups(NamedTuple):
    """Events in the order of their behaviours, so that those of one behaviour are a slice of every sample.

    A behaviour has as many places as the sample with most events of it; those that a sample does not fill are masked.
    """

    place: Tensor  # of each event (B, T); S, behind all places, for padding
    sizes: list[int]  # places of each behaviour, S in all

    @classmethod
    def of(cls, behavior: Tensor, mask: Tensor, n: int) -> "Groups":
        """behavior, mask (B, T)"""
        one = F.one_hot(behavior, n) * mask[..., None]  # (B, T, n)
        count = one.cumsum(1)
        largest = count[:, -1].amax(0)
        first = largest.cumsum(0) - largest  # place of each behaviour's first event
        place = ((first + count - 1) * one).sum(-1).masked_fill(~mask, int(largest.sum()))
        return cls(place, largest.tolist())

    def gather(self, x: Tensor, fill: int) -> Tensor:
        """x (B, T), `fill` for places without an event -> (B, S)"""
        places = x.new_full((len(x), sum(self.sizes) + 1), fill)
        return places.scatter(1, self.place, x)[:, :-1]

    def scatter(self, x: Tensor) -> Tensor:
        """Back to the order of the events, zeros for padding: (B, S, d) -> (B, T, d)"""
        return F.pad(x, (0, 0, 0, 1)).gather(1, self.place[..., None].expand(-1, -1, x.shape[-1]))


class Context(NamedTuple):
    """What the layers know of the events besides their content."""

    sizes: list[int]  # of the groups
    mask: Tensor  # (B, S)
    kind: Gaussian  # of each place's behaviour (S, d)
    position: Gaussian  # (B, S, d)
    relation: Gaussian  # r_bc (B, n, n, d)


class FusedAttention(nn.Module):
    """Attention between Gaussians, by distance, where each pair of events sees its relation."""

    def __init__(self, config: PBATConfig):
        super().__init__()
        d, self.heads = config.d, config.heads
        self.content = nn.ModuleList(nn.Linear(d, 3 * d, bias=False) for _ in Gaussian._fields)
        self.kind = nn.ModuleList(nn.Linear(d, 3 * d, bias=False) for _ in Gaussian._fields)
        head = d // config.heads
        self.query_relation, self.query_position = nn.Linear(head, head), nn.Linear(head, head)
        self.key_relation, self.key_position = nn.Linear(head, head), nn.Linear(head, head)
        self.out = nn.ModuleList(nn.Linear(d, d) for _ in Gaussian._fields)
        self.dropout = Dropout(config.dropout)
        for content, out in zip(self.content, self.out, strict=True):
            start_as_copier(*content.weight.chunk(3), out.weight)

    def split(self, x: Tensor) -> Tensor:
        """(B, S, ..., d) -> (B, h, S, ..., d/h)"""
        return x.unflatten(-1, (self.heads, -1)).movedim(-2, 1)

    def forward(self, x: Gaussian, context: Context) -> tuple[Gaussian, Tensor]:
        """(B, S, d) -> (B, S, d), weights (B, h, S, S)"""
        mean, covariance = (
            [self.split(part) for part in (content(part) + kind(of_kind)).chunk(3, dim=-1)]
            for content, kind, part, of_kind in zip(self.content, self.kind, x, context.kind, strict=True)
        )
        query, key, value = map(Gaussian, mean, map(positive, covariance))  # each (B, h, S, d/h)
        weight = masked(self.scores(query, key, context), context.mask[:, None, None]).softmax(-1)
        dropped = self.dropout(weight)
        y = dropped @ value.mean, dropped.square() @ value.covariance
        y = Gaussian(*(out(part.transpose(1, 2).flatten(2)) for out, part in zip(self.out, y, strict=True)))
        return y, weight

    def scores(self, query: Gaussian, key: Gaussian, context: Context) -> Tensor:
        """-W(Q_ij, K_ij) / sqrt(d/h), a block for each pair of behaviours: (B, h, S, d/h) -> (B, h, S, S)"""
        relation = Gaussian(*map(self.split, context.relation))  # (B, h, n, n, d/h)
        position = Gaussian(*map(self.split, context.position))  # (B, h, S, d/h)
        q = self.fused(query, relation, position, context.sizes, self.query_relation, self.query_position)
        incoming = Gaussian(*(part.transpose(2, 3) for part in relation))
        k = self.fused(key, incoming, position, context.sizes, self.key_relation, self.key_position)
        rows = zip(q, zip(*k, strict=True), strict=True)  # of i's behaviour: Q by that of j, and K by that of j
        blocks = [[distances(*pair) for pair in zip(*row, strict=True)] for row in rows]
        return torch.cat([torch.cat(row, -1) for row in blocks], -2) * -(query.mean.shape[-1] ** -0.5)

    def fused(
        self, event: Gaussian, relation: Gaussian, position: Gaussian, sizes: list[int], of_relation: nn.Module,
        of_position: nn.Module,
    ) -> list[tuple[Tensor, ...]]:  # fmt: skip
        """phi of Q or K: of the events of each behaviour, for each behaviour that the other event may have.

        event, position (B, h, S, d/h), relation (B, h, n, n, d/h) -> n times n times (B, h, s, 2d/h)
        """
        own = product(event, Gaussian(of_position(position.mean), position.covariance))
        other = product(Gaussian(of_relation(relation.mean), relation.covariance))
        groups = zip(*(part.split(sizes, 2) for part in own), *(part.unbind(2) for part in other), strict=True)
        phi = []
        for precision, weighted, of_other, weighted_other in groups:
            covariance = 1 / (precision[:, :, None] + of_other[:, :, :, None])  # (B, h, n, s, d/h)
            mean = covariance * (weighted[:, :, None] + weighted_other[:, :, :, None])
            phi.append(root(Gaussian(mean, covariance)).unbind(2))
        return phi


class BehaviorFeedForward(nn.Module):
    """Linear, ELU, Linear with weights of each behaviour's own; means and covariances share them."""

    def __init__(self, config: PBATConfig):
        super().__init__()
        d, wide = config.d, config.ffn * config.d
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(d, wide), nn.ELU(), Dropout(config.dropout), nn.Linear(wide, d))
            for _ in range(config.behaviors)
        )

    def forward(self, x: Tensor, sizes: list[int]) -> Tensor:
        """(B, S, ..., d) -> (B, S, ..., d)"""
        return torch.cat([network(part) for network, part in zip(self.networks, x.split(sizes, 1), strict=True)], 1)


class PBATLayer(nn.Module):
    """Fused attention and feed-forward, each with a residual and a LayerNorm after it."""

    def __init__(self, config: PBATConfig):
        super().__init__()
        self.attention = FusedAttention(config)
        self.ffn = BehaviorFeedForward(config)
        self.attention_norm, self.ffn_norm = nn.LayerNorm(config.d), nn.LayerNorm(config.d)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Gaussian, context: Context) -> tuple[Gaussian, Tensor]:
        """(B, S, d) -> (B, S, d), weights of attention (B, h, S, S)"""
        y, weight = self.attention(x, context)
        x, y = torch.stack(x, dim=2), torch.stack(y, dim=2)  # (B, S, 2, d), mean and covariance
        y = self.attention_norm(x + self.dropout(y))
        mean, covariance = self.ffn_norm(y + self.dropout(self.ffn(y, context.sizes))).unbind(2)
        return Gaussian(mean, positive(covariance)), weight


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
        self.config, self.max_history = config, config.max_history
        self.n_items = n_items
        d, n = config.d, config.behaviors
        self.item = GaussianEmbedding(n_items + 1, d)  # the last is [MASK]
        self.behavior = GaussianEmbedding(n, d)
        self.user = GaussianEmbedding(n_users, d)
        self.position = GaussianEmbedding(config.max_history + 1, d, normalised=False)  # 0 = newest
        self.relation = GaussianEmbedding(n * n, d)  # E
        self.of_behavior = nn.Linear(d, d)  # W of the pattern
        self.of_pattern = nn.Linear(d, d)  # W' of the prediction
        self.layers = nn.ModuleList(PBATLayer(config) for _ in range(config.layers))
        self.head = nn.ModuleList(nn.Linear(d, d) for _ in Gaussian._fields)
        nn.init.eye_(self.head[0].weight)
        self.dropout = Dropout(config.dropout)

    def patterns(self, user: Tensor) -> Gaussian:
        """P_ub, what each behaviour means to each user: (B,) -> (B, n, d)"""
        behavior, user = self.behavior(self.behavior.rows()), self.user(user)
        behavior = Gaussian(self.of_behavior(behavior.mean), behavior.covariance)
        return fuse(Gaussian(user.mean[:, None], user.covariance[:, None]), behavior)

    def relations(self, patterns: Gaussian) -> Gaussian:
        """r_bc, the learned E_bc times how far apart b and c are for the user: (B, n, d) -> (B, n, n, d)"""
        phi = root(patterns)
        apart = (phi[:, :, None] - phi[:, None]).square().sum(-1, keepdim=True) / self.config.d  # (B, n, n, 1)
        n = self.config.behaviors
        mean, covariance = (part.view(n, n, -1) for part in self.relation.raw(self.relation.rows()))
        return Gaussian(-apart * mean, positive(-apart * covariance))

    def states(self, user: Tensor, item: Tensor, behavior: Tensor, mask: Tensor) -> tuple[Gaussian, Tensor]:
        """What each event's item is thought to be: user (B,), the others (B, T), item N for [MASK] -> (B, T, d)

        Also the attention of the last event to all, which are in another order, (B, layers, h, S).
        """
        n, patterns = self.config.behaviors, self.patterns(user)
        groups = Groups.of(behavior, mask, n)
        kind = torch.arange(n, device=item.device).repeat_interleave(torch.tensor(groups.sizes, device=item.device))
        recency = torch.arange(item.shape[1] - 1, -1, -1, device=item.device).clamp(max=self.max_history)
        context = Context(
            sizes=groups.sizes,
            mask=groups.gather(mask.long(), 0).bool(),
            kind=self.behavior(kind),
            position=self.position(groups.gather(recency.expand_as(item), 0)),
            relation=self.relations(patterns),
        )
        x, weights = self.item(groups.gather(item, 0)), []
        x = Gaussian(self.dropout(x.mean), x.covariance)
        for layer in self.layers:
            x, weight = layer(x, context)
            weights.append(
                weight.gather(2, groups.place[:, None, -1:, None].expand(-1, weight.shape[1], -1, weight.shape[3]))
            )
        of_kind = Gaussian(self.of_pattern(patterns.mean)[:, kind], patterns.covariance[:, kind])
        mean, covariance = (groups.scatter(part) for part in fuse(x, of_kind))
        state = Gaussian(F.elu(self.head[0](mean)), positive(self.head[1](covariance)))
        return state, torch.cat(weights, 2).transpose(1, 2)

    def cloze(self, batch: Batch, hidden: Tensor) -> dict[str, Tensor]:
        """Loss of guessing the items that are hidden among the history and the target, hidden (B, T + 1)"""
        events = batch.with_target()
        item = events.item.masked_fill(hidden, self.n_items)
        states = root(self.states(batch.user, item, events.behavior, events.mask)[0])[hidden]  # (M, 2d)
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

    def masked_states(self, batch: Batch) -> tuple[Gaussian, Tensor]:
        """`states` with a [MASK] under the target's behaviour behind the history."""
        events = batch.history()
        item = F.pad(events.item, (0, 1), value=self.n_items)
        behavior = torch.cat([events.behavior, batch.target_behavior[:, None]], dim=1)
        return self.states(batch.user, item, behavior, F.pad(events.mask, (0, 1), value=True))

    def query(self, batch: Batch) -> Tensor:
        """phi of that [MASK]: (B, 2d)"""
        return root(self.masked_states(batch)[0])[:, -1]

    def masked_attention(self, batch: Batch) -> Tensor:
        """How that [MASK] looks around, at events in an order of their own: (B, layers, h, S), sums of 1"""
        return self.masked_states(batch)[1]

    def items(self) -> tuple[Tensor, Tensor]:
        """-|phi_q - phi_i|^2 = phi_q . 2 phi_i - |phi_i|^2, but for |phi_q|^2, the same for all: (N, 2d), (N,)"""
        phi = root(Gaussian(self.item.mean.weight, positive(self.item.covariance.weight)))[: self.n_items]
        return 2 * phi, -phi.square().sum(-1)


def last_of(mask: Tensor) -> Tensor:
    """True in the last column alone: (B, T) -> (B, T)"""
    return F.pad(torch.zeros_like(mask[:, 1:]), (0, 1), value=True)
