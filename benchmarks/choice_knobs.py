"""Do the arms of a test keep their order when visitors are other than we set them?

    rclrec abtest --data runs/shop ... --out runs/abtest
    python benchmarks/choice_knobs.py --data runs/shop --abtest runs/abtest

At the first visits of users no arm has changed anything yet, so its slates there, which the test has kept, can be shown
to visitors with other knobs (online/choice.py) without a model: each knob is changed alone, and what each arm's slates
are worth is the expectation over the visitors' noise. "incremental" are orders in the place of no purchase that would
have come anyway, in the test or after it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from safetensors.numpy import load_file
from scipy import stats

from rclrec_mini.data.shop_future import Future, shop_of, simulate_future
from rclrec_mini.data.simulate import catalogue
from rclrec_mini.data.simulated_items import SimulatedItems
from rclrec_mini.files import write_json
from rclrec_mini.online.choice import ChoiceConfig, ChoiceModel
from rclrec_mini.records import as_dataclass, read_record
from rclrec_mini.training.checkpoints import provenance

FACTORS = (0.0, 0.5, 2.0)  # of the knobs below; log-odds and the outside option are moved by 1 nat to either side
SCALED = ("eta", "need", "liked", "shelf", "taste", "price", "order_need", "order_liked", "order_buys")
MOVED = ("outside", "order")


@dataclass(frozen=True)
class Config:
    data: Path  # the simulated shop
    abtest: Path  # the folder of a test on it
    users: int = 14_000  # the first users of the test, whose first visits are taken
    draws: int = 16  # of the slots that are examined
    out: Path = Path(__file__).parent / "results" / "abtest" / "knobs.json"  # result file


def variants(base: ChoiceConfig) -> Iterator[tuple[str, ChoiceConfig]]:
    """The knobs as they were, and each changed alone."""
    yield "as set", base
    for name in SCALED:
        for factor in FACTORS:
            yield f"{name} x {factor:g}", replace(base, **{name: factor * getattr(base, name)})
    for name in MOVED:
        for step in (-1, 1):
            yield f"{name} {step:+d}", replace(base, **{name: getattr(base, name) + step})


def worth(
    choice: ChoiceConfig, items: SimulatedItems, future: Future, slates: np.ndarray, draws: int
) -> dict[str, np.ndarray]:
    """Expected clicks, orders and incremental orders of each first visit, of slates (A, F, S): each (A, F)"""
    visitors = ChoiceModel(choice, items, future)
    visit = np.flatnonzero(future.visit_number == 0)
    person, met = future.visit_person[visit][:, None], np.zeros(future.begin.shape, bool)
    found: dict[str, list[np.ndarray]] = {"clicks": [], "orders": [], "incremental": []}
    for slate in slates:
        _, journey = visitors.utilities(visit, slate, met)
        click, order = visitors.expected(visit, slate, met, draws=draws)
        anyway = (journey >= 0) & future.buys[person, journey]
        for values, of in zip(found.values(), (click, order, order * ~anyway), strict=True):
            values.append(of.sum(axis=1))
    return {name: np.stack(values) for name, values in found.items()}


def main(config: Config) -> dict[str, Any]:
    settings = read_record(config.abtest / "settings.json", {"config": dict}, more=True)["config"]
    record = read_record(
        config.abtest / "outcomes" / "outcomes.json", {"arms": tuple[str, ...], "made": dict}, more=True
    )
    shop, arms, control = shop_of(config.data), list(record["arms"]), record["made"]["control"]
    items = catalogue(shop)
    future = simulate_future(shop, items, users=min(config.users, settings["users"]), days=settings["days"], keep=1)
    visits = int((future.visit_number == 0).sum())
    slates = [load_file(config.abtest / "arms" / arm / "lists.safetensors")["first"][:visits] for arm in arms]
    base = as_dataclass(ChoiceConfig, settings["choice"], "settings.json: choice")
    found, means = {}, {}
    for name, choice in variants(base):
        values = worth(choice, items, future, np.stack(slates), config.draws)
        means[name] = {what: one.mean(axis=1) for what, one in values.items()}
        own = arms.index(control)
        found[name] = {
            "control": {what: float(one[own]) for what, one in means[name].items()},
            "lift": {
                arm: {what: float(one[i] / one[own] - 1) for what, one in means[name].items()}
                for i, arm in enumerate(arms)
            },
            "correlation": {
                what: float(stats.spearmanr(one, means["as set"][what]).statistic) for what, one in means[name].items()
            },
        }
        print(f"{name:<18}", *(f"{what} {value:.3f}" for what, value in found[name]["correlation"].items()), flush=True)
    result = {"control": control, "visits": visits, "variants": found, "made": {**settings, **provenance()}}
    write_json(config.out, result)
    return result


if __name__ == "__main__":
    main(tyro.cli(Config))
