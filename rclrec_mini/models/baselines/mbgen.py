"""MBGen: first the behaviour, then the item (Liu et al., "Multi-Behavior Generative Recommendation", CIKM 2024).

Behaviours are tokens, interleaved with those of the items, and the next event is written as they are:

    encoder    user  b1 s11..s1L  b2 s21..s2L  ...  bT sT1..sTL  EOS
    decoder    BOS   b    s1  ..  s(L-1)                            input
               b     s1   s2  ..  sL                                predicted
    p(b, s | history) = p(b | history) prod_l p(s_l | s_1..s_{l-1}, b, history)        loss: -log of it

Role of a token: 0 for what is or predicts a behaviour, l for level l. In every decoder layer each role has its own
feed-forward, one expert and no router to learn. In the first two layers of encoder and decoder the feed-forward also
reads an embedding of the event's behaviour beside its input: FFN_role([LN(x); e]), e of 64 numbers and a layer's own.
Tokens of no known behaviour (BOS, user, EOS, and the behaviour tokens of the encoder, which are it) read e_0.
Evaluation forces b, the behaviour of the target, and writes the item.

What differs here, so that the comparison is one of methods and that it trains in minutes:

- Attention, norms, tied heads and sizes are those of RCLRec's backbone, and so is the input: token s_l stands for
  s_1 + .. + s_l, so that a half-written item resembles the events that it may repeat.
- T5's bias by token distance is split in two tables, one by distance in events (in the decoder also by the
  behaviour, as RCLRec's), one by the pair of roles.
- The decoder does not write EOS: every id has L tokens, so that token could only be one thing.
- `BackboneConfig.causal`: encoder tokens see only earlier ones, and one pass predicts all events of a sample, the
  decoder of each looking at the tokens of the events before it. There is no EOS in the encoder then: no earlier token
  could see it, every target would need its own, and what it could gather, a look at all tokens so far from a
  query that knows nothing of the target, is what BOS gathers in the decoder. Without `causal` the encoder is the
  paper's, and the target alone is predicted.
- Ids are those that all methods share; the paper balances its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import at_least
from rclrec_mini.data.sequences import Batch
from rclrec_mini.models.attention import masked
from rclrec_mini.models.backbone import BackboneConfig, DecoderLayer, DecoderState, EncoderLayer, extend, run
from rclrec_mini.models.baselines.objectives import mean_over_events
from rclrec_mini.models.baselines.tiger import before_oldest
from rclrec_mini.models.curriculum import user_bucket
from rclrec_mini.models.pointer import Pointer, Pointing
from rclrec_mini.models.rclrec import token_nll
from rclrec_mini.models.sizes import check_behaviors, check_sizes


@dataclass(frozen=True)
class MBGenConfig:
    """Sizes of MBGen. The reference code's own: 4 + 4 layers, d 256, ffn 512 (ReLU), 6 heads of 64, no dropout."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)  # RCLRec's; `max_prefix` is not used
    behavior_width: int = 64  # of the behaviour embedding that feed-forwards read
    injected_layers: int = 2  # layers, from the first, of encoder and decoder whose feed-forward reads it
    user_buckets: int = 2000  # user ids are hashed into as many tokens
    pointer: bool = False  # ours: also point at the history, see models/pointer.py

    def __post_init__(self) -> None:
        check_sizes(self)
        check_behaviors(self.backbone)
        at_least(self, 0, "behavior_width", "injected_layers")


class RoutedFeedForward(nn.Module):
    """LayerNorm, then one feed-forward for each role, over the token and its behaviour's embedding.

    Args:
        sizes: the sizes.
        experts: how many there are.
        behavior_width: of the embedding; 0 for none.
    """

    def __init__(self, sizes: BackboneConfig, *, experts: int, behavior_width: int):
        super().__init__()
        self.norm = nn.LayerNorm(sizes.d)
        self.behavior_embedding = nn.Embedding(sizes.behaviors + 1, behavior_width) if behavior_width else None
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(sizes.d + behavior_width, sizes.ffn), nn.GELU(), nn.Linear(sizes.ffn, sizes.d))
            for _ in range(experts)
        )

    def forward(self, x: Tensor, kind: Tensor, roles: Sequence[int]) -> Tensor:
        """x (B, S, d), kind (B, S): 0 or 1 + the behaviour, roles: those of the tokens, over and over -> (B, S, d)"""
        x = self.norm(x)
        if self.behavior_embedding is not None:
            x = torch.cat([x, self.behavior_embedding(kind)], dim=-1)
        tokens = x.unflatten(1, (-1, len(roles))).unbind(2)  # of each role (B, S / R, d)
        return torch.stack([self.experts[r](x) for r, x in zip(roles, tokens, strict=True)], dim=2).flatten(1, 2)


