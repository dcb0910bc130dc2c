"""RCLRec from a prepared data set to metrics and recommendations: what `rclrec train`, `evaluate` and `recommend` call.

A run folder:

    experiment.json    ExperimentConfig, data hash
    ids/               the catalogue
    pretrain/          a run of training/trainer.py: stage one, all behaviours
    finetune/          stage two, purchases

Both stages resume where they were stopped; an unfinished run is refused by whatever wants its model.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rclrec_mini.data.schema import BEHAVIORS, ITEMS, PURCHASE, TRUTH, USERS
from rclrec_mini.data.sequences import Batch, Sequences, Split, every_nth, read_table, split_last_purchase
from rclrec_mini.decoding.beam_search import GenerativeModel, beam_search
from rclrec_mini.evaluation.metrics import evaluate_rankings, summarize
from rclrec_mini.files import InputError, read_json, write_json
from rclrec_mini.models.backbone import Backbone, BackboneConfig
from rclrec_mini.models.curriculum import (
    RCPM,
    OracleK,
    RandomK,
    RecentK,
    Sometimes,
    journey_mask,
    recovery,
    user_profiles,
)
from rclrec_mini.models.rclrec import LossConfig, RCLRec
from rclrec_mini.models.recommender import Pretraining
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.training.checkpoints import load_weights, provenance
from rclrec_mini.training.trainer import TrainConfig, TrainResult, first_process, train

CUTOFFS = (5, 10)


@dataclass(frozen=True)
class ExperimentConfig:
    """RCLRec and its two stages of training. Defaults are the paper's where it gives them."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    selector: Literal["rcpm", "recent", "random", "oracle", "none"] = "rcpm"  # none: the ablation w/o RCPM
    k: int = 4  # events of the curriculum
    tau: float = 0.5  # temperature of p
    user_buckets: int = 2000  # user ids are hashed into as many
    loss: LossConfig = field(default_factory=LossConfig)
    prefix_share: float = 0.0  # ours: share of pre-training samples that also see a random prefix
    pretrain: TrainConfig = field(default_factory=TrainConfig)
    finetune: TrainConfig = field(default_factory=lambda: TrainConfig(lr=3e-4))
    validation_targets: int = 2000  # targets that choose the best weights, drawn once; 0: all
    beams: int = 20  # beams of the search on validation targets
    seed: int = 0  # of initial weights, order of samples, dropout; takes the place of the stages' own seeds


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "mini": {
        "backbone": BackboneConfig(
            codes=16,
            d=64,
            heads=2,
            encoder_layers=2,
            decoder_layers=1,
            ffn=256,
            dropout=0.0,
            causal=True,
        ),
        "pretrain": TrainConfig(epochs=100, max_steps=6000, batch_size=8, lr=4e-3, evaluate_every=2000, patience=0),
        "finetune": TrainConfig(epochs=10, batch_size=64, lr=1e-3, patience=3),
        "validation_targets": 1000,
    },
}


