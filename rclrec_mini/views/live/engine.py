"""Questions about one history, answered by models in memory; js/engine.js answers the same from their export.

A question, whose events are any (edited ones are just another history):

    {model, user, items, behaviors, timestamps: [T], journey: [T] of 0 and 1 | null, target: item | null,
     k: 0..max_prefix, tau: temperature, selector: one of `selectors(model)`, row: the sample's row, for random-k}

Its answer, in natural logarithms:

    p            [T], the selector's distribution softmax(s / tau); null where it has none
    selected     columns of the curriculum in ascending relevance, the last next to the target; prefix: their codes
    gate, copy   the pointer's g and its p (no temperature); null without pointer
    with         {top: [{item, logp} x 10], target: log P of the target}, under the mixture where the model points
    without      the same with no prefix
    base         NLL a token of the target under theta_0, no prefix; null without theta_0 or target
    gain         `base` less that of this model's generation behind the prefix (eq. 7 and 8), nats a token
    margin       m of eq. 8
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rclrec_mini.data.schema import BEHAVIORS, PURCHASE
from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.files import InputError
from rclrec_mini.models.backbone import DecoderState
from rclrec_mini.models.curriculum import RCPM, OracleK, RandomK, RecentK, Selection, chance, most_relevant
from rclrec_mini.models.pointer import PointedK, Pointing
from rclrec_mini.models.rclrec import RCLRec, token_nll
from rclrec_mini.semantic_ids.catalog import Catalog

BEAMS, LISTED = 20, 10
Question = Mapping[str, Any]


def selectors(model: RCLRec, *, simulated: bool) -> list[str]:
    """The selectors that a model has; the oracle needs a simulated shop."""
    own = []
    if isinstance(model.selector, RCPM):
        own.append("rcpm" if model.selector.codes is None else "counting")
    if model.pointer is not None:
        own.append("pointer")
    return [*own, "recent", "random", *(["oracle"] if simulated else [])]


def default_selector(model: RCLRec) -> str:
    """The selector that a model was trained with, the first that it has where there was none.

    Raises:
        InputError: the views know no such selector.
    """
    if model.selector is None or isinstance(model.selector, RCPM):
        return selectors(model, simulated=False)[0]
    fixed = {PointedK: "pointer", RecentK: "recent", RandomK: "random", OracleK: "oracle"}
    if type(model.selector) not in fixed:
        found, known = type(model.selector).__name__, ", ".join(kind.__name__ for kind in (RCPM, *fixed))
        raise InputError(f"selector: found {found}, expected one that the views know: {known}")
    return fixed[type(model.selector)]


class Engine:
    """Answers as js/engine.js does.

    Args:
        models: each under its name, in eval mode.
        materials: the data that they were trained on.
    """

    def __init__(self, models: Mapping[str, RCLRec], materials: Materials):
        self.models, self.catalog = models, materials.catalog
        self.simulated, self.n_users = materials.journey is not None, materials.sequences.n_users

    def selectors(self, name: str) -> list[str]:
        """Which selectors the model of this name has."""
        return selectors(self._model(name), simulated=self.simulated)

    @torch.inference_mode()
    def answer(self, question: Question) -> dict[str, Any]:
        """The answer to a question, see the head of this file.

        Raises:
            InputError: a value of the question is none that the model can be asked.
        """
        model = self._model(question["model"])
        self._check(question, model)
        batch, codes = as_batch(question), model.codes
        history = model.encode(batch)
        pointing = model.pointer.next(batch, history) if model.pointer else None
        journey = torch.tensor([question.get("journey") or [0] * len(question["items"])])
        selection = select(
            model, history, batch, pointing, journey, name=question["selector"], k=question["k"], tau=question["tau"]
        )
        empty = Selection(*(part[:, :0] for part in selection[:3]))
        index = selection.index[0][selection.valid[0]].tolist()
        behind, alone = (Behind(model, history, chosen, pointing) for chosen in (selection, empty))
        target, base, gain = question.get("target"), None, None
        if target is not None and model.reference is not None:
            base = model.base_nll(batch).item()
            gain = base - behind.nll(batch).item() / codes.shape[1]
        return {
            "p": None if selection.scores is None else selection.scores.softmax(-1)[0].tolist(),
            "selected": index,
            "prefix": [codes[question["items"][t]][: model.prefix_levels].tolist() for t in index],
            "gate": None if pointing is None else -pointing.log_rest[0, 0].expm1().item(),
            "copy": None if pointing is None else pointing.log_p().exp()[0, 0].tolist(),
            **{
                name: {
                    "top": self._list(side, batch),
                    "target": None if target is None else side.log_likelihood(batch).item(),
                }
                for name, side in (("with", behind), ("without", alone))
            },
            "base": base,
            "gain": gain,
            "margin": model.loss.margin,
        }

    def _model(self, name: str) -> RCLRec:
        if name not in self.models:
            raise InputError(f"model: found {name}, expected one of {', '.join(self.models)}")
        return self.models[name]

    def _list(self, behind: "Behind", batch: Batch) -> list[dict[str, Any]]:
        """The best items."""
        items, scores = beam_search(behind, batch, self.catalog, beams=BEAMS, k=LISTED)
        ranked = zip(items[0].tolist(), scores[0].tolist(), strict=True)
        return [{"item": item, "logp": logp} for item, logp in ranked if item >= 0]

    def _check(self, question: Question, model: RCLRec) -> None:
        known, k, tau = self.selectors(question["model"]), question["k"], question["tau"]
        columns = [question[name] for name in ("items", "behaviors", "timestamps")]
        lengths = [len(column) for column in (*columns, question.get("journey") or columns[0])]
        n, kinds, most = len(self.catalog), len(BEHAVIORS), model.backbone.config.max_prefix
        item, behavior = _outside([*columns[0], question.get("target") or 0], n), _outside(columns[1], kinds)
        for name, found, fits, expected in (
            ("selector", question["selector"], question["selector"] in known, f"one of {', '.join(known)}"),
            ("items", f"{lengths[0]} events", lengths[0] <= model.max_history, f"at most {model.max_history}"),
            ("columns", f"{', '.join(map(str, lengths))} events", len(set(lengths)) == 1, "as many in each"),
            ("item", item, item is None, f"0..{n - 1}"),
            ("behavior", behavior, behavior is None, f"0..{kinds - 1}"),
            ("k", k, 0 <= k <= most, f"0..{most}"),
            ("tau", tau, tau > 0, "more than 0"),
            ("user", question["user"], 0 <= question["user"] < self.n_users, f"0..{self.n_users - 1}"),
        ):
            if not fits:
                raise InputError(f"{name}: found {found}, expected {expected}")


def _outside(values: Sequence[int], count: int) -> int | None:
    """The first value that is not in 0..count - 1."""
    return next((value for value in values if not 0 <= value < count), None)


def as_batch(question: Question) -> Batch:
    """The question's sample, B = 1, with as many columns as events, none for none."""
    target, time = question.get("target"), question["timestamps"]
    columns = (torch.tensor([question[name]], dtype=torch.int64) for name in ("items", "behaviors", "timestamps"))
    item, behavior, timestamp = columns
    return Batch(
        row=torch.tensor([question["row"]]),
        user=torch.tensor([question["user"]]),
        item=item,
        behavior=behavior,
        timestamp=timestamp,
        mask=torch.ones_like(item, dtype=torch.bool),
        target_item=torch.tensor([0 if target is None else target]),
        target_behavior=torch.tensor([PURCHASE]),
        target_timestamp=torch.tensor([time[-1] if time else 0]),
    )


