"""What several item-id methods share: the softmax over items, and the mean over events and samples."""

import math

import torch
from torch import Tensor


def item_nll(query: Tensor, target: Tensor, vectors: Tensor, bias: Tensor, *, negatives: int = 0) -> Tensor:
    """Negative log-likelihood of each target under a softmax over items with logits q . v_i + b_i.

    Args:
        query: q (M, d).
        target: items (M,).
        vectors, bias: v (N, d), b (N,).
        negatives: 0 for all items; else as many are drawn uniformly for the whole batch and stand for the others, each
            with weight N / negatives (sampled softmax; draws of the target are dropped), where N is too large to hold
            (M, N) logits.

    Returns:
        (M,)
    """
    if not negatives:
        return torch.nn.functional.cross_entropy(torch.addmm(bias, query, vectors.T), target, reduction="none")
    drawn = torch.randint(len(vectors), (negatives,), device=query.device)
    right = (query * vectors[target]).sum(-1) + bias[target]  # (M,)
    others = torch.addmm(bias[drawn], query, vectors[drawn].T) + math.log(len(vectors) / negatives)
    others = others.masked_fill(drawn == target[:, None], float("-inf"))  # (M, negatives)
    return torch.cat([right[:, None], others], dim=1).logsumexp(1) - right


def mean_over_events(nll: Tensor, counts: Tensor) -> Tensor:
    """Mean over the events of each sample that count, then over samples: nll, counts (B, T) -> scalar"""
    return ((nll * counts).sum(1) / counts.sum(1).clamp(min=1)).mean()
