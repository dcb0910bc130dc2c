"""Run as a script, `two_processes.py OUT DEVICES STRATEGY`: ReRe on beams, which need no chance, on the CPU."""

import sys
from pathlib import Path

import numpy as np
import torch
from seven_items import CODES, small_model, small_sequences

from rclrec_mini.post_training.rere import ReRe, ReReConfig
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.schedule import TrainConfig
from rclrec_mini.training.trainer import train


def main(out: Path, devices: int, strategy: str) -> None:
    torch.set_num_threads(1)
    sequences = small_sequences()
    rows = np.setdiff1d(np.arange(len(sequences)), sequences.offsets)
    stage = ReRe(
        policy=small_model(points=True), catalog=Catalog(CODES, n_codes=3), config=ReReConfig(group=3, lag=3, sync=5)
    )
    config = TrainConfig(
        max_steps=11, batch_size=8, max_history=11, lr=0.01, accelerator="cpu", devices=devices, strategy=strategy
    )
    train(stage, sequences=sequences, rows=rows, config=config, run=out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
