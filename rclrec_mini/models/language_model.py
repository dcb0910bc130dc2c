"""A language model as the recommender: it reads a history as text and writes the title of the next item.

    click red wool coat # cart blue phone # ... purchase        ->  blue phone #

Titles are codes in the catalogue's trie (item_titles.py), so beam search, sampling and reinforcement are those of
semantic ids. An item's likelihood is the product over its title's tokens, without normalisation by length; where the
trie leaves one way only, a constrained policy says 1, and the filler after a title is 1 by definition: what D3 (Bao et
al., 2024) calls ghost tokens counts for nothing.

Beams are branches of one sequence a user: the prompt is read once, each level appends one token a beam, and attention
sees the prompt and the beam's own tokens alone. Nothing is copied when beams change their parents.

The model is transformers' Qwen2 or Llama: any local folder of weights, or a small Qwen2 from scratch.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import at_least, check, within
from rclrec_mini.data.sequences import Batch, Events
from rclrec_mini.files import InputError
from rclrec_mini.models.attention import masked
from rclrec_mini.models.initialization import start_as_inductor
from rclrec_mini.models.item_titles import END, FILLER, Titles, spelled

KINDS = ("qwen2", "llama")


@dataclass(frozen=True)
class LanguageModelConfig:
    """A folder of weights, or the sizes of a model from scratch."""

    llm: str | None = None  # a local folder of Qwen2 or Llama weights (safetensors) and tokenizer; None: from scratch
    lora: int = 0  # rank of the adapters that learn in place of the weights (peft); 0: all weights learn
    d: int = 128  # width; this and the next three are for a model from scratch, as is its vocabulary of whole words
    layers: int = 4  # blocks
    heads: int = 4  # attention heads
    ffn: int = 384  # width of the feed-forward layers
    events: int = 10  # the latest of the history that stand in the prompt
    dropout: float = 0.0  # share of attention weights dropped in training

    def __post_init__(self) -> None:
        at_least(self, 1, "d", "layers", "heads", "ffn", "events")
        at_least(self, 0, "lora")
        within(self, 0, 1, "dropout")
        check(self, lora=(not self.lora or self.llm is not None, "0 for a model from scratch"))
        check(self, heads=(self.d % (2 * self.heads) == 0, f"a number whose double divides d ({self.d})"))


class Branches(NamedTuple):
    """What beam search keeps: the cache that all beams of a user share, and which of its places each beam sees."""

    cache: Any
    visible: Tensor  # (B, W, P + places so far)
    length: Tensor  # tokens before the next one (B, 1)
    ended: Tensor  # beams whose title has ended (B, W)


class LanguageModel(nn.Module):
    """A causal language model over prompts of titles.

    Args:
        model: transformers' model with a head.
        titles: of all items.
        behaviors: tokens of each behaviour's name (C, n), left-padded with -1.
        config: of which `events` is read.
    """

    every_event = True
    users_at_once = 64  # in rankings: prompts are long, and more are slower on a CPU

    def __init__(self, *, model: nn.Module, titles: Titles, behaviors: Tensor, config: LanguageModelConfig):
        super().__init__()
        self.model, self.max_history, self.n_codes = model, config.events, len(titles.tokens)
        for name, tensor in (("codes", titles.codes), ("tokens", titles.tokens), ("behaviors", behaviors)):
            self.register_buffer(name, tensor, persistent=False)

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Stage one: the title of every event of the sample from the events before it, in one pass."""
        events = self._latest(batch.with_target(), 1)
        counts = events.mask & F.pad(events.mask, (1, 0))[:, :-1]
        return self._loss(events, counts)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Stage two: the title of the target alone."""
        events = self._latest(batch.with_target(), 1)
        counts = torch.zeros_like(events.mask)
        counts[:, -1] = True
        return self._loss(events, counts)

    def _loss(self, events: Events, counts: Tensor) -> dict[str, Tensor]:
        """Mean NLL of the tokens of the titles that count (B, T), each sample alike."""
        tokens, label = self._text(events)
        label = label.masked_fill(~counts[..., None], FILLER).flatten(1)
        tokens, label = _left_padded(tokens.flatten(1), label)
        hidden, _ = self._read(tokens)
        written = label[:, 1:] != FILLER
        nll = F.cross_entropy(self._logits(hidden[:, :-1][written]), label[:, 1:][written], reduction="none")
        per_sample = nll.new_zeros(written.shape).masked_scatter(written, nll).sum(1) / written.sum(1).clamp(min=1)
        loss = per_sample.mean()
        return {"loss": loss, "target_nll": loss.detach()}

    def start(self, batch: Batch) -> tuple[Branches, Tensor]:
        """Beam search: read the prompt, logits (B, V) of the title's first token."""
        tokens = self.prompt(batch)
        hidden, cache = self._read(tokens, keep=True)
        exists = tokens >= 0
        state = Branches(cache, exists[:, None], exists.sum(1, keepdim=True), torch.zeros_like(exists[:, :1]))
        return state, self._logits(hidden[:, -1])

    def prompt(self, batch: Batch) -> Tensor:
        """Tokens of the history and of the target's behaviour, -1 for padding on the left: (B, S)"""
        tokens, _ = self._text(self._latest(batch.history()))
        tokens = torch.cat([tokens.flatten(1), self.behaviors[batch.target_behavior]], dim=1)
        return _left_padded(tokens)[0]

    def step(self, state: Branches, tokens: Tensor, parents: Tensor, level: int) -> tuple[Branches, Tensor]:
        """Beam search: append the codes (B, W) chosen at `level`, logits (B, W, V) of the next."""
        seen = state.visible.gather(1, parents[..., None].expand(-1, -1, state.visible.shape[2]))
        own = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device).expand(len(tokens), -1, -1)
        visible = torch.cat([seen, own], dim=2)
        hidden, cache = self._base()(
            input_ids=self.tokens[tokens.clamp(min=END)],
            attention_mask=masked(self.model.lm_head.weight.new_zeros(()), visible[:, None]),
            position_ids=state.length.expand_as(tokens),
            past_key_values=state.cache,
            use_cache=True,
        )[:2]
        ended = state.ended.gather(1, parents) | (tokens == END) | (tokens == FILLER)
        only_filler = torch.full((self.n_codes,), float("-inf"), device=tokens.device)
        only_filler[FILLER] = 0.0
        logits = torch.where(ended[..., None], only_filler, self._logits(hidden))
        return Branches(cache, visible, state.length + 1, ended), logits

    def embed(self, codes: Tensor) -> Tensor:
        """Mean of the last hidden states of texts that are read alone: codes (n, L), FILLER after the end -> (n, d)"""
        (tokens,) = _left_padded(self.tokens[codes])
        hidden, _ = self._read(tokens)
        exists = (tokens >= 0).unsqueeze(-1)
        return (hidden * exists).sum(1) / exists.sum(1)

    def _latest(self, events: Events, more: int = 0) -> Events:
        """The last events that a prompt holds, and `more`."""
        return Events(*(column[:, -self.max_history - more :] for column in events))

    def _text(self, events: Events) -> tuple[Tensor, Tensor]:
        """Each event as its behaviour's name, its title and the end: tokens (B, T, n + L), -1 where there is none, and
        the code of those that belong to a title, FILLER elsewhere."""
        codes = self.codes[events.item].masked_fill(~events.mask[..., None], FILLER)
        names = self.behaviors[events.behavior].masked_fill(~events.mask[..., None], -1)
        return torch.cat([names, self.tokens[codes]], dim=2), F.pad(codes, (names.shape[2], 0))

    def _read(self, tokens: Tensor, *, keep: bool = False) -> tuple[Tensor, Any]:
        """Hidden states (B, S, d) of tokens (B, S), -1 for padding on the left, and the cache."""
        exists = tokens >= 0
        out = self._base()(
            input_ids=tokens.clamp(min=0),
            attention_mask=exists.long(),
            position_ids=(exists.cumsum(1) - 1).clamp(min=0),
            use_cache=keep,
        )
        return out.last_hidden_state, out.past_key_values

    def _logits(self, hidden: Tensor) -> Tensor:
        """Of the codes: (..., d) -> (..., V); the filler is never written by the model itself."""
        logits = hidden @ self.model.lm_head.weight[self.tokens.clamp(min=0)].T
        filler = torch.arange(self.n_codes, device=logits.device) == FILLER
        return logits.masked_fill(filler, torch.finfo(logits.dtype).min)

    def _base(self) -> nn.Module:
        return self.model.model


