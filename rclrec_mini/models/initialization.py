"""How attention starts, the same in every model here."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def start_as_copier(query: Tensor, key: Tensor, value: Tensor, out: Tensor | None = None, *, gain: float = 1.0) -> None:
    """Set projections so that like attends to like and hands on what it finds: keys equal queries, the output undoes
    the values.

    From random weights the models take many times longer to learn to repeat an item of the history, some of them longer
    than a small budget lasts. Ours, and the same start for all methods.

    Args:
        query, key, value: weights of linear maps (d, d), changed in place.
        out: those of the output (d, d); where attention has none, values are the inputs themselves.
        gain: length of the rows of query and key.
    """
    nn.init.orthogonal_(query, gain=gain)
    key.copy_(query)
    if out is None:
        nn.init.eye_(value)
    else:
        nn.init.orthogonal_(value)
        out.copy_(value.T)
