"""The encoder-decoder that turns a multi-behaviour history into the semantic id of the next item (paper, section 2).

Shape letters, here and in all models:

    B samples   T history events   L levels of a semantic id   V codes a level   d width   h heads
    P tokens of the forced decoder prefix, BOS included        S decoder tokens  W beams

One event is one encoder position: the sum of its L token embeddings, its behaviour embedding and its recency
(0 = newest). The decoder reads [e_b; prefix items; target item], where the behaviour embedding e_b is the BOS and is
shared with the encoder's input. Positions name the token that is *predicted*, as (slot, level) with slot 0 the
target, slot 1 the prefix item next to it, and so on: a longer prefix moves no target token.

    predicted      z1     z2     z3     z4            (no prefix, L = 4)
    input          e_b    z1     z2     z3
    (slot, level)  (0,0)  (0,1)  (0,2)  (0,3)

Token embeddings are shared by encoder input, decoder input and the L output heads.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of the encoder-decoder; the defaults are the paper's (section 4.1)."""

    levels: int = 4  # L, tokens of a semantic id
    codes: int = 256  # V, codes of each level
    d: int = 256  # width
    heads: int = 8
    encoder_layers: int = 4
    decoder_layers: int = 2
    ffn: int = 1024  # width of the feed-forward layers
    dropout: float = 0.1
    max_history: int = 50  # T, events
    max_prefix: int = 6  # most items in a prefix, the largest k of Figure 3
    behaviors: int = 4


class KeysValues(NamedTuple):
    """Keys and values of one attention, each (B, h, S, d/h)."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Multi-head scaled dot-product attention over keys and values that may be kept between calls."""

    def __init__(self, *, d: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(d, d, bias=False)
        self.key = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(d, d, bias=False)
        self.out = nn.Linear(d, d, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """(B, S, d) -> (B, h, S, d/h)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, x: Tensor) -> KeysValues:
        """(B, S, d) -> keys and values"""
        return KeysValues(self.split(self.key(x)), self.split(self.value(x)))

    def forward(self, x: Tensor, memory: KeysValues, mask: Tensor) -> Tensor:
        """x (B, S, d), mask broadcastable to (B, h, S, keys), True where attention may look -> (B, S, d)"""
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(self.split(self.query(x)), *memory, attn_mask=mask, dropout_p=dropout)
        return self.out(y.transpose(1, 2).flatten(-2))

    def beams(self, x: Tensor, prefix: KeysValues, prefix_mask: Tensor, own: KeysValues) -> Tensor:
        """One new token a beam: look at the prefix that all beams of a user share, then at the beam's own tokens.

        x (B, W, d), prefix (B, h, P, d/h), prefix_mask (B, P), own (B, h, W, S, d/h) -> (B, W, d)
        """
        query = self.split(self.query(x))  # (B, h, W, d/h)
        shared = query @ prefix.keys.transpose(-1, -2)  # (B, h, W, P)
        shared = shared.masked_fill(~prefix_mask[:, None, None], float("-inf"))
        private = (own.keys @ query.unsqueeze(-1)).squeeze(-1)  # (B, h, W, S)
        weight = (torch.cat([shared, private], dim=-1) * query.shape[-1] ** -0.5).softmax(-1)
        shared, private = weight.split([shared.shape[-1], private.shape[-1]], dim=-1)
        y = shared @ prefix.values + (private.unsqueeze(-2) @ own.values).squeeze(-2)
        return self.out(y.transpose(1, 2).flatten(-2))


def feed_forward(config: BackboneConfig) -> nn.Sequential:
    """LayerNorm, Linear, GELU, Linear: (..., d) -> (..., d)"""
    return nn.Sequential(
        nn.LayerNorm(config.d), nn.Linear(config.d, config.ffn), nn.GELU(), nn.Linear(config.ffn, config.d)
    )


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.d)
        self.attention = Attention(d=config.d, heads=config.heads, dropout=config.dropout)
        self.ffn = feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, d), mask (B, 1, 1, T) -> (B, T, d)"""
        y = self.norm(x)
        x = x + self.dropout(self.attention(y, self.attention.keys_values(y), mask))
        return x + self.dropout(self.ffn(x))


class DecoderLayer(nn.Module):
    """Pre-norm causal self-attention, cross-attention to the history, feed-forward."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        self.self_norm, self.cross_norm = nn.LayerNorm(config.d), nn.LayerNorm(config.d)
        self.self_attention = Attention(d=config.d, heads=config.heads, dropout=config.dropout)
        self.cross_attention = Attention(d=config.d, heads=config.heads, dropout=config.dropout)
        self.ffn = feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, history: KeysValues, history_mask: Tensor) -> tuple[Tensor, KeysValues]:
        """x (B, S, d), mask (B, 1, S, S), history_mask (B, 1, 1, T) -> x, and the self-attention's keys and values"""
        y = self.self_norm(x)
        own = self.self_attention.keys_values(y)
        x = x + self.dropout(self.self_attention(y, own, mask))
        return self.after_self_attention(x, history, history_mask), own

    def after_self_attention(self, x: Tensor, history: KeysValues, history_mask: Tensor) -> Tensor:
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), history, history_mask))
        return x + self.dropout(self.ffn(x))


