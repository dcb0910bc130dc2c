"""HSTU: Hierarchical Sequential Transduction Units (Zhai et al., "Actions Speak Louder than Words", ICML 2024).

A layer is one gated attention without softmax and without a feed-forward layer (eq. 1 to 3 of the paper):

    U, V, Q, K = SiLU(LN(X) W)                          one projection for all four
    A          = SiLU(Q K^T + rab) / n                  causal; n the longest history, a constant
    Y          = W_o dropout(U * LN(A V)) + X

A weight tells how strongly an event speaks, not its share among the others, and may be slightly negative. There is no
sqrt(d) below Q K^T, and a key that is masked contributes exactly 0. The bias that all heads of a layer share is

    rab[i, j] = position[i - j] + time[bucket(t_i - t_j)],    bucket(dt) = min(floor(ln(max(|dt|, 1)) / 0.301), 128)

An event enters as its item's and its behaviour's (action's) embedding. The state of event t predicts item t + 1 by
a softmax over cosines, exp(cos(x_t, e_i) / 0.05), with item embeddings e shared by input and output.

What differs here, and why:

- Time. The public code takes t_{i+1}, the moment of the event to be predicted, for the query's time. Nobody knows it
  when a recommendation is made, so t_i is taken here: every time is one of the history's.
- The public code adds learned absolute positions to the input. The positions of rab carry the order here, so that
  padding shifts nothing.
- The softmax runs over all items unless `negatives` says otherwise; the public code draws 128.
- One sequence serves all behaviours and nothing tells the query which behaviour comes next, as in the paper's
  retrieval task; fine-tuning on purchases does.
- Attention starts as in all methods here (`initialization.py`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import positive
from rclrec_mini.data.sequences import Batch, Events
from rclrec_mini.models.baselines.objectives import item_nll, mean_over_events
from rclrec_mini.models.initialization import start_as_copier
from rclrec_mini.models.sizes import check_behaviors, check_sizes

BUCKETS = 128  # the last bucket of time; two years fall into bucket 59


@dataclass(frozen=True)
class HSTUConfig:
    """Sizes of HSTU; the defaults are the public code's smaller model, with histories as long as everyone's here."""

    d: int = 50  # width; each head has d / heads of U, V, Q and K
    heads: int = 1  # attention heads
    layers: int = 2  # blocks
    dropout: float = 0.2  # share of activations dropped in training
    max_history: int = 50  # T, events; also n, by which weights are divided
    temperature: float = 0.05  # by which cosines are divided
    behaviors: int = 4  # kinds of behaviour, each with an embedding
    negatives: int = 0  # items drawn for a sampled softmax; 0 for the softmax over all

    def __post_init__(self) -> None:
        check_sizes(self)
        check_behaviors(self)
        positive(self, "temperature")


def time_bucket(seconds: Tensor) -> Tensor:
    """Logarithmic bucket of a difference in time, 0..128: (...) -> (...)"""
    return (seconds.abs().clamp(min=1).float().log() / 0.301).long().clamp(max=BUCKETS)


class HSTULayer(nn.Module):
    """One block: projection, pointwise attention, gate.

    Args:
        config: the sizes.
    """

    def __init__(self, config: HSTUConfig):
        super().__init__()
        self.heads, self.n = config.heads, config.max_history
        self.uvqk = nn.Linear(config.d, 4 * config.d, bias=False)
        self.out = nn.Linear(config.d, config.d)
        self.position = nn.Parameter(torch.zeros(config.max_history))  # by i - j
        self.time = nn.Parameter(torch.zeros(BUCKETS + 1))  # by bucket
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.uvqk.weight, std=config.d**-0.5)
        _, value, query, key = self.uvqk.weight.chunk(4)
        start_as_copier(query, key, value, self.out.weight)

    def forward(self, x: Tensor, distance: Tensor, bucket: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """One block, and the weights A that it used.

        Args:
            x: events (B, T, d).
            distance: i - j, at least 0 where it counts (T, T).
            bucket: of t_i - t_j (B, T, T).
            visible: whether event i may look at event j (B, T, T).

        Returns:
            Y (B, T, d), A (B, h, T, T).
        """
        u, v, q, k = F.silu(self.uvqk(norm(x))).chunk(4, dim=-1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))  # (B, h, T, d/h)
        rab = self.position[distance] + self.time[bucket]  # (B, T, T)
        weight = F.silu(q @ k.transpose(-1, -2) + rab[:, None]) / self.n * visible[:, None]
        found = (weight @ v).transpose(1, 2).flatten(2)  # (B, T, d)
        return self.out(self.dropout(u * norm(found))) + x, weight


def norm(x: Tensor) -> Tensor:
    """LayerNorm without parameters; weights divided by n are small, so epsilon is too: (..., d) -> (..., d)"""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class HSTU(nn.Module):
    """HSTU over items and behaviours; see the head of this file.

    Args:
        config: the sizes; d must be a multiple of heads.
        n_items: N.
    """

    every_event = True

    def __init__(self, *, config: HSTUConfig, n_items: int):
        super().__init__()
        self.config = config
        self.max_history = config.max_history
        self.item_embedding = nn.Embedding(n_items, config.d)
        self.behavior_embedding = nn.Embedding(config.behaviors, config.d)
        self.layers = nn.ModuleList(HSTULayer(config) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        for table in (self.item_embedding, self.behavior_embedding):
            nn.init.normal_(table.weight, std=config.d**-0.5)

    def encode(self, events: Events) -> tuple[Tensor, Tensor]:
        """States of the events (B, T, d), each of the events up to it, and the last block's weights (B, h, T, T)."""
        place = torch.arange(events.mask.shape[1], device=events.mask.device)
        distance = place[:, None] - place  # (T, T), positive towards the past
        visible = events.mask[:, None] & (distance >= 0)  # (B, T, T)
        bucket = time_bucket(events.timestamp[:, :, None] - events.timestamp[:, None])
        distance = distance.clamp(0, self.max_history - 1)
        x = self.item_embedding(events.item) + self.behavior_embedding(events.behavior)
        x = self.dropout(x * self.config.d**0.5)
        for layer in self.layers:
            x, weight = layer(x, distance, bucket, visible)
        return x, weight

    def attention(self, batch: Batch) -> Tensor:
        """What the newest event looks at: the last block's weights, mean over heads (B, T).

        A mean below 0, where an event is subtracted, counts as 0: no event can be looked at less than not at all. Rows
        do not sum to 1, and padding is 0.
        """
        _, weight = self.encode(batch.history())
        return weight[:, :, -1].mean(1).clamp(min=0)

    def query(self, batch: Batch) -> Tensor:
        """x_T / (0.05 |x_T|), from the history alone: (B, d)"""
        x, _ = self.encode(batch.history())
        return self._scaled(x[:, -1])

    def items(self) -> tuple[Tensor, Tensor]:
        """Item embeddings of length 1 (N, d) and no bias (N,)"""
        vectors = F.normalize(self.item_embedding.weight, dim=-1)
        return vectors, vectors.new_zeros(len(vectors))

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Predict every event that has one before it, under any behaviour."""
        x, _ = self.encode(batch.history())
        nll = self._nll(x.flatten(0, 1), batch.with_target().item[:, 1:].flatten()).view(batch.mask.shape)
        loss = mean_over_events(nll, batch.mask)
        return {"loss": loss, "target_nll": nll[:, -1].detach().mean()}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict the target alone."""
        x, _ = self.encode(batch.history())
        loss = self._nll(x[:, -1], batch.target_item).mean()
        return {"loss": loss, "target_nll": loss.detach()}

    def _scaled(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) / self.config.temperature

    def _nll(self, x: Tensor, item: Tensor) -> Tensor:
        """x (M, d), item (M,) -> (M,)"""
        return item_nll(self._scaled(x), item, *self.items(), negatives=self.config.negatives)
