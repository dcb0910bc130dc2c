"""SASRec: Self-Attentive Sequential Recommendation (Kang and McAuley, ICDM 2018).

The state of an event is computed from it and the events before it, and scores the next item:

    X  = sqrt(d) e_item + p                                   p by position, counted from the newest event
    Q' = LN(X),  Y = Q' + softmax(Q' W_Q (X W_K)^T / sqrt(d/h)) X W_V         causal; keys and values are raw
    Y' = LN(Y),  X <- Y' + W_2 ReLU(W_1 Y' + b_1) + b_2                       a block; there are two
    score of item i after event t = LN(x_t) . e_i             e is the table of the input, without sqrt(d)

This is the authors' code. Its paper writes x + f(LN(x)) for both halves of a block (eq. 8); the code normalises the
queries alone and adds to the normalised input. Heads are put side by side, without an output projection.

What differs here, and why:

- Loss. `bce` is the original: -log s(r_t) - log(1 - s(r_o)) with one item o a position, drawn uniformly. The authors
  draw it from what the user has not met; here it is any item but the right one. `softmax`, over all items or over
  `negatives` drawn ones, is the default and what our tables use: it closes most of the gap to BERT4Rec.
- Histories may be shorter than the longest. Padding stands on the left, as in the original, whose positions therefore
  count from the newest event too.
- Events of all behaviours are one sequence, and nothing tells the query which behaviour comes next.
- Attention starts as in all methods here (`initialization.py`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import check
from rclrec_mini.data.sequences import Batch, Events
from rclrec_mini.models.attention import masked
from rclrec_mini.models.baselines.objectives import item_nll, mean_over_events
from rclrec_mini.models.dropout import Dropout
from rclrec_mini.models.initialization import start_as_copier
from rclrec_mini.models.pointer import Pointer
from rclrec_mini.models.sizes import check_sizes


@dataclass(frozen=True)
class SASRecConfig:
    """Sizes of SASRec; the defaults are the paper's (section IV-C), but for the loss."""

    d: int = 50  # width
    heads: int = 1  # attention heads
    layers: int = 2  # blocks
    ffn: int = 50  # width of the feed-forward layers
    dropout: float = 0.5  # share of activations dropped in training
    max_history: int = 50  # T, events
    loss: Literal["softmax", "bce"] = "softmax"  # bce is the original
    negatives: int = 0  # items drawn for a sampled softmax; 0 for the softmax over all
    pointer: bool = False  # ours: also point at the history, see models/pointer.py; with softmax alone

    def __post_init__(self) -> None:
        check_sizes(self)
        check(self, loss=(self.loss in ("softmax", "bce"), "softmax or bce"))
        check(self, pointer=(not self.pointer or self.loss == "softmax", "False with loss bce, no likelihood to mix"))


class SASRecLayer(nn.Module):
    """One block: attention with normalised queries, then two linear layers.

    Args:
        config: the sizes.
    """

    def __init__(self, config: SASRecConfig):
        super().__init__()
        d = config.d
        self.heads = config.heads
        self.query_norm, self.ffn_norm = nn.LayerNorm(d, eps=1e-8), nn.LayerNorm(d, eps=1e-8)
        self.query = nn.Linear(d, d)
        self.key_value = nn.Linear(d, 2 * d)
        self.ffn = nn.Sequential(
            nn.Linear(d, config.ffn), nn.ReLU(), Dropout(config.dropout),
            nn.Linear(config.ffn, d), Dropout(config.dropout),
        )  # fmt: skip
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor, *, newest: bool = False) -> tuple[Tensor, Tensor]:
        """States of all Q = T events, or with `newest` of the last alone, Q = 1, and the attention they used.

        x (B, T, d), bias broadcastable to (B, h, Q, T) -> (B, Q, d), (B, h, Q, T)
        """
        own = self.query_norm(x[:, -1:] if newest else x)
        q = self.query(own).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, Q, d/h)
        k, v = self.key_value(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, T, d/h)
        weight = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2) + bias).softmax(-1)
        y = self.ffn_norm(own + (self.dropout(weight) @ v).transpose(1, 2).flatten(2))
        return y + self.ffn(y), weight


