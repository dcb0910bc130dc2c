"""The encoder-decoder that turns a multi-behaviour history into the semantic id of the next item (paper, section 2).

Shape letters, here and in all models:

    B samples   T history events   L levels of a semantic id   V codes a level   d width   h heads
    G targets of one sample (one, all events, or beams)        S decoder tokens of a target, BOS included

One event is one encoder position: the sum of its L token embeddings and its behaviour embedding; order enters as a
learned bias of attention by distance. The decoder reads [e_b; prefix items; target item], where the behaviour
embedding e_b is the BOS and is shared with the encoder's input. Its positions name the token that is *predicted*, as
(slot, level) with slot 0 the target, slot 1 the prefix item next to it, and so on: a longer prefix moves no target.

    predicted      z1     z2     z3       z4              (no prefix, L = 4)
    input          e_b    z1     z1+z2    z1+z2+z3
    (slot, level)  (0,0)  (0,1)  (0,2)    (0,3)

A prefix item may also be its first n codes alone, a category (ours); its slot then has n tokens.

Token embeddings are shared by encoder input, decoder input and the L output heads. An input is the sum of the item's
tokens so far, as an event is the sum of all of its item's, so that a half-written item resembles the events that it
may repeat; for the same reason attention starts with equal queries and keys (`Attention`). Distances are relative,
so with a causal encoder one pass over a history can predict each event from the events before it (`decode_all`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.models.attention import Attention, KeysValues, masked
from rclrec_mini.models.sizes import check_sizes


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of the encoder-decoder; the defaults are the paper's (section 4.1)."""

    levels: int = 4  # L, tokens of a semantic id
    codes: int = 256  # V, codes of each level
    d: int = 256  # width
    heads: int = 8  # attention heads
    encoder_layers: int = 4  # blocks of self-attention over the history
    decoder_layers: int = 2  # blocks of causal self-attention and cross-attention
    ffn: int = 1024  # width of the feed-forward layers
    dropout: float = 0.1  # share of activations dropped in training
    max_history: int = 50  # T, events
    max_prefix: int = 6  # most items in a prefix, the largest k of Figure 3
    behaviors: int = 4  # kinds of behaviour, each with an embedding
    causal: bool = False  # ours: events see only earlier ones, which lets pre-training predict all of them at once

    def __post_init__(self) -> None:
        check_sizes(self)


def feed_forward(config: BackboneConfig) -> nn.Sequential:
    """LayerNorm, Linear, GELU, Linear: (..., d) -> (..., d)"""
    return nn.Sequential(
        nn.LayerNorm(config.d), nn.Linear(config.d, config.ffn), nn.GELU(), nn.Linear(config.ffn, config.d)
    )


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward.

    Args:
        config: the sizes.
        ffn: a feed-forward of another kind; it also gets what `forward` is given as `context`.
    """

    def __init__(self, config: BackboneConfig, ffn: nn.Module | None = None):
        super().__init__()
        self.norm = nn.LayerNorm(config.d)
        self.attention = Attention(d=config.d, heads=config.heads, dropout=config.dropout)
        self.ffn = ffn or feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor, *context: Any) -> Tensor:
        """x (B, T, d), bias (B, h, T, T) -> (B, T, d)"""
        y = self.norm(x)
        x = x + self.dropout(self.attention(y, self.attention.keys_values(y), bias))
        return x + self.dropout(self.ffn(x, *context))


class DecoderLayer(nn.Module):
    """Pre-norm causal self-attention within a target, cross-attention to the history, feed-forward.

    Args:
        config: the sizes.
        ffn: a feed-forward of another kind; it also gets what `forward` is given as `context`.
    """

    def __init__(self, config: BackboneConfig, ffn: nn.Module | None = None):
        super().__init__()
        self.self_norm, self.cross_norm = nn.LayerNorm(config.d), nn.LayerNorm(config.d)
        self.self_attention = Attention(d=config.d, heads=config.heads, dropout=config.dropout)
        self.cross_attention = Attention(d=config.d, heads=config.heads, dropout=config.dropout)
        self.ffn = ffn or feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, bias: Tensor, history: KeysValues, history_bias: Tensor, *context: Any
    ) -> tuple[Tensor, KeysValues]:
        """x (B, G, S, d), bias broadcastable to (B, G, h, S, S) -> x, and the self-attention's keys and values.

        history (B, h, T, d/h), history_bias broadcastable to (B, h, G S, T)
        """
        y = self.self_norm(x)
        own = self.self_attention.keys_values(y)
        x = x + self.dropout(self.self_attention(y, own, bias))
        return self.look_back(x.flatten(1, 2), history, history_bias, *context).view(x.shape), own

    def look_back(self, x: Tensor, history: KeysValues, history_bias: Tensor, *context: Any) -> Tensor:
        """Cross-attention and feed-forward: (B, G S, d) -> (B, G S, d)"""
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), history, history_bias))
        return x + self.dropout(self.ffn(x, *context))


class DecoderState(NamedTuple):
    """What beam search keeps: per layer the history's and the prefix's keys and values, one copy a sample, and their
    biases; the keys and values of each beam's own tokens (B, h, G, S, d/h)."""

    history: list[KeysValues]
    history_bias: Tensor  # (B, h, 1, T)
    prefix: list[KeysValues]
    prefix_bias: Tensor  # (B, 1, 1, P)
    own: list[KeysValues]
    written: Tensor  # sum of the token embeddings of each beam (B, G, d)
    pointing: Any = None  # a models.pointer.Pointing at the history, where the model has one


