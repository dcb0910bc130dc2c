"""The sizes and schedules of every method: `tiny` to see that it runs, `mini` for two cores, `full` for a GPU."""

from dataclasses import replace
from typing import Any

from rclrec_mini.experiments.methods import PointingConfig, RCLRecConfig, method_name
from rclrec_mini.experiments.run import ExperimentConfig
from rclrec_mini.files import InputError
from rclrec_mini.models.backbone import BackboneConfig
from rclrec_mini.models.baselines.bert4rec import BERT4RecConfig
from rclrec_mini.models.baselines.gear import GEARConfig
from rclrec_mini.models.baselines.hstu import HSTUConfig
from rclrec_mini.models.baselines.mbgen import MBGenConfig
from rclrec_mini.models.baselines.pbat import PBATConfig
from rclrec_mini.models.baselines.sasrec import SASRecConfig
from rclrec_mini.models.baselines.tiger import TIGERConfig
from rclrec_mini.models.language_model import LanguageModelConfig
from rclrec_mini.training.schedule import TrainConfig

MINI_BACKBONE = BackboneConfig(
    codes=16, d=64, heads=2, encoder_layers=2, decoder_layers=1, ffn=256, dropout=0.0, causal=True
)
MINI = {"d": 64, "heads": 2, "layers": 2, "dropout": 0.0}
FULL = {"d": 256, "heads": 8, "layers": 4, "dropout": 0.1}

SMALL_MODELS: dict[str, Any] = {
    "sasrec": SASRecConfig(**MINI, ffn=256),
    "bert4rec": BERT4RecConfig(**MINI, ffn=256, last_share=0.2),
    "pbat": PBATConfig(**MINI),
    "hstu": HSTUConfig(**MINI),
    "tiger": TIGERConfig(backbone=replace(MINI_BACKBONE, behaviors=1)),
    "mbgen": MBGenConfig(backbone=MINI_BACKBONE),
    "gear": GEARConfig(**MINI),
    "rclrec": RCLRecConfig(backbone=MINI_BACKBONE),
    "pointing": PointingConfig(backbone=MINI_BACKBONE),
    "llm": LanguageModelConfig(d=64, heads=2, layers=3, ffn=256, events=50),
}
MODELS: dict[str, dict[str, Any]] = {
    "tiny": SMALL_MODELS,
    "mini": SMALL_MODELS,
    "full": {
        "sasrec": SASRecConfig(**FULL, ffn=1024),
        "bert4rec": BERT4RecConfig(**FULL, ffn=1024),
        "pbat": PBATConfig(**{**FULL, "d": 128, "layers": 2}),
        "hstu": HSTUConfig(**FULL),
        "tiger": TIGERConfig(),
        "mbgen": MBGenConfig(),
        "gear": GEARConfig(**FULL),
        "rclrec": RCLRecConfig(),
        "pointing": PointingConfig(),
        "llm": LanguageModelConfig(d=256, layers=8, heads=8, ffn=1024, events=50),
    },
}
TRAINING: dict[str, dict[str, Any]] = {  # the same for all methods
    "tiny": {
        "pretrain": TrainConfig(max_steps=20, batch_size=8, lr=4e-3, evaluate_every=10),
        "finetune": TrainConfig(max_steps=10, batch_size=64, evaluate_every=5),
        "validation_targets": 100,
    },
    "mini": {
        "pretrain": TrainConfig(epochs=100, max_steps=6000, batch_size=8, lr=4e-3, evaluate_every=1500, patience=2),
        "finetune": TrainConfig(max_steps=400, batch_size=64, lr=3e-4, evaluate_every=50, evaluate_first=True),
        "validation_targets": 1000,
    },
    "full": {"finetune": TrainConfig(lr=3e-4, evaluate_first=True)},
}
# Stage one in mini where it differs, meant to take all methods about as long: on the shop both stages together took 2
# to 4 minutes of one core, MBGen's 5.5 (benchmarks/results/mini/table1.md). Masked training needs larger batches to
# begin to learn.
SCHEDULES = {
    "sasrec": {"max_steps": 10_000},
    "bert4rec": {"max_steps": 2_500, "batch_size": 64},
    "pbat": {"max_steps": 1_200, "batch_size": 32},
    "hstu": {"max_steps": 10_000},
    "mbgen": {"max_steps": 2_000},
    "pointing": {"max_steps": 4_500},
    "llm": {"max_steps": 2_400},
}
PROMPTS = {"max_steps": 150, "batch_size": 16}  # stage two of llm in mini: it reads all of a prompt for one target
# Stage two in mini where prefixes are new to the decoder. The search on the shop takes 3e-4 or little else for all that
# see none or have practised, and ten times as much for RCLRec (benchmarks/results/mini).
NEW_PREFIXES = {"lr": 3e-3}


def preset(name: str, method: str = "rclrec", **changes: Any) -> ExperimentConfig:
    """The configuration of a method in the preset `tiny` (seconds), `mini` (minutes on two cores) or `full` (the
    papers' sizes, for a GPU), with some fields of its model's config changed.

    All methods of a preset train alike but for one rate, see NEW_PREFIXES; in mini their budget is time, so that
    cheaper methods see more samples in stage one. mini differs from the papers in its sizes and in one thing that is
    ours: the encoders of generative methods are causal and predict all events of a history in one pass, and so learn
    from many times as many targets in that time.

    Raises:
        InputError: there is no such preset or method.
    """
    for what, found, known in (("preset", name, MODELS), ("method", method, MODELS.get(name, ()))):
        if found not in known:
            raise InputError(f"{what} {found}: expected one of {', '.join(known)}")
    training = dict(TRAINING[name])
    if name == "mini" and method in SCHEDULES:
        schedule = SCHEDULES[method]
        every = schedule["max_steps"] // 4
        training["pretrain"] = replace(training["pretrain"], **schedule, evaluate_every=every)
    if name == "mini" and method == "llm":
        training["finetune"] = replace(training["finetune"], **PROMPTS)
    model = replace(MODELS[name][method], **changes)
    if name == "mini" and prefixes_are_new(model):
        training["finetune"] = replace(training["finetune"], **NEW_PREFIXES)
    return replace(ExperimentConfig(model=model), **training)


def prefixes_are_new(model: Any) -> bool:
    """Whether the decoder of RCLRec, or a variant of it, meets its first prefix in stage two. A pointing model's does
    too, but it has learned to copy by then and is left at the rate of the others."""
    return method_name(model) == "rclrec" and not model.pointer and model.selector != "none" and not model.prefix_share
