"""The page's engine under Node says what Python says, from the models at full precision."""

import copy
import json

import pytest
import questions
import torch

from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.experiments.materials import Materials
from rclrec_mini.experiments.methods import RCLRecConfig
from rclrec_mini.experiments.shared import lesson, shop, stage_two
from rclrec_mini.experiments.tables import GENTLE, REPAIRED
from rclrec_mini.files import InputError
from rclrec_mini.views.live.engine import Engine
from rclrec_mini.views.live.export import export, write_export


@pytest.fixture(scope="module")
def engine(models, materials) -> Engine:
    return Engine(models, materials)


@pytest.fixture(scope="module")
def exported(models, materials, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "live.json"
    write_export(path, export(models, materials, users=100))
    return path


@pytest.fixture(scope="module")
def users(exported):
    return json.loads(exported.read_text())["users"]


@pytest.mark.slow
def test_random_models_of_other_sizes(node, engine, exported, users):
    asked = questions.many(engine, users)
    pairs = list(zip(questions.by_python(engine, asked), questions.by_node(node, exported, asked), strict=True))
    assert len(pairs) == 300
    assert sum(questions.compare(a, b, within=1e-3) for a, b in pairs) >= 295
    for question, (_, answer) in zip(asked, pairs, strict=True):
        assert answer["selectors"] == engine.selectors(question["model"])


@pytest.mark.slow
def test_trained_models_of_the_books_sizes(node, tmp_path, monkeypatch):
    monkeypatch.setenv("RCLREC_CACHE", str(tmp_path / "cache"))
    materials = Materials.load(*shop("tiny"))
    configs = {
        "literal": lesson(fast=True),
        "repaired": lesson(fast=True, loss=REPAIRED, prefix_share=0.5, selector="counting"),
        "pointing": lesson("pointing", fast=True, selector="pointer", loss=GENTLE),
    }
    models = {name: stage_two(config, materials)[0] for name, config in configs.items()}
    write_export(tmp_path / "live.json", export(models, materials))
    assert (tmp_path / "live.json").stat().st_size < 2_350_000  # the shop mini has 150 kB more of items
    engine = Engine(models, materials)
    asked = questions.many(engine, json.loads((tmp_path / "live.json").read_text())["users"][:100])
    pairs = zip(questions.by_python(engine, asked), questions.by_node(node, tmp_path / "live.json", asked), strict=True)
    assert sum(questions.compare(a, b, within=1e-3) for a, b in pairs) >= 0.98 * len(asked)


def test_each_selector_k_and_temperature_of_one_user(node, engine, exported, users):
    asked = [
        questions.of(users[0], model=name, selector=selector, k=k, tau=tau)
        for name in engine.models
        for selector in engine.selectors(name)
        for k, tau in ((0, 0.05), (1, 1.0), (5, 2.0))
    ]
    found = questions.by_node(node, exported, asked)
    for question, a, b in zip(asked, questions.by_python(engine, asked), found, strict=True):
        questions.compare(a, b, within=1e-3)
        known = sum(question["journey"]) if question["selector"] == "oracle" else len(question["items"])
        assert len(b["selected"]) == min(question["k"], known)


def test_a_history_without_events(node, engine, exported, users):
    asked = [
        questions.edited(questions.of(users[1], model=name, selector=engine.selectors(name)[0]), "empty")
        for name in engine.models
    ]
    for a, b in zip(questions.by_python(engine, asked), questions.by_node(node, exported, asked), strict=True):
        assert questions.compare(a, b, within=1e-3)
        assert b["selected"] == [] and b["with"] == b["without"] and len(b["with"]["top"]) == 10
        assert b["gate"] in (None, 0)


def test_of_equal_events_the_newest_and_of_equal_items_the_lowest_codes(node, models, materials, users, tmp_path):
    models = copy.deepcopy(models)
    for model in models.values():
        for weights in model.parameters():
            torch.nn.init.zeros_(weights)
    write_export(tmp_path / "live.json", export(models, materials, users=100))
    asked = [
        questions.of(users[0], model=name, selector=selector)
        for name, selector in (("literal", "rcpm"), ("counting", "counting"), ("pointing", "pointer"))
    ]
    python = questions.by_python(Engine(models, materials), asked)
    first = sorted(range(307), key=lambda item: materials.catalog.codes[item].tolist())[:10]
    for a, b in zip(python, questions.by_node(node, tmp_path / "live.json", asked), strict=True):
        assert questions.compare(a, b, within=1e-6)
        assert b["selected"] == [19, 20, 21, 22]
        if b["gate"] is None:
            assert [one["item"] for one in b["with"]["top"]] == first


def test_time_alone_changes_an_answer(node, engine, exported, users):
    asked = [questions.of(users[4], model="pointing", selector="pointer")]
    asked.append({**asked[0], "timestamps": [time * 2 for time in asked[0]["timestamps"]]})
    one, other = questions.by_node(node, exported, asked)
    assert one["copy"] != other["copy"]
    assert questions.compare(questions.by_python(engine, asked)[1], other, within=1e-3)


@pytest.mark.parametrize("name", ["literal", "counting"])
def test_the_twin_is_the_library(name, engine, models, materials, users):
    model, person = models[name], users[2]
    batch = materials.sequences.batch(torch.tensor([person["target"]["row"]]).numpy(), model.max_history)
    with torch.inference_mode():
        items, scores = beam_search(model, batch, materials.catalog, beams=20, k=10)
        terms, selection = model.terms(batch)
        selector = "rcpm" if name == "literal" else name
        asked = questions.of(person, model=name, selector=selector, k=model.selector.k, tau=RCLRecConfig.tau)
        answer = engine.answer(asked)
    assert [one["item"] for one in answer["with"]["top"]] == items[0].tolist()
    assert [one["logp"] for one in answer["with"]["top"]] == pytest.approx(scores[0].tolist(), abs=1e-4)
    assert answer["selected"] == selection.index[0].tolist()
    assert answer["with"]["target"] == pytest.approx(-terms["target"].item(), abs=1e-4)
    assert max(0, answer["margin"] - answer["gain"]) == pytest.approx(terms["quality"].item(), abs=1e-4)


def test_the_twin_points_as_the_library(engine, models, materials, users):
    model, person = models["pointing"], users[3]
    batch = materials.sequences.batch(torch.tensor([person["target"]["row"]]).numpy(), model.max_history)
    with torch.inference_mode():
        items, scores = beam_search(model, batch, materials.catalog, beams=20, k=10)
        pointing = model.pointer.next(batch, model.encode(batch))
        terms, _ = model.terms(batch)
    answer = engine.answer(questions.of(person, model="pointing", selector="pointer", tau=1.0))
    assert [one["item"] for one in answer["with"]["top"]] == items[0].tolist()
    assert [one["logp"] for one in answer["with"]["top"]] == pytest.approx(scores[0].tolist(), abs=1e-4)
    assert answer["gate"] == pytest.approx(1 - pointing.log_rest.exp().item(), abs=1e-6)
    assert answer["p"] == pytest.approx(answer["copy"], abs=1e-6)
    assert answer["with"]["target"] == pytest.approx(-terms["target"].item(), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "best"}, "model: found best, expected one of literal, counting, pointing"),
        ({"selector": "pointer"}, "selector: found pointer, expected one of rcpm, recent, random, oracle"),
        ({"k": 6}, "k: found 6, expected 0..5"),
        ({"tau": 0}, "tau: found 0, expected more than 0"),
        ({"items": [3] * 24}, "items: found 24 events, expected at most 23"),
        ({"behaviors": [0]}, "columns: found 23, 1, 23, 23 events, expected as many in each"),
        ({"target": 307}, "item: found 307, expected 0..306"),
        ({"behaviors": [4] * 23}, "behavior: found 4, expected 0..3"),
    ],
)
def test_a_bad_question_is_refused_in_the_same_words(change, message, node, engine, exported, users):
    asked = {**questions.of(users[0], model="literal", selector="rcpm"), **change}
    assert questions.by_node(node, exported, [asked]) == [{"error": message}]
    with pytest.raises(InputError) as refused:
        engine.answer(asked)
    assert str(refused.value) == message