class SASRec(nn.Module):
    """SASRec over items; see the head of this file.

    Args:
        config: the sizes.
        n_items: N.
        pointer: ours, see models/pointer.py; None for the method as it is.
    """

    every_event = True

    def __init__(self, *, config: SASRecConfig, n_items: int, pointer: Pointer | None = None):
        super().__init__()
        self.pointer = pointer
        self.config = config
        self.max_history = config.max_history
        self.item_embedding = nn.Embedding(n_items, config.d)
        self.position_embedding = nn.Embedding(config.max_history, config.d)  # 0 is the newest event
        self.layers = nn.ModuleList(SASRecLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d, eps=1e-8)
        self.dropout = Dropout(config.dropout)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=config.d**-0.5)
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in self.layers:
            start_as_copier(layer.query.weight, *layer.key_value.weight.chunk(2))

    def encode(self, events: Events, *, newest: bool = False) -> tuple[Tensor, Tensor]:
        """States of the events, each of the events up to it, and the last block's attention.

        With `newest` the last block computes the newest event alone, Q = 1, else Q = T: (B, Q, d), (B, h, Q, T)
        """
        place = torch.arange(events.mask.shape[1], device=events.mask.device)
        position = place.flip(0).clamp(max=self.max_history - 1)
        x = self.item_embedding(events.item) * self.config.d**0.5 + self.position_embedding(position)
        x = self.dropout(x)
        bias = masked(x.new_zeros(()), events.mask[:, None, None] & (place[:, None] >= place))  # (B, 1, T, T)
        for layer in self.layers[:-1]:
            x, _ = layer(x, bias)
        x, weight = self.layers[-1](x, bias[:, :, -1:] if newest else bias, newest=newest)
        return self.norm(x), weight

    def attention(self, batch: Batch) -> Tensor:
        """What the newest event looks at: the last block's attention, mean over heads; rows sum to 1. (B, T)"""
        _, weight = self.encode(batch.history(), newest=True)
        return weight[:, :, 0].mean(1)

    def query(self, batch: Batch) -> Tensor:
        """The state of the newest event, from the history alone: (B, d)"""
        x, _ = self.encode(batch.history(), newest=True)
        return x[:, 0]

    def items(self) -> tuple[Tensor, Tensor]:
        """Item embeddings (N, d) and no bias (N,)"""
        vectors = self.item_embedding.weight
        return vectors, vectors.new_zeros(len(vectors))

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Predict every event that has one before it, under any behaviour."""
        x, _ = self.encode(batch.history())
        item = batch.with_target().item[:, 1:]
        nll = self._nll(x[batch.mask], item[batch.mask])  # no logits where there is no event
        nll = nll.new_zeros(batch.mask.shape).masked_scatter(batch.mask, nll)  # (B, T)
        if self.pointer is not None:
            nll = self.pointer.nll_of_all(F.pad(nll, (1, 0)), batch.with_target())[:, 1:]
        return {"loss": mean_over_events(nll, batch.mask), "target_nll": nll[:, -1].detach().mean()}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict the target alone."""
        nll = self._nll(self.query(batch), batch.target_item)
        loss = (nll if self.pointer is None else self.pointer.nll_of_next(nll, batch)).mean()
        return {"loss": loss, "target_nll": loss.detach()}

    def _nll(self, x: Tensor, item: Tensor) -> Tensor:
        """The loss of each prediction: x (M, d), item (M,) -> (M,)"""
        vectors, bias = self.items()
        if self.config.loss == "softmax":
            return item_nll(x, item, vectors, bias, negatives=self.config.negatives)
        other = torch.randint(len(vectors) - 1, item.shape, device=item.device)
        other = other + (other >= item)  # any item but the right one
        right, wrong = ((x * vectors[i]).sum(-1) for i in (item, other))
        return F.softplus(-right) + F.softplus(wrong)
