"""The sizes and schedules of every method: `mini` for two cores in minutes, `full` for a GPU."""

from dataclasses import replace
from typing import Any

from rclrec_mini.evaluation.experiments import ExperimentConfig
from rclrec_mini.evaluation.methods import METHODS, RCLRecConfig
from rclrec_mini.files import InputError
from rclrec_mini.models.backbone import BackboneConfig
from rclrec_mini.training.trainer import TrainConfig

MINI_BACKBONE = BackboneConfig(
    codes=16, d=64, heads=2, encoder_layers=2, decoder_layers=1, ffn=256, dropout=0.0, causal=True
)
MINI_PRETRAIN = TrainConfig(epochs=100, max_steps=6000, batch_size=8, lr=4e-3, evaluate_every=2000, patience=0)

PRESETS: dict[str, dict[str, Any]] = {
    "mini": {
        "rclrec": {"model": RCLRecConfig(backbone=MINI_BACKBONE), "pretrain": MINI_PRETRAIN},
    },
    "full": {
        "rclrec": {},
    },
}
COMMON: dict[str, dict[str, Any]] = {  # of all methods
    "mini": {"finetune": TrainConfig(epochs=10, batch_size=64, lr=1e-3, patience=3), "validation_targets": 1000},
    "full": {},
}


def preset(name: str, method: str = "rclrec", **changes: Any) -> ExperimentConfig:
    """The configuration of a method in the preset `mini` (minutes on two cores) or `full` (the papers' sizes, for a
    GPU), with some fields changed.

    mini differs from the paper in its sizes and in one thing that is ours: a causal encoder, which predicts all
    events of a history in one pass and so learns from many times as many targets in the same time.

    Raises:
        InputError: there is no such preset or method.
    """
    for what, found, known in (("preset", name, PRESETS), ("method", method, METHODS)):
        if found not in known:
            raise InputError(f"{what} {found}: expected one of {', '.join(known)}")
    default = ExperimentConfig(model=METHODS[method].config())
    return replace(default, **{**COMMON[name], **PRESETS[name].get(method, {}), **changes})
