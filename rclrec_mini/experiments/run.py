"""One method from a prepared data set to metrics: what `rclrec train` and `evaluate` call.

A run folder:

    experiment.json    the method's name, ExperimentConfig, data hash
    ids/               the catalogue
    pretrain/          a run of training/trainer.py: stage one, all behaviours
    finetune/          stage two, purchases

Both stages resume where they were stopped; an unfinished run is refused by whatever wants its model.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import nn

from rclrec_mini.checks import MAX_SEED, FieldError, at_least, within
from rclrec_mini.data.prepared import data_hash as data_hash_of
from rclrec_mini.data.sequences import every_nth
from rclrec_mini.decoding.beam_search import Search, beam_search
from rclrec_mini.evaluation.metrics import CUTOFFS, coverage, evaluate_rankings, metric_names, of_users, summarize
from rclrec_mini.evaluation.ranking import rank
from rclrec_mini.evaluation.recovery import selector_recovery
from rclrec_mini.experiments.decoding import DecodingConfig, search_of
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import METHODS, RCLRecConfig, method_name
from rclrec_mini.files import InputError, check_apart, clear_leftovers, whole_folder, write_json
from rclrec_mini.models.curriculum import OracleK
from rclrec_mini.models.recommender import Pretraining
from rclrec_mini.records import as_dataclass, checked, read_record
from rclrec_mini.training.checkpoints import load_weights, provenance
from rclrec_mini.training.run_folder import check_same_settings, first_process, none_before_the_first_step
from rclrec_mini.training.schedule import TrainConfig, check_machine
from rclrec_mini.training.trainer import TrainResult, train

Model = TypeVar("Model")


@dataclass(frozen=True)
class ExperimentConfig(Generic[Model]):
    """A method and its two stages of training."""

    model: Model = field(default_factory=RCLRecConfig)  # its config decides the method
    pretrain: TrainConfig = field(default_factory=TrainConfig)
    finetune: TrainConfig = field(default_factory=lambda: TrainConfig(lr=3e-4))
    validation_targets: int = 2000  # targets that choose the best weights, drawn once; 0: all
    beams: int = 20  # beams of the search on validation targets
    seed: int = 0  # of initial weights, order of samples, dropout; takes the place of the stages' own seeds

    def __post_init__(self) -> None:
        check_selection(self, "pretrain", "finetune")
        longest = getattr(getattr(self.model, "backbone", self.model), "max_history", math.inf)
        for name in ("pretrain", "finetune"):
            if (events := getattr(self, name).max_history) > longest:
                raise FieldError(f"{name}.max_history", f"found {events}, expected at most the model's {longest}")

    def with_model(self, **changes: Any) -> "ExperimentConfig[Model]":
        """The same with some fields of the model's config changed."""
        return dataclasses.replace(self, model=dataclasses.replace(self.model, **changes))


def check_selection(config: Any, *stages: str) -> None:
    """Raise FieldError unless the seed, and what says how the best weights of the stages are chosen, are in order."""
    at_least(config, 0, "validation_targets")
    within(config, 0, MAX_SEED, "seed")
    at_least(config, max(CUTOFFS), "beams")
    known = metric_names()
    for name in stages:
        if (monitor := getattr(config, name).monitor) not in known:
            raise FieldError(f"{name}.monitor", f"found {monitor!r}, expected one of {', '.join(known)}")


