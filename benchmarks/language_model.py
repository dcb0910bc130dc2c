"""Constrained beam search with a language model: branches of one cache, over transformers' own generate.

    python benchmarks/language_model.py --threads 1
    python benchmarks/language_model.py --d 896 --layers 24 --heads 14 --ffn 4864 --device cuda

A Qwen2 with random weights writes titles of three words with 16 beams, for as many users as fit a batch; the peer is
`generate(num_beams=16, prefix_allowed_tokens_fn=...)` on the same weights, prompts and titles, with its cache. The two
take turns, and the ratio is the median of the rounds' ratios with its quartiles. The items that both find are compared;
a few differ, since the peer's softmax is over the whole vocabulary and ours over the tokens that titles have.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from tqdm import tqdm

from rclrec_mini.data.schema import BEHAVIORS
from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.files import write_json
from rclrec_mini.models.item_titles import END
from rclrec_mini.models.language_model import LanguageModel, LanguageModelConfig, from_scratch
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.checkpoints import provenance


@dataclass(frozen=True)
class Config:
    """What is measured."""

    items: int = 2_000  # of the catalogue
    users: int = 8  # in a batch
    events: int = 10  # in a prompt
    beams: int = 16
    d: int = 128  # width; the sizes of LanguageModelConfig
    layers: int = 4
    heads: int = 4
    ffn: int = 384
    rounds: int = 7  # timed calls of each
    threads: int = 0  # of torch; 0: as many as it takes
    device: str = "cpu"
    seed: int = 0
    out: Path = Path(__file__).parent / "results" / "language_model.json"  # result file


def made(config: Config) -> tuple[LanguageModel, Catalog, Batch]:
    """A model, its titles' trie, and a batch of full histories."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    side = int(np.ceil(config.items ** (1 / 3)))
    words = [[f"{kind}{n}" for n in range(side)] for kind in "abc"]
    titles = [
        f"{words[0][i // side**2]} {words[1][i // side % side]} {words[2][i % side]}" for i in range(config.items)
    ]
    sizes = LanguageModelConfig(
        d=config.d, layers=config.layers, heads=config.heads, ffn=config.ffn, events=config.events
    )
    model = from_scratch(sizes, titles, BEHAVIORS).to(config.device).eval()
    n = config.users * (config.events + 1)
    offsets = np.arange(config.users + 1) * (config.events + 1)
    item, behavior = rng.integers(0, config.items, n), rng.integers(0, len(BEHAVIORS), n)
    sequences = Sequences(item, behavior, np.arange(n), offsets, config.items)
    batch = sequences.batch(offsets[1:] - 1, config.events).to(config.device)
    return model, Catalog(model.codes.cpu(), n_codes=model.n_codes).to(config.device), batch


def peer(model: LanguageModel, catalog: Catalog, batch: Batch, beams: int) -> Callable[[], torch.Tensor]:
    """transformers' generate over the same trie: items (B, 10)."""
    prompt = model.prompt(batch)
    children: dict[tuple[int, ...], set[int]] = {}
    item_of: dict[tuple[int, ...], int] = {}
    for item, row in enumerate(catalog.codes.tolist()):
        title = [model.tokens[code].item() for code in row[: row.index(END) + 1]]
        item_of[tuple(title)] = item
        for place, token in enumerate(title):
            children.setdefault(tuple(title[:place]), set()).add(token)
    allowed = {prefix: sorted(tokens) for prefix, tokens in children.items()}
    start, end = prompt.shape[1], model.tokens[END].item()

    def run() -> torch.Tensor:
        with torch.inference_mode():
            found = model.model.generate(
                input_ids=prompt.clamp(min=0), attention_mask=(prompt >= 0).long(), num_beams=beams,
                num_return_sequences=10, max_new_tokens=catalog.levels, do_sample=False, use_cache=True,
                length_penalty=0.0, eos_token_id=end, pad_token_id=end,
                prefix_allowed_tokens_fn=lambda _, ids: allowed.get(tuple(ids[start:].tolist()), [end]),
            )  # fmt: skip
        written = found[:, start:].tolist()
        titles = [tuple(row[: row.index(end) + 1]) if end in row else tuple(row) for row in written]
        return torch.tensor([item_of.get(title, -1) for title in titles]).view(len(batch), 10)

    return run


def timed(call: Callable[[], object], device: str) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def main(config: Config) -> dict:
    if config.threads:
        torch.set_num_threads(config.threads)
    origin = provenance()
    model, catalog, batch = made(config)
    calls = {
        "ours": lambda: beam_search(model, batch, catalog, beams=config.beams, k=10)[0],
        "generate": peer(model, catalog, batch, config.beams),
    }
    found = {name: call().cpu() for name, call in calls.items()}  # warms up, too
    same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*(f.tolist() for f in found.values()), strict=True)])
    seconds = {name: [] for name in calls}
    for _ in tqdm(range(config.rounds), unit="round"):
        for name, call in calls.items():
            seconds[name].append(timed(call, config.device))
    ratio = np.quantile(np.divide(seconds["generate"], seconds["ours"]), (0.25, 0.5, 0.75))
    result = {
        "config": asdict(config) | {"out": config.out.name},
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": {name: float(np.median(values)) for name, values in seconds.items()},
        "ratio": ratio.tolist(),
        "items in common": float(same),
        **origin, "threads": torch.get_num_threads(), "load": list(os.getloadavg()),
    }  # fmt: skip
    low, middle, high = ratio
    print(f"generate takes {middle:.1f} times as long [{low:.1f}, {high:.1f}]; {same:.0%} of the items are the same")
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config))
