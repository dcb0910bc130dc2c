"""How much of the true journey a model's attention finds, on a simulated shop.

RCPM chooses its events and `recovery` of models/curriculum.py scores the choice. A sequential model chooses none, but
it attends: its k most attended events are the ones that it would have put into a curriculum.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.models.curriculum import Selection, journey_mask, recovery, top_k


class Attends(Protocol):
    """A module that says how much it looks at each event of the history."""

    max_history: int

    def attention(self, batch: Batch) -> Tensor:
        """How much the prediction of the target draws on each event, (B, T), of any sign and scale; what it says of
        padding is not read."""
        ...


def most_attended(attention: Tensor, mask: Tensor, *, k: int) -> Selection:
    """The k events with the largest attention; ties go to the newer one: (B, T), (B, T) -> Selection"""
    index, valid = top_k(attention.masked_fill(~mask, float("-inf")), k)
    return Selection(index, valid, torch.ones(index.shape, device=index.device))


@torch.inference_mode()
def attention_recovery(
    model: Attends, sequences: Sequences, journey: Tensor, rows: np.ndarray, *, k: int = 4, batch_size: int = 512
) -> dict[str, np.ndarray]:
    """Precision and recall of the true journeys' events among the k most attended ones.

    Args:
        model: in eval mode; it has a parameter, which says the device.
        sequences: the log.
        journey: truth of a simulated shop (N,), negative for noise.
        rows: rows of the targets (n,).
        k: events taken, as many as the curriculum to compare with.
        batch_size: targets at a time.

    Returns:
        precision and recall, each (n,); nan where the history holds none of the journey.
    """
    device = next(model.parameters()).device
    journey, found = journey.to(device), [torch.zeros(2, 0)]
    for start in range(0, len(rows), batch_size):
        batch = sequences.batch(rows[start : start + batch_size], model.max_history).to(device)
        selection = most_attended(model.attention(batch), batch.mask, k=k)
        found.append(torch.stack(recovery(selection, journey_mask(journey, batch))).cpu())
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
    device, found = next(model.parameters()).device, []
    for start in range(0, len(rows), batch_size):
        batch = sequences.batch(rows[start : start + batch_size], model.max_history).to(device)
        places = (batch.mask.sum(1) + 1).clamp(min=2)  # an empty history has entropy 0
        found.append(torch.special.entr(model.masked_attention(batch)).sum(-1).mean(-1) / places.log()[:, None])
    return torch.cat(found).mean(0).tolist()
