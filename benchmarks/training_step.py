"""A training step (forward, backward, AdamW) of the backbone against HF T5 of the same sizes.

    python benchmarks/training_step.py --threads 1

The peers read the same histories through the same embeddings and predict the same four tokens (T5 over one
vocabulary of 1,025, ours over 256 a level):

    ours             one encoder position per event
    t5 by event      T5 on the same 50 positions (inputs_embeds)
    t5 flattened     T5 on one position per token: 50 x (behaviour + 4 codes) = 250, the way of TIGER
    ours bf16        under autocast, entered per step: a gain where the processor has bf16 units, else a loss
    attention        one encoder attention, forward and backward: SDPA, and written out

Contenders take turns; medians are over rounds, and a ratio is the median of the rounds' ratios, with quartiles. Wall
time suffers on a shared machine, so the CPU time of the process is told beside it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
import tyro
from torch import Tensor, nn
from tqdm import tqdm
from transformers import T5Config, T5ForConditionalGeneration

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.files import write_json
from rclrec_mini.models.backbone import Backbone, BackboneConfig
from rclrec_mini.models.rclrec import RCLRec
from rclrec_mini.training.checkpoints import provenance
from rclrec_mini.training.schedule import TrainConfig, build_optimizer


@dataclass(frozen=True)
class Config:
    """Sizes of the comparison; the model's are the paper's unless told otherwise."""

    batch_size: int = 32  # samples, each with a full history
    items: int = 10_000  # items of the catalogue
    rounds: int = 5  # timed steps of each contender
    threads: int = 0  # of torch; 0: as many as it takes by itself
    device: str = "cpu"  # cpu or cuda
    seed: int = 0
    out: Path = Path(__file__).parent / "results" / "training_step.json"  # result file
    model: BackboneConfig = field(default_factory=BackboneConfig)


class T5(nn.Module):
    """HF T5, random weights, over the backbone's kind of input: `flat` gives each token a position of its own."""

    def __init__(self, config: BackboneConfig, codes: Tensor, *, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.register_buffer("tokens", codes + torch.arange(config.levels) * config.codes)  # (N, L)
        self.behavior_embedding = nn.Embedding(config.behaviors, config.d)
        bos = config.levels * config.codes
        self.t5 = T5ForConditionalGeneration(
            T5Config(
                vocab_size=bos + 1,
                d_model=config.d,
                d_kv=config.d // config.heads,
                d_ff=config.ffn,
                num_layers=config.encoder_layers,
                num_decoder_layers=config.decoder_layers,
                num_heads=config.heads,
                dropout_rate=config.dropout,
                feed_forward_proj="gelu",
                decoder_start_token_id=bos,
                pad_token_id=bos,
                eos_token_id=None,
                use_cache=False,
            )
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        tokens = self.t5.shared(self.tokens[batch.item])  # (B, T, L, d)
        behavior = self.behavior_embedding(batch.behavior)  # (B, T, d)
        if self.flat:
            x = torch.cat([behavior[:, :, None], tokens], 2).flatten(1, 2)  # (B, T (L + 1), d)
            mask = batch.mask.repeat_interleave(tokens.shape[2] + 1, dim=1)
        else:
            x, mask = tokens.sum(2) + behavior, batch.mask
        return {"loss": self.t5(inputs_embeds=x, attention_mask=mask, labels=self.tokens[batch.target_item]).loss}


def full_histories(config: Config) -> Batch:
    """A batch of random samples without padding."""
    rng = np.random.default_rng(config.seed)
    length = config.model.max_history + 1
    n = config.batch_size * length
    sequences = Sequences(
        item=rng.integers(config.items, size=n),
        behavior=rng.integers(config.model.behaviors, size=n),
        timestamp=np.arange(n),
        offsets=np.arange(0, n + 1, length),
        n_items=config.items,
    )
    return sequences.batch(np.arange(length - 1, n, length), config.model.max_history).to(config.device)


def training_step(model: nn.Module, batch: Batch, *, bf16: bool = False) -> Callable[[], None]:
    """One step with the trainer's optimiser, ready to be timed."""
    model.to(batch.item.device).train()
    optimizer = build_optimizer(model, TrainConfig(lr=1e-4))

    def step() -> None:
        with torch.autocast(batch.item.device.type, torch.bfloat16, enabled=bf16):
            loss = model(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def contenders(config: Config) -> dict[str, Callable[[], None]]:
    """The steps by name."""
    torch.manual_seed(config.seed)
    batch = full_histories(config)
    codes = torch.randint(config.model.codes, (config.items, config.model.levels))

    def ours() -> RCLRec:
        return RCLRec(backbone=Backbone(config.model), codes=codes)

    def t5(*, flat: bool) -> T5:
        return T5(config.model, codes, flat=flat)

    return {
        "ours": training_step(ours(), batch),
        "t5 by event": training_step(t5(flat=False), batch),
        "t5 flattened": training_step(t5(flat=True), batch),
        "ours bf16": training_step(ours(), batch, bf16=True),
        "attention sdpa": attention(config, F.scaled_dot_product_attention),
        "attention matmul": attention(config, matmul_softmax),
    }


def attention(config: Config, attend: Callable) -> Callable[[], None]:
    """Forward and backward of one encoder attention, masked as in the backbone."""
    shape = (config.batch_size, config.model.heads, config.model.max_history, config.model.d // config.model.heads)
    q, k, v = (torch.randn(shape, device=config.device, requires_grad=True) for _ in range(3))
    mask = torch.ones(shape[0], 1, 1, shape[2], dtype=torch.bool, device=config.device)

    def step() -> None:
        attend(q, k, v, attn_mask=mask).sum().backward()

    return step


def matmul_softmax(q: Tensor, k: Tensor, v: Tensor, *, attn_mask: Tensor) -> Tensor:
    """Attention written out: (B, h, T, d/h) each -> (B, h, T, d/h)"""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return scores.masked_fill(~attn_mask, -torch.inf).softmax(-1) @ v


RATIOS = [  # name, slower, faster, what we ask for
    ("ours / t5 by event", "t5 by event", "ours", 1.0),
    ("ours / t5 flattened", "t5 flattened", "ours", 4.0),
    ("ours: bf16 / fp32", "ours", "ours bf16", None),
    ("attention: sdpa / matmul", "attention matmul", "attention sdpa", None),
]


def measure(steps: dict[str, Callable[[], None]], *, rounds: int, device: str) -> dict[str, dict[str, list[float]]]:
    """Seconds of each contender in each round, wall and CPU, after one round to warm up."""
    seconds = {name: {"wall": [], "cpu": []} for name in steps}
    for number in tqdm(range(rounds + 1), desc="rounds"):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[name]["wall"].append(time.perf_counter() - wall)
                seconds[name]["cpu"].append(time.process_time() - cpu)
    return seconds


def ratios(seconds: dict[str, dict[str, list[float]]]) -> dict[str, dict]:
    """How many times faster, per round: quartiles over the rounds."""
    found = {}
    for name, slower, faster, wanted in RATIOS:
        found[name] = {"wanted": wanted}
        for clock in ("wall", "cpu"):
            by_round = np.array(seconds[slower][clock]) / np.array(seconds[faster][clock])
            found[name][clock] = np.quantile(by_round, [0.25, 0.5, 0.75]).tolist()
    return found


def main(config: Config) -> dict:
    """Time all contenders, print the tables, write the result file."""
    if config.threads:
        torch.set_num_threads(config.threads)
    origin = provenance()  # before the timing: the code that runs is the code as it was loaded
    seconds = measure(contenders(config), rounds=config.rounds, device=config.device)
    medians = {name: {clock: float(np.median(s)) for clock, s in clocks.items()} for name, clocks in seconds.items()}
    table = ratios(seconds)
    print(f"{'step':28}{'wall ms':>10}{'CPU ms':>10}")
    for name, clocks in medians.items():
        print(f"{name:28}{1e3 * clocks['wall']:10.1f}{1e3 * clocks['cpu']:10.1f}")
    print(f"\n{'times faster':28}{'wall':>8}  [quartiles]{'CPU':>10}  [quartiles]   wanted")
    for name, row in table.items():
        cells = [f"{row[c][1]:8.2f}  [{row[c][0]:.2f}, {row[c][2]:.2f}]" for c in ("wall", "cpu")]
        print(f"{name:28}{'  '.join(cells)}   {row['wanted'] or ''}")
    origin["versions"]["transformers"] = transformers.__version__
    settings = asdict(config) | {"out": config.out.name}
    malloc = {name: os.environ.get(name, "") for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD")}
    device = torch.cuda.get_device_name() if config.device == "cuda" else config.device
    result = {"config": settings, **origin, "malloc": malloc, "device": device}
    result |= {"load": list(os.getloadavg()), "seconds": seconds, "medians": medians, "ratios": table}
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
