"""Items as the words of their titles: codes of unequal length that the trie of semantic ids holds as well.

    item 0   red wool coat            [red, wool, coat, END, .]
    item 1   red wool coat            [red, wool, coat, 2, END]     the second of that title
    item 2   phone                    [phone, END, ., .]            . is the filler, forced and therefore free

Codes number the tokens that occur in titles, so that a vocabulary of any size fits the catalogue.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

FILLER, END = 0, 1  # codes


class Titles(NamedTuple):
    """codes (N, L), each item's its own; tokens (V,), the language model's token of each code, -1 for the filler."""

    codes: Tensor
    tokens: Tensor


def spelled(titles: Iterable[str | None], encode: Callable[[str], list[int]], *, end: int) -> Titles:
    """Titles as codes. Items of one title are told apart by a number; an item without a title is called `item` and
    its own.

    Args:
        titles: of all items, in their order.
        encode: from text to tokens of the language model.
        end: its token that ends a title, left out within one.
    """

    def words(text: str) -> tuple[int, ...]:
        return tuple(token for token in encode(text) if token != end)

    rows, seen = [], Counter()
    for item, title in enumerate(titles):
        title = title or f"item {item}"
        tokens = words(title)
        while seen[tokens]:  # a numbered title may be somebody else's, too
            seen[tokens] += 1
            tokens = words(f"{title} {seen[tokens]}")
        seen[tokens] += 1
        rows.append([*tokens, end])
    used = sorted({token for row in rows for token in row} - {end})
    code_of = {end: END} | {token: code for code, token in enumerate(used, start=2)}
    codes = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for row, tokens in zip(codes, rows, strict=True):
        row[: len(tokens)] = torch.tensor([code_of[token] for token in tokens])
    return Titles(codes, torch.tensor([-1, end, *used]))
