"""How much of the true journey a model finds, on a simulated shop.

RCPM chooses its events, and `recovery` of models/curriculum.py scores the choice. A sequential model chooses none, but
it attends: its k most attended events are the ones that it would have put into a curriculum.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.evaluation.ranking import batches
from rclrec_mini.models.curriculum import Selection, journey_mask, most_relevant, recovery
from rclrec_mini.models.rclrec import RCLRec


def selector_recovery(
    model: RCLRec, sequences: Sequences, journey: Tensor, rows: np.ndarray, *, batch_size: int = 512
) -> dict[str, np.ndarray]:
    """Precision and recall of the true journeys' events among those that the model's selector takes for the targets at
    `rows`, each (n,); nan where the history holds none. `journey` (N,) is the truth of a simulated shop."""

    def select(batch: Batch) -> Selection:
        return model.select(model.encode(batch), batch)

    return _recovery(model, select, sequences, journey, rows, batch_size)


class Attends(Protocol):
    """A module that says how much it looks at each event of the history."""

    max_history: int

    def attention(self, batch: Batch) -> Tensor:
        """How much the prediction of the target draws on each event, (B, T), of any sign and scale; what it says of
        padding is not read."""
        ...


def attention_recovery(
    model: Attends, sequences: Sequences, journey: Tensor, rows: np.ndarray, *, k: int = 4, batch_size: int = 512
) -> dict[str, np.ndarray]:
    """The same of the k events that the model, in eval mode, attends to most; ties go to the newer one."""

    def select(batch: Batch) -> Selection:
        return most_relevant(model.attention(batch), batch.mask, k)

    return _recovery(model, select, sequences, journey, rows, batch_size)


@torch.inference_mode()
def _recovery(
    model: nn.Module, select: Callable[[Batch], Selection], sequences: Sequences, journey: Tensor, rows: np.ndarray,
    batch_size: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    journey, found = journey.to(next(model.parameters()).device), [torch.zeros(2, 0)]
    for batch in batches(model, sequences, rows, batch_size):
        found.append(torch.stack(recovery(select(batch), journey_mask(journey, batch))).cpu())
    precision, recall = torch.cat(found, dim=1).numpy()
    return {"precision": precision, "recall": recall}


class Masks(Protocol):
    """A masked model that says how its [MASK] behind the history looks around."""

    max_history: int

    def masked_attention(self, batch: Batch) -> Tensor:
        """Attention of [MASK] in every layer and head, to the events and itself, sums of 1: (B, layers, h, T + 1)"""
        ...


@torch.inference_mode()
def attention_entropy(model: Masks, sequences: Sequences, rows: np.ndarray, *, batch_size: int = 512) -> list[float]:
    """How evenly [MASK] looks around in each layer, a mean over heads and the targets at `rows`: the entropy of its
    attention in terms of the largest, the logarithm of the number of places. 1: at all alike, nothing was learned."""
    found = []
    for batch in batches(model, sequences, rows, batch_size):
        places = (batch.mask.sum(1) + 1).clamp(min=2)  # an empty history has entropy 0
        found.append(torch.special.entr(model.masked_attention(batch)).sum(-1).mean(-1) / places.log()[:, None])
    return torch.cat(found).mean(0).tolist()
