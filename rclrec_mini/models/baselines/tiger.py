"""TIGER: generative retrieval by semantic ids, for one kind of interaction (Rajput et al., NeurIPS 2023).

    p(z | history) = prod_l p(z_l | z_1..z_{l-1}, user, items of the history)

The user is a token, its number hashed into 2,000 buckets, in front of the history. Behaviours are ignored: all
interactions are one sequence, and neither the encoder's input nor the decoder's start tells one behaviour from
another. An id is the codes of L - 1 residual codebooks and a last digit that tells items with the same codes apart
(`collision_catalog`).

What differs here, so that the comparison with RCLRec is one of methods and not of sizes:

- The encoder-decoder is RCLRec's backbone at the same L, with one encoder position per event instead of one per
  token, biases by distance, and the user's token as one more event just before the oldest. With `flattened` there is
  one position per token, as in the paper: token l of an item stands for its codes 1..l, as in the decoder.
- Ids come from the features and the codebooks that all methods share, not from an RQ-VAE on text.
- With a causal encoder (`BackboneConfig.causal`) training predicts all events of a sample in one pass, each from the
  events before it; with the paper's bidirectional one the target alone.
"""

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.data.sequences import Batch
from rclrec_mini.models.backbone import Backbone, BackboneConfig, DecoderState
from rclrec_mini.models.baselines.objectives import mean_over_events
from rclrec_mini.models.curriculum import user_bucket
from rclrec_mini.models.rclrec import token_nll
from rclrec_mini.models.sizes import check_sizes
from rclrec_mini.semantic_ids.catalog import Catalog


@dataclass(frozen=True)
class TIGERConfig:
    """Sizes of TIGER. The paper's own: 4 + 4 layers, d 128, ffn 1024, 6 heads, ids of 3 + 1 digits of 256."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)  # RCLRec's; `behaviors` and `max_prefix` unused
    user_buckets: int = 2000  # user ids are hashed into as many tokens
    flattened: bool = False  # the paper's: the encoder reads L tokens an event, instead of their sum

    def __post_init__(self) -> None:
        check_sizes(self)


class TIGER(nn.Module):
    """The backbone without behaviours, behind a user token.

    Args:
        config: the sizes; `config.backbone.max_history` counts events, the user's token comes on top.
        codes: semantic ids of all items (N, L), see `collision_catalog`.
    """

    def __init__(self, *, config: TIGERConfig, codes: Tensor):
        super().__init__()
        sizes = config.backbone
        self.max_history, self.every_event, self.flattened = sizes.max_history, sizes.causal, config.flattened
        distances = (sizes.max_history + 2) * (sizes.levels if config.flattened else 1) - 1  # of user, events, target
        self.backbone = Backbone(replace(sizes, behaviors=1, max_prefix=0, max_history=distances))
        self.user_embedding = nn.Embedding(config.user_buckets, sizes.d)
        nn.init.normal_(self.user_embedding.weight, std=sizes.d**-0.5)
        self.register_buffer("codes", codes, persistent=False)

    def encode(self, user: Tensor, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The user's token and the events, P positions each (1, flattened L), the user's in the last of its own.

        user (B,), codes (B, T, L), mask (B, T) -> states (B, (T + 1) P, d), which of them exist (B, (T + 1) P)
        """
        tokens = self.backbone.embed(codes)
        tokens = tokens.cumsum(-2) if self.flattened else tokens.sum(-2, keepdim=True)  # (B, T, P, d)
        token = self.user_embedding(user_bucket(user, self.user_embedding.num_embeddings))
        first = F.pad(before_oldest(mask)[..., None], (tokens.shape[2] - 1, 0))  # (B, T + 1, P)
        x = torch.where(first[..., None], token[:, None, None], F.pad(tokens, (0, 0, 0, 0, 1, 0)))
        mask = (F.pad(mask, (1, 0))[..., None] | first).flatten(1)
        return self.backbone.encode_events(x.flatten(1, 2), mask), mask

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Stage one: generate the next item, whatever happened to it. A causal encoder predicts every event that has
        one before it in the sample, any other encoder the target alone."""
        if not self.every_event:
            return self(batch)
        events = batch.with_target()
        codes = self.codes[events.item]
        history, mask = self.encode(batch.user, codes, events.mask)
        targets = F.pad(codes, (0, 0, 1, 0))  # the user's column is not predicted
        logits = self.backbone.decode_all(history, mask, torch.zeros_like(targets[..., 0]), targets)[:, 1:]
        return logged(token_nll(logits, codes), events.mask & F.pad(events.mask, (1, 0))[:, :-1])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Stage two: the same loss for the target alone."""
        history, mask = self.encode(batch.user, self.codes[batch.item], batch.mask)
        target = self.codes[batch.target_item][:, None]  # (B, 1, L)
        bos, no_prefix = torch.zeros_like(batch.user), target[:, :0]
        logits = self.backbone.decode(history, mask, bos, no_prefix, mask[:, :0], target[:, 0])
        return logged(token_nll(logits, target), torch.ones_like(target[..., 0], dtype=torch.bool))

    def start(self, batch: Batch) -> tuple[DecoderState, Tensor]:
        """Beam search: encode, logits (B, V) of the target's first token."""
        codes = self.codes[batch.item]
        history, mask = self.encode(batch.user, codes, batch.mask)
        return self.backbone.start(history, mask, torch.zeros_like(batch.user), codes[:, :0], mask[:, :0])

    def step(self, state: DecoderState, tokens: Tensor, parents: Tensor, level: int) -> tuple[DecoderState, Tensor]:
        """Beam search: append the tokens (B, W) chosen at `level`, logits (B, W, V) of the next."""
        return self.backbone.step(state, tokens, parents, level)


def logged(nll: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Loss and log of token NLLs (B, G, L) over the targets that count (B, G)."""
    loss = mean_over_events(nll.sum(-1), counts)
    return {"loss": loss, "target_nll": loss.detach() / nll.shape[-1]}


def before_oldest(mask: Tensor) -> Tensor:
    """Where the user's token stands once a column is added on the left, so that padding does not part it from the
    events: mask (B, T) of right-aligned histories -> (B, T + 1), one True a row."""
    columns = torch.arange(mask.shape[1] + 1, device=mask.device)
    return columns == mask.shape[1] - mask.sum(1, keepdim=True)


def collision_catalog(catalog: Catalog) -> Catalog:
    """The ids of TIGER: the first L - 1 codes, then the item's number among those that share them, in item order.

        (2, 7, 4) (2, 9, 0) (2, 7, 1)    ->    (2, 7, 0) (2, 9, 0) (2, 7, 1)

    A prefix cannot hold more than V items, since their codes are distinct. Source: Rajput et al., section 3.1.
    """
    prefix = catalog.nodes[:, -2].long()
    by_prefix = prefix.argsort(stable=True)  # items of a prefix side by side, in item order
    first = catalog.child_offsets[-1][prefix[by_prefix]].long()  # leaf of each one's prefix
    codes = catalog.codes.clone()
    codes[by_prefix, -1] = torch.arange(len(codes), device=catalog.device) - first
    return Catalog(codes, n_codes=catalog.n_codes, data_hash=catalog.data_hash)
