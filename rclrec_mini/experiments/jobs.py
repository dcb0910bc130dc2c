"""One run of one stage as a job: many of them side by side, each done when its result.json is written."""

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from tqdm import tqdm

from rclrec_mini.decoding.beam_search import Search
from rclrec_mini.evaluation.metrics import rank_of
from rclrec_mini.evaluation.ranking import rank
from rclrec_mini.evaluation.recovery import attention_entropy, attention_recovery, selector_recovery
from rclrec_mini.experiments.decoding import DecodingConfig, search_of
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import RCLRecConfig
from rclrec_mini.experiments.post_train import PostTrainConfig, post_train
from rclrec_mini.experiments.post_train import describe as describe_post
from rclrec_mini.experiments.run import ExperimentConfig, describe, finetune, pretrain, validate
from rclrec_mini.files import InputError, whole_file, write_json
from rclrec_mini.records import read_lines, read_record
from rclrec_mini.training.checkpoints import provenance
from rclrec_mini.training.trainer import TrainResult

RESULT = {
    "config": dict, "validation": dict[str, float | None], "steps": int, "best_step": int, "seconds": float,
    "parameters": int, "log": dict[str, float], "device": str, "commit": str, "threads": int,
}  # fmt: skip
LISTED = 10  # length of the ranked lists


@dataclass(frozen=True)
class Job:
    """One run of one stage; done when its result.json is written."""

    name: str
    folder: Path
    config: ExperimentConfig
    data: Path
    ids: Path
    from_stage_one: Path | None = None  # its weights; None: this is stage one
    ranks: bool = True  # also rank the test targets
    post: PostTrainConfig | None = None  # post-training, which goes on from stage two
    from_stage_two: Path | None = None  # the job whose model that is
    judge: "Job | None" = None  # the job of what scores items for it
    decoding: DecodingConfig = field(default_factory=DecodingConfig)  # how lists are found; other than by default, the
    # model is that of from_stage_two

    def described(self) -> dict[str, Any]:
        """Its config as JSON values."""
        post = {"post_training": describe_post(self.post)} if self.post else {}
        decoding = {"decoding": asdict(self.decoding)} if self.decoded else {}
        return {**describe(self.config), **post, **decoding}

    @property
    def decoded(self) -> bool:
        """Whether it trains nothing, and finds the lists of another job's model in another way."""
        return self.decoding != DecodingConfig()


def run_jobs(jobs: list[Job], title: str, workers: int, threads: int) -> None:
    """Run what is not done yet, with a bar over all of it."""
    todo = [job for job in jobs if not is_done(job)]
    with tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc=title, unit="run") as bar:
        if workers == 1:
            set_threads(threads)
            for job in todo:
                run_job(job, progress=True)
                bar.update()
            return
        for _ in side_by_side(run_job, [(job,) for job in todo], workers=workers, threads=threads):
            bar.update()