def _left_padded(*parts: Tensor) -> tuple[Tensor, ...]:
    """Rows with their holes (-1 in the first part) moved to the left, the order kept, and columns of holes dropped."""
    exists = parts[0] >= 0
    order = exists.to(torch.int8).argsort(dim=1, stable=True)
    longest = int(exists.sum(1).max())
    return tuple(part.gather(1, order)[:, part.shape[1] - longest :] for part in parts)


def from_scratch(config: LanguageModelConfig, titles: list[str | None], behaviors: tuple[str, ...]) -> LanguageModel:
    """A small Qwen2 with fresh weights, whose vocabulary is the words of the titles and of the behaviours."""
    transformers = _package("transformers")

    vocabulary: dict[str, int] = {"#": 0}

    def encode(text: str) -> list[int]:
        return [vocabulary.setdefault(word, len(vocabulary)) for word in text.split()]

    names = [encode(name) for name in behaviors]
    codes = spelled(titles, encode, end=0)
    sizes = transformers.Qwen2Config(
        vocab_size=len(vocabulary), hidden_size=config.d, intermediate_size=config.ffn, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, num_key_value_heads=config.heads, tie_word_embeddings=True,
        max_position_embeddings=2**15, use_cache=False, attention_dropout=config.dropout,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip
    model = transformers.Qwen2ForCausalLM(sizes)
    torch.nn.init.normal_(model.lm_head.weight, std=config.d**-0.5)
    if config.layers > 1:
        first, second = (layer.self_attn for layer in model.model.layers[:2])
        start_as_inductor(first, second, model.model.rotary_emb.inv_freq)
    return LanguageModel(model=model, titles=codes, behaviors=_padded(names), config=config)


def from_folder(config: LanguageModelConfig, titles: list[str | None], behaviors: tuple[str, ...]) -> LanguageModel:
    """The weights and the tokenizer of a local folder.

    Raises:
        InputError: the folder is missing, holds no safetensors or another kind of model, or peft is missing.
    """
    transformers = _package("transformers")

    folder = Path(config.llm)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: found no config.json with *.safetensors, expected a folder of weights")
    kind = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    if kind not in KINDS:
        raise InputError(f"{folder / 'config.json'}: model_type is {kind}, expected one of {', '.join(KINDS)}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, attention_dropout=config.dropout
    )
    if config.lora:
        peft = _package("peft")
        model.requires_grad_(False)
        adapters = peft.LoraConfig(r=config.lora, target_modules="all-linear")
        model = peft.inject_adapter_in_model(adapters, model)

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    codes = spelled(titles, lambda title: encode(" " + title), end=tokenizer.eos_token_id)
    names = [encode(name) for name in behaviors]
    if not all(names):
        raise InputError(f"{folder}: its tokenizer gives {names} for {behaviors}, expected tokens for each")
    return LanguageModel(model=model, titles=codes, behaviors=_padded(names), config=config)


def _package(name: str) -> ModuleType:
    """A package that only language models need.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"{name} is missing, which a language model needs: pip install {name}") from None


def _padded(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[-1] * (longest - len(row)) + row for row in rows])
