"""Constrained beam search against Hugging Face's `generate(num_beams=..., prefix_allowed_tokens_fn=...)`.

    python benchmarks/beam_search.py

Contenders, all with random weights of the same sizes, one encoder position per event and the same forced prefix:

    hf             T5 with generate; the constraint is a dictionary from a prefix to the list of its next tokens
    ours           our backbone with our search over the catalogue's trie
    free           our backbone with the same search over all V codes of every level: what no constraint would cost
    encode         our encoder alone, a cost that all of them share
    ours on t5     our search driving the very T5 of `hf`: same weights, so its ten best items must be the same

They take turns in every round; times are medians over rounds, and a ratio is the median of the rounds' ratios, with
quartiles. Wall time suffers on a shared machine, so the ratios of CPU time are told beside it. Memory allocation weighs
on `hf`, which copies its caches at each step: to let glibc use huge pages, set GLIBC_TUNABLES=glibc.malloc.hugetlb=1
(results/beam_search_hugepages.json). Without the forced prefix (--prefix 0, results/beam_search_no_prefix.json) the gap
is smaller: `generate` runs the prefix once a beam, we run it once a user.
"""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import tyro
from torch import Tensor, nn
from tqdm import tqdm
from transformers import T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.decoding.trie_walk import GenerativeModel
from rclrec_mini.files import write_json
from rclrec_mini.models.backbone import Backbone, BackboneConfig
from rclrec_mini.models.curriculum import RecentK
from rclrec_mini.models.rclrec import RCLRec
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.checkpoints import provenance

K = 10  # items compared
MALLOC = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_CONF", "MALLOC_ARENA_MAX", "MALLOC_TOP_PAD_")


@dataclass(frozen=True)
class Config:
    """Sizes of the comparison; the model's are the paper's unless told otherwise."""

    items: tuple[int, ...] = (10_000, 100_000, 1_000_000)  # sizes of the catalogue
    beams: tuple[int, ...] = (20, 50)  # widths
    users: int = 16  # batch size, each with a full history
    prefix: int = 4  # items forced before the target, the paper's k; 0 for no curriculum
    rounds: int = 3  # timed calls of each contender
    threads: int = 1  # of torch; 0: as many as it takes by itself
    device: str = "cpu"  # cpu or cuda
    seed: int = 0
    out: Path = Path(__file__).parent / "results" / "beam_search.json"  # result file
    model: BackboneConfig = field(default_factory=BackboneConfig)


