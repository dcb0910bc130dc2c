"""Run as a script, `processes.py OUT DEVICES STRATEGY`: two stages on the CPU, the second with a frozen part."""

import sys
from pathlib import Path

import tiny
import torch

from rclrec_mini.training.run_folder import first_process
from rclrec_mini.training.schedule import TrainConfig
from rclrec_mini.training.trainer import train


def main(out: Path, devices: int, strategy: str) -> None:
    torch.set_num_threads(1)
    sequences = tiny.sequences()
    rows = tiny.rows(sequences)  # 57 samples: batches of 8 end in one of a single sample, so a process has none
    model = tiny.Bag(dropout=0.0)
    config = TrainConfig(
        epochs=3,
        batch_size=8,
        lr=0.02,
        monitor="MRR",
        log_every=5,
        accelerator="cpu",
        devices=devices,
        strategy=strategy,
    )
    evaluate = tiny.evaluator(sequences, rows)
    train(model, sequences=sequences, rows=rows, config=config, run=out / "pretrain", evaluate=evaluate)
    model.embedding.requires_grad_(False)
    train(model, sequences=sequences, rows=rows, config=config, run=out / "finetune", evaluate=evaluate)
    if first_process():
        print("the end")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
