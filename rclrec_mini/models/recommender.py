"""What every method offers, so that training and evaluation know nothing of its inside.

A method learns in two stages: from all events (`pretraining`), then from purchases alone (`forward`). It ranks in one
of two ways: as an `ItemRecommender` it scores every item of the catalogue, exactly; as a generative one
(`decoding.trie_walk.GenerativeModel`) it writes semantic ids.
"""

from typing import Protocol

from torch import Tensor, nn

from rclrec_mini.data.sequences import Batch


class Recommender(Protocol):
    """A module that the two stages train. Both losses are means over samples, with scalars to log beside "loss"."""

    max_history: int  # T, most events before a target that it reads
    every_event: bool  # whether `pretraining` learns from all events of a sample, or from its target alone

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Stage one, the method's own objective over events of every behaviour: {"loss": scalar, ...}"""
        ...

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Stage two, the same objective for the sample's target alone: {"loss": scalar, ...}"""
        ...


class ItemRecommender(Recommender, Protocol):
    """Scores an item i by q . v_i + b_i, whatever the method's own formula is."""

    def query(self, batch: Batch) -> Tensor:
        """q of each sample, from its history and at most the behaviour of its target: (B, d)"""
        ...

    def items(self) -> tuple[Tensor, Tensor]:
        """v (N, d) and b (N,) of all items"""
        ...


class Pretraining(nn.Module):
    """Stage one as a module of its own, for the trainer.

    Args:
        model: the method.
    """

    def __init__(self, *, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.model.pretraining(batch)
