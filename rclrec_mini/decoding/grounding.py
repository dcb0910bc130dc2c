"""Write freely, then find the nearest item: BigRec (Bao et al., 2023).

Nothing holds the language model to the catalogue: it writes the likeliest token of all, until it ends. What it wrote
may be nobody's title. The model reads it, and every title, and takes the mean of its last hidden states:

    written            red wool lamp        no such item
    d_i                distance to each title, scaled to 0..1 over the catalogue
    score of item i    -d_i / ((1 + popularity_i)^g (1 + related_i)^h)

Popularity is that of training, `related` what else is known to go with a history, such as co-occurrence; both are
scaled to 0..1. The nearest item has distance 0 and stays the first, whatever its weight; the weights order the others.
With beams the trie gives ten likely items; here one text stands for all ten.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import first_best, ranked
from rclrec_mini.models.language_model import LanguageModel
from rclrec_mini.semantic_ids.catalog import Catalog


def write(model: LanguageModel, batch: Batch, levels: int) -> Tensor:
    """The codes of the text that the model likes best token by token, as long as the longest title at most: (B, L)"""
    state, logits = model.start(batch)
    written = [logits.argmax(-1, keepdim=True)]
    only = torch.zeros_like(written[0])
    for level in range(levels - 1):
        state, logits = model.step(state, written[-1], only, level)
        written.append(logits.argmax(-1))
    return torch.cat(written, dim=1)


class Grounding:
    """Called as `beam_search` is; beams mean nothing to it.

    Args:
        model: a language model, in eval mode.
        popularity: of all items (N,), with its exponent g.
        related: scores of all items (B, N) by what the history holds, with its exponent h; None: no such weight.
    """

    def __init__(
        self, model: LanguageModel, *, popularity: Tensor, g: float = 0.0,
        related: Callable[[Batch], Tensor] | None = None, h: float = 0.0,
    ):  # fmt: skip
        with torch.inference_mode():
            self.vectors = torch.cat([model.embed(codes) for codes in model.codes.split(1024)])  # (N, d)
        self.popular = (1 + _scaled(popularity.to(self.vectors))) ** g
        self.related, self.h = related, h

    @torch.inference_mode()
    def __call__(
        self, model: LanguageModel, batch: Batch, catalog: Catalog, *, beams: int, k: int, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Items (B, k), nearest first, and scores (B, k), from 0 down; -1 and -inf where there are fewer."""
        written = model.embed(write(model, batch, catalog.levels))
        distance = _scaled(torch.cdist(written, self.vectors, compute_mode="donot_use_mm_for_euclid_dist"))
        weight = self.popular
        if self.related is not None:
            weight = weight * (1 + _scaled(self.related(batch).to(distance))) ** self.h
        score = -distance / weight
        if seen is not None:
            score = score.masked_fill(seen, float("-inf"))
        best = first_best(score, k)
        return ranked(best, score.gather(1, best), k)


def _scaled(x: Tensor) -> Tensor:
    """To 0..1 over the last axis; all 0 where nothing differs."""
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    return (x - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny)
