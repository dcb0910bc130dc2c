"""Both stages of a small model on a tiny simulated shop."""

import json
from pathlib import Path

import torch

from rclrec_mini.data.simulate import preset, write_prepared
from rclrec_mini.experiments.methods import RCLRecConfig
from rclrec_mini.experiments.run import ExperimentConfig, run_experiment
from rclrec_mini.models.backbone import BackboneConfig
from rclrec_mini.models.rclrec import LossConfig
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.schedule import TrainConfig

TRAINING = TrainConfig(batch_size=29, max_steps=7, evaluate_every=5, max_history=11, accelerator="cpu")
CONFIG = ExperimentConfig(
    model=RCLRecConfig(
        backbone=BackboneConfig(
            levels=3, codes=17, d=26, heads=2, encoder_layers=1, decoder_layers=1, ffn=31, max_history=11, causal=True
        ),
        loss=LossConfig(supervision=0.1),
        prefix_share=0.5,
    ),
    pretrain=TRAINING,
    finetune=TRAINING,
    validation_targets=41,
    beams=13,
)


def make(root: Path) -> None:
    """Write the folders data, ids and run."""
    write_prepared(preset("tiny", users=67), root / "data")
    manifest = json.loads((root / "data" / "manifest.json").read_text())
    shuffle = torch.randperm(17**3, generator=torch.Generator().manual_seed(0))
    codes = torch.cartesian_prod(*[torch.arange(17)] * 3)[shuffle]
    catalog = Catalog(codes[: manifest["counts"]["items"]], n_codes=17, data_hash=manifest["content_hash"])
    catalog.save(root / "ids")
    run_experiment(CONFIG, root / "data", root / "ids", root / "run", progress=False)
