"""The book's figures of post-training, each a function from numbers to a figure, and a group as a live view."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.decoding.trie_walk import GenerativeModel
from rclrec_mini.files import InputError
from rclrec_mini.post_training.groups import equal
from rclrec_mini.post_training.rewards import advantages, ranking, rule
from rclrec_mini.semantic_ids.catalog import Catalog
from rclrec_mini.views.explorables import small_page
from rclrec_mini.views.live.page import Page
from rclrec_mini.views.style import INK, PALETTE, colors, subplots

LATEST = 6  # events of a history that are told


def moved(change: Tensor, hit: Tensor, signal: Tensor) -> Figure:
    """The mean change of the log-probability of the target and of the negatives by rank, in groups with signal.

    Args:
        change: of each item of each group (B, G), nats.
        hit: which is the target (B, G).
        signal: which groups have any (B,).
    """
    change, hit = change[signal], hit[signal]
    ranks = range(hit.shape[1])
    negatives = [float(change[:, i][~hit[:, i]].mean()) for i in ranks]
    figure, axis = subplots(figsize=(8, 3.4))
    up, down = colors(2)
    axis.bar(-1.5, float(change[hit].mean()), color=up)
    axis.bar(ranks, negatives, color=down)
    axis.axhline(0, color=INK, linewidth=1)
    axis.set_xticks([-1.5, *ranks], ["target", *(str(i) for i in ranks)])
    axis.set(xlabel="negatives by the rank that the policy gave them", ylabel="change of log-probability (nats)")
    return figure


def through_training(logs: Mapping[str, Sequence[Mapping[str, Any]]], *, metric: str) -> Figure:
    """What each policy earned and what its lists were worth, by step.

    Args:
        logs: under each label the lines of a run's log.jsonl.
        metric: of validation.
    """
    figure, axes = subplots(1, 2, figsize=(9, 3.4))
    for (label, lines), hue, marker in zip(logs.items(), colors(len(logs)), "os^Dv", strict=False):
        earned = [(line["step"], line["reward"]) for line in lines if "reward" in line]
        worth = [(line["step"], 100 * line["validation"][metric]) for line in lines if "validation" in line]
        for axis, points in zip(axes, (earned, worth), strict=True):
            axis.plot(*zip(*points, strict=True), color=hue, marker=marker, markersize=4, label=label)
    axes[0].set(xlabel="steps", ylabel="mean reward of a group", title="what is earned")
    axes[1].set(xlabel="steps", ylabel=f"{metric} of validation (%)", title="what it is worth")
    axes[0].legend()
    return figure


def group_view(
    policies: Mapping[str, GenerativeModel], batch: Batch, catalog: Catalog, *, titles: Sequence[str | None],
    size: int = 16,
) -> Page:  # fmt: skip
    """A live view: the beams of a history with the parts of ReRe's reward, beside those of the policy after training.

    Args:
        policies: before and after under their names, in eval mode; rewards are those of the first's beams.
        batch: the histories that can be chosen, and what was bought.
        catalog: the items.
        titles: of all items.
        size: G, beams of a group.

    Raises:
        InputError: there are not two policies.
    """
    if len(policies) != 2:
        raise InputError(f"policies: found {len(policies)}, expected 2, before and after training")
    found = [beam_search(policy, batch, catalog, beams=size, k=size) for policy in policies.values()]
    beams = equal(found[0][0])
    hit = rule(beams, batch.target_item)
    worth = advantages(hit + ranking(beams, batch.target_item), beams).value
    at = int(hit.amax(1).argmax())  # the first that holds the purchase
    told = [_told(batch, found, i) for i in range(len(batch))]
    pairs = [pair for one in told for part in (*one["groups"], one["events"]) for pair in part]
    shown = {item for item, _ in pairs} | {one["bought"] for one in told}
    place = [str(i + 1) for i in range(size)]
    return small_page(
        "group",
        {"titles": {item: titles[item] or f"item {item}" for item in shown}, "names": [*policies], "histories": told},
        {"at": at, **dict.fromkeys(("rule", "ranking", "gate", "std"), True)},
        lambda axes: axes.bar(place, worth[at].tolist(), color=[PALETTE[0] if one else INK for one in hit[at]]),
        f"The advantages of the {size} beams of user {told[at]['user']}, the likeliest first; the purchase is blue.",
        missed="you can switch the parts of the reward, choose another history, and see its beams after training",
    )


def _told(batch: Batch, found: Sequence[tuple[Tensor, Tensor]], i: int) -> dict[str, Any]:
    """What the view tells of the i-th history, pairs of an item and something."""
    exists = batch.mask[i]
    latest = (column[i][exists][-LATEST:].tolist() for column in (batch.item, batch.behavior))
    groups = [[[a, round(b, 4)] for a, b in zip(*(x[i].tolist() for x in one), strict=True) if a >= 0] for one in found]
    events = [list(event) for event in zip(*latest, strict=True)]
    return {"user": int(batch.user[i]), "bought": int(batch.target_item[i]), "events": events, "groups": groups}