def run(
    layers: nn.ModuleList, x: Tensor, valid: Tensor, history: Tensor, history_bias: Tensor, *context: Any
) -> tuple[Tensor, DecoderState]:
    """Decoder layers on all tokens of G targets at once, each token seeing the earlier ones of its own target.

    x (B, G, S, d), valid (B, G, S), history (B, T, d), history_bias (B, h, 1 | G S, T) -> x, state for G = 1
    """
    causal = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool, device=x.device).tril()
    bias = masked(x.new_zeros(()), causal & valid[:, :, None, None])  # (B, G, 1, S, S)
    memory = [layer.cross_attention.keys_values(history) for layer in layers]
    prefix = []
    for layer, keys_values in zip(layers, memory, strict=True):
        x, own = layer(x, bias, keys_values, history_bias, *context)
        prefix.append(KeysValues(own.keys[:, 0], own.values[:, 0]))
    prefix_bias = masked(x.new_zeros(()), valid[:, :1, None])  # (B, 1, 1, S)
    return x, DecoderState(memory, history_bias, prefix, prefix_bias, [], torch.zeros_like(x[:, :1, 0]))


def extend(
    layers: nn.ModuleList, x: Tensor, state: DecoderState, parents: Tensor, *context: Any
) -> tuple[Tensor, list[KeysValues]]:
    """Decoder layers on one new token a beam: x (B, G, d), parents (B, G) -> x, keys and values of the beams' tokens"""
    own = []
    for i, layer in enumerate(layers):
        y = layer.self_norm(x)
        new = KeysValues(*(t.unsqueeze(3) for t in layer.self_attention.keys_values(y)))  # (B, h, G, 1, d/h)
        if state.own:
            _, heads, _, written, width = state.own[i].keys.shape
            index = parents[:, None, :, None, None].expand(-1, heads, -1, written, width)
            new = KeysValues(*(torch.cat([o.gather(2, index), n], 3) for o, n in zip(state.own[i], new, strict=True)))
        x = x + layer.self_attention.beams(y, state.prefix[i], state.prefix_bias, new)
        x = layer.look_back(x, state.history[i], state.history_bias, *context)
        own.append(new)
    return x, own


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
        self.slot_embedding = nn.Embedding(config.max_prefix + 1, d)
        self.level_embedding = nn.Embedding(config.levels, d)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=d**-0.5)
        self.distance_bias = nn.Embedding(2 * config.max_history + 1, config.heads)  # between events, target included
        # from a target under each behaviour back to an event, 0 = newest: a purchase looks back further than a click
        self.recency_bias = nn.Embedding(config.behaviors * config.max_history, config.heads)
        nn.init.zeros_(self.distance_bias.weight)
        nn.init.zeros_(self.recency_bias.weight)

    def embed(self, codes: Tensor) -> Tensor:
        """Token embeddings of the first n codes of an item, all L by rule: (..., n) -> (..., n, d)"""
        offset = torch.arange(codes.shape[-1], device=codes.device) * self.config.codes
        return self.token_embedding(codes + offset)

    def encode(self, codes: Tensor, behavior: Tensor, mask: Tensor) -> Tensor:
        """History to states H = [h_1..h_T]: codes (B, T, L), behavior (B, T), mask (B, T) -> (B, T, d)"""
        return self.encode_events(self.embed(codes).sum(-2) + self.behavior_embedding(behavior), mask)

    def encode_events(self, x: Tensor, mask: Tensor) -> Tensor:
        """The encoder on events that are embedded already: x (B, T, d), mask (B, T) -> (B, T, d)"""
        event = torch.arange(mask.shape[1], device=mask.device)
        distance = event[:, None] - event  # (T, T), positive towards the past
        bias = self.distance_bias(distance + self.config.max_history).permute(2, 0, 1)  # (h, T, T)
        visible = mask[:, None, None] & (distance >= 0) if self.config.causal else mask[:, None, None]
        bias = masked(bias[None], visible)
        x = self.dropout(x)
        for layer in self.encoder:
            x = layer(x, bias)
        return self.encoder_norm(x)

    def decode(
        self, history: Tensor, mask: Tensor, bos: Tensor, prefix: Tensor, valid: Tensor, target: Tensor,
        weight: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Teacher forcing on [e_b; prefix; target]: the logits of every prefix and target token.

        Args:
            history: encoder states (B, T, d), with their mask (B, T).
            bos: behaviour of the target (B,).
            prefix: the first n codes of the prefix items (B, k, n), nearest the target last; k may be 0, and n is L in
                the paper. `valid` (B, k) tells which exist; those that do not stand on the left.
            target: codes of the target (B, L).
            weight: the mask m that multiplies the prefix embeddings (B, k); one if None.

        Returns:
            Logits (B, k + 1, L, V); those of a prefix item beyond its n codes mean nothing.
        """
        (k, n), levels = prefix.shape[1:], self.config.levels
        tokens, exists = self._prefix(prefix, valid, weight)
        tokens = torch.cat([tokens, self.embed(target).cumsum(-2)[:, :-1]], dim=1)
        exists = F.pad(exists, (0, levels - 1), value=True)
        x, _ = self._run(*self._inputs(bos, tokens, exists, k, n), history, self._last_target(mask, bos))
        before = F.pad(x[:, 0, : k * n].reshape(len(x), k, n, x.shape[-1]), (0, 0, 0, levels - n))
        return self.logits(torch.cat([before, x[:, :, k * n :]], dim=1))

    def decode_all(self, history: Tensor, mask: Tensor, behavior: Tensor, codes: Tensor) -> Tensor:
        """Predict every event from the events before it, without prefix; sound for a causal encoder alone.

        history (B, T, d), mask, behavior (B, T), codes (B, T, L) of the same events -> logits (B, T, L, V), where
        those of an event without any event before it mean nothing. Encoders with P positions an event give history
        (B, T P, d) and mask (B, T P).
        """
        events, tokens = codes.shape[1], self.embed(codes).cumsum(-2)[:, :, :-1]  # (B, T, L-1, d)
        exists = torch.ones(tokens.shape[:3], dtype=torch.bool, device=codes.device)
        x, valid = self._inputs(behavior.flatten(), tokens.flatten(0, 1), exists.flatten(0, 1))
        event, place = (torch.arange(n, device=mask.device) for n in (events, mask.shape[1]))
        recency = event[:, None] * (len(place) // events) - place - 1  # (T, T P), of a place seen from target t
        bias = self._look_back(behavior[:, :, None], recency.clamp(min=0))  # (B, h, T, T P)
        bias = masked(bias, mask[:, None, None] & (recency >= 0)).repeat_interleave(self.config.levels, dim=2)
        x, valid = x[:, 0].unflatten(0, (-1, events)), valid[:, 0].unflatten(0, (-1, events))
        x, _ = self._run(x, valid, history, bias)
        return self.logits(x)

    def start(
        self, history: Tensor, mask: Tensor, bos: Tensor, prefix: Tensor, valid: Tensor
    ) -> tuple[DecoderState, Tensor]:
        """Run the forced prefix once: the state that beams share, and logits (B, V) of the target's first token."""
        x, valid = self._inputs(bos, *self._prefix(prefix, valid, None), *prefix.shape[1:])
        x, state = self._run(x, valid, history, self._last_target(mask, bos))
        return state, self.head(x[:, 0, -1], 0)

    def step(self, state: DecoderState, tokens: Tensor, parents: Tensor, level: int) -> tuple[DecoderState, Tensor]:
        """Append the token chosen at `level` to each beam: tokens, parents (B, G) -> logits (B, G, V) of level + 1.

        `parents` says which of the sample's previous beams each new beam continues.
        """
        written = state.written.gather(1, parents[..., None].expand(-1, -1, self.config.d))
        written = written + self.token_embedding(tokens + level * self.config.codes)
        x = written + self.slot_embedding.weight[0] + self.level_embedding.weight[level + 1]  # (B, G, d)
        x, own = extend(self.decoder, x, state, parents)
        return state._replace(own=own, written=written), self.head(self.decoder_norm(x), level + 1)

    def logits(self, x: Tensor) -> Tensor:
        """One head a level, tied to that level's embeddings: (..., L, d) -> (..., L, V)"""
        heads = self.token_embedding.weight.unflatten(0, (self.config.levels, self.config.codes))
        return torch.einsum("...ld,lvd->...lv", x, heads)

    def head(self, x: Tensor, level: int) -> Tensor:
        """Logits of one level: (..., d) -> (..., V)"""
        first = level * self.config.codes
        return x @ self.token_embedding.weight[first : first + self.config.codes].T

    def _prefix(self, codes: Tensor, valid: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """codes (B, k, n), valid, weight (B, k) -> weighted token embeddings (B, kn, d), which exist (B, kn)"""
        tokens = self.embed(codes).cumsum(-2)  # (B, k, n, d)
        if weight is not None:
            tokens = tokens * weight[..., None, None]
        return tokens.flatten(1, 2), valid.repeat_interleave(codes.shape[2], dim=1)

    def _inputs(self, bos: Tensor, tokens: Tensor, exists: Tensor, k: int = 0, n: int = 0) -> tuple[Tensor, Tensor]:
        """Decoder input [e_b; tokens] with positions, behind k prefix items of n codes, and what attention may look at.

        A token that does not exist becomes one more e_b: where a short prefix is padded on the left, the input that
        predicts its first token is e_b, as if there were no padding. An input counts if the token it predicts does.

        bos (B,), tokens (B, S-1, d), exists (B, S-1) -> (B, 1, S, d), (B, 1, S)
        """
        e_b = self.behavior_embedding(bos)[:, None]
        x = torch.cat([e_b, torch.where(exists[..., None], tokens, e_b)], dim=1)
        slot = torch.arange(k, 0, -1, device=bos.device)
        position = (self.slot_embedding(slot)[:, None] + self.level_embedding.weight[:n]).flatten(0, 1)
        position = torch.cat([position, self.slot_embedding.weight[0] + self.level_embedding.weight])
        x = self.dropout(x + position[: x.shape[1]])
        return x[:, None], F.pad(exists, (0, 1), value=True)[:, None]

    def _look_back(self, bos: Tensor, recency: Tensor) -> Tensor:
        """Bias from targets under behaviour `bos` to events: (B, G, 1), (T) or (G, T) -> (B, h, G, T)"""
        return self.recency_bias(bos * self.config.max_history + recency).permute(0, 3, 1, 2)

    def _last_target(self, mask: Tensor, bos: Tensor) -> Tensor:
        """Bias from the target that follows the history: mask (B, T), bos (B,) -> (B, h, 1, T)"""
        recency = torch.arange(mask.shape[1] - 1, -1, -1, device=mask.device)
        return masked(self._look_back(bos[:, None, None], recency), mask[:, None, None])

    def _run(self, x: Tensor, valid: Tensor, history: Tensor, history_bias: Tensor) -> tuple[Tensor, DecoderState]:
        """x (B, G, S, d), valid (B, G, S), history_bias (B, h, 1 | G S, T) -> (B, G, S, d), state for G = 1"""
        x, state = run(self.decoder, x, valid, history, history_bias)
        return self.decoder_norm(x), state
