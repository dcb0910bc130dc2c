"""The catalogue: every item as a tuple of L codes, and the prefix trie of all tuples as tensors.

    codes        item 0: (0, 1)    item 1: (2, 0)    item 2: (0, 0)                          N = 3, L = 2
    depth 0      root              child_offsets[0] = [0, 2]     child_tokens[0] = [0, 2]
    depth 1      (0) (2)           child_offsets[1] = [0, 2, 3]  child_tokens[1] = [0, 1, 0]
    depth 2      (0,0) (0,1) (2,0)                               leaf_items      = [2, 0, 1]
    nodes        item 0: 0 0 1   item 1: 0 1 2   item 2: 0 0 0   of each item's path, by depth

The nodes of depth l are the distinct l-prefixes in lexicographic order. The children of node n of depth l are
the nodes child_offsets[l][n] .. child_offsets[l][n + 1] - 1 of depth l + 1, whose tokens stand at the same
places of child_tokens[l], ascending. A leaf (depth L) is one item.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from rclrec_mini.files import InputError, Result, whole_folder, write_json
from rclrec_mini.records import read_arrays, read_record

MAX_CODES = 2**15  # tokens are stored as int16
FORMAT = 1
HEAD = {"result": str, "format": int, "items": int, "levels": int, "codes": int, "codes_sha256": str, "data_hash": str}
IDS = Result(
    "set of semantic ids", "catalog.json", frozenset({"catalog.json", "codes.safetensors", "diagnostics.json"})
)


class Catalog:
    """N items, each with a unique tuple of L codes in 0..V-1.

    Attributes:
        codes: (N, L) int64, row i is item i.
        n_codes: V.
        data_hash: content_hash of the data set the codes were made from; "" where there was none.
        child_offsets: L tensors, the l-th (nodes of depth l + 1 entry,) int32.
        child_tokens: L tensors, the l-th (nodes of depth l + 1,) int16.
        leaf_items: (N,) int32, the item of each leaf.
        nodes: (N, L + 1) int32, the path of each item: its node of depth 0 (the root, 0) to L (its leaf).

    Raises:
        InputError: codes are not (N, L) integers in 0..V-1, or two items share a tuple.
    """

    def __init__(self, codes: Tensor, *, n_codes: int, data_hash: str = "", name: str = "codes") -> None:
        table = _checked(codes, n_codes, name)
        order = np.lexsort(table.T[::-1])  # (N,) items in lexicographic order of their tuples
        offsets, tokens, path = _trie(table[order], order, name)
        nodes = np.empty_like(path)
        nodes[order] = path
        self.codes = torch.from_numpy(table.astype(np.int64)).to(codes.device)
        self.n_codes = n_codes
        self.data_hash = data_hash
        self.child_offsets = tuple(torch.from_numpy(part).to(codes.device) for part in offsets)
        self.child_tokens = tuple(torch.from_numpy(part).to(codes.device) for part in tokens)
        self.leaf_items = torch.from_numpy(order.astype(np.int32)).to(codes.device)
        self.nodes = torch.from_numpy(nodes).to(codes.device)

    @property
    def levels(self) -> int:
        return self.codes.shape[1]

    @property
    def device(self) -> torch.device:
        return self.codes.device

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return f"Catalog({len(self)} items, {self.levels} levels of {self.n_codes} codes)"

    def trie_bytes(self) -> int:
        """Memory of the trie and its leaf map, without the tables of codes and paths."""
        return sum(part.nbytes for part in (*self.child_offsets, *self.child_tokens, self.leaf_items))

    def to(self, device: torch.device | str) -> "Catalog":
        """The same catalogue on another device."""
        moved = object.__new__(Catalog)
        moved.n_codes, moved.data_hash = self.n_codes, self.data_hash
        moved.codes, moved.nodes = self.codes.to(device), self.nodes.to(device)
        moved.leaf_items = self.leaf_items.to(device)
        moved.child_offsets = tuple(part.to(device) for part in self.child_offsets)
        moved.child_tokens = tuple(part.to(device) for part in self.child_tokens)
        return moved

    def items_of(self, codes: Tensor) -> Tensor:
        """The items of code tuples, (..., L) -> (...) int64; -1 where no item has that tuple."""
        if codes.shape[-1] != self.levels:
            raise InputError(f"codes: last dimension is {codes.shape[-1]}, expected {self.levels} levels")
        node = torch.zeros(codes.shape[:-1], dtype=torch.int64, device=codes.device)
        for level in range(self.levels):
            node = self.child_of(level, node, codes[..., level])
        return torch.where(node >= 0, self.leaf_items[node.clamp(min=0)].long(), -1)

    def child_of(self, level: int, node: Tensor, token: Tensor) -> Tensor:
        """The child of `node` (depth `level`) that `token` leads to, (...) and (...) -> (...) int64; -1 where
        there is none, or where `node` is -1. A binary search: log2(V) vectorised steps for any N."""
        offsets, tokens = self.child_offsets[level], self.child_tokens[level]
        parent = node.clamp(min=0)
        low, end = offsets[parent].long(), offsets[parent + 1].long()
        high = end
        for _ in range(self.n_codes.bit_length()):
            middle = (low + high) >> 1
            below = (low < high) & (tokens[middle.clamp(max=len(tokens) - 1)] < token)
            low, high = torch.where(below, middle + 1, low), torch.where(below, high, middle)
        found = (low < end) & (tokens[low.clamp(max=len(tokens) - 1)] == token)
        return torch.where(found & (node >= 0), low, -1)

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write catalog.json and codes.safetensors to `folder`, whole or not at all.

        Raises:
            InputError: as files.whole_folder.
        """
        with whole_folder(folder, IDS, overwrite=overwrite) as partial:
            self.write(partial)

    def write(self, folder: Path) -> None:
        """As `save`, into a folder that is there and empty."""
        table = self.codes.to("cpu", torch.int16)
        save_file({"codes": table}, folder / "codes.safetensors")
        head = {
            "result": IDS.title,
            "format": FORMAT,
            "items": len(self),
            "levels": self.levels,
            "codes": self.n_codes,
            "codes_sha256": _digest(table.numpy()),
            "data_hash": self.data_hash,
        }
        write_json(folder / "catalog.json", head)

    @classmethod
    def load(cls, folder: Path | str) -> "Catalog":
        """Read a catalogue that `save` wrote. The trie is rebuilt from the codes, so the two cannot disagree.

        Raises:
            InputError: a file is missing, damaged or of another catalogue.
        """
        folder = Path(folder)
        path = folder / "catalog.json"
        head = read_record(path, HEAD)
        if head["format"] != FORMAT:
            raise InputError(f"{path}: key format is {head['format']}, expected {FORMAT}")
        path = folder / "codes.safetensors"
        table = _read_codes(path)
        shape = (head["items"], head["levels"])
        if table.dtype != torch.int16 or table.shape != shape:
            found = f"{table.dtype} {tuple(table.shape)}"
            raise InputError(f"{path}: found {found}, catalog.json expects torch.int16 {shape}")
        if _digest(table.numpy()) != head["codes_sha256"]:
            raise InputError(f"{path}: SHA-256 of the codes differs from codes_sha256 in catalog.json")
        return cls(table, n_codes=head["codes"], data_hash=head["data_hash"], name=str(path))


