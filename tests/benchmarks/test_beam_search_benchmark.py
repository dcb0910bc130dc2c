"""Our search on a Hugging Face T5 gives the items of that T5's own `generate`, constrained by a Python trie."""

import pytest
import torch

from rclrec_mini.models.backbone import BackboneConfig

pytest.importorskip("transformers")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the peer's own
@pytest.mark.parametrize("prefix", [0, 2])
def test_same_top_10_as_generate(benchmark, prefix):
    model = BackboneConfig(levels=3, codes=19, d=24, heads=3, encoder_layers=2, decoder_layers=1, ffn=29, max_history=7)
    config = benchmark.Config(users=5, prefix=prefix, model=model)
    searches, _ = benchmark.contenders(config, 1009)
    for beams in (11, 23):
        items = searches["hf"](beams)
        assert (items >= 0).all()
        assert torch.equal(items, searches["ours on t5"](beams))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_free_search_is_ours_on_a_complete_catalog(benchmark):
    """With every tuple an item the constraint allows everything, and the two searches of our backbone agree."""
    model = BackboneConfig(levels=2, codes=13, d=24, heads=3, encoder_layers=1, decoder_layers=1, ffn=29, max_history=7)
    searches, catalog = benchmark.contenders(benchmark.Config(users=3, prefix=1, model=model), 169)
    codes, free_scores = searches["free"](17)
    items, scores = searches["ours"](17)
    torch.testing.assert_close(scores, free_scores)
    offset = torch.arange(2) * 13
    assert torch.equal(catalog.items_of(codes + offset), items)
