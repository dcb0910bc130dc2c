"""The mixture by hand and over a whole catalogue, its features against loops, search against exhaustive ranking."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rclrec_mini.data.sequences import Batch, Sequences
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.models.backbone import Backbone, BackboneConfig
from rclrec_mini.models.pointer import PointedK, Pointer, PointerConfig, Pointing
from rclrec_mini.models.rclrec import RCLRec, token_nll
from rclrec_mini.semantic_ids.catalog import Catalog

LEVELS, CODES, HISTORY = 3, 3, 23  # the last that of the fixtures
ITEMS = CODES**LEVELS  # every tuple is an item, so that generation alone sums to 1


@pytest.fixture
def codes() -> torch.Tensor:
    tuples = torch.tensor(list(itertools.product(range(CODES), repeat=LEVELS)))
    return tuples[torch.randperm(ITEMS, generator=torch.Generator().manual_seed(2))]


@pytest.fixture
def sequences(sequences) -> Sequences:
    """With few items, so that they come again."""
    return replace(sequences, item=sequences.item % ITEMS, n_items=ITEMS)


def pointer_of(codes, *, content: bool = True) -> Pointer:
    torch.manual_seed(7)
    pointer = Pointer(config=PointerConfig(width=11, content=content, hard=False), codes=codes, behaviors=4, d=26)
    if content:
        torch.nn.init.normal_(pointer.trust.weight)
    return pointer


@pytest.fixture
def model(codes) -> RCLRec:
    pointer = pointer_of(codes)
    sizes = BackboneConfig(
        levels=LEVELS, codes=CODES, d=26, heads=2, encoder_layers=1, decoder_layers=1, ffn=31, dropout=0.0,
        max_history=HISTORY, max_prefix=5, causal=True,
    )  # fmt: skip
    return RCLRec(backbone=Backbone(sizes), codes=codes, pointer=pointer).eval()


def log_likelihoods(model: RCLRec, batch: Batch) -> torch.Tensor:
    """Every item as the target, one after the other by teacher forcing: (B, N)"""
    columns = []
    for item in range(ITEMS):
        asked = replace(batch, target_item=torch.full_like(batch.target_item, item))
        columns.append(-model.terms(asked)[0]["target"])
    return torch.stack(columns, 1)


def no_events(batch: Batch) -> Batch:
    return replace(batch, mask=torch.zeros_like(batch.mask))


def test_the_mixture_of_the_head_of_the_module():
    log_copy = torch.tensor([0.5, 0.3, 0.2]).mul(0.8).log().expand(1, 3, 3)
    same = torch.tensor([[[True, False, True], [False, True, False], [False, False, False]]])
    found = Pointing(log_copy, torch.tensor([[0.2]]).log()).mix(torch.tensor([[0.1, 0.1, 0.8]]).log(), same)
    assert_close(found.exp(), torch.tensor([[0.58, 0.26, 0.16]]))


def test_a_hard_likelihood_knows_where_a_target_comes_from():
    """An item of the history as if always copied, any other as if always generated: never above the mixture."""
    log_copy = torch.tensor([0.5, 0.3, 0.2]).mul(0.8).log().expand(1, 3, 3)
    same = torch.tensor([[[True, False, True], [False, True, False], [False, False, False]]])
    pointing, generated = Pointing(log_copy, torch.tensor([[0.2]]).log()), torch.tensor([[0.1, 0.1, 0.8]]).log()
    found = pointing.mix(generated, same, hard=True)
    assert_close(found.exp(), torch.tensor([[0.56, 0.24, 0.16]]))
    assert (found <= pointing.mix(generated, same)).all()


@pytest.mark.parametrize("history", ["as it is", "one event", "none"])
def test_the_mixture_over_the_whole_catalogue_is_one(model, batch, history):
    if history == "one event":
        batch = replace(batch, mask=torch.arange(HISTORY) == HISTORY - 1 | torch.zeros_like(batch.mask))
    if history == "none":
        batch = no_events(batch)
    total = log_likelihoods(model, batch).logsumexp(1)
    assert_close(total, torch.zeros_like(total), atol=1e-5, rtol=0)


def test_without_events_everything_is_generated(model, batch):
    batch = no_events(batch)
    pointing = model.pointer.next(batch, model.encode(batch))
    assert pointing.log_copy.eq(float("-inf")).all()
    assert_close(pointing.log_rest, torch.zeros(len(batch), 1))
    columns = {name: getattr(batch, name)[:, :0] for name in ("item", "behavior", "timestamp", "mask")}
    batch = replace(batch, **columns)  # not even padding
    pointing = model.pointer.next(batch, model.encode(batch))
    assert pointing.log_copy.shape == (len(batch), 1, 0)
    assert_close(pointing.log_rest, torch.zeros(len(batch), 1))


def test_what_is_told_of_an_event_is_counted_by_hand(codes, batch):
    """A loop over events, targets, levels and behaviours in plain Python, for all targets and for the last alone."""
    config = PointerConfig()
    pointer = Pointer(config=config, codes=codes, behaviors=4)
    events = batch.with_target()
    pairs = [(3, 1), (3, 2), (HISTORY, 0), (HISTORY, 7), (HISTORY, HISTORY - 1)]
    place = torch.arange(HISTORY + 1)
    j, t = (place < place[:, None]).nonzero().T
    told, past = pointer._told(events, place, j, t)
    last, past_of_last = pointer._told(events, place[-1:], j[:HISTORY] * 0, place[:-1])
    assert_close(last, told[:, j == HISTORY])
    assert_close(past_of_last, past[:, -1:])
    for b in range(0, len(batch), 5):
        exists = [s for s in range(HISTORY + 1) if events.mask[b, s]]
        seen = {s: tuple(codes[events.item[b, s]].tolist()) for s in range(HISTORY + 1)}
        for end, event in pairs:
            expected = []
            for decay in (math.inf, config.decay):
                for level in range(1, LEVELS + 1):
                    for behavior in range(4):
                        alike = [
                            math.exp(-(end - 1 - s) / decay)
                            for s in exists
                            if s < end and seen[s][:level] == seen[event][:level] and events.behavior[b, s] == behavior
                        ]
                        expected.append(math.log1p(sum(alike)))
            days = max(0, int(events.timestamp[b, end - 1] - events.timestamp[b, event])) / 86_400
            expected += [math.exp(-days / scale) for scale in config.days]
            expected += [math.exp(-(end - 1 - event) / scale) for scale in config.ages]
            expected += [float(events.behavior[b, event] == c) for c in range(4)]
            expected += [float(events.behavior[b, end] == c) for c in range(4)]
            assert_close(told[b, (j == end) & (t == event)][0], torch.tensor(expected), atol=1e-5, rtol=1e-5)
        for end in (3, HISTORY):
            before = [s for s in exists if s < end]
            again = [s for s in before if events.item[b, s] in [events.item[b, r] for r in before if r < s]]
            for part, members in enumerate((before, again)):
                for c in range(4):
                    n = sum(int(events.behavior[b, s] == c) for s in members)
                    assert_close(past[b, end, 4 * part + c], torch.tensor(math.log1p(n)))


def test_all_events_at_once_point_as_each_target_alone(model, sequences):
    """And so the past alone decides: causality."""
    row = int(sequences.offsets[3]) + 9
    events = sequences.batch(np.array([row]), 9).with_target()
    states = model.backbone.encode(model.codes[events.item], events.behavior, events.mask)
    together = model.pointer.all(events, states)
    for back in range(8):
        batch = sequences.batch(np.array([row - back]), HISTORY)
        alone = model.pointer.next(batch, model.encode(batch))
        place = events.mask.shape[1] - 1 - back
        assert_close(together.log_copy[:, place, :place], alone.log_copy[:, 0])
        assert_close(together.log_rest[:, place], alone.log_rest[:, 0])


def test_neither_padding_nor_the_rest_of_the_batch_matters(model, sequences, batch):
    whole = model.terms(batch)[0]["target"]
    for b in range(0, len(batch), 7):
        alone = sequences.batch(batch.row[b : b + 1].numpy(), HISTORY)
        assert_close(model.terms(alone)[0]["target"], whole[b : b + 1])


@pytest.mark.parametrize("beams", [2, 5, 27])
def test_the_search_is_that_of_the_mixture(model, codes, batch, beams):
    """As many beams as items: exhaustive ranking. Fewer: a search in plain Python over the masses of prefixes."""
    catalog = Catalog(codes, n_codes=CODES)
    items, scores = beam_search(model, batch, catalog, beams=beams, k=2)
    truth = log_likelihoods(model, batch)
    tuples = [tuple(row) for row in codes.tolist()]
    for b in range(len(batch)):
        alive = [()]
        for level in range(LEVELS):
            mass = {
                (*prefix, z): sum(
                    truth[b, i].exp().item() for i, c in enumerate(tuples) if c[: level + 1] == (*prefix, z)
                )
                for prefix in alive
                for z in range(CODES)
            }
            alive = sorted(mass, key=mass.get, reverse=True)[:beams]
        expected = [tuples.index(leaf) for leaf in alive[:2]]
        assert items[b].tolist() == expected
        assert_close(scores[b], truth[b, expected], atol=1e-4, rtol=1e-4)


def test_the_gradient_reaches_every_event_and_is_that_of_finite_differences():
    torch.manual_seed(3)
    score = torch.randn(1, 1, 8, dtype=torch.float64, requires_grad=True)  # 7 events and "none"
    same = torch.tensor([[[True, False, False, True, False, False, False]]])

    def loss(score):
        mass = score.log_softmax(-1)
        return -Pointing(mass[..., :-1], mass[..., -1]).mix(torch.tensor([[-2.0]], dtype=torch.float64), same).sum()

    assert torch.autograd.gradcheck(loss, score)
    (gradient,) = torch.autograd.grad(loss(score), score)
    assert (gradient != 0).all()
    assert (gradient[same.nonzero(as_tuple=True)] < 0).all()  # events of the target's item are pulled up


@pytest.mark.parametrize("stage", ["pretraining", "forward"])
def test_no_gradient_is_nan_and_the_whole_pointer_learns(model, batch, stage):
    model.train()
    short = torch.arange(len(batch))[:, None] % 5 == 0
    kept = torch.arange(HISTORY) >= (HISTORY - 1 if stage == "pretraining" else HISTORY)  # one event, none
    batch = replace(batch, mask=batch.mask & (~short | kept))
    getattr(model, stage)(batch)["loss"].backward()
    for name, parameter in model.pointer.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_likelihood_of_pretraining_is_the_mixture_for_every_event(model, batch):
    nll, predicted = model.pretraining_nll(batch)
    expected = model.terms(batch)[0]["target"]
    known = batch.mask.any(1)
    assert predicted[:, -1].tolist() == known.tolist()
    assert_close(nll[known, -1], expected[known])


def test_the_pointer_learns_to_copy_where_generation_cannot(model, codes):
    """Users who always take the item that they saw twice."""
    rng = np.random.default_rng(3)
    item = np.stack([rng.permutation(ITEMS)[:7] for _ in range(64)])
    twice = rng.integers(0, 5, 64)
    item[:, 6] = item[:, 5] = item[np.arange(64), twice]
    shuffled = np.concatenate([rng.permuted(item[:, :6], axis=1), item[:, 6:]], axis=1)
    n = shuffled.size
    log = Sequences(
        shuffled.ravel().astype(np.int32), np.zeros(n, np.int8), np.zeros(n, np.int64), np.arange(65) * 7, ITEMS
    )
    batch = log.batch(np.arange(64) * 7 + 6, HISTORY)
    optimizer = torch.optim.Adam(model.pointer.parameters(), 0.02)
    for _ in range(120):
        optimizer.zero_grad()
        model(batch)["loss"].backward()
        optimizer.step()
    items, _ = beam_search(model, batch, Catalog(codes, n_codes=CODES), beams=27, k=1)
    assert (items[:, 0] == batch.target_item).float().mean() > 0.95


def test_the_curriculum_is_what_the_pointer_points_at(model, batch):
    history = model.encode(batch)
    selection = PointedK(k=5, pointer=model.pointer)(history, batch)
    p = model.pointer.next(batch, history).log_p()[:, 0].exp()
    for b in range(len(batch)):
        order = sorted(range(batch.mask.shape[1]), key=lambda t: (p[b, t].item(), t))[-5:]
        kept = [t for t in order if batch.mask[b, t]]
        assert selection.index[b][selection.valid[b]].tolist() == kept
    assert [name for name, _ in PointedK(k=5, pointer=model.pointer).named_parameters()] == []


def test_generation_alone_is_what_it_was(model, batch):
    """Without a pointer the terms are the plain negative log-likelihood of the target's tokens."""
    plain = RCLRec(backbone=model.backbone, codes=model.codes).eval()
    terms, _ = plain.terms(batch)
    history = plain.encode(batch)
    empty = torch.zeros(len(batch), 0, LEVELS, dtype=torch.long)
    target = plain.codes[batch.target_item]
    logits = plain.backbone.decode(history, batch.mask, batch.target_behavior, empty, empty[..., 0].bool(), target)
    assert torch.equal(terms["target"], token_nll(logits[:, 0], target).sum(-1))
    assert set(terms) == {"target", "prefix"}