def preset(name: str, **changes: Any) -> ExperimentConfig:
    """The configuration `paper` (its sizes, for a GPU) or `mini` (minutes on two cores), with some fields changed.

    mini differs from the paper in its sizes and in one thing that is ours: a causal encoder, which predicts all
    events of a history in one pass and so learns from many times as many targets in the same time.

    Raises:
        InputError: there is no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name}: expected one of {', '.join(PRESETS)}")
    return ExperimentConfig(**{**PRESETS[name], **changes})


@dataclass(frozen=True)
class Materials:
    """What every experiment on a data set shares. `journey` (N,) is the truth of a simulated shop, else None."""

    folder: Path
    sequences: Sequences
    split: Split
    catalog: Catalog
    profiles: Tensor  # x_u as category numbers (U, f), the user's number first
    journey: Tensor | None
    data_hash: str

    @classmethod
    def load(cls, data: Path | str, ids: Path | str) -> "Materials":
        """Read a prepared data set and the catalogue made from it, split leave-last-purchase-out.

        Raises:
            InputError: a file is missing or damaged, or the ids were made from other data.
        """
        data = Path(data)
        sequences = Sequences.load(data)
        data_hash = read_json(data / "manifest.json")["content_hash"]
        truth = data / "truth.parquet"
        journey = read_table(truth, TRUTH)["journey"].to_numpy().astype(np.int64) if truth.exists() else None
        return cls(
            folder=data,
            sequences=sequences,
            split=split_last_purchase(sequences),
            catalog=Catalog.load(ids, data_hash=data_hash),
            profiles=_demographics(data / "users.parquet"),
            journey=None if journey is None else torch.from_numpy(journey),
            data_hash=data_hash,
        )

    def purchases(self) -> np.ndarray:
        """Rows of the training purchases, the samples of fine-tuning."""
        rows = self.split.train
        return rows[self.sequences.behavior[rows] == PURCHASE]

    def validation(self, n: int) -> np.ndarray:
        """n validation targets, the same for every method (0: all)."""
        rows = self.split.validation
        return np.sort(np.random.default_rng(0).permutation(rows)[:n]) if n else rows


def _demographics(path: Path) -> Tensor:
    """Age range and gender as category numbers (U, 2), 0 where unknown."""
    table = read_table(path, USERS)
    columns = []
    for name in ("age_range", "gender"):
        values = table[name].to_numpy(zero_copy_only=False).astype(str)
        columns.append(np.unique(values, return_inverse=True)[1])
    return torch.from_numpy(np.stack(columns, axis=1))


def build_model(config: ExperimentConfig, materials: Materials, *, selector: bool = True) -> RCLRec:
    """RCLRec with fresh weights; without its selector it is the model of pre-training.

    Raises:
        InputError: the oracle is asked for where the truth is not known, or ids and backbone disagree.
    """
    catalog, sizes = materials.catalog, config.backbone
    if (catalog.levels, catalog.n_codes) != (sizes.levels, sizes.codes):
        raise InputError(
            f"backbone: found {sizes.levels} levels of {sizes.codes} codes, "
            f"expected the catalogue's {catalog.levels} of {catalog.n_codes}"
        )
    backbone = Backbone(sizes)
    chosen = build_selector(config, materials, backbone) if selector else None
    return RCLRec(backbone=backbone, codes=catalog.codes, selector=chosen, loss=config.loss, journey=materials.journey)


def build_selector(config: ExperimentConfig, materials: Materials, backbone: Backbone) -> nn.Module | None:
    """The selector that the config names, see models/curriculum.py."""
    k = config.k
    if config.selector == "oracle":
        if materials.journey is None:
            raise InputError(f"{materials.folder}: truth.parquet not found, the oracle needs a simulated shop")
        return OracleK(k=k, journey=materials.journey)
    if config.selector == "rcpm":
        sizes = config.backbone
        profiles = user_profiles(
            n_users=materials.sequences.n_users, buckets=config.user_buckets, demographics=materials.profiles
        )
        return RCPM(
            d=sizes.d, k=k, tau=config.tau, max_history=sizes.max_history, profiles=profiles,
            behavior_embedding=backbone.behavior_embedding,
        )  # fmt: skip
    return {"recent": RecentK(k=k), "random": RandomK(k=k), "none": None}[config.selector]


def pretrain(config: ExperimentConfig, materials: Materials, run: Path | str, *, progress: bool = True) -> TrainResult:
    """Stage one, in the folder `run`: next-item generation under all behaviours (eq. 1)."""
    torch.manual_seed(config.seed)
    model = build_model(config, materials, selector=False)
    if config.prefix_share:
        model.selector = Sometimes(RandomK(k=config.k), share=config.prefix_share)
    rows = materials.split.train
    if config.backbone.causal:
        rows = every_nth(materials.sequences, rows, config.pretrain.max_history // 2)
    stage = Pretraining(model=model)
    return _train(stage, model, config, config.pretrain, materials, rows, run, progress=progress)


def finetune(
    config: ExperimentConfig, materials: Materials, run: Path | str, *, pretrained: Path | str, progress: bool = True
) -> tuple[RCLRec, TrainResult]:
    """Stage two, in the folder `run`: purchases with the curriculum (eq. 9), from the backbone of `pretrained`."""
    torch.manual_seed(config.seed)
    first = build_model(config, materials, selector=False)
    load_weights(pretrained, Pretraining(model=first))
    model = build_model(config, materials)
    model.backbone.load_state_dict(first.backbone.state_dict())
    if config.loss.lambda_qual and model.selector is not None:
        model.reference = first.backbone.requires_grad_(False)
    rows = materials.purchases()
    result = _train(model, model, config, config.finetune, materials, rows, run, progress=progress)
    return model.eval(), result


def _train(
    stage: nn.Module, model: RCLRec, config: ExperimentConfig, training: TrainConfig, materials: Materials,
    rows: np.ndarray, run: Path | str, *, progress: bool,
) -> TrainResult:  # fmt: skip
    validation = materials.validation(config.validation_targets)

    def evaluate(_: nn.Module) -> dict[str, float]:
        # prefixes of pre-training are practice, not what the model is judged by
        selector, model.selector = model.selector, None if stage is not model else model.selector
        items = rank(model, materials, validation, beams=config.beams)
        model.selector = selector
        scores = evaluate_rankings(items, materials.sequences.item[validation])
        return {name: float(values.mean()) for name, values in scores.items()}

    settings = asdict(config)
    del settings["pretrain"], settings["finetune"]
    return train(
        stage,
        sequences=materials.sequences,
        rows=rows,
        config=dataclasses.replace(training, seed=config.seed),
        run=run,
        evaluate=evaluate,
        settings={**settings, "data_hash": materials.data_hash},
        progress=progress,
    )


def run_experiment(
    config: ExperimentConfig, data: Path | str, ids: Path | str, out: Path | str, *, progress: bool = True
) -> RCLRec:
    """Both stages into the run folder `out`; started again after an interruption, it goes on.

    Raises:
        InputError: data and ids do not fit, or `out` holds a run with another config or data.
    """
    out, materials = Path(out), Materials.load(data, ids)
    if first_process():
        _claim(out, config, materials)
    pretrain(config, materials, out / "pretrain", progress=progress)
    model, _ = finetune(config, materials, out / "finetune", pretrained=out / "pretrain", progress=progress)
    return model


def _claim(out: Path, config: ExperimentConfig, materials: Materials) -> None:
    """Make `out` the run folder of this config and data, unless it is already."""
    settings, record = {**asdict(config), "data_hash": materials.data_hash}, out / "experiment.json"
    if record.exists():
        if read_json(record) != settings:
            raise InputError(f"{record}: found another config or data, expected the same or an empty folder")
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: found a folder that is not empty and holds no run, expected none")
    build_model(config, materials)  # refuses what does not fit before anything is written
    materials.catalog.save(out / "ids")
    write_json(record, settings)


def load_run(run: Path | str, data: Path | str) -> tuple[RCLRec, ExperimentConfig, Materials]:
    """The fine-tuned model of a finished run, in eval mode.

    Raises:
        InputError: the run is missing, unfinished, or was made from other data.
    """
    run = Path(run)
    settings = read_json(run / "experiment.json")
    data_hash = settings.pop("data_hash")
    materials = Materials.load(data, run / "ids")
    if materials.data_hash != data_hash:
        raise InputError(f"{data}: content_hash is {materials.data_hash}, the run {run} was trained on {data_hash}")
    config = _config(settings)
    last = run / "finetune" / "last" / "state.json"
    if not last.exists() or not read_json(last)["finished"]:
        raise InputError(f"{run}: fine-tuning has not finished, run rclrec train again with the same flags")
    model = build_model(config, materials)
    if config.loss.lambda_qual and model.selector is not None:
        model.reference = Backbone(config.backbone).requires_grad_(False)
    return load_weights(run / "finetune", model).eval(), config, materials


def _config(settings: dict[str, Any]) -> ExperimentConfig:
    parts = {"backbone": BackboneConfig, "loss": LossConfig, "pretrain": TrainConfig, "finetune": TrainConfig}
    return ExperimentConfig(**{**settings, **{name: part(**settings[name]) for name, part in parts.items()}})


def rank(
    model: GenerativeModel, materials: Materials, rows: np.ndarray, *, k: int = 10, beams: int = 20,
    batch_size: int = 512, progress: bool = False,
) -> np.ndarray:  # fmt: skip
    """The k best items of the catalogue for the targets at `rows`: (n,) -> (n, k), -1 where fewer."""
    catalog = materials.catalog.to(next(model.parameters()).device)
    items = [np.zeros((0, k), np.int64)]
    for batch in _batches(model, materials, rows, batch_size, progress=progress):
        items.append(beam_search(model, batch, catalog, beams=beams, k=k)[0].cpu().numpy())
    return np.concatenate(items)


def _batches(
    model: RCLRec, materials: Materials, rows: np.ndarray, batch_size: int, *, progress: bool
) -> Iterator[Batch]:
    """The samples at `rows`, in order, on the model's device."""
    device = next(model.parameters()).device
    for first in tqdm(range(0, len(rows), batch_size), desc="ranking", unit="batch", disable=not progress):
        chunk = rows[first : first + batch_size]
        yield materials.sequences.batch(chunk, model.backbone.config.max_history).to(device)


