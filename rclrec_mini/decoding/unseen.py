"""The catalogue's trie without the items that a user has already seen: what is left is as it was, and in its order.

The leaves below a node stand side by side, so a running count of seen leaves tells of any node whether an item that
is not seen hangs below it:

    leaf          0  1  2  3  4         node (0) holds the leaves 0..2, node (2) the leaves 3..4
    seen          1  1  1  0  1         of (0) all 3 are seen: the node is gone; of (2) 1 of 2: it stays
    count      0  1  2  3  3  4
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rclrec_mini.semantic_ids.catalog import Catalog


class Unseen:
    """Which nodes are left for each of B users.

    Args:
        catalog: the catalogue, N items.
        seen: items to leave out (B, N).
    """

    def __init__(self, catalog: Catalog, seen: Tensor):
        self.count = F.pad(seen[:, catalog.leaf_items.long()].int().cumsum(1, dtype=torch.int32), (1, 0))  # (B, N + 1)
        first = torch.arange(len(catalog) + 1, device=seen.device)
        self.first_leaf = [first]
        for offsets in reversed(catalog.child_offsets[1:]):
            first = first[offsets.long()]
            self.first_leaf.append(first)
        self.first_leaf.reverse()  # of the nodes of depth 1..L

    def holds(self, level: int, child: Tensor) -> Tensor:
        """Whether an unseen item hangs below nodes of depth `level` + 1: (B, W, C) -> (B, W, C)"""
        start, end = self.first_leaf[level][child], self.first_leaf[level][child + 1]
        seen = self.count.gather(1, end.flatten(1)) - self.count.gather(1, start.flatten(1))
        return seen.view_as(child) < end - start
