"""What a language model writes without the trie, and the items nearest to it."""

import pytest
import torch
from torch.testing import assert_close

from rclrec_mini.data.sequences import Batch
from rclrec_mini.decoding.grounding import Grounding, write
from rclrec_mini.models.item_titles import END, FILLER
from rclrec_mini.models.language_model import LanguageModelConfig, from_scratch
from rclrec_mini.semantic_ids.catalog import Catalog

TITLES = ["red wool coat", "blue phone", None, "red wool coat", "red wool", "green phone", "blue", "red silk coat"]
N = len(TITLES)


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = LanguageModelConfig(d=24, layers=2, heads=2, ffn=29, events=5)
    return from_scratch(sizes, TITLES, ("click", "add to cart", "favorite", "purchase")).eval()


@pytest.fixture
def catalog(model) -> Catalog:
    return Catalog(model.codes, n_codes=model.n_codes)


def histories(*items: list[int]) -> Batch:
    """Clicks of these items, padded on the left, before a purchase of item 1."""
    longest = max(map(len, items))
    rows = torch.tensor([[0] * (longest - len(row)) + list(row) for row in items])
    mask = torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in items])
    column = torch.zeros(len(items), dtype=torch.int64)
    none = torch.zeros_like(rows)
    return Batch(column, column, rows, none, none, mask, column + 1, column + 3, column)


def plain_writing(model, history: list[int], levels: int) -> list[int]:
    """The likeliest code of all, by reading the whole text anew for each."""

    def words(names):
        return [token for token in names.tolist() if token >= 0]

    text = []
    for item in history:
        text += words(model.behaviors[0]) + words(model.tokens[model.codes[item]])
    text += words(model.behaviors[3])
    written = []
    while len(written) < levels and END not in written:
        logits = model.model(input_ids=torch.tensor([text])).logits[0, -1]
        written.append(1 + int(logits[model.tokens[1:]].argmax()))  # the filler is no word
        text.append(int(model.tokens[written[-1]]))
    return written + [FILLER] * (levels - len(written))


@torch.inference_mode()
def test_it_writes_the_likeliest_words_of_all(model):
    asked = ([0, 3, 6], [5], [2, 2])
    found = write(model, histories(*asked), model.codes.shape[1])
    assert found.tolist() == [plain_writing(model, row, model.codes.shape[1]) for row in asked]
    assert len({tuple(row) for row in found.tolist()} - {tuple(row) for row in model.codes.tolist()}) > 0  # no titles


@torch.inference_mode()
def test_texts_are_read_alone_and_averaged(model):
    found = model.embed(model.codes)
    for item in range(N):
        tokens = model.tokens[model.codes[item]]
        hidden = model.model.model(input_ids=tokens[tokens >= 0][None]).last_hidden_state[0]
        assert_close(found[item], hidden.mean(0), atol=1e-5, rtol=1e-4)


def scaled(x):
    return (x - x.min()) / (x.max() - x.min())


@torch.inference_mode()
@pytest.mark.parametrize("g, h", [(0.0, 0.0), (1.3, 0.0), (0.7, 2.0)])
def test_nearest_items_and_weights(model, catalog, g, h):
    batch, popularity = histories([0, 3, 6], [5]), torch.tensor([7, 1, 0, 4, 2, 2, 9, 1])
    related = torch.rand(2, N, generator=torch.Generator().manual_seed(4))
    search = Grounding(model, popularity=popularity, g=g, related=(lambda _: related) if h else None, h=h)
    items, scores = search(model, batch, catalog, beams=3, k=N)
    for row in range(2):
        text = model.embed(write(model, batch, catalog.levels)[row : row + 1])[0]
        far = scaled(torch.stack([(text - vector).norm() for vector in model.embed(model.codes)]))
        expected = -far / ((1 + scaled(popularity.float())) ** g * (1 + scaled(related[row])) ** h)
        assert items[row].tolist() == expected.argsort(descending=True).tolist()
        assert_close(scores[row], expected.sort(descending=True).values, atol=1e-4, rtol=1e-4)
        assert items[row, 0] == far.argmin() and scores[row, 0] == 0  # whatever its weight
    seen = torch.zeros(2, N, dtype=torch.bool)
    seen[0, items[0, :3]] = True
    left, _ = search(model, batch, catalog, beams=3, k=N, seen=seen)
    assert left[0].tolist() == [*items[0, 3:].tolist(), -1, -1, -1] and torch.equal(left[1], items[1])


def test_a_title_that_was_written_is_its_item(model, catalog):
    batch = histories([0, 3, 6], [5], [2, 2])
    batch.target_item[:] = torch.tensor([7, 1, 5])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        model(batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    items, _ = Grounding(model.eval(), popularity=torch.zeros(N))(model, batch, catalog, beams=1, k=2)
    assert items[:, 0].tolist() == [7, 1, 5]