def side_by_side(
    work: Callable[..., Any], calls: Iterable[tuple[Any, ...]], *, workers: int, threads: int
) -> Iterator[None]:
    """Do `work` for the arguments of each call in so many processes, each with `threads` threads of torch, and give
    control back whenever one is done. What one of them raises ends it all."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=set_threads, initargs=(threads,))
    try:
        for done in as_completed([pool.submit(work, *call) for call in calls]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def set_threads(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def is_done(job: Job) -> bool:
    """Whether the job's result is there.

    Raises:
        InputError: it is the result of another config.
    """
    record = job.folder / "result.json"
    if not record.exists():
        return False
    if read_result(job.folder)["config"] != json.loads(json.dumps(job.described())):
        raise InputError(f"{record}: found the result of another config, expected this one or none")
    return True


def read_result(folder: Path) -> dict[str, Any]:
    """The result.json of a job.

    Raises:
        InputError: it is missing, or is no result.
    """
    return read_record(folder / "result.json", RESULT, more=True)


@lru_cache(maxsize=1)
def load_materials(data: Path, ids: Path) -> Materials:
    return Materials.load(data, ids)


def run_job(job: Job, *, progress: bool = False) -> None:
    """Train, rank the test targets, and write ranks.safetensors and, last, result.json."""
    materials = load_materials(job.data, job.ids)
    run = run_of(job)
    model, result = trained(job, materials, progress=progress)
    search, validation = search_for(job, model, materials), result.metrics
    if job.decoded:
        validation = validate(model, materials, n=job.config.validation_targets, beams=job.config.beams, search=search)
    if job.ranks:
        values = test_values(model, materials, job, search)
        with whole_file(job.folder / "ranks.safetensors") as partial:
            save_file(values, partial)
    lines = list(read_lines(run / "log.jsonl"))
    evaluations = [line for line in lines if "validation" in line]
    write_json(
        job.folder / "result.json",
        {
            "config": job.described(),
            "validation": validation,
            **{name: getattr(result, name) for name in ("steps", "best_step", "stopped_early", "seconds")},
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "log": means_of_log(lines),
            "curve": [{"step": line["step"], "seconds": line["seconds"], **line["validation"]} for line in evaluations],
            **({"training": [line for line in lines if "loss" in line]} if job.post else {}),
            **attention_of(model, materials),
            "data_hash": materials.data_hash,
            "device": str(next(model.parameters()).device),
            **provenance(),
        },
    )


def run_of(job: Job) -> Path:
    """The folder of the job's run of training/trainer.py."""
    if job.post:
        return job.folder / "post_training"
    if job.decoded:
        return job.from_stage_two / "finetune"
    return job.folder / "finetune" if job.from_stage_one else job.folder


def trained(job: Job, materials: Materials, *, progress: bool = False) -> tuple[nn.Module, TrainResult]:
    """The model of a job, in eval mode, and how its run ended; what has been trained is read back."""
    run = run_of(job)
    if job.from_stage_two:
        before = replace(
            job, post=None, folder=job.from_stage_two, judge=None, decoding=DecodingConfig(), from_stage_two=None
        )
        model, result = trained(before, materials)
        if job.decoded:
            return model, result
        judge = trained(job.judge, materials)[0] if job.judge else None
        return model, post_train(model, job.post, materials, run, judge=judge, progress=progress)
    if job.from_stage_one:
        return finetune(job.config, materials, run, pretrained=job.from_stage_one, progress=progress)
    return pretrain(job.config, materials, run, progress=progress)


def search_for(job: Job, model: nn.Module, materials: Materials) -> Search:
    """What finds the lists of a job's model."""
    helps = job.judge and job.decoding.method == "d3"
    return search_of(
        job.decoding, model, materials, assistant=trained(job.judge, materials)[0].eval() if helps else None
    )


def test_values(model: nn.Module, materials: Materials, job: Job, search: Search) -> dict[str, np.ndarray]:
    """For each test target its rank among the first ten (10: absent), and on a simulated shop precision and recall
    of the k events that the method selects, or attends to most, each (n,); nan where there is nothing to find."""
    rows = materials.split.test
    items = rank(model, materials.sequences, materials.catalog, rows, k=LISTED, beams=job.config.beams, search=search)
    values: dict[str, np.ndarray] = {"rank": rank_of(items, materials.sequences.item[rows])}
    if materials.journey is None or job.from_stage_one is None:
        return values
    if hasattr(model, "attention"):
        found = attention_recovery(model, materials.sequences, materials.journey, rows, k=RCLRecConfig.k)
        return values | found
    if getattr(model, "selector", None) is not None:
        return values | selector_recovery(model, materials.sequences, materials.journey, rows)
    return values


def attention_of(model: nn.Module, materials: Materials) -> dict[str, list[float]]:
    """How evenly a masked model looks at the history of validation targets, where it tells."""
    if not hasattr(model, "masked_attention"):
        return {}
    return {"attention_entropy": attention_entropy(model, materials.sequences, materials.validation(1000))}


def means_of_log(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Means over a run of what its model logs beside the loss."""
    not_logged = {"step", "seconds", "epoch", "lr"}
    return means(
        [
            {name: line[name] for name in line if name not in not_logged and line[name] is not None}
            for line in lines
            if "loss" in line
        ]
    )


def means(lines: list[dict[str, float]]) -> dict[str, float]:
    """The mean of what any of the lines holds, over those that do."""
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: float(np.mean([line[name] for line in lines if name in line])) for name in names}
