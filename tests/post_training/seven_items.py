"""A catalogue of seven items, small enough to enumerate, and models that write it: with and without a pointer."""

import numpy as np
import torch

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.models.backbone import Backbone, BackboneConfig
from rclrec_mini.models.pointer import Pointer, PointerConfig
from rclrec_mini.models.rclrec import RCLRec

ITEMS = 7
CODES = torch.tensor([[0, 1, 2], [0, 1, 0], [0, 2, 2], [2, 0, 1], [1, 1, 1], [2, 0, 0], [2, 2, 1]])


def everything(batch: Batch) -> torch.Tensor:
    """All items for each history (B, N)"""
    return torch.arange(ITEMS).expand(len(batch), ITEMS)


def small_sequences() -> Sequences:
    rng = np.random.default_rng(5)
    lengths = rng.integers(3, 14, 5)
    n = int(lengths.sum())
    return Sequences(
        item=rng.integers(0, ITEMS, n).astype(np.int32),
        behavior=rng.integers(0, 4, n).astype(np.int8),
        timestamp=rng.integers(0, 40_000, n).cumsum(),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        n_items=ITEMS,
    )


def small_model(*, points: bool) -> RCLRec:
    torch.manual_seed(3)
    sizes = BackboneConfig(
        levels=3, codes=3, d=26, heads=2, encoder_layers=1, decoder_layers=1, ffn=31, dropout=0.3, max_history=11,
        causal=True,
    )  # fmt: skip
    pointer = Pointer(config=PointerConfig(width=11), codes=CODES, behaviors=4) if points else None
    model = RCLRec(backbone=Backbone(sizes), codes=CODES, pointer=pointer).double().eval()
    for parameter in model.parameters():  # far from uniform
        parameter.data *= 1.5
    return model