class DecoderState(NamedTuple):
    """What beam search keeps: per layer the history's and the prefix's keys and values, one copy a user, and the
    keys and values of each beam's own tokens (B, h, W, S, d/h)."""

    history: list[KeysValues]
    history_mask: Tensor  # (B, 1, 1, T)
    prefix: list[KeysValues]
    prefix_mask: Tensor  # (B, P)
    own: list[KeysValues]


class Backbone(nn.Module):
    """Encoder-decoder over semantic ids.

    Args:
        config: the sizes.
    """

    def __init__(self, config: BackboneConfig):
        super().__init__()
        self.config = config
        d = config.d
        self.token_embedding = nn.Embedding(config.levels * config.codes, d)
        self.behavior_embedding = nn.Embedding(config.behaviors, d)  # E, section 2
        self.recency_embedding = nn.Embedding(config.max_history, d)
        self.slot_embedding = nn.Embedding(config.max_prefix + 1, d)
        self.level_embedding = nn.Embedding(config.levels, d)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=d**-0.5)

    def embed(self, codes: Tensor) -> Tensor:
        """Token embeddings: codes (..., L) -> (..., L, d)"""
        offset = torch.arange(self.config.levels, device=codes.device) * self.config.codes
        return self.token_embedding(codes + offset)

    def encode(self, codes: Tensor, behavior: Tensor, mask: Tensor) -> Tensor:
        """History to states H = [h_1..h_T]: codes (B, T, L), behavior (B, T), mask (B, T) -> (B, T, d)"""
        recency = torch.arange(mask.shape[1] - 1, -1, -1, device=mask.device)
        x = self.embed(codes).sum(-2) + self.behavior_embedding(behavior) + self.recency_embedding(recency)
        x = self.dropout(x)
        for layer in self.encoder:
            x = layer(x, mask[:, None, None])
        return self.encoder_norm(x)

    def _inputs(self, bos: Tensor, tokens: Tensor, exists: Tensor) -> tuple[Tensor, Tensor]:
        """Decoder input [e_b; tokens] with positions, and which of it attention may look at.

        A token that does not exist becomes one more e_b: where a short prefix is padded on the left, the input that
        predicts its first token is e_b, as if there were no padding. An input counts if the token it predicts does.

        bos (B,), tokens (B, S-1, d), exists (B, S-1) -> (B, S, d), (B, S)
        """
        e_b = self.behavior_embedding(bos)[:, None]
        x = torch.cat([e_b, torch.where(exists[..., None], tokens, e_b)], dim=1)
        slots = -(-x.shape[1] // self.config.levels)
        slot = torch.arange(slots - 1, -1, -1, device=bos.device)
        position = (self.slot_embedding(slot)[:, None] + self.level_embedding.weight).flatten(0, 1)
        return self.dropout(x + position[: x.shape[1]]), F.pad(exists, (0, 1), value=True)

    def _run(self, x: Tensor, valid: Tensor, history: Tensor, mask: Tensor) -> tuple[Tensor, DecoderState]:
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        alone = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)  # a row with nothing to look at would be nan
        self_mask, history_mask = causal & valid[:, None, None] | alone, mask[:, None, None]
        memory = [layer.cross_attention.keys_values(history) for layer in self.decoder]
        prefix = []
        for layer, keys_values in zip(self.decoder, memory, strict=True):
            x, own = layer(x, self_mask, keys_values, history_mask)
            prefix.append(own)
        return self.decoder_norm(x), DecoderState(memory, history_mask, prefix, valid, [])

    def _prefix(self, codes: Tensor, valid: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """codes (B, k, L), valid, weight (B, k) -> weighted token embeddings (B, kL, d), which exist (B, kL)"""
        tokens = self.embed(codes)  # (B, k, L, d)
        if weight is not None:
            tokens = tokens * weight[..., None, None]
        return tokens.flatten(1, 2), valid.repeat_interleave(self.config.levels, dim=1)

    def decode(
        self, history: Tensor, mask: Tensor, bos: Tensor, prefix: Tensor, valid: Tensor, target: Tensor,
        weight: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Teacher forcing on [e_b; prefix; target]: the logits of every prefix and target token.

        Args:
            history: encoder states (B, T, d), with their mask (B, T).
            bos: behaviour of the target (B,).
            prefix: codes of the prefix items (B, k, L), nearest the target last; k may be 0. `valid` (B, k) tells
                which exist.
            target: codes of the target (B, L).
            weight: the mask m that multiplies the prefix embeddings (B, k); one if None.

        Returns:
            Logits (B, k + 1, L, V).
        """
        tokens, exists = self._prefix(prefix, valid, weight)
        tokens = torch.cat([tokens, self.embed(target)[:, :-1]], dim=1)
        exists = F.pad(exists, (0, self.config.levels - 1), value=True)
        x, _ = self._run(*self._inputs(bos, tokens, exists), history, mask)
        return self.logits(x.unflatten(1, (-1, self.config.levels)))

    def logits(self, x: Tensor) -> Tensor:
        """One head a level, tied to that level's embeddings: (..., L, d) -> (..., L, V)"""
        heads = self.token_embedding.weight.unflatten(0, (self.config.levels, self.config.codes))
        return torch.einsum("...ld,lvd->...lv", x, heads)

    def start(
        self, history: Tensor, mask: Tensor, bos: Tensor, prefix: Tensor, valid: Tensor
    ) -> tuple[DecoderState, Tensor]:
        """Run the forced prefix once: the state that beams share, and the logits (B, V) of the target's first token."""
        x, state = self._run(*self._inputs(bos, *self._prefix(prefix, valid, None)), history, mask)
        return state, self.head(x[:, -1], 0)

    def step(self, state: DecoderState, tokens: Tensor, parents: Tensor, level: int) -> tuple[DecoderState, Tensor]:
        """Append the token chosen at `level` to each beam: tokens, parents (B, W) -> logits (B, W, V) of level + 1.

        `parents` says which of the user's previous beams each new beam continues.
        """
        x = self.token_embedding(tokens + level * self.config.codes)
        x = x + self.slot_embedding.weight[0] + self.level_embedding.weight[level + 1]  # (B, W, d)
        own = []
        for i, layer in enumerate(self.decoder):
            y = layer.self_norm(x)
            new = KeysValues(*(t.unsqueeze(3) for t in layer.self_attention.keys_values(y)))  # (B, h, W, 1, d/h)
            if state.own:
                index = parents[:, None, :, None, None].expand(-1, new.keys.shape[1], -1, level, new.keys.shape[-1])
                new = KeysValues(
                    *(torch.cat([o.gather(2, index), n], 3) for o, n in zip(state.own[i], new, strict=True))
                )
            x = x + layer.self_attention.beams(y, state.prefix[i], state.prefix_mask, new)
            x = layer.after_self_attention(x, state.history[i], state.history_mask)
            own.append(new)
        return state._replace(own=own), self.head(self.decoder_norm(x), level + 1)

    def head(self, x: Tensor, level: int) -> Tensor:
        """Logits of one level: (..., d) -> (..., V)"""
        first = level * self.config.codes
        return x @ self.token_embedding.weight[first : first + self.config.codes].T
