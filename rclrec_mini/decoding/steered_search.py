"""Beam search that a second model steers: the text-free assistant of D3 (Bao et al., 2024).

A language model knows words, a sequential recommender knows items. At a node of the trie the one gives each child a
mass, the other every item a probability and so each child that of the items below it. Both are renormalised over the
children that there are, and mixed as logarithms:

    log p(child) = (1 - alpha) log p_model(child) + alpha log p_assistant(child)

    "red"                        model   assistant: items below    mixed, alpha = 1/2 (up to a constant)
        wool   items 0, 3         0.8    (0.1 + 0.1) of 0.5 = 0.4   sqrt(0.8 * 0.4) = 0.57
        silk   item 4             0.2    0.3 of 0.5         = 0.6   sqrt(0.2 * 0.6) = 0.35

An item's score is the sum over its tokens, not divided by their number: a token without siblings is forced, its share
is 1 and it counts for nothing (D3's ghost tokens), so neither long titles nor short ones are favoured. alpha = 0 ranks
by the constrained policy of post_training/policy.py, alpha = 1 with beams enough as the assistant does.
"""

import torch
from torch import Tensor

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.beam_search import check_width, first_best, ranked
from rclrec_mini.decoding.exact_ranking import exact_ranking
from rclrec_mini.decoding.trie_walk import GenerativeModel, TrieWalk
from rclrec_mini.models.recommender import ItemRecommender
from rclrec_mini.semantic_ids.catalog import Catalog


@torch.inference_mode()
def steered_search(
    model: GenerativeModel, batch: Batch, catalog: Catalog, *, beams: int, k: int, assistant: ItemRecommender,
    alpha: float, seen: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `beam_search`, with scores that `assistant` takes part in.

    Args:
        assistant: scores items, in eval mode and on the model's device; it sees the events that `batch` holds.
        alpha: its share, from 0 to 1.

    Raises:
        InputError: k is not in 1..beams.
        FloatingPointError: a score is nan.
    """
    check_width(k, beams)
    walk = TrieWalk(model, batch, catalog, seen=seen)
    below = node_masses(item_probabilities(assistant, batch, len(catalog), seen=seen), catalog)
    score = walk.score
    for level in range(catalog.levels):
        own = walk.expand()  # (B, W, C)
        missing = own.isneginf()
        helped = below[level].gather(1, walk.child.flatten(1)).view_as(own).masked_fill(missing, float("-inf"))
        mixed = (1 - alpha) * own.log_softmax(-1) + alpha * helped.log_softmax(-1)
        total = (score.unsqueeze(-1) + mixed).masked_fill(missing, float("-inf")).flatten(1)
        place = first_best(total, beams)
        score = total.gather(1, place)
        walk.take(place)
    return ranked(walk.items(), score, k)


def item_probabilities(assistant: ItemRecommender, batch: Batch, n_items: int, *, seen: Tensor | None = None) -> Tensor:
    """Softmax of the assistant's scores of all items, 0 for those seen: (B, N), float64"""
    items, scores = exact_ranking(assistant, batch, k=n_items, seen=seen)
    p = scores.double().softmax(-1)
    return torch.zeros_like(p).scatter_add(1, items.clamp(min=0), p)


def node_masses(p: Tensor, catalog: Catalog) -> list[Tensor]:
    """log of the probability of the items below each node, of depth 1..L: p (B, N) -> L tensors (B, nodes)"""
    masses = []
    for tokens, nodes in zip(catalog.child_tokens, catalog.nodes.T[1:], strict=True):
        mass = p.new_zeros(len(p), len(tokens)).index_add(1, nodes, p)
        masses.append(mass.clamp(min=torch.finfo(p.dtype).tiny).log())
    return masses
