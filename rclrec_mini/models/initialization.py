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


@torch.no_grad()
def start_as_inductor(first: nn.Module, second: nn.Module, frequencies: Tensor) -> None:
    """Set the first two attentions of a language model so that what followed a word before follows it again:

        blue phone # ... blue        ->   phone
             |             |
             after "blue"  own word   head 0 of the second layer looks from the one to the other

    Head h of the first layer looks h + 1 words back and notes the word in a place of its own. Head h of the second
    looks for words whose note h is the word that stands h words back from here, and hands on what it finds. From random
    weights a small model learns the words of a catalogue long before it learns to repeat a title of the history; large
    ones grow such heads by themselves (Olsson et al., 2022).

    Args:
        first, second: attention with q_proj, k_proj (with biases), v_proj, o_proj, as many heads of keys as of queries.
        frequencies: of the rotary embedding (head_dim / 2,), in which positions turn queries and keys.
    """
    width, d = 2 * len(frequencies), first.o_proj.weight.shape[0]
    heads = d // width
    back = torch.arange(1, heads + 1).unsqueeze(-1) * frequencies  # (h, width / 2)
    strength = (8 * width**0.5 / (1 - frequencies.cos()).sum()) ** 0.5  # 8 nats between neighbours
    first.k_proj.bias.copy_(torch.cat([torch.ones_like(back), torch.zeros_like(back)], 1).flatten() * strength)
    first.q_proj.bias.copy_(torch.cat([back.cos(), -back.sin()], 1).flatten() * strength)
    read = nn.init.orthogonal_(torch.empty(width, d))
    noted = nn.init.orthogonal_(torch.empty(d, d))  # column block h: where head h notes what it read
    first.v_proj.weight.copy_(read.repeat(heads, 1) * d**-0.5)
    first.o_proj.weight.copy_(noted)
    second.k_proj.weight.copy_(noted.T * 3)  # how sharply it looks
    second.q_proj.weight.copy_(torch.cat([read, noted.T[:-width]]) * 3)
    value = nn.init.orthogonal_(torch.empty(d, d))
    second.v_proj.weight.copy_(value * 4 * d**-0.5)
    second.o_proj.weight.copy_(value.T)
