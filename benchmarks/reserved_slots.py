"""What would hits on unseen targets be worth, if they could be had?

    rclrec reproduce pointing --preset mini --unsearched --out runs/pointing
    python benchmarks/reserved_slots.py --study runs/pointing

A list of ten holds what a model thinks likeliest, and next to a purchase that is the history's own: nearly all ten are
items that the user has seen. Here the last j of the ten are kept for the model's best items that the user has *not*
seen. A target that is not in the history is then found if the model has it among its j best of those; a target that is
in the history is lost if it stood among the last j. The curve over j tells what a better generator could win on the
whole list, and what it costs; its j is chosen on validation targets.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import nn

from rclrec_mini.evaluation.metrics import mean_with_interval, ndcg, paired_test, rank_of, recall
from rclrec_mini.evaluation.ranking import batches, best_items, catalog_of
from rclrec_mini.experiments.jobs import load_materials, trained
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.studies import Study, make_study
from rclrec_mini.files import write_json
from rclrec_mini.training.checkpoints import provenance

LISTED = 10


@dataclass(frozen=True)
class Config:
    study: Path = Path("runs/pointing")  # folder of a finished study of the table pointing
    preset: str = "mini"  # its preset
    data: Path | None = None  # its data and ids, where they were given
    ids: Path | None = None
    rows: tuple[str, ...] = ("pointing", "pointing, counting", "pointing, categories of counting", "pointing, oracle-k")
    """which of its rows; those that are not there are left out"""
    seeds: tuple[int, ...] = (0, 1, 2)  # of the study
    threads: int = 1  # of torch
    out: Path = Path(__file__).parent / "results" / "reserved_slots.json"  # result file


@torch.inference_mode()
def two_lists(model: nn.Module, materials: Materials, rows: np.ndarray, *, beams: int) -> dict[str, np.ndarray]:
    """For each target its place among the items of the history alone, and among all others alone (LISTED: not among
    the first ten), and how many items the history has, each (n,)."""
    catalog, n_items = catalog_of(model, materials.catalog), materials.sequences.n_items
    found: dict[str, list[np.ndarray]] = {"own": [], "new": [], "items": []}
    for batch in batches(model, materials.sequences, rows):
        seen = torch.zeros(len(batch), n_items + 1, dtype=torch.bool, device=batch.item.device)
        seen = seen.scatter_(1, batch.item.masked_fill(~batch.mask, n_items), True)[:, :n_items]
        target = batch.target_item.cpu().numpy()
        for name, hidden in (("own", ~seen), ("new", seen)):
            items, _ = best_items(model, batch, catalog, k=LISTED, beams=beams, seen=hidden)
            found[name].append(rank_of(items.cpu().numpy(), target))
        found["items"].append(seen.sum(1).cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def merged(lists: dict[str, np.ndarray], j: int) -> np.ndarray:
    """The place of each target in a list of ten whose last j are kept for items that the user has not seen, or more
    where the history has fewer than the others: (..., n)"""
    own = np.minimum(LISTED - j, lists["items"])
    place = np.where(lists["own"] < own, lists["own"], LISTED)
    return np.minimum(place, np.where(lists["new"] < LISTED - own, lists["new"] + own, LISTED))


def measured(study: Study, materials: Materials, name: str) -> dict[str, Any]:
    """The curve of one row of the study over all seeds, and what its best j gains on validation's choice of none."""
    job = [study.job(name, study.rows("pointing")[name], seed) for seed in study.seeds]
    valid, test = [], []
    for one in job:
        model, _ = trained(one, materials)
        for lists, rows in ((valid, materials.validation(0)), (test, materials.split.test)):
            lists.append(two_lists(model.eval(), materials, rows, beams=one.config.beams))
    valid, test = ({key: np.stack([lists[key] for lists in part]) for key in part[0]} for part in (valid, test))
    chosen = max(range(LISTED + 1), key=lambda j: ndcg(merged(valid, j), LISTED).mean())
    plain = merged(test, 0)
    curve = []
    for j in range(LISTED + 1):
        place = merged(test, j)
        scores = {"recall@10": recall(place, LISTED), "ndcg@10": ndcg(place, LISTED)}
        gain = {f"{metric} gain": asdict(paired_test(score, _of(plain, metric))) for metric, score in scores.items()}
        curve.append({metric: asdict(mean_with_interval(score)) for metric, score in scores.items()} | gain)
    return {"chosen": chosen, "curve": curve, "new": [float(recall(test["new"], j).mean()) for j in range(1, 11)]}


def _of(place: np.ndarray, metric: str) -> np.ndarray:
    return (recall if metric.startswith("recall") else ndcg)(place, LISTED)


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    study = make_study(config.study, preset_name=config.preset, data=config.data, ids=config.ids, seeds=config.seeds)
    if not (study.out / "search").exists():
        study = replace(study, search=None)
    materials = load_materials(study.data, study.ids)
    there = [name for name in config.rows if all((study.row(name, s) / "result.json").exists() for s in study.seeds)]
    rows = {}
    for name in there:
        rows[name] = measured(study, materials, name)
        at = rows[name]["chosen"]
        gain = rows[name]["curve"][at]["recall@10 gain"]["difference"]
        print(f"{name}: j = {at}, R@10 {100 * gain:+.1f}", flush=True)
    settings = {
        "preset": config.preset,
        "seeds": config.seeds,
        "data": materials.label(),
        "targets": len(materials.split.test),
    }
    write_json(config.out, {"config": settings, "rows": rows, **provenance()})


if __name__ == "__main__":
    main(tyro.cli(Config))