def pretrain(
    config: ExperimentConfig, materials: Materials, run: Path | str, *, progress: bool = True
) -> tuple[nn.Module, TrainResult]:
    """Stage one, in the folder `run`: the method's own objective over events of all behaviours (RCLRec: eq. 1).
    Returns the model with its best weights, and how the run ended."""
    check_targets(materials)
    config = for_stage_one(config)
    model = _fresh(config, materials)
    rows = materials.split.train
    if model.every_event:
        read = min(config.pretrain.max_history, model.max_history)
        rows = every_nth(materials.sequences, rows, max(1, read // 2))
    stage = Pretraining(model=model)
    result = train_stage(stage, model, config, config.pretrain, materials, rows, run, progress=progress)
    return model.eval(), result


def check_targets(materials: Materials) -> None:
    """Raise InputError unless both stages have samples and validation has targets."""
    kinds = {"training purchase": materials.purchases(), "validation purchase": materials.split.validation}
    for kind, rows in kinds.items():
        if len(rows) == 0:
            raise InputError(
                f"{materials.folder}: found no {kind}, expected users with three purchases: the last is the test "
                "target, the one before it validates, the others train"
            )


def for_stage_one(config: ExperimentConfig) -> ExperimentConfig:
    """The config with what only stage two reads at its default: rows that differ in that share their stage one."""
    return dataclasses.replace(config, model=METHODS[method_name(config.model)].of_first(config.model))


def finetune(
    config: ExperimentConfig, materials: Materials, run: Path | str, *, pretrained: Path | str, progress: bool = True
) -> tuple[nn.Module, TrainResult]:
    """Stage two, in the folder `run`: purchases alone (RCLRec: eq. 9), from the weights of the run `pretrained`.
    Returns as `pretrain`."""
    model = _fresh(config, materials)
    load_weights(pretrained, Pretraining(model=model))
    model = METHODS[method_name(config.model)].second(config.model, materials, model)
    result = train_stage(
        model, model, config, config.finetune, materials, materials.purchases(), run, progress=progress
    )
    return model.eval(), result


def _fresh(config: ExperimentConfig, materials: Materials) -> nn.Module:
    """The model of stage one, before it."""
    torch.manual_seed(config.seed)
    return METHODS[method_name(config.model)].first(config.model, materials)


def train_stage(
    stage: nn.Module, model: nn.Module, config: ExperimentConfig, training: TrainConfig, materials: Materials,
    rows: np.ndarray, run: Path | str, *, progress: bool,
) -> TrainResult:  # fmt: skip
    """Train `stage` on the samples at `rows`; `model`, which it holds, is what ranks the validation targets."""
    settings = describe(config)
    del settings["pretrain"], settings["finetune"]
    return train(
        stage,
        sequences=materials.sequences,
        rows=rows,
        config=dataclasses.replace(training, seed=config.seed),
        run=run,
        evaluate=lambda _: validate(model, materials, n=config.validation_targets, beams=config.beams),
        settings={**settings, "data_hash": materials.data_hash},
        progress=progress,
    )


def validate(
    model: nn.Module, materials: Materials, *, n: int, beams: int, search: Search = beam_search
) -> dict[str, float]:
    """Means of all metrics over n validation targets (0: all)."""
    rows = materials.validation(n)
    items = rank(model, materials.sequences, materials.catalog, rows, beams=beams, search=search)
    scores = evaluate_rankings(items, materials.sequences.item[rows])
    return {name: float(values.mean()) for name, values in scores.items()}


def describe(config: ExperimentConfig) -> dict[str, Any]:
    """The config as JSON values, the method's name first."""
    return {"method": method_name(config.model), **asdict(config)}


def from_description(settings: dict[str, Any], name: str = "settings") -> ExperimentConfig:
    """The config that `describe` described.

    Raises:
        InputError: a key is missing, unknown or of another type; the message begins with `name`.
    """
    settings = dict(checked(settings, {"method": Literal[tuple(METHODS)], "model": dict}, name, more=True))
    kind = METHODS[settings.pop("method")].config
    model = as_dataclass(kind, settings.pop("model"), f"{name}: model")
    return as_dataclass(ExperimentConfig, settings, name, model=model)


def run_experiment(
    config: ExperimentConfig, data: Path | str, ids: Path | str, out: Path | str, *, progress: bool = True
) -> nn.Module:
    """Both stages into the run folder `out`; started again after an interruption, it goes on.

    Raises:
        InputError: data and ids do not fit, `out` holds a run with another config or data, or this machine or these
            data are not enough. A run that fails before its first step leaves no folder.
    """
    for stage in (config.pretrain, config.finetune):
        check_machine(stage)
    out, materials = Path(out), Materials.load(data, ids)
    check_targets(materials)
    with none_before_the_first_step(out):
        if first_process():
            _claim(out, config, materials, Path(ids))
        pretrain(config, materials, out / "pretrain", progress=progress)
        model, _ = finetune(config, materials, out / "finetune", pretrained=out / "pretrain", progress=progress)
    return model


def _claim(out: Path, config: ExperimentConfig, materials: Materials, ids: Path) -> None:
    """Make `out` the run folder of this config and data, unless it is already."""
    settings = {**describe(config), "data_hash": materials.data_hash}
    clear_leftovers(out.parent, out.name)
    if not (out / "experiment.json").exists():  # refuses a misfit
        METHODS[method_name(config.model)].second(config.model, materials, _fresh(config, materials))
    write_run_folder(out, settings, materials, inputs=(materials.folder, ids))


def write_run_folder(out: Path, settings: Mapping[str, Any], materials: Materials, *, inputs: Iterable[Path]) -> None:
    """Make `out` a run folder with these settings and the catalogue, unless it is already.

    Raises:
        InputError: it holds a run with other settings, or anything else.
    """
    record = out / "experiment.json"
    check_apart(out)
    if record.exists():
        return check_same_settings(record, settings)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: found a folder that is not empty and holds no run, expected none")
    with whole_folder(out, inputs=tuple(inputs)) as folder:
        (folder / "ids").mkdir()
        materials.catalog.write(folder / "ids")
        write_json(folder / record.name, settings)


def load_run(run: Path | str, data: Path | str) -> tuple[nn.Module, ExperimentConfig, Materials]:
    """The fine-tuned model of a finished run, in eval mode.

    Raises:
        InputError: the run is missing, unfinished, or was made from other data.
    """
    run = Path(run)
    record = run / "experiment.json"
    settings = read_record(record, {"data_hash": str}, more=True)
    data_hash = settings.pop("data_hash")
    settings.pop("post_training", None)  # what became of the model since, see experiments/post_train.py
    if (found := data_hash_of(data)) != data_hash:
        raise InputError(f"{data}: content_hash is {found}, the run {run} was trained on {data_hash}")
    materials = Materials.load(data, run / "ids")
    config = from_description(settings, str(record))
    last = run / "finetune" / "last" / "state.json"
    if not last.exists() or not read_record(last, {"finished": bool}, more=True)["finished"]:
        raise InputError(f"{run}: fine-tuning has not finished, run rclrec train again with the same flags")
    model = METHODS[method_name(config.model)].second(config.model, materials, _fresh(config, materials))
    return load_weights(run / "finetune", model).eval(), config, materials


def load_answering(run: Path | str, data: Path | str) -> tuple[nn.Module, Materials]:
    """As `load_run`, the model of a run that can answer people whose next purchase nobody knows.

    Raises:
        InputError: as load_run, or its curriculum is the oracle's.
    """
    model, _, materials = load_run(run, data)
    if isinstance(getattr(model, "selector", None), OracleK):
        raise InputError(f"{run}: found the selector oracle, which must know the purchase that is to be foretold")
    return model, materials


def load_search(config: DecodingConfig, model: nn.Module, materials: Materials, assistant: Path | str | None) -> Search:
    """What finds the lists of a run's model; `assistant` is the folder of a finished run that scores items.

    Raises:
        InputError: the assistant cannot be loaded, or as decoding.search_of.
    """
    helper = None if assistant is None else load_run(assistant, materials.folder)[0]
    return search_of(config, model, materials, assistant=helper)


def evaluate_run(
    run: Path | str, data: Path | str, *, split: Literal["validation", "test"] = "test", beams: int | None = None,
    cutoffs: tuple[int, ...] = CUTOFFS, decoding: DecodingConfig | None = None,
    assistant: Path | str | None = None, progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Recall, NDCG and MRR of a run on its conversion targets at each of `cutoffs`, with 95% bootstrap intervals over
    users, and how much of the catalogue its lists show. `beams`: width of the search; None: 20, or the largest cutoff.
    `decoding` says how lists are found, `assistant` is the run that helps where it takes one.

    Raises:
        InputError: a cutoff is below 1, there are fewer beams than the largest, or the run cannot be loaded.
    """
    if not cutoffs or min(cutoffs) < 1:
        raise FieldError("cutoffs", f"found {' '.join(map(str, cutoffs)) or 'none'}, expected numbers from 1")
    k = max(cutoffs)
    beams = max(20, k) if beams is None else beams
    if beams < k:
        raise FieldError("beams", f"found {beams}, expected {k} or more, the largest cutoff")
    model, config, materials = load_run(run, data)
    rows, n_items = getattr(materials.split, split), materials.sequences.n_items
    decoding = decoding or DecodingConfig()
    search = load_search(decoding, model, materials, assistant)
    items = rank(
        model, materials.sequences, materials.catalog, rows, k=k, beams=beams, search=search, progress=progress
    )
    scores = evaluate_rankings(items, materials.sequences.item[rows], cutoffs=cutoffs)
    scores = of_users(scores, materials.sequences.user_of(rows))
    result = {
        "run": str(run),
        "split": split,
        "targets": len(rows),
        "metrics": {name: asdict(estimate) for name, estimate in summarize(scores).items()},
        "coverage": {f"coverage@{k}": coverage(items, k, n_items=n_items) for k in cutoffs},
        "method": method_name(config.model),
        "config": describe(config),
        "beams": beams,
        "decoding": asdict(decoding),
        "seed": config.seed,
        "data_hash": materials.data_hash,
        **provenance(),
    }
    if materials.journey is not None and getattr(model, "selector", None) is not None:
        found = selector_recovery(model, materials.sequences, materials.journey, rows)
        result["recovery"] = {name: float(np.nanmean(values)) for name, values in found.items()}
    return result