class T5(nn.Module):
    """HF T5 with random weights over event positions. `start` and `step` let our search drive it.

    Its one vocabulary is the L x V codes and a start token; item codes are (N, L) numbers of that vocabulary.
    """

    def __init__(self, config: BackboneConfig, codes: Tensor, *, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.tokens = codes
        self.bos = config.levels * config.codes
        self.behavior_embedding = nn.Embedding(config.behaviors, config.d)
        self.t5 = T5ForConditionalGeneration(
            T5Config(
                vocab_size=self.bos + 1,
                d_model=config.d,
                d_kv=config.d // config.heads,
                d_ff=config.ffn,
                num_layers=config.encoder_layers,
                num_decoder_layers=config.decoder_layers,
                num_heads=config.heads,
                feed_forward_proj="gelu",
                decoder_start_token_id=self.bos,
                pad_token_id=self.bos,
                eos_token_id=None,
            )
        )

    def embed(self, batch: Batch) -> Tensor:
        """Encoder input (B, T, d)"""
        return self.t5.shared(self.tokens[batch.item]).sum(2) + self.behavior_embedding(batch.behavior)

    def forced(self, batch: Batch) -> Tensor:
        """Decoder input before the target: the start token and the last `prefix` items (B, 1 + prefix L)"""
        items = batch.item[:, batch.item.shape[1] - self.prefix :]
        return nn.functional.pad(self.tokens[items].flatten(1), (1, 0), value=self.bos)

    @torch.inference_mode()
    def generate(self, batch: Batch, allowed: dict[tuple[int, ...], list[int]], levels: int, beams: int) -> Tensor:
        """The peer: tokens of the K best items (B, K, L)"""
        forced = self.forced(batch)
        start = forced.shape[1]
        output = self.t5.generate(
            inputs_embeds=self.embed(batch),
            attention_mask=batch.mask.long(),
            decoder_input_ids=forced,
            num_beams=beams,
            num_return_sequences=K,
            min_new_tokens=levels,
            max_new_tokens=levels,
            do_sample=False,
            prefix_allowed_tokens_fn=lambda _, tokens: allowed[tuple(tokens.tolist()[start:])],
        )
        return output[:, start:].view(len(batch), K, levels)

    def start(self, batch: Batch) -> tuple[Any, Tensor]:
        history = self.t5.encoder(inputs_embeds=self.embed(batch), attention_mask=batch.mask.long()).last_hidden_state
        output = self._decode(history, batch.mask, self.forced(batch), None)
        return (history, batch.mask, output.past_key_values, 1), output.logits[:, -1]

    def step(self, state: Any, tokens: Tensor, parents: Tensor, level: int) -> tuple[Any, Tensor]:
        history, mask, cache, before = state
        users, beams = tokens.shape
        row = torch.arange(users, device=tokens.device)[:, None].expand(-1, beams)
        cache.reorder_cache((row * before + parents).flatten())  # from (users x before) to (users x beams)
        row = row.flatten()
        output = self._decode(history[row], mask[row], tokens.view(-1, 1), cache)
        return (history, mask, output.past_key_values, beams), output.logits[:, -1].view(users, beams, -1)

    def _decode(self, history: Tensor, mask: Tensor, tokens: Tensor, cache: Any) -> Any:
        return self.t5(
            encoder_outputs=BaseModelOutput(history),
            attention_mask=mask.long(),
            decoder_input_ids=tokens,
            past_key_values=cache,
            use_cache=True,
        )


@torch.inference_mode()
def free_beam_search(model: GenerativeModel, batch: Batch, levels: int, beams: int) -> tuple[Tensor, Tensor]:
    """The plain search over all code tuples, items or not: codes (B, K, L) and scores (B, K)."""
    state, logits = model.start(batch)
    logits = logits.unsqueeze(1)  # (B, 1, V)
    score = logits.new_zeros(logits.shape[:2])
    codes = torch.zeros(*score.shape, 0, dtype=torch.int64, device=score.device)  # (B, W, level)
    for level in range(levels):
        total = (score.unsqueeze(-1) + logits.log_softmax(-1)).flatten(1)
        score, best = total.topk(min(beams, total.shape[1]))
        parents, tokens = best // logits.shape[-1], best % logits.shape[-1]
        kept = codes.gather(1, parents.unsqueeze(-1).expand(-1, -1, level))
        codes = torch.cat([kept, tokens.unsqueeze(-1)], dim=-1)
        if level + 1 < levels:
            state, logits = model.step(state, tokens, parents, level)
    return codes[:, :K], score[:, :K]


@torch.inference_mode()
def encode(model: RCLRec, batch: Batch) -> Tensor:
    return model.encode(batch)


def random_codes(n_items: int, model: BackboneConfig, seed: int) -> Tensor:
    """Distinct random code tuples (n_items, L)"""
    rng = np.random.default_rng(seed)
    flat = rng.choice(model.codes**model.levels, n_items, replace=False)
    return torch.from_numpy(np.stack(np.unravel_index(flat, (model.codes,) * model.levels), axis=1))


def full_histories(config: Config, n_items: int) -> Batch:
    """Random samples without padding."""
    rng = np.random.default_rng(config.seed)
    length = config.model.max_history + 1
    n = config.users * length
    sequences = Sequences(
        item=rng.integers(n_items, size=n),
        behavior=rng.integers(config.model.behaviors, size=n),
        timestamp=np.arange(n),
        offsets=np.arange(0, n + 1, length),
        n_items=n_items,
    )
    return sequences.batch(np.arange(length - 1, n, length), config.model.max_history).to(config.device)


def next_tokens(codes: Tensor) -> dict[tuple[int, ...], list[int]]:
    """The peer's trie: the allowed next tokens of every prefix."""
    children: dict[tuple[int, ...], dict[int, None]] = defaultdict(dict)
    for row in codes.tolist():
        for level, token in enumerate(row):
            children[tuple(row[:level])][token] = None
    return {prefix: list(tokens) for prefix, tokens in children.items()}


Contenders = dict[str, Callable[[int], Any]]  # beams -> result


def contenders(config: Config, n_items: int) -> tuple[Contenders, Catalog]:
    """The searches over one catalogue, ready to be timed, and the catalogue in T5's vocabulary."""
    model = config.model
    codes = random_codes(n_items, model, config.seed).to(config.device)
    catalog = Catalog(codes, n_codes=model.codes)
    tokens = codes + torch.arange(model.levels, device=codes.device) * model.codes
    t5_catalog = Catalog(tokens, n_codes=model.levels * model.codes + 1)
    torch.manual_seed(config.seed)
    selector = RecentK(k=config.prefix) if config.prefix else None
    ours = RCLRec(backbone=Backbone(model), codes=codes, selector=selector).to(config.device).eval()
    t5 = T5(model, tokens, prefix=config.prefix).to(config.device).eval()
    allowed = next_tokens(tokens)
    batch = full_histories(config, n_items)
    return {
        "hf": lambda beams: t5_catalog.items_of(t5.generate(batch, allowed, model.levels, beams)),
        "ours": lambda beams: beam_search(ours, batch, catalog, beams=beams, k=K),
        "free": lambda beams: free_beam_search(ours, batch, model.levels, beams),
        "encode": lambda beams: encode(ours, batch),
        "ours on t5": lambda beams: beam_search(t5, batch, t5_catalog, beams=beams, k=K)[0],
    }, t5_catalog


def measure(searches: Contenders, beams: int, config: Config) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Wall and CPU seconds of each contender, (rounds,) each, in turns and in an order that rotates."""
    synchronize = torch.cuda.synchronize if config.device == "cuda" else lambda: None
    wall, cpu, names = defaultdict(list), defaultdict(list), list(searches)
    for turn in range(config.rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            synchronize()
            start, cpu_start = time.perf_counter(), time.process_time()
            searches[name](beams)
            synchronize()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - cpu_start)
    return ({name: np.array(values) for name, values in times.items()} for times in (wall, cpu))


def quartiles(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in np.quantile(values, [0.5, 0.25, 0.75])]


def row_of(searches: Contenders, n_items: int, beams: int, config: Config) -> dict[str, Any]:
    """One line of the table: times, ratios, and whether the ten best items agree."""
    results = {name: search(beams) for name, search in searches.items()}  # warms up as well
    agree = (results["hf"] == results["ours on t5"]).all(dim=1).double().mean().item()
    wall, cpu = measure(searches, beams, config)
    row: dict[str, Any] = {"items": n_items, "beams": beams, "identical_top10": agree}
    for clock, times in (("wall", wall), ("cpu", cpu)):
        row[f"{clock}_ms"] = {name: round(1000 * float(np.median(t)), 2) for name, t in times.items()}
        row[f"{clock}_hf_over_ours"] = quartiles(times["hf"] / times["ours"])
        after = (times["hf"] - times["encode"]) / (times["ours"] - times["encode"])
        row[f"{clock}_hf_over_ours_after_encoder"] = quartiles(after)
        row[f"{clock}_hf_over_ours_on_t5"] = quartiles(times["hf"] / times["ours on t5"])
        row[f"{clock}_ours_over_free"] = quartiles(times["ours"] / times["free"])
    return row


def print_table(rows: list[dict[str, Any]]) -> None:
    """The table in Markdown: times are wall times, ratios of wall times and, in brackets, of CPU times."""
    times = ("hf", "ours", "free", "encode", "ours on t5")
    ratios = {
        "hf_over_ours": "hf/ours",
        "hf_over_ours_after_encoder": "after the encoder",
        "hf_over_ours_on_t5": "hf/ours on t5",
        "ours_over_free": "ours/free",
    }
    columns = ["items", "beams", *(f"{name} ms" for name in times), *ratios.values(), "same top 10"]
    print("\n| " + " | ".join(columns) + " |")
    print("|--:" * len(columns) + "|")
    for row in rows:
        milliseconds = " | ".join(f"{row['wall_ms'][name]:.1f}" for name in times)
        values = " | ".join(f"{row[f'wall_{name}'][0]:.2f} ({row[f'cpu_{name}'][0]:.2f})" for name in ratios)
        print(f"| {row['items']:,} | {row['beams']} | {milliseconds} | {values} | {row['identical_top10']:.0%} |")


def main(config: Config) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)
    rows = []
    with tqdm(total=len(config.items) * len(config.beams), desc="beam search") as bar:
        for n_items in config.items:
            searches, _ = contenders(config, n_items)
            for beams in config.beams:
                rows.append(row_of(searches, n_items, beams, config))
                bar.update()
    print_table(rows)
    for beams in config.beams:
        wall, cpu = ([row[f"{clock}_ms"]["ours"] for row in rows if row["beams"] == beams] for clock in ("wall", "cpu"))
        growth = f"{wall[-1] / wall[0]:.2f} ({cpu[-1] / cpu[0]:.2f})"
        print(f"{beams} beams: ours at {config.items[-1]:,} items / at {config.items[0]:,}: {growth}")
    origin = provenance()
    origin["versions"]["transformers"] = transformers.__version__
    hugepages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    result = {
        "config": asdict(config) | {"out": config.out.name},
        **origin,
        "libc": " ".join(platform.libc_ver()),
        "malloc": {name: os.environ[name] for name in MALLOC if name in os.environ},
        "transparent_hugepages": hugepages.read_text().strip() if hugepages.exists() else "unknown",
        "rows": rows,
    }
    write_json(config.out, result)
    print(f"written to {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config))
