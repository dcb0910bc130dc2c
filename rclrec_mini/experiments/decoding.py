"""How the lists of a generative model are found: what `--decoding` chooses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from scipy import sparse
from torch import Tensor, nn

from rclrec_mini.checks import FieldError, at_least, within
from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import Search, beam_search
from rclrec_mini.decoding.grounding import Grounding
from rclrec_mini.decoding.steered_search import steered_search
from rclrec_mini.evaluation.heuristics import CoOccurrence
from rclrec_mini.evaluation.ranking import catalog_of
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.models.language_model import LanguageModel


@dataclass(frozen=True)
class DecodingConfig:
    """trie: constrained beam search; d3: the same, steered by an assistant; bigrec: write freely, then ground."""

    method: Literal["trie", "d3", "bigrec"] = "trie"  # see decoding/steered_search.py and grounding.py
    alpha: float = 0.5  # d3: the assistant's share
    popularity: float = 0.0  # bigrec: how much popular items gain, an exponent
    related: float = 0.0  # bigrec: how much items gain that co-occur with the history's, an exponent

    def __post_init__(self) -> None:
        within(self, 0, 1, "alpha")
        at_least(self, 0, "popularity", "related")


def search_of(
    config: DecodingConfig, model: nn.Module, materials: Materials, *, assistant: nn.Module | None = None
) -> Search:
    """What finds the lists.

    Args:
        assistant: a trained recommender that scores items, for d3 alone.

    Raises:
        FieldError: the model, or the assistant, is of another kind than the method needs.
    """
    if (assistant is not None) != (config.method == "d3"):
        found = "none" if assistant is None else f"one with decoding {config.method}"
        raise FieldError("assistant", f"found {found}, expected one with decoding d3 and none with the others")
    if config.method == "trie":
        return beam_search
    if config.method == "d3":
        if catalog_of(model, materials.catalog) is None:
            raise FieldError("decoding.method", "found d3 for a model that scores items, expected one that writes them")
        if catalog_of(assistant, materials.catalog) is not None:
            raise FieldError("assistant", "found a model that writes semantic ids, expected one that scores items")
        return partial(steered_search, assistant=assistant, alpha=config.alpha)
    if not isinstance(model, LanguageModel):
        raise FieldError("decoding.method", f"found bigrec for {type(model).__name__}, expected a language model")
    neighbours = CoOccurrence.fit(materials.sequences, materials.split)
    return Grounding(
        model,
        popularity=torch.from_numpy(neighbours.history.popularity.score),
        g=config.popularity,
        related=co_occurring(neighbours) if config.related else None,
        h=config.related,
    )


def co_occurring(neighbours: CoOccurrence) -> Callable[[Batch], Tensor]:
    """The scores (B, N) of all items by co-occurrence with those of a batch's histories."""

    def scores(batch: Batch) -> Tensor:
        age = torch.arange(batch.mask.shape[1] - 1, -1, -1, device=batch.mask.device)
        row, place = batch.mask.nonzero(as_tuple=True)
        weight = 0.5 ** (age / neighbours.history.config.half_life)
        values, rows, items = (x.cpu().numpy() for x in (weight[place], row, batch.item[row, place]))
        history = sparse.csr_array((values, (rows, items)), shape=(len(batch), neighbours.related.shape[0]))
        return torch.from_numpy((history @ neighbours.related).toarray())

    return scores