def _checked(codes: Tensor, n_codes: int, name: str) -> np.ndarray:
    """Codes as a (N, L) int16 array, after every check that one row can pass or fail."""
    if codes.dim() != 2 or codes.is_floating_point() or 0 in codes.shape:
        raise InputError(f"{name}: found {codes.dtype} {tuple(codes.shape)}, expected integers (N, L)")
    if not 1 <= n_codes <= MAX_CODES:
        raise InputError(f"{name}: n_codes: found {n_codes}, expected 1..{MAX_CODES}")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= n_codes:
        raise InputError(f"{name}: found codes {low}..{high}, expected 0..{n_codes - 1}")
    return codes.cpu().numpy().astype(np.int16)


def _trie(table: np.ndarray, order: np.ndarray, name: str) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """child_offsets, child_tokens and paths of a sorted table of codes (N, L); `order` only serves to name items."""
    offsets, tokens, path = [], [], np.zeros((len(table), table.shape[1] + 1), np.int32)
    starts = np.zeros(1, np.int64)  # first row of each node of this depth
    is_new = np.zeros(len(table), bool)  # does the prefix of row i differ from that of row i - 1?
    is_new[0] = True
    for level in range(table.shape[1]):
        is_new[1:] |= table[1:, level] != table[:-1, level]
        children = np.flatnonzero(is_new)
        offsets.append(np.append(np.searchsorted(children, starts), len(children)).astype(np.int32))
        tokens.append(table[children, level])
        path[:, level + 1] = is_new.cumsum() - 1
        starts = children
    if not is_new.all():
        row = int(np.argmin(is_new))
        pair = f"items {order[row - 1]} and {order[row]}"
        raise InputError(f"{name}: {pair} share the codes {tuple(table[row].tolist())}, expected unique codes")
    return offsets, tokens, path


def _digest(table: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(table, dtype="<i2")).hexdigest()


def _read_codes(path: Path) -> Tensor:
    arrays = read_arrays(path, "codes")
    if len(arrays) > 1:
        raise InputError(f"{path}: found tensors {sorted(arrays)}, expected codes")
    return torch.from_numpy(arrays["codes"])
