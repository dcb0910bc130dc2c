"""RCLRec: the backbone, a curriculum in front of the target, the joint loss and the quality-aware loss (section 3).

With `selector=None` the model is the standard generative recommender of eq. 1: that is what pre-training trains and
what the ablation "w/o RCPM" fine-tunes. All ablations are other selectors or other numbers in the config.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rclrec_mini.checks import at_least
from rclrec_mini.data.sequences import Batch
from rclrec_mini.models.backbone import Backbone, DecoderState
from rclrec_mini.models.curriculum import RCPM, Selection, journey_mask, recovery
from rclrec_mini.models.pointer import Pointer


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses. The defaults are the paper's; the last three are ours."""

    lambda_qual: float = 0.1  # weight of the quality-aware loss, eq. 9; 0 is the ablation without it
    margin: float = 0.1  # m of eq. 8, nats a token
    prefix_loss: float = 1.0  # ours: weight of the prefix tokens in eq. 6; the paper's is 1
    supervision: float = 0.0  # ours: weight of the cross-entropy that shows p the events like the target
    unseen: bool = False  # ours: supervision on targets alone that do not stand in the history

    def __post_init__(self) -> None:
        at_least(self, 0, "lambda_qual", "margin", "prefix_loss", "supervision")


class RCLRec(nn.Module):
    """Generative recommender with a curriculum prefix.

    Args:
        backbone: the encoder-decoder, usually pre-trained.
        codes: semantic ids of all items (N, L).
        selector: see models/curriculum.py; None for no prefix.
        loss: weights of the losses.
        reference: the backbone after pre-training, theta_0 of eq. 7. A frozen copy is kept; None switches the
            quality-aware loss off.
        journey: truth of a simulated shop (N,), read by `diagnostics` alone.
        pointer: ours; the target's likelihood is then that of models/pointer.py. None, as in the paper, for
            generation alone.
        prefix_levels: ours; codes of each selected event that the decoder writes, its category. None, as in the paper,
            for all.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        codes: Tensor,
        selector: nn.Module | None = None,
        loss: LossConfig | None = None,
        reference: Backbone | None = None,
        journey: Tensor | None = None,
        pointer: Pointer | None = None,
        prefix_levels: int | None = None,
    ):
        super().__init__()
        self.backbone = backbone
        self.selector = selector
        self.pointer = pointer
        self.loss, self.prefix_levels = loss or LossConfig(), prefix_levels
        self.reference = copy.deepcopy(reference).requires_grad_(False) if reference is not None else None
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("journey", journey, persistent=False)
        self.train()

    @property
    def max_history(self) -> int:
        return self.backbone.config.max_history

    @property
    def every_event(self) -> bool:
        return self.backbone.config.causal

    def train(self, mode: bool = True) -> "RCLRec":
        """Set training mode everywhere but in the frozen reference."""
        super().train(mode)
        if self.reference is not None:
            self.reference.eval()
        return self

    def encode(self, batch: Batch) -> Tensor:
        """History states H (B, T, d)"""
        return self.backbone.encode(self.codes[batch.item], batch.behavior, batch.mask)

    def select(self, history: Tensor, batch: Batch) -> Selection:
        """The curriculum of each sample; empty (k = 0) without a selector."""
        if self.selector is not None:
            return self.selector(history, batch)
        empty = history.new_zeros(len(batch), 0)
        return Selection(empty.long(), empty.bool(), empty)

    def prefix_codes(self, selection: Selection, batch: Batch) -> Tensor:
        """Semantic ids of the selected events, G_prefix of eq. 5 (B, k, L), or their first `prefix_levels` codes."""
        return self.codes[batch.item.gather(1, selection.index)][..., : self.prefix_levels]

    def pretraining_nll(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Eq. 1 for every event of the sample, the target included, each from the events before it.

        One pass of a causal encoder supervises T + 1 targets. -> NLL summed over tokens (B, T + 1), zero where an
        event has nothing before it, and the mask of the others (B, T + 1)
        """
        events = batch.with_target()
        codes = self.codes[events.item]
        history = self.backbone.encode(codes, events.behavior, events.mask)
        nll = token_nll(self.backbone.decode_all(history, events.mask, events.behavior, codes), codes).sum(-1)
        if self.pointer is not None:
            nll = self.pointer.nll_of_all(nll, events, history)
        predicted = events.mask & F.pad(events.mask, (1, 0))[:, :-1]
        return nll * predicted, predicted

    def terms(self, batch: Batch) -> tuple[dict[str, Tensor], Selection]:
        """The terms of eq. 9 per sample, unweighted, each (B,): target and prefix (NLL summed over tokens, eq. 6),
        quality (the hinge of eq. 8), supervision (ours)."""
        history = self.encode(batch)
        selection = self.select(history, batch)
        prefix, target = self.prefix_codes(selection, batch), self.codes[batch.target_item]
        logits = self.backbone.decode(
            history, batch.mask, batch.target_behavior, prefix, selection.valid, target, selection.weight
        )
        n, levels = prefix.shape[-1], target.shape[-1]
        nll = token_nll(logits, torch.cat([F.pad(prefix, (0, levels - n)), target[:, None]], dim=1))  # (B, k + 1, L)
        generated = nll[:, -1].sum(-1)  # (B,)
        terms = {
            "target": generated,
            "prefix": (nll[:, :-1, :n].sum(-1) * selection.valid).sum(-1),
        }
        if self.pointer is not None:
            terms["target"] = self.pointer.nll_of_next(generated, batch, history)
        if self.reference is not None and self.loss.lambda_qual:
            terms["quality"] = F.relu(self.loss.margin - (self.base_nll(batch) - nll[:, -1].mean(-1)))
        if selection.scores is not None and self.loss.supervision:
            terms["supervision"] = self.supervision(selection.scores, batch)
        return terms, selection

    @torch.no_grad()
    def base_nll(self, batch: Batch) -> Tensor:
        """L_base(theta_0) of eq. 7: mean NLL of the target's tokens under the frozen reference, no prefix (B,)"""
        target = self.codes[batch.target_item]
        history = self.reference.encode(self.codes[batch.item], batch.behavior, batch.mask)
        prefix, valid = target[:, None][:, :0], batch.mask[:, :0]
        logits = self.reference.decode(history, batch.mask, batch.target_behavior, prefix, valid, target)
        return token_nll(logits, target[:, None]).mean((1, 2))

    def supervision(self, scores: Tensor, batch: Batch) -> Tensor:
        """Ours: cross-entropy of p towards events in proportion to the leading codes they share with the target (B,).

        The target is known in training only, and the query never sees it. Zero where no event shares a code, and,
        with `unseen`, where one is of the target's item.
        """
        same = self.codes[batch.item] == self.codes[batch.target_item][:, None]  # (B, T, L)
        shared = same.long().cumprod(-1).sum(-1) * batch.mask  # (B, T)
        if self.loss.unseen:
            shared = shared * ~(batch.mask & (batch.item == batch.target_item[:, None])).any(1, keepdim=True)
        return cross_entropy_towards(shared, scores, batch.mask)

    def weights(self) -> dict[str, float]:
        """Weight of each term in the loss."""
        loss = self.loss
        return {
            "target": 1.0,
            "prefix": loss.prefix_loss,
            "quality": loss.lambda_qual,
            "supervision": loss.supervision,
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of eq. 9 (eq. 1 without a selector), a mean over samples, and its parts for the log."""
        terms, selection = self.terms(batch)
        weights = self.weights()
        logs = {
            "loss": torch.stack([weights[name] * term for name, term in terms.items()]).sum(0).mean(),
            "target_nll": terms["target"].detach().mean() / self.codes.shape[1],
        }
        if selection.index.shape[1]:
            tokens = selection.valid.sum().clamp(min=1) * (self.prefix_levels or self.codes.shape[1])
            logs["prefix_nll"] = terms["prefix"].detach().sum() / tokens
        if "quality" in terms:
            logs["hinge_active"] = (terms["quality"] > 0).float().mean()
        return logs

    def pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """Stage one, eq. 1: generate the next item under any behaviour.

        A causal encoder predicts all events of a sample in one pass, any other its target alone. A selector (ours,
        none by default) shows the decoder prefixes before fine-tuning does; see `curriculum.Sometimes`.
        """
        if not self.every_event:
            return self(batch)
        nll, predicted = self.pretraining_nll(batch)
        mean = (nll.sum(1) / predicted.sum(1)).mean()
        logs = {"loss": mean, "target_nll": mean.detach() / self.codes.shape[1]}
        if self.selector is None:
            return logs
        prefixed = self(batch)
        return {"loss": mean + prefixed["loss"], **{f"prefixed_{name}": prefixed[name].detach() for name in prefixed}}

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """What the curriculum does: the largest p, the gradient norm that reaches the selector from each weighted
        term of the loss, and precision and recall of the true journey where it is known."""
        terms, selection = self.terms(batch)
        logs = {}
        if isinstance(self.selector, RCPM):
            logs["largest_p"] = selection.scores.softmax(-1).amax(-1).mean().item()
            parameters = list(self.selector.parameters())
            for name, term in terms.items():
                loss = self.weights()[name] * term.mean()
                gradient = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                squares = [g.square().sum() for g in gradient if g is not None]
                logs[f"selector_gradient_{name}"] = torch.stack(squares).sum().sqrt().item() if squares else 0.0
        if self.journey is not None and selection.index.shape[1]:
            found = recovery(selection, journey_mask(self.journey, batch))
            known = ~found.recall.isnan()
            if known.any():
                logs["selector_precision"] = found.precision[known].mean().item()
                logs["selector_recall"] = found.recall[known].mean().item()
        return logs

    def start(self, batch: Batch) -> tuple[DecoderState, Tensor]:
        """Beam search: encode, select, run the forced prefix, logits (B, V) of the target's first token."""
        history = self.encode(batch)
        selection = self.select(history, batch)
        prefix = self.prefix_codes(selection, batch)
        state, logits = self.backbone.start(history, batch.mask, batch.target_behavior, prefix, selection.valid)
        if self.pointer is not None:
            state = state._replace(pointing=self.pointer.next(batch, history))
        return state, logits

    def step(self, state: DecoderState, tokens: Tensor, parents: Tensor, level: int) -> tuple[DecoderState, Tensor]:
        """Beam search: append the tokens (B, W) chosen at `level`, logits (B, W, V) of the next."""
        return self.backbone.step(state, tokens, parents, level)


def cross_entropy_towards(relevance: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of softmax(scores) towards events in proportion to their relevance, 0 where none has any.

    relevance, scores, mask (B, T) -> (B,)
    """
    towards = relevance / relevance.sum(-1, keepdim=True).clamp(min=1)
    return -(towards * scores.log_softmax(-1).masked_fill(~mask, 0.0)).sum(-1)


def token_nll(logits: Tensor, codes: Tensor) -> Tensor:
    """Negative log-likelihood of each token: (..., V), (...) -> (...)"""
    return F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none").view(codes.shape)
