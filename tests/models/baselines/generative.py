"""What TIGER and MBGen, which put a user's token before the history and write semantic ids, must both do."""

from collections.abc import Callable
from dataclasses import replace

import torch
from samples import before, item_score, random_catalog, rows, widened
from torch import nn
from torch.testing import assert_close

from rclrec_mini.decoding.beam_search import beam_search


class GenerativeMethod:
    """Tests of what `build(codes, causal=..., **variant)` builds, and of the fixture `model`."""

    build: Callable[..., nn.Module]
    variants: tuple[dict[str, bool], ...]

    def test_every_event_at_once_equals_one_by_one(self, codes, batch):
        """The loss of one causal pass is the mean of the losses of samples cut before each event."""
        for variant in self.variants:
            model = self.build(codes, **variant)
            for sample in (0, 3, 7):
                one = rows(batch, slice(sample, sample + 1))
                first = int((~one.mask).sum()) + 1  # the second event: the first has only the user before it
                logs = [model(before(one, t)) for t in range(first, one.mask.shape[1] + 1)]
                assert len(logs) == one.mask.sum() > 1
                for name, found in model.pretraining(one).items():
                    assert_close(found, torch.stack([log[name] for log in logs]).mean())

    def test_bidirectional_pretraining_is_the_target_alone(self, codes, batch):
        model = self.build(codes, causal=False)
        assert not model.every_event and self.build(codes).every_event
        assert_close(model.pretraining(batch), model(batch))

    def test_padding_changes_nothing(self, model, batch):
        short = rows(batch, batch.mask.sum(1) <= 11)
        narrow = replace(short, **{name: getattr(short, name)[:, -11:] for name in short.history()._fields})
        wide = widened(narrow, 12)
        item, behavior = wide.item.masked_fill(~wide.mask, 2), wide.behavior.masked_fill(~wide.mask, 3)
        for other in (wide, replace(wide, item=item, behavior=behavior)):
            for stage in (model, model.pretraining):
                assert_close(stage(other), stage(narrow))
            assert_close(model.start(other)[1], model.start(narrow)[1])

    def test_an_empty_history_is_the_user_alone(self, model, batch):
        purchase = torch.full_like(batch.target_behavior, 3)
        first = model.start(replace(batch, mask=torch.zeros_like(batch.mask), target_behavior=purchase))[1]
        assert first.isfinite().all()
        for user in batch.user.unique():
            same = first[batch.user == user]
            assert_close(same, same[:1].expand_as(same))
        assert not torch.allclose(first[batch.user == 0][0], first[batch.user == 1][0])

    def test_wide_beam_ranks_by_likelihood(self, codes, batch):
        catalog = random_catalog(13, levels=codes.shape[1], n_codes=11)
        few = rows(replace(batch, item=batch.item % 13, target_item=batch.target_item % 13), slice(0, 3))
        for variant in self.variants:
            model = self.build(catalog.codes, **variant)
            items, scores = beam_search(model, few, catalog, beams=13, k=13)
            for i in range(3):
                expected = torch.tensor([item_score(model, rows(few, slice(i, i + 1)), item) for item in range(13)])
                assert_close(scores[i], expected.sort(descending=True).values)
                assert_close(expected[items[i]], scores[i])
