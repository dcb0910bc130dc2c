"""Titles as codes, branches of one cache against whole sequences, and weights from a folder."""

import json
import math
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from samples import fit
from torch.testing import assert_close

from rclrec_mini.checks import FieldError
from rclrec_mini.data.sequences import Sequences
from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.files import InputError
from rclrec_mini.models.item_titles import END, FILLER, spelled
from rclrec_mini.models.language_model import LanguageModelConfig, from_folder, from_scratch
from rclrec_mini.post_training.policy import token_log_probs
from rclrec_mini.post_training.rere import ReRe, ReReConfig
from rclrec_mini.semantic_ids.catalog import Catalog

TITLES = ["red wool coat", "blue phone", None, "red wool coat", "red wool", "green phone", "blue", "red wool coat 2"]
BEHAVIORS = ("click", "add to cart", "favorite", "purchase")
SIZES = LanguageModelConfig(d=24, layers=2, heads=2, ffn=29, events=5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return from_scratch(SIZES, TITLES, BEHAVIORS).eval()


@pytest.fixture
def catalog(model) -> Catalog:
    return Catalog(model.codes, n_codes=model.n_codes)


@pytest.fixture
def sequences() -> Sequences:
    generator = torch.Generator().manual_seed(1)
    n = 31
    item, behavior = (torch.randint(high, (n,), generator=generator).numpy() for high in (len(TITLES), 4))
    return Sequences(item, behavior, torch.arange(n).numpy(), torch.tensor([0, 3, 17, 31]).numpy(), len(TITLES))


@pytest.fixture
def batch(sequences):
    return sequences.batch(torch.tensor([2, 16, 30, 4, 1]).numpy(), 5)


def test_titles_end_and_are_told_apart():
    words: dict[str, int] = {}
    found = spelled(TITLES, lambda text: [words.setdefault(w, len(words) + 1) for w in text.split()], end=0)
    assert len({tuple(row) for row in found.codes.tolist()}) == len(TITLES)
    assert ((found.codes == END).sum(1) == 1).all()
    for row in found.codes.tolist():
        assert all(code == FILLER for code in row[row.index(END) + 1 :]) and FILLER not in row[: row.index(END)]
    text = {number: word for word, number in words.items()}
    said = [" ".join(text[found.tokens[c].item()] for c in row if c > END) for row in found.codes.tolist()]
    assert said[:4] == ["red wool coat", "blue phone", "item 2", "red wool coat 2"]
    assert said[4:] == ["red wool", "green phone", "blue", "red wool coat 2 2"]


def test_the_word_that_ends_a_title_is_left_out_within_one():
    words = {"#": 0}
    titles = ["guide # 2 deluxe", "guide", "#", "# guide"]
    found = spelled(titles, lambda text: [words.setdefault(w, len(words)) for w in text.split()], end=0)
    assert [row.index(END) for row in found.codes.tolist()] == [3, 1, 0, 2]  # the last is `guide 2`
    assert len({tuple(row) for row in found.codes.tolist()}) == 4 and found.tokens[END] == 0


def test_adapters_need_weights_that_they_adapt():
    with pytest.raises(FieldError, match="lora: found 3, expected 0 for a model from scratch"):
        LanguageModelConfig(lora=3)


def sequence_nll(model, batch, row: int, item: int) -> list[float]:
    """NLL of each token of an item's title, by reading one whole unpadded sequence."""
    tokens = []
    for i, b, m in zip(batch.item[row], batch.behavior[row], batch.mask[row], strict=True):
        if m:
            name = model.behaviors[b]
            tokens += name[name >= 0].tolist() + [model.tokens[c].item() for c in model.codes[i] if c != FILLER]
    name = model.behaviors[batch.target_behavior[row]]
    tokens += name[name >= 0].tolist()
    codes = [c.item() for c in model.codes[item] if c != FILLER]
    title = [model.tokens[c].item() for c in codes]
    logits = model.model(input_ids=torch.tensor([tokens + title])).logits[0, len(tokens) - 1 : -1]
    heads = logits[:, model.tokens[1:]].log_softmax(-1)  # over the tokens of titles, the filler left out
    return [-heads[n, c - 1].item() for n, c in enumerate(codes)]


def test_branches_of_one_cache_equal_whole_sequences(model, batch, catalog):
    everything = torch.arange(len(TITLES)).expand(len(batch), -1)
    with torch.no_grad():
        found = token_log_probs(model, batch, catalog, everything, constrained=False)
        for row in range(len(batch)):
            for item in range(len(TITLES)):
                expected = [-x for x in sequence_nll(model, batch, row, item)]
                assert found[row, item, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
                assert (found[row, item, len(expected) :] == 0).all()  # the filler costs nothing


def test_beams_equal_an_exhaustive_ranking(model, batch, catalog):
    with torch.no_grad():
        everything = torch.arange(len(TITLES)).expand(len(batch), -1)
        score = token_log_probs(model, batch, catalog, everything, constrained=False).sum(-1)
    items, scores = beam_search(model, batch, catalog, beams=len(TITLES), k=5)
    best = score.sort(dim=1, descending=True)
    assert torch.equal(items.clone(), best.indices[:, :5])
    assert_close(scores.clone(), best.values[:, :5], atol=1e-4, rtol=1e-4)
    narrow = beam_search(model, batch, catalog, beams=2, k=2)[0]  # widths that change from level to level
    assert narrow.shape == (5, 2)


def test_both_stages_train_what_the_search_ranks_by(model, sequences, batch):
    expected = [sum(nll := sequence_nll(model, batch, b, batch.target_item[b].item())) / len(nll) for b in range(5)]
    with torch.no_grad():
        assert model(batch)["loss"].item() == pytest.approx(sum(expected) / 5, abs=1e-4)
        lone = sequences.batch(torch.tensor([1]).numpy(), 5)  # one event and its target: both stages see one title
        assert model.pretraining(lone)["loss"].item() == pytest.approx(model(lone)["loss"].item(), abs=1e-5)
        longer = sequences.batch(torch.tensor([2]).numpy(), 5)
        second = sequence_nll(model, sequences.batch(torch.tensor([1]).numpy(), 5), 0, int(sequences.item[1]))
        third = sequence_nll(model, longer, 0, int(sequences.item[2]))
        mean = sum(second + third) / len(second + third)
        assert model.pretraining(longer)["loss"].item() == pytest.approx(mean, abs=1e-4)


def test_a_fresh_model_repeats_what_followed():
    """Words in random order, twice: the second time each is foretold by what followed it the first time."""
    torch.manual_seed(0)
    titles = [f"word{n} other{n} more{n}" for n in range(20)]
    qwen = from_scratch(LanguageModelConfig(d=128, layers=3, heads=4), titles, BEHAVIORS).eval().model
    qwen.set_attn_implementation("eager")
    once = torch.stack([torch.randperm(qwen.config.vocab_size)[:40] for _ in range(16)])
    with torch.no_grad():
        out = qwen(input_ids=torch.cat([once, once], 1), output_attentions=True)
    for head in range(4):  # of the first layer, which look one, two, three and four words back
        assert out.attentions[0][:, head].diagonal(-1 - head, 1, 2)[:, 8:].mean() > 0.9
    again = out.attentions[1][:, 0].diagonal(-39, 1, 2)  # from a word to the one that followed it before
    assert again.mean() > 0.1  # 1 in 50 if it looked everywhere alike
    logits = out.logits[:, 40:-1].flatten(0, 1)
    assert F.cross_entropy(logits, once[:, 1:].flatten()) < math.log(qwen.config.vocab_size) - 0.7
    assert (logits.argmax(-1) == once[:, 1:].flatten()).float().mean() > 0.2


def test_padding_changes_nothing(model, sequences, catalog):
    rows = torch.tensor([2, 16, 30]).numpy()
    whole = beam_search(model, sequences.batch(rows, 5), catalog, beams=4, k=3)
    for place, row in enumerate(rows):
        one = beam_search(model, sequences.batch(rows[place : place + 1], 5), catalog, beams=4, k=3)
        assert torch.equal(one[0][0], whole[0][place])
        assert_close(one[1][0].clone(), whole[1][place].clone(), atol=1e-4, rtol=1e-4)
        assert row in rows


def test_it_learns_a_few_histories_and_from_rewards(model, batch, catalog):
    assert fit(model, batch, steps=60, lr=1e-2)["loss"] < 0.05
    model.zero_grad()
    assert torch.equal(beam_search(model.eval(), batch, catalog, beams=4, k=1)[0][:, 0].clone(), batch.target_item)
    stage = ReRe(policy=model, catalog=catalog, config=ReReConfig(group=4))
    logs = stage(batch)
    logs["loss"].backward()
    assert logs["hit"] == 1 and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def tokenizer_of(kind: str):
    """Bytes in pairs, as Qwen2's, or whole words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    texts = [*filter(None, TITLES), *BEHAVIORS, "item 1 2"]
    if kind == "qwen2":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        tokenizer.train_from_iterator(texts, trainer)
        learned = json.loads(tokenizer.to_str())["model"]
        merges = [tuple(merge) for merge in learned["merges"]]
        return Qwen2Tokenizer(vocab=learned["vocab"], merges=merges, eos_token="<|endoftext|>")
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: n for n, word in enumerate(["[UNK]", "[END]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="[END]")


@pytest.fixture(params=["qwen2", "llama"])
def folder(request, tmp_path):
    """Weights and a tokenizer, as others save them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tokenizer_of(request.param)
    tokenizer.save_pretrained(tmp_path)
    sizes = AutoConfig.for_model(
        request.param, vocab_size=len(tokenizer), hidden_size=24, intermediate_size=29, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(sizes).save_pretrained(tmp_path)
    return tmp_path


def test_weights_from_a_folder(folder, batch):
    model = from_folder(LanguageModelConfig(llm=str(folder), events=5), TITLES, BEHAVIORS).eval()
    saved = load_file(folder / "model.safetensors")
    assert torch.equal(model.model.model.embed_tokens.weight, saved["model.embed_tokens.weight"])
    catalog = Catalog(model.codes, n_codes=model.n_codes)
    everything = torch.arange(len(TITLES)).expand(len(batch), -1)
    with torch.no_grad():
        found = token_log_probs(model, batch, catalog, everything, constrained=False).sum(-1)
        expected = -sum(sequence_nll(model, batch, 1, 4))
    assert found[1, 4].item() == pytest.approx(expected, abs=1e-4)


def test_adapters_learn_and_weights_stay(folder, batch):
    config = LanguageModelConfig(llm=str(folder), events=5)
    whole = from_folder(config, TITLES, BEHAVIORS).eval()
    torch.manual_seed(0)
    adapted = from_folder(replace(config, lora=3), TITLES, BEHAVIORS).eval()
    with torch.no_grad():
        loss = whole(batch)["loss"]
        assert_close(adapted(batch)["loss"], loss)  # adapters start at zero
    learning = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert learning == {name for name, _ in adapted.named_parameters() if "lora" in name}
    shapes = {p.shape for p in adapted.parameters() if p.requires_grad}
    assert all(3 in shape for shape in shapes)

    before = {name: p.clone() for name, p in adapted.state_dict().items()}
    assert fit(adapted, batch, steps=30, lr=1e-2)["loss"] < 0.9 * loss
    moved = {name for name, p in adapted.state_dict().items() if not torch.equal(p, before[name])}
    assert moved == learning
    again = from_folder(replace(config, lora=3), TITLES, BEHAVIORS).eval()
    again.load_state_dict(adapted.state_dict())
    with torch.no_grad():
        assert torch.equal(again(batch)["loss"], adapted.eval()(batch)["loss"])


def test_folders_that_are_no_language_model(folder, tmp_path):
    config = LanguageModelConfig(llm=str(tmp_path / "none"))
    with pytest.raises(InputError, match="expected a folder of weights"):
        from_folder(config, TITLES, BEHAVIORS)
    text = (folder / "config.json").read_text()
    for kind in ("qwen2", "llama"):
        text = text.replace(f'"model_type": "{kind}"', '"model_type": "gpt2"')
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match="model_type is gpt2, expected one of qwen2, llama"):
        from_folder(LanguageModelConfig(llm=str(folder)), TITLES, BEHAVIORS)
    with pytest.raises(InputError, match=r"heads: found 4, expected a number whose double divides d \(26\)"):
        LanguageModelConfig(d=26)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="transformers is missing, which a language model needs: pip install"):
        from_scratch(SIZES, TITLES, BEHAVIORS)
