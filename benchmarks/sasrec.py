"""A training step of SASRec against RecBole's, and exact ranking of a million items.

    python benchmarks/sasrec.py --threads 1

RecBole is an optional peer. Its package asks for versions older than ours, and its model needs only a few of them; in
a folder of its own it disturbs nothing:

    pip install --no-deps --target PEER recbole==1.2.1 colorlog colorama texttable tensorboard absl-py protobuf
    PYTHONPATH=PEER python benchmarks/sasrec.py --threads 1

All contenders read the same full histories with the same widths, heads, dropout and ReLU, and take a softmax over all
items and a step (forward, backward, AdamW) of the trainer's optimiser:

    recbole             predicts the target, as it always does: its training set has a sample for every event
    recbole, as shipped the same in autograd's anomaly mode, which one of RecBole's files (sine.py) switches on as soon
                        as any sequential model is imported; switched off for all the others
    ours                predicts the target: fine-tuning
    ours, all events    predicts all T targets of the sample in one pass: pre-training
    ours, sampled       the same with 1,000 drawn items in place of all

Contenders take turns; medians are over rounds, and a ratio is the median of the rounds' ratios, with quartiles. Wall
time suffers on a shared machine, so the CPU time of the process is told beside it. The ranking comes first, so that
the peak of memory is its own.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.decoding.exact_ranking import exact_ranking
from rclrec_mini.files import write_json
from rclrec_mini.models.baselines.sasrec import SASRec, SASRecConfig
from rclrec_mini.training.checkpoints import provenance
from rclrec_mini.training.schedule import TrainConfig, build_optimizer


@dataclass(frozen=True)
class Config:
    """Sizes of the comparison; the model's are RecBole's defaults."""

    items: int = 10_000  # items of the catalogue in training
    batch_size: int = 64  # samples of a training step, each with a full history
    rounds: int = 30  # timed steps of each contender
    ranked_items: int = 1_000_000  # items of the catalogue in ranking
    ranked_users: int = 256  # users ranked for at once
    rankings: int = 3  # timed rankings
    k: int = 10  # items a user
    threads: int = 0  # of torch; 0: as many as it takes by itself
    seed: int = 0
    out: Path = Path(__file__).parent / "results" / "sasrec.json"  # result file
    model: SASRecConfig = field(default_factory=lambda: SASRecConfig(d=64, heads=2, ffn=256))


class RecBole(nn.Module):
    """RecBole's SASRec with cross-entropy, behind our batches; its items are numbered from 1."""

    def __init__(self, config: SASRecConfig, n_items: int):
        super().__init__()
        from recbole.model.sequential_recommender.sasrec import SASRec as Peer

        torch.autograd.set_detect_anomaly(False)  # see the head of this file
        fields = {"USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "LIST_SUFFIX": "_list", "NEG_PREFIX": "other_"}
        sizes = {
            "n_layers": config.layers, "n_heads": config.heads, "hidden_size": config.d, "inner_size": config.ffn,
            "hidden_dropout_prob": config.dropout, "attn_dropout_prob": config.dropout, "hidden_act": "relu",
            "layer_norm_eps": 1e-12, "initializer_range": 0.02, "loss_type": "CE",
            "MAX_ITEM_LIST_LENGTH": config.max_history, "ITEM_LIST_LENGTH_FIELD": "length", "device": "cpu",
        }  # fmt: skip
        self.peer = Peer(fields | sizes, SimpleNamespace(num=lambda name: n_items + 1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        length = batch.mask.sum(1)  # full histories: theirs are aligned to the left
        sample = {"item_list": batch.item + 1, "length": length, "item": batch.target_item + 1}
        return {"loss": self.peer.calculate_loss(sample)}


def full_histories(*, samples: int, items: int, max_history: int, seed: int) -> Batch:
    """A batch of random samples without padding."""
    rng = np.random.default_rng(seed)
    length = max_history + 1
    n = samples * length
    sequences = Sequences(
        item=rng.integers(items, size=n),
        behavior=np.zeros(n, np.int64),
        timestamp=np.arange(n),
        offsets=np.arange(0, n + 1, length),
        n_items=items,
    )
    return sequences.batch(np.arange(length - 1, n, length), max_history)


def training_step(model: nn.Module, objective: Callable[[Batch], dict[str, Tensor]], batch: Batch) -> Callable:
    """One step with the trainer's optimiser, ready to be timed."""
    model.train()
    optimizer = build_optimizer(model, TrainConfig(lr=1e-4))

    def step() -> None:
        objective(batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def contenders(config: Config) -> dict[str, Callable[[], None]]:
    """The steps by name; without RecBole where it is not installed."""
    torch.manual_seed(config.seed)
    sizes = config.model
    batch = full_histories(
        samples=config.batch_size, items=config.items, max_history=sizes.max_history, seed=config.seed
    )
    target, events = (SASRec(config=sizes, n_items=config.items) for _ in range(2))
    sampled = SASRec(config=replace(sizes, negatives=min(1000, config.items)), n_items=config.items)
    steps = {
        "ours": training_step(target, target, batch),
        "ours, all events": training_step(events, events.pretraining, batch),
        "ours, sampled": training_step(sampled, sampled.pretraining, batch),
    }
    try:
        peer = RecBole(sizes, config.items)
    except ModuleNotFoundError as missing:
        print(f"no comparison with RecBole: {missing}; see the head of this file")
        return steps
    step = training_step(peer, peer, batch)

    def as_shipped() -> None:
        with torch.autograd.set_detect_anomaly(True, check_nan=True):
            step()

    return {"recbole": step, "recbole, as shipped": as_shipped} | steps


def measure(steps: dict[str, Callable[[], None]], *, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each contender in each round, wall and CPU, after one round to warm up."""
    seconds = {name: {"wall": [], "cpu": []} for name in steps}
    for number in tqdm(range(rounds + 1), desc="rounds"):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            if number:
                seconds[name]["wall"].append(time.perf_counter() - wall)
                seconds[name]["cpu"].append(time.process_time() - cpu)
    return seconds


def ratios(seconds: dict[str, dict[str, list[float]]], *, targets: int) -> dict[str, dict]:
    """How many times faster than RecBole, per round: quartiles over the rounds.

    `targets` is how many events a step over all events predicts for each that RecBole's predicts.
    """
    if "recbole" not in seconds:
        return {}
    found = {}
    for title, name, times, wanted in (
        ("a step, target alone", "ours", 1, 1.5),
        ("a target, all events", "ours, all events", targets, None),
        ("a target, all events, sampled", "ours, sampled", targets, None),
    ):
        found[title] = {"wanted": wanted}
        for clock in ("wall", "cpu"):
            by_round = times * np.array(seconds["recbole"][clock]) / np.array(seconds[name][clock])
            found[title][clock] = np.quantile(by_round, [0.25, 0.5, 0.75]).tolist()
    return found


def rank(config: Config) -> dict[str, float | list[float]]:
    """Exact ranking: seconds of each, and the process's memory in bytes before it and at its peak."""
    torch.manual_seed(config.seed)
    before = memory("VmRSS")
    model = SASRec(config=config.model, n_items=config.ranked_items).eval()
    batch = full_histories(
        samples=config.ranked_users, items=config.ranked_items, max_history=config.model.max_history, seed=config.seed
    )
    wall, cpu = [], []
    for _ in range(config.rankings):
        start, busy = time.perf_counter(), time.process_time()
        exact_ranking(model, batch, k=config.k)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    return {"wall": wall, "cpu": cpu, "rss_before": before, "rss_peak": memory("VmHWM"), "rss_wanted": 4e9}


def memory(name: str) -> int:
    """Bytes of memory of this process under the kernel's name for it; 0 where there is no /proc."""
    path = Path("/proc/self/status")
    return int(path.read_text().split(f"{name}:")[1].split()[0]) * 1024 if path.exists() else 0


def main(config: Config) -> dict:
    """Rank, time all contenders, print the tables, write the result file."""
    if config.threads:
        torch.set_num_threads(config.threads)
    origin = provenance()  # before the timing: the code that runs is the code as it was loaded
    ranking = rank(config)
    seconds = measure(contenders(config), rounds=config.rounds)
    medians = {name: {clock: float(np.median(s)) for clock, s in clocks.items()} for name, clocks in seconds.items()}
    table = ratios(seconds, targets=config.model.max_history)
    print(f"{'step':32}{'wall ms':>10}{'CPU ms':>10}")
    for name, clocks in medians.items():
        print(f"{name:32}{1e3 * clocks['wall']:10.1f}{1e3 * clocks['cpu']:10.1f}")
    print(f"\n{'times faster than RecBole':32}{'wall':>8}  [quartiles]{'CPU':>10}  [quartiles]   wanted")
    for name, row in table.items():
        cells = [f"{row[c][1]:8.2f}  [{row[c][0]:.2f}, {row[c][2]:.2f}]" for c in ("wall", "cpu")]
        print(f"{name:32}{'  '.join(cells)}   {row['wanted'] or ''}")
    print(
        f"\n{config.ranked_items:,} items ranked for {config.ranked_users} users: "
        f"{np.median(ranking['wall']):.2f} s wall, {np.median(ranking['cpu']):.2f} s CPU, "
        f"peak {ranking['rss_peak'] / 1e9:.2f} GB, of which {ranking['rss_before'] / 1e9:.2f} GB before the model"
    )
    if table:
        origin["versions"]["recbole"] = version("recbole")
    settings = asdict(config) | {"out": config.out.name}
    malloc = {name: os.environ.get(name, "") for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD")}
    result = {"config": settings, **origin, "malloc": malloc, "device": "cpu", "load": list(os.getloadavg())}
    result |= {"seconds": seconds, "medians": medians, "ratios": table, "ranking": ranking}
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