def select(
    model: RCLRec, history: Tensor, batch: Batch, pointing: Pointing | None, journey: Tensor | None, *, name: str,
    k: int, tau: float,
) -> Selection:  # fmt: skip
    """The curriculum by a selector's name; `journey` (B, T) are the events that truly led to the target."""
    k, scores = min(k, batch.mask.shape[1]), None
    if name in ("rcpm", "counting"):
        selector = copy.copy(model.selector)
        selector.k, selector.tau = k, tau
        return selector(history, batch)
    relevance = torch.arange(batch.mask.shape[1], dtype=torch.float32).expand(batch.mask.shape)
    if name == "pointer":
        relevance = pointing.log_copy[:, 0]
        scores = relevance / tau
    elif name == "random":
        relevance = chance(batch, seed=0)
    elif name == "oracle":
        relevance = relevance.masked_fill(~journey.bool(), float("-inf"))
    return most_relevant(relevance, batch.mask, k)._replace(scores=scores)


@torch.inference_mode()
def hits(model: RCLRec, batch: Batch, catalog: Catalog, journey: Tensor | None, *, k: int) -> dict[str, Tensor]:
    """Which lists hold the target (B,), behind k events of each selector that the model has, and without a curriculum,
    `none`."""
    history = model.encode(batch)
    pointing = model.pointer.next(batch, history) if model.pointer else None
    found = {}
    for name in ("none", *selectors(model, simulated=journey is not None)):
        by, length = ("recent", 0) if name == "none" else (name, k)
        chosen = select(model, history, batch, pointing, journey, name=by, k=length, tau=1.0)
        behind = Behind(model, history, chosen, pointing)
        items, _ = beam_search(behind, batch, catalog, beams=BEAMS, k=LISTED)
        found[name] = (items == batch.target_item[:, None]).any(1)
    return found


@dataclass(frozen=True)
class Behind:
    """A model that generates behind prefixes which were chosen for it; for beam search."""

    model: RCLRec
    history: Tensor
    selection: Selection
    pointing: Pointing | None

    def prefix(self, batch: Batch) -> Tensor:
        """Codes of the prefixes (B, k, n)"""
        return self.model.prefix_codes(self.selection, batch)

    def start(self, batch: Batch) -> tuple[DecoderState, Tensor]:
        """As RCLRec.start"""
        state, logits = self.model.backbone.start(
            self.history, batch.mask, batch.target_behavior, self.prefix(batch), self.selection.valid
        )
        return state._replace(pointing=self.pointing), logits

    def step(self, state: DecoderState, tokens: Tensor, parents: Tensor, level: int) -> tuple[DecoderState, Tensor]:
        """As RCLRec.step"""
        return self.model.step(state, tokens, parents, level)

    def nll(self, batch: Batch) -> Tensor:
        """-log P_gen of the target, a sum over its tokens: (B,)"""
        prefix, target = self.prefix(batch), self.model.codes[batch.target_item]
        logits = self.model.backbone.decode(
            self.history, batch.mask, batch.target_behavior, prefix, self.selection.valid, target
        )
        return token_nll(logits[:, -1], target).sum(-1)

    def log_likelihood(self, batch: Batch) -> Tensor:
        """log P of the target as the model ranks it: (B,)"""
        if self.pointing is None:
            return -self.nll(batch)
        same = (batch.item == batch.target_item[:, None])[:, None]
        return self.pointing.mix(-self.nll(batch)[:, None], same)[:, 0]