@torch.inference_mode()
def selector_recovery(
    model: RCLRec, materials: Materials, rows: np.ndarray, *, batch_size: int = 512
) -> dict[str, np.ndarray]:
    """Precision and recall of the true journeys' events for the targets at `rows`, each (n,); nan where the history
    holds none. Needs a simulated shop and a selector."""
    found, journey = [], materials.journey.to(next(model.parameters()).device)
    for batch in _batches(model, materials, rows, batch_size, progress=False):
        selection = model.select(model.encode(batch), batch)
        found.append(recovery(selection, journey_mask(journey, batch)))
    return {name: torch.cat([getattr(f, name) for f in found]).cpu().numpy() for name in ("precision", "recall")}


def evaluate_run(
    run: Path | str, data: Path | str, *, split: Literal["validation", "test"] = "test", beams: int = 20,
    progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Recall and NDCG of a run on its conversion targets, with 95% bootstrap intervals over users."""
    model, config, materials = load_run(run, data)
    rows = getattr(materials.split, split)
    items = rank(model, materials, rows, beams=beams, progress=progress)
    scores = evaluate_rankings(items, materials.sequences.item[rows])
    result = {
        "run": str(run),
        "split": split,
        "targets": len(rows),
        "metrics": {name: asdict(estimate) for name, estimate in summarize(scores).items()},
        "selector": config.selector,
        "beams": beams,
        "seed": config.seed,
        "data_hash": materials.data_hash,
        **provenance(),
    }
    if materials.journey is not None and model.selector is not None:
        found = selector_recovery(model, materials, rows)
        result["recovery"] = {name: float(np.nanmean(values)) for name, values in found.items()}
    return result


@torch.inference_mode()
def recommend(
    run: Path | str, data: Path | str, *, users: list[str], k: int = 10, beams: int = 20
) -> list[dict[str, Any]]:
    """What users would buy next, given all their events: for each raw user id the k best items with scores (natural
    log-probabilities) and the curriculum that the model put before them.

    Raises:
        InputError: a user is unknown or has no events.
    """
    model, config, materials = load_run(run, data)
    data, sequences = Path(data), materials.sequences
    ids = pq.read_table(data / "users.parquet", columns=["raw_id"])["raw_id"].to_pylist()
    number = {raw: user for user, raw in enumerate(ids)}
    catalogue = read_table(data / "items.parquet", ITEMS)
    answers = []
    for raw in users:
        if raw not in number:
            raise InputError(f"{data / 'users.parquet'}: user {raw} not found among {len(ids)} users")
        batch = sequences.batch_after(number[raw], config.backbone.max_history, behavior=PURCHASE)
        selection = model.select(model.encode(batch), batch)
        items, scores = beam_search(model, batch, materials.catalog, beams=max(beams, k), k=k)
        chosen = [int(i) for i, valid in zip(selection.index[0], selection.valid[0], strict=True) if valid]
        answers.append(
            {
                "user": raw,
                "curriculum": [
                    {
                        **_describe(catalogue, int(batch.item[0, t])),
                        "behavior": BEHAVIORS[int(batch.behavior[0, t])],
                        "events_ago": batch.mask.shape[1] - t,
                    }
                    for t in chosen
                ],
                "items": [
                    {**_describe(catalogue, item), "score": score}
                    for item, score in zip(items[0].tolist(), scores[0].tolist(), strict=True)
                    if item >= 0
                ],
            }
        )
    return answers


def _describe(catalogue: Any, item: int) -> dict[str, Any]:
    """A row of the item table without what is unknown."""
    row = catalogue.slice(item, 1).to_pylist()[0]
    return {name: value for name, value in row.items() if value is not None and name != "item"}