class MBGenState(NamedTuple):
    """What beam search keeps beyond the decoder's state: the behaviour that is forced, and the biases of all roles."""

    decoder: DecoderState
    behavior: Tensor  # (B,)
    history_bias: Tensor  # (B, h, R, S)
    pointing: Pointing | None = None  # at the history, where the model has a pointer


class MBGen(nn.Module):
    """Encoder-decoder over interleaved behaviours and semantic ids.

    Encoder tokens form a grid of slots and roles, E x R with R = L + 1: slot 0 holds the user's token in its last
    place (it moves to the slot before the oldest event), slot t + 1 event t. Without `causal` EOS is one slot more,
    in whose first place it stands. S = E R, and places of the grid that hold nothing are masked.

    Args:
        config: the sizes.
        codes: semantic ids of all items (N, L).
        pointer: ours, see models/pointer.py; None for the method as it is.
    """

    def __init__(self, *, config: MBGenConfig, codes: Tensor, pointer: Pointer | None = None):
        super().__init__()
        sizes = self.sizes = config.backbone
        self.max_history, self.every_event = sizes.max_history, sizes.causal
        self.roles = sizes.levels + 1  # R
        self.slots = sizes.max_history + 2  # largest E
        self.token_embedding = nn.Embedding(sizes.levels * sizes.codes, sizes.d)
        self.behavior_embedding = nn.Embedding(sizes.behaviors, sizes.d)
        self.user_embedding = nn.Embedding(config.user_buckets, sizes.d)
        self.bos, self.eos = nn.Embedding(1, sizes.d), None if sizes.causal else nn.Embedding(1, sizes.d)
        for module in self.children():
            nn.init.normal_(module.weight, std=sizes.d**-0.5)

        def ffn(layer: int, experts: int) -> RoutedFeedForward:
            width = config.behavior_width if layer < config.injected_layers else 0
            return RoutedFeedForward(sizes, experts=experts, behavior_width=width)

        self.encoder = nn.ModuleList(EncoderLayer(sizes, ffn(i, 1)) for i in range(sizes.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(sizes, ffn(i, self.roles)) for i in range(sizes.decoder_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(sizes.d), nn.LayerNorm(sizes.d)
        self.dropout = nn.Dropout(sizes.dropout)
        self.distance_bias = nn.Embedding(2 * self.slots - 1, sizes.heads)  # between slots
        self.recency_bias = nn.Embedding((sizes.behaviors + 1) * self.slots, sizes.heads)  # from kinds back to slots
        self.role_bias = nn.Embedding(self.roles**2, sizes.heads)  # between roles, in the encoder
        self.role_recall_bias = nn.Embedding(self.roles**2, sizes.heads)  # from the decoder to the encoder
        for table in (self.distance_bias, self.recency_bias, self.role_bias, self.role_recall_bias):
            nn.init.zeros_(table.weight)
        self.pointer = pointer
        self.register_buffer("codes", codes, persistent=False)

    def embed(self, codes: Tensor) -> Tensor:
        """Running sums of the tokens' embeddings: codes (..., L) -> (..., L, d)"""
        offset = torch.arange(self.sizes.levels, device=codes.device) * self.sizes.codes
        return self.token_embedding(codes + offset).cumsum(-2)

    def interleave(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The encoder's input: tokens (B, S, d), which of them exist (B, S), kinds (B, S)"""
        items, behaviors = self.embed(self.codes[batch.item]), self.behavior_embedding(batch.behavior)
        x = torch.cat([behaviors[:, :, None], items], dim=2)  # (B, T, R, d)
        x = F.pad(x, (0, 0, 0, 0, 1, 0 if self.eos is None else 1))  # (B, E, R, d)
        exists = F.pad(batch.mask, (1, 0))[..., None].repeat(1, 1, self.roles)  # (B, T + 1, R)
        kind = (batch.behavior + 1) * batch.mask  # none for padding, where the user's token may stand
        kind = F.pad(kind[..., None].expand(-1, -1, self.roles - 1), (1, 0, 1, 0))  # (B, T + 1, R)
        user = F.pad(before_oldest(batch.mask)[..., None], (self.roles - 1, 0))  # (B, T + 1, R)
        if self.eos is not None:
            x[:, -1, 0] = self.eos.weight[0]
            last = torch.arange(self.roles, device=x.device) == 0
            exists = torch.cat([exists, last.expand(len(batch), 1, -1)], dim=1)
            kind, user = F.pad(kind, (0, 0, 0, 1)), F.pad(user, (0, 0, 0, 1))
        token = self.user_embedding(user_bucket(batch.user, self.user_embedding.num_embeddings))
        x = torch.where(user[..., None], token[:, None, None], x)
        return x.flatten(1, 2), (exists | user).flatten(1), kind.flatten(1)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """History states (B, S, d), and which of them exist (B, S)"""
        x, exists, kind = self.interleave(batch)
        slot = torch.arange(x.shape[1] // self.roles, device=x.device)
        distance = self.distance_bias(slot[:, None] - slot + self.slots - 1).permute(2, 0, 1)  # (h, E, E)
        bias = distance[:, :, None, :, None] + self.between(self.role_bias)[:, None, :, None]
        bias, visible = bias.flatten(3, 4).flatten(1, 2)[None], exists[:, None, None]  # (1, h, S, S)
        if self.sizes.causal:
            visible = visible & torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
            ends = [(self.roles * first, self.roles * end) for first, end in blocks(len(slot))]
            bias = [masked(bias[..., a:b, :b], visible[..., a:b, :b]) for a, b in ends]
        else:
            bias = masked(bias, visible)
        x = self.dropout(x)
        for layer in self.encoder:
            x = layer(x, bias, kind, [0])
        return self.encoder_norm(x), exists

    def between(self, table: nn.Embedding) -> Tensor:
        """A bias by pairs of roles: (h, R, R)"""
        return table.weight.T.unflatten(1, (self.roles, self.roles))

    def look_back(self, exists: Tensor, behavior: Tensor, at: Tensor) -> Tensor:
        """Bias from G targets under `behavior` (B, G), in slots `at` (G,), to the history's tokens before them.

        exists (B, S) -> (B, h, G R, S)
        """
        back = at[:, None] - torch.arange(exists.shape[1] // self.roles, device=at.device) - 1  # (G, E), 0 = newest
        kind = F.pad((behavior + 1)[..., None], (1, 0))  # (B, G, 2): of BOS, of the others
        bias = self.recency_bias(kind[..., None] * self.slots + back.clamp(min=0)[:, None])  # (B, G, 2, E, h)
        role = torch.arange(self.roles, device=at.device).clamp(max=1)
        bias = bias.permute(0, 4, 1, 2, 3)[:, :, :, role, :, None]  # (B, h, G, R, E, 1)
        bias = bias + self.between(self.role_recall_bias)[:, None, :, None]  # (B, h, G, R, E, R)
        visible = exists.view(-1, 1, 1, 1, len(back[0]), self.roles) & (back >= 0)[:, None, :, None]
        return masked(bias, visible).flatten(4, 5).flatten(2, 3)

    def write(self, behavior: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's input: behavior (B, G), items so far (B, G, n, d) -> (B, G, n + 2, d), kinds (B, G, n + 2)"""
        bos = self.bos.weight[0].expand(*behavior.shape, 1, -1)
        x = torch.cat([bos, self.behavior_embedding(behavior)[:, :, None], items], dim=2)
        kind = F.pad((behavior + 1)[..., None].expand(-1, -1, x.shape[2] - 1), (1, 0))
        return self.dropout(x), kind

    def run(self, x: Tensor, kind: Tensor, history: Tensor, bias: Tensor | list[Tensor]) -> tuple[Tensor, DecoderState]:
        """The decoder on all tokens at once: x (B, G, n, d), kind (B, G, n), bias (B, h, G n, S) or its blocks"""
        valid = torch.ones_like(kind, dtype=torch.bool)
        x, state = run(self.decoder, x, valid, history, bias, kind.flatten(1), range(x.shape[2]))
        return self.decoder_norm(x), state

    def logits(self, batch: Batch, behavior: Tensor, codes: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing on G targets: behavior (B, G), codes (B, G, L), their slots (G,), those of None the one
        after the history -> logits of the behaviour (B, G, b) and of the tokens (B, G, L, V)"""
        history, exists = self.encode(batch)
        x, kind = self.write(behavior, self.embed(codes)[:, :, :-1])
        bias = [
            self.look_back(exists[:, : int(at[end - 1]) * self.roles], behavior[:, first:end], at[first:end])
            for first, end in blocks(len(at))
        ]
        x, _ = self.run(x, kind, history, bias)
        heads = self.token_embedding.weight.unflatten(0, (self.sizes.levels, self.sizes.codes))
        return x[:, :, 0] @ self.behavior_embedding.weight.T, torch.einsum("...ld,lvd->...lv", x[:, :, 1:], heads)

    def nll(self, batch: Batch, behavior: Tensor, item: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """NLL of behaviours and of items, summed over tokens: behavior, item (B, G), at (G,) -> (B, G), (B, G)"""
        codes = self.codes[item]
        behavior_logits, logits = self.logits(batch, behavior, codes, at)
        return token_nll(behavior_logits, behavior), token_nll(logits, codes).sum(-1)

    def loss(self, of_behavior: Tensor, of_item: Tensor, counts: Tensor) -> dict[str, Tensor]:
        """Loss and log over the targets that count, all (B, G)"""
        of_behavior, of_item = mean_over_events(of_behavior, counts), mean_over_events(of_item, counts)
        return {
            "loss": of_behavior + of_item,
            "target_nll": of_item.detach() / self.sizes.levels,
            "behavior_nll": of_behavior.detach(),
        }

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Stage one: write the next event, behaviour and item. A causal encoder predicts every event that has one
        before it in the sample, any other encoder the target alone."""
        if not self.every_event:
            return self(batch)
        events = batch.with_target()
        at = torch.arange(2, batch.mask.shape[1] + 2, device=batch.mask.device)  # of events 1..T
        of_behavior, of_item = self.nll(batch, events.behavior[:, 1:], events.item[:, 1:], at)
        if self.pointer is not None:
            of_item = self.pointer.nll_of_all(F.pad(of_item, (1, 0)), events)[:, 1:]
        return self.loss(of_behavior, of_item, batch.mask)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Stage two: the same loss for the target alone."""
        behavior, item = batch.target_behavior[:, None], batch.target_item[:, None]
        of_behavior, of_item = self.nll(batch, behavior, item, self.next_slot(batch))
        if self.pointer is not None:
            of_item = self.pointer.nll_of_next(of_item[:, 0], batch)[:, None]
        return self.loss(of_behavior, of_item, torch.ones_like(item, dtype=torch.bool))

    def next_slot(self, batch: Batch) -> Tensor:
        """The slot after the history: (1,)"""
        return torch.tensor([batch.mask.shape[1] + (1 if self.eos is None else 2)], device=batch.mask.device)

    def start(self, batch: Batch) -> tuple[MBGenState, Tensor]:
        """Beam search: encode, force the target's behaviour, logits (B, V) of the target's first token."""
        history, exists = self.encode(batch)
        behavior = batch.target_behavior[:, None]
        bias = self.look_back(exists, behavior, self.next_slot(batch))
        x, kind = self.write(behavior, history[:, None, :0])
        x, state = self.run(x, kind, history, bias[:, :, : x.shape[2]])
        pointing = None if self.pointer is None else self.pointer.next(batch)
        return MBGenState(state, batch.target_behavior, bias, pointing), self.head(x[:, 0, -1], 0)

    def step(self, state: MBGenState, tokens: Tensor, parents: Tensor, level: int) -> tuple[MBGenState, Tensor]:
        """Beam search: append the tokens (B, W) chosen at `level`, logits (B, W, V) of the next."""
        written = state.decoder.written.gather(1, parents[..., None].expand(-1, -1, self.sizes.d))
        written = written + self.token_embedding(tokens + level * self.sizes.codes)
        role = level + 2  # of what comes next
        decoder = state.decoder._replace(history_bias=state.history_bias[:, :, role, None])
        kind = (state.behavior + 1)[:, None].expand_as(tokens)
        x, own = extend(self.decoder, written, decoder, parents, kind, [role])
        decoder = decoder._replace(own=own, written=written)
        return state._replace(decoder=decoder), self.head(self.decoder_norm(x), level + 1)

    def head(self, x: Tensor, level: int) -> Tensor:
        """Logits of one level, tied to its embeddings: (..., d) -> (..., V)"""
        first = level * self.sizes.codes
        return x @ self.token_embedding.weight[first : first + self.sizes.codes].T


def blocks(n: int) -> list[tuple[int, int]]:
    """First and end of three nearly equal parts of n slots, fewer where n is small. Attention by parts skips about
    a third of the pairs, those of later slots; smaller parts cost more than they spare."""
    ends = [n * part // 3 for part in (1, 2, 3)]
    return [(first, end) for first, end in zip([0, *ends], ends, strict=False) if end > first]
