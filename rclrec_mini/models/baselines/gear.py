"""GEAR: Generalized Alternating Regressor (Jiang et al., SIGIR 2025): what will be done, then to which item.

Events are (b_1, i_1), ..., (b_T, i_T), and b_{T+1}, the behaviour asked for, is given (purchase in evaluation).

    lower   I = Layer(LN(items)),  B = Layer(LN(behaviours), bias)         one causal layer each
            bias_h[t, s] = -2^(-8h/H) log(1 + dt(t, s)),  h = 0..H-1
    upper   X = Layer^4([B_1, I_1, ..., B_T, I_T, B_{T+1}])                causal
    heads   p(i_t | b_1, i_1, ..., b_t) = softmax_i(X_{b_t} . e_i)         read at b_t
            p(b_{t+1} | b_1, ..., b_t, i_t) = softmax_b(X_{i_t} . e_b)     read at i_t
    loss    CE(items) + 0.1 CE(behaviours)

A layer is a post-norm transformer layer with a ReLU feed-forward of width 4d; embeddings are shared by input and heads;
there is no embedding of positions. The lower layers do not leak: B_t is made of b_1..b_t and I_t of i_1..i_t, so
each belongs at its place in the upper sequence, where I_t comes after the place b_t that predicts i_t.

What differs here, and why:

- Time. In the public code dt(t, s) = t_t - t_s uses the moment of the event to be predicted, which nobody knows when a
  recommendation is made. Here a behaviour looks back from the newest event before it, in training as in
  evaluation: dt(t, s) = max(t_{t-1} - t_s, 0), the moment of event t is first seen by b_{t+1}, and that of the target
  by nothing.
- Padding is masked; in the public code it is looked at like an event.
- Attention is the backbone's (attention.py) and starts as it does there; embeddings start at length 1.
- In the loss each user counts the same, whatever the number of events.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import at_least
from rclrec_mini.data.sequences import Batch
from rclrec_mini.models.attention import Attention, masked
from rclrec_mini.models.baselines.objectives import item_nll, mean_over_events
from rclrec_mini.models.sizes import check_behaviors, check_sizes


@dataclass(frozen=True)
class GEARConfig:
    """Sizes of GEAR; layers, heads and the loss are the paper's and its code's, width and dropout ours."""

    d: int = 64  # width
    heads: int = 2  # H, attention heads
    layers: int = 4  # upper layers, over behaviours and items in turn
    dropout: float = 0.2  # share of activations dropped in training
    max_history: int = 50  # T, events
    behaviors: int = 4  # kinds of behaviour, each with an embedding
    behavior_weight: float = 0.1  # of the behaviours' cross-entropy in the loss
    negatives: int = 0  # items drawn for a sampled softmax; 0 for the softmax over all

    def __post_init__(self) -> None:
        check_sizes(self)
        check_behaviors(self)
        at_least(self, 0, "behavior_weight")


class Layer(nn.Module):
    """Post-norm transformer layer.

    Args:
        config: the sizes.
    """

    def __init__(self, config: GEARConfig):
        super().__init__()
        d = config.d
        self.attention = Attention(d=d, heads=config.heads, dropout=config.dropout)
        self.ffn = nn.Sequential(nn.Linear(d, 4 * d), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(4 * d, d))
        self.attention_norm, self.ffn_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, S, d), bias broadcastable to (B, H, S, S) -> (B, S, d)"""
        x = self.attention_norm(x + self.dropout(self.attention(x, self.attention.keys_values(x), bias)))
        return self.ffn_norm(x + self.dropout(self.ffn(x)))


def time_bias(timestamp: Tensor, heads: int) -> Tensor:
    """bias_h[t, s] of T + 1 behaviours, the last of them not dated: timestamp (B, T) -> (B, H, T + 1, T + 1)"""
    last = F.pad(timestamp, (0, 1))  # (B, T + 1), of s; only itself may look at the last, from an earlier moment
    last[:, -1] = timestamp[:, -1]
    before = F.pad(timestamp, (1, 0))  # (B, T + 1), t_{t-1}; the first looks at itself alone, at distance 0
    elapsed = (before[:, :, None] - last[:, None]).clamp(min=0).float()
    slope = 2.0 ** (-8 * torch.arange(heads, device=timestamp.device) / heads)
    return -slope[:, None, None] * elapsed.log1p()[:, None]


