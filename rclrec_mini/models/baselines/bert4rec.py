"""BERT4Rec: Bidirectional Encoder Representations from Transformer (Sun et al., CIKM 2019).

Some items of a sequence are replaced by [MASK]; the model sees the events on both sides of each and says which it was:

    X  = LN(e_item + p)                                       p by position, counted from the newest event
    Y  = LN(X + W_O softmax(X W_Q (X W_K)^T / sqrt(d/h)) X W_V)               post-norm, no causal mask (eq. 1, 2)
    X <- LN(Y + W_2 GELU(W_1 Y + b_1) + b_2)                                  a block; there are two (eq. 3 to 6)
    q  = LN(GELU(W_P x_t + b_P)),  P(item i at t) = softmax_i(q . e_i + b_i)  tied table (eq. 7; LN as in the code)
    loss of a sequence = mean of -log P over its masked positions             (eq. 8)

To recommend, [MASK] is appended to the history and its q is the query (section 3.6). So that training meets that case,
some instances mask the last item alone; fine-tuning consists of nothing else.

What differs here, and why:

- The authors write each sequence out ten times with random masks and once with the last item masked. Here masks are
  drawn anew at every step, and a share of 1/11 of the samples masks its last item alone.
- Every chosen item becomes [MASK], as in the paper; the public code keeps or swaps some, as BERT does for text.
- Events of all behaviours are one sequence, and nothing tells the query which behaviour comes next.
- The authors start all weights at 0.02 z. With so small embeddings and random attention a budget like ours ends before
  the model repeats what is in the history. Here embeddings start at z / sqrt(d), attention as in all methods here
  (`initialization.py`), and W_P as the identity.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import within
from rclrec_mini.data.sequences import Batch
from rclrec_mini.models.attention import masked
from rclrec_mini.models.baselines.objectives import item_nll, mean_over_events
from rclrec_mini.models.dropout import Dropout
from rclrec_mini.models.initialization import start_as_copier
from rclrec_mini.models.sizes import check_sizes

EPS = 1e-12  # of every LayerNorm, as in BERT


@dataclass(frozen=True)
class BERT4RecConfig:
    """Sizes of BERT4Rec; the defaults are the public code's for MovieLens, with histories as long as everyone's."""

    d: int = 64  # width
    heads: int = 2  # attention heads
    layers: int = 2  # blocks
    ffn: int = 256  # width of the feed-forward layers
    dropout: float = 0.2  # share of activations dropped in training
    max_history: int = 50  # T, events; [MASK] comes on top
    mask_share: float = 0.2  # rho, share of a sequence that is masked; the paper's best lie between 0.2 and 0.6
    last_share: float = 1 / 11  # share of samples that mask their last item alone
    negatives: int = 0  # items drawn for a sampled softmax; 0 for the softmax over all

    def __post_init__(self) -> None:
        check_sizes(self)
        within(self, 0, 1, "mask_share", "last_share")


class BERT4RecLayer(nn.Module):
    """One block: attention, then two linear layers, each followed by a LayerNorm of the sum.

    Args:
        config: the sizes.
    """

    def __init__(self, config: BERT4RecConfig):
        super().__init__()
        d = config.d
        self.heads = config.heads
        self.query, self.key_value, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.ffn = nn.Sequential(nn.Linear(d, config.ffn), nn.GELU(), nn.Linear(config.ffn, d))
        self.attention_norm, self.ffn_norm = nn.LayerNorm(d, eps=EPS), nn.LayerNorm(d, eps=EPS)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor, *, newest: bool = False) -> Tensor:
        """States of all Q = S positions, or with `newest` of the last alone, Q = 1.

        x (B, S, d), bias broadcastable to (B, h, Q, S) -> (B, Q, d)
        """
        own = x[:, -1:] if newest else x
        q = self.query(own).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, Q, d/h)
        k, v = self.key_value(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, S, d/h)
        weight = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2) + bias).softmax(-1)
        y = (self.dropout(weight) @ v).transpose(1, 2).flatten(2)
        y = self.attention_norm(own + self.dropout(self.out(y)))
        return self.ffn_norm(y + self.dropout(self.ffn(y)))


class BERT4Rec(nn.Module):
    """BERT4Rec over items; see the head of this file.

    Args:
        config: the sizes.
        n_items: N; row N of the item table is [MASK].
    """

    every_event = True

    def __init__(self, *, config: BERT4RecConfig, n_items: int):
        super().__init__()
        self.config = config
        self.n_items = n_items
        self.max_history = config.max_history
        self.item_embedding = nn.Embedding(n_items + 1, config.d)
        self.position_embedding = nn.Embedding(config.max_history + 1, config.d)  # 0 is the newest position
        self.norm = nn.LayerNorm(config.d, eps=EPS)
        self.layers = nn.ModuleList(BERT4RecLayer(config) for _ in range(config.layers))
        self.head = nn.Sequential(nn.Linear(config.d, config.d), nn.GELU(), nn.LayerNorm(config.d, eps=EPS))
        self.item_bias = nn.Parameter(torch.zeros(n_items))
        self.dropout = Dropout(config.dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=config.d**-0.5)
        for layer in self.layers:
            start_as_copier(layer.query.weight, *layer.key_value.weight.chunk(2), layer.out.weight)
        nn.init.eye_(self.head[0].weight)

    def encode(self, item: Tensor, mask: Tensor, *, newest: bool = False) -> Tensor:
        """States of all positions, each of the whole sequence: item, mask (B, S) -> (B, S, d)

        With `newest` the last block computes the last position alone, (B, 1, d).
        """
        position = torch.arange(item.shape[1] - 1, -1, -1, device=item.device).clamp(max=self.max_history)
        x = self.dropout(self.norm(self.item_embedding(item) + self.position_embedding(position)))
        bias = masked(x.new_zeros(()), mask[:, None, None])  # (B, 1, 1, S)
        for layer in self.layers[:-1]:
            x = layer(x, bias)
        return self.layers[-1](x, bias, newest=newest)

    def draw_masked(self, exists: Tensor) -> Tensor:
        """Which positions an instance masks: exists (B, S) -> (B, S)

        A random mask_share of the events, rounded and at least one; or, with probability last_share, the last alone.
        """
        count = (exists.sum(1, keepdim=True) * self.config.mask_share).round().clamp(min=1)  # (B, 1)
        order = torch.rand(exists.shape, device=exists.device).masked_fill(~exists, 2)
        chosen = order.argsort(1).argsort(1) < count
        last = torch.arange(exists.shape[1], device=exists.device) == exists.shape[1] - 1
        return torch.where(torch.rand_like(order[:, :1]) < self.config.last_share, last, chosen)

    def query(self, batch: Batch) -> Tensor:
        """q of a [MASK] after the history: (B, d)"""
        item, mask = F.pad(batch.item, (0, 1), value=self.n_items), F.pad(batch.mask, (0, 1), value=True)
        return self.head(self.encode(item, mask, newest=True)[:, 0])

    def items(self) -> tuple[Tensor, Tensor]:
        """Item embeddings without that of [MASK] (N, d), and the item bias (N,)"""
        return self.item_embedding.weight[: self.n_items], self.item_bias

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """The cloze task over the history and the target. "target_nll" is that of the masked items."""
        events = batch.with_target()
        hidden = self.draw_masked(events.mask)  # (B, T + 1)
        x = self.encode(events.item.masked_fill(hidden, self.n_items), events.mask)
        nll = self._nll(self.head(x[hidden]), events.item[hidden])
        nll = nll.new_zeros(hidden.shape).masked_scatter(hidden, nll)  # (B, T + 1)
        loss = mean_over_events(nll, hidden)
        return {"loss": loss, "target_nll": loss.detach()}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The cloze task with the target masked alone."""
        loss = self._nll(self.query(batch), batch.target_item).mean()
        return {"loss": loss, "target_nll": loss.detach()}

    def _nll(self, query: Tensor, item: Tensor) -> Tensor:
        """query (M, d), item (M,) -> (M,)"""
        return item_nll(query, item, *self.items(), negatives=self.config.negatives)
