"""Post-training of a trained generative model: what `rclrec post-train` calls.

The folder is an ordinary run, so that evaluate, recommend and export read it like any other:

    experiment.json      that of the run it came from, and under "post_training" the config and the weights' digest
    ids/                 the catalogue
    post_training/       a run of training/trainer.py: the policy, its reference and the objective's state
    finetune/last/       the policy with its best weights
"""

import dataclasses
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import nn

from rclrec_mini.data.prepared import read_table
from rclrec_mini.evaluation.ranking import catalog_of
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.run import check_selection, check_targets, load_run, validate, write_run_folder
from rclrec_mini.files import InputError, clear_leftovers
from rclrec_mini.models.recommender import ItemRecommender
from rclrec_mini.post_training.rere import ReRe, ReReConfig
from rclrec_mini.post_training.sdpo import SDPO, SDPOConfig
from rclrec_mini.records import read_record
from rclrec_mini.semantic_ids.item_features import FeatureConfig, item_vectors
from rclrec_mini.training.checkpoints import save_checkpoint
from rclrec_mini.training.run_folder import first_process, none_before_the_first_step
from rclrec_mini.training.schedule import TrainConfig, check_machine
from rclrec_mini.training.trainer import TrainResult, train

Objective = TypeVar("Objective")
OBJECTIVES = {"rere": ReReConfig, "sdpo": SDPOConfig}


@dataclass(frozen=True)
class PostTrainConfig(Generic[Objective]):
    """An objective and how the policy is trained for it."""

    objective: Objective = field(default_factory=ReReConfig)  # its config decides the method
    training: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            max_steps=400, batch_size=64, lr=1e-4, weight_decay=0.0, evaluate_every=50, evaluate_first=True
        )
    )
    targets: Literal["purchases", "all"] = "purchases"  # which training events are rewarded
    validation_targets: int = 2000  # targets that choose the best weights, drawn once; 0: all
    beams: int = 20  # beams of the search on validation targets
    seed: int = 0  # of the order of samples and of what is drawn; takes the place of the training's own

    def __post_init__(self) -> None:
        check_selection(self, "training")


def post_train(
    policy: nn.Module, config: PostTrainConfig, materials: Materials, run: Path | str, *,
    judge: ItemRecommender | None = None, progress: bool = True,
) -> TrainResult:  # fmt: skip
    """Train `policy` for the objective in the folder `run`, on histories of its own length; it ends with its best
    weights, which may be those that it came with. Stopped and started again with the same policy, it goes on to the
    same result.

    Args:
        judge: a trained recommender that scores items, for ReRe's collaborative reward alone.

    Raises:
        InputError: the policy writes no semantic ids, the objective lacks what it needs, or as training.trainer.train.
    """
    check_targets(materials)
    rows = materials.purchases() if config.targets == "purchases" else materials.split.train
    settings = {"post_training": describe(config), "policy": digest(policy), "data_hash": materials.data_hash}
    learning = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    stage = objective(policy, config, materials, judge=judge)
    result = train(
        stage,
        sequences=materials.sequences,
        rows=rows,
        config=dataclasses.replace(config.training, seed=config.seed, max_history=policy.max_history),
        run=run,
        evaluate=lambda _: validate(policy, materials, n=config.validation_targets, beams=config.beams),
        settings=settings,
        progress=progress,
    )
    for parameter in learning:  # those of a selector stood still
        parameter.requires_grad_(True)
    policy.eval()
    return result


def objective(
    policy: nn.Module, config: PostTrainConfig, materials: Materials, *, judge: ItemRecommender | None = None
) -> nn.Module:
    """The policy behind what it learns from, as one module for the trainer."""
    catalog, chosen = catalog_of(policy, materials.catalog), config.objective
    if catalog is None:
        raise InputError("post-train: found a model that scores items, expected one that writes semantic ids")
    sequences, events = materials.sequences, materials.split.train_event
    if isinstance(chosen, SDPOConfig):
        popularity = torch.from_numpy(np.bincount(sequences.item[events], minlength=sequences.n_items))
        return SDPO(policy=policy, catalog=catalog, config=chosen, popularity=popularity)
    vectors = None
    if chosen.reward.semantic:
        items = read_table(materials.folder, "items")
        vectors = torch.from_numpy(item_vectors(items, sequences, events, FeatureConfig(), progress=False))
    return ReRe(policy=policy, catalog=catalog, config=chosen, vectors=vectors, judge=judge)


def describe(config: PostTrainConfig) -> dict[str, Any]:
    """The config as JSON values, the objective's name first."""
    name = next(name for name, kind in OBJECTIVES.items() if kind is type(config.objective))
    return {"method": name, **asdict(config)}


def digest(model: nn.Module) -> str:
    """Tells weights from others."""
    found = sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def post_train_run(
    config: PostTrainConfig, source: Path | str, data: Path | str, out: Path | str, *, judge: Path | str | None = None,
    progress: bool = True,
) -> nn.Module:  # fmt: skip
    """`post_train` from the finished run `source` into the run folder `out`, and the policy with its best weights.

    Args:
        judge: a finished run of a method that scores items, such as SASRec.

    Raises:
        InputError: a run cannot be loaded, `out` holds another run, or as `post_train`.
    """
    check_machine(config.training)
    source, out = Path(source), Path(out)
    policy, _, materials = load_run(source, data)
    scorer = None if judge is None else load_run(judge, data)[0]
    if scorer is not None and catalog_of(scorer, materials.catalog) is not None:
        raise InputError(f"{judge}: found a model that writes semantic ids, expected a judge that scores items")
    objective(policy, config, materials, judge=scorer)  # refuses a misfit before there is a folder
    settings = read_record(source / "experiment.json", {}, more=True)
    settings["post_training"] = {**describe(config), "policy": digest(policy)}
    with none_before_the_first_step(out):
        if first_process():
            clear_leftovers(out.parent, out.name)
            write_run_folder(out, settings, materials, inputs=(source, materials.folder))
        result = post_train(policy, config, materials, out / "post_training", judge=scorer, progress=progress)
    if first_process():
        state = {"step": result.best_step, "finished": True}
        save_checkpoint(out / "finetune" / "last", policy, None, state)
    return policy