def causal(mask: Tensor) -> Tensor:
    """Which of S places each may look at: mask (B, S) -> (B, 1, S, S)"""
    return mask[:, None, None] & torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device).tril()


def alternate(behavior: Tensor, item: Tensor) -> Tensor:
    """[b_1, i_1, ..., b_T, i_T, b_{T+1}]: (B, T + 1, ...), (B, T, ...) -> (B, 2T + 1, ...)"""
    pairs = torch.stack([behavior[:, :-1], item], dim=2).flatten(1, 2)
    return torch.cat([pairs, behavior[:, -1:]], dim=1)


class GEAR(nn.Module):
    """GEAR; see the head of this file.

    Args:
        config: the sizes; d must be a multiple of heads.
        n_items: N.
    """

    every_event = True

    def __init__(self, *, config: GEARConfig, n_items: int):
        super().__init__()
        self.config = config
        self.max_history = config.max_history
        self.item_embedding = nn.Embedding(n_items, config.d)
        self.behavior_embedding = nn.Embedding(config.behaviors, config.d)
        self.norm = nn.LayerNorm(config.d)
        self.item_layer, self.behavior_layer = Layer(config), Layer(config)
        self.upper = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        for table in (self.item_embedding, self.behavior_embedding):
            nn.init.normal_(table.weight, std=config.d**-0.5)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """States at b_1..b_{T+1} (B, T + 1, d), which predict i_1..i_{T+1}, and at i_1..i_T (B, T, d), which predict
        b_2..b_{T+1}. Of the target only the behaviour is read."""
        behavior = torch.cat([batch.behavior, batch.target_behavior[:, None]], dim=1)  # (B, T + 1)
        exists = F.pad(batch.mask, (0, 1), value=True)
        none = self.norm.weight.new_zeros(())
        i = self.item_layer(self._embed(self.item_embedding, batch.item), masked(none, causal(batch.mask)))
        bias = masked(time_bias(batch.timestamp, self.config.heads), causal(exists))
        b = self.behavior_layer(self._embed(self.behavior_embedding, behavior), bias)
        x, bias = self.dropout(alternate(b, i)), masked(none, causal(alternate(exists, batch.mask)))
        for layer in self.upper:
            x = layer(x, bias)
        return x[:, 0::2], x[:, 1::2]

    def query(self, batch: Batch) -> Tensor:
        """State at b_{T+1} (B, d)"""
        return self.encode(batch)[0][:, -1]

    def items(self) -> tuple[Tensor, Tensor]:
        """Item embeddings (N, d) and no bias (N,)"""
        return self.item_embedding.weight, self.item_embedding.weight.new_zeros(self.item_embedding.num_embeddings)

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """The loss over every event: each item given its behaviour, each behaviour but the first."""
        at_behavior, at_item = self.encode(batch)
        events = batch.with_target()
        item = self._item_nll(at_behavior.flatten(0, 1), events.item.flatten()).view(events.mask.shape)
        behavior = self._behavior_nll(at_item, events.behavior[:, 1:])
        return self._loss(mean_over_events(item, events.mask), mean_over_events(behavior, batch.mask), item[:, -1])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The target's two terms: its item given its behaviour, its behaviour."""
        at_behavior, at_item = self.encode(batch)
        item = self._item_nll(at_behavior[:, -1], batch.target_item)
        behavior = self._behavior_nll(at_item[:, -1:], batch.target_behavior[:, None])
        return self._loss(item.mean(), mean_over_events(behavior, batch.mask[:, -1:]), item)

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return self.norm(self.dropout(table(ids)))

    def _item_nll(self, x: Tensor, item: Tensor) -> Tensor:
        """x (M, d), item (M,) -> (M,)"""
        return item_nll(x, item, *self.items(), negatives=self.config.negatives)

    def _behavior_nll(self, x: Tensor, behavior: Tensor) -> Tensor:
        """x (B, S, d), behavior (B, S) -> (B, S)"""
        logits = x @ self.behavior_embedding.weight.T
        return F.cross_entropy(logits.transpose(1, 2), behavior, reduction="none")

    def _loss(self, item: Tensor, behavior: Tensor, target: Tensor) -> dict[str, Tensor]:
        loss = item + self.config.behavior_weight * behavior
        return {"loss": loss, "target_nll": target.detach().mean(), "behavior_nll": behavior.detach()}
