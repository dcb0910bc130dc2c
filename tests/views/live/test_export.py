"""What an export holds: the users of the test split, and weights that are what they were."""

import json
from itertools import accumulate

import pytest
import torch
from questions import COLUMNS, of

from rclrec_mini.files import InputError
from rclrec_mini.models.baselines.sasrec import SASRec, SASRecConfig
from rclrec_mini.views.live.bundle import JS
from rclrec_mini.views.live.engine import Engine
from rclrec_mini.views.live.export import export, write_export


@pytest.fixture(scope="module")
def exported(models, materials):
    return export(models, materials, users=29)


def test_users_are_test_targets_with_their_history(exported, models, materials):
    assert len({person["user"] for person in exported["users"]}) == 29
    for person in exported["users"]:
        row = person["target"]["row"]
        assert row in materials.split.test and len(person["items"]) >= 1
        assert person["target"]["item"] == materials.sequences.item[row]
        first = row - len(person["items"])
        assert person["items"] == materials.sequences.item[first:row].tolist()
        assert list(accumulate(person["timestamps"])) == materials.sequences.timestamp[first:row].tolist()
        assert person["journey"] == (materials.journey[first:row] == materials.journey[row]).int().tolist()
        assert person["target"]["seen"] == (person["target"]["item"] in person["items"])
        assert {len(person[name]) for name in COLUMNS} == {len(person["items"])}
    assert export(models, materials, users=29) == exported
    assert len(export(models, materials, users=10_000)["users"]) == len(materials.split.test)


def test_what_each_selector_finds_is_what_the_engine_answers(exported, models, materials):
    engine = Engine(models, materials)
    for name, model in exported["models"].items():
        assert model["found"].keys() == {"none", *engine.selectors(name)}
        assert {len(digits) for digits in model["found"].values()} == {29}
        for place, person in list(enumerate(exported["users"]))[::5]:
            for selector, digits in model["found"].items():
                by, k = ("recent", 0) if selector == "none" else (selector, model["k"])
                top = engine.answer(of(person, model=name, selector=by, k=k))["with"]["top"]
                assert digits[place] == str(int(person["target"]["item"] in [one["item"] for one in top]))
    assert len({digits for model in exported["models"].values() for digits in model["found"].values()}) > 5


def test_items_have_the_attributes_of_the_data(exported, materials):
    items = exported["items"]
    assert items["codes"] == materials.catalog.codes.tolist()
    assert {len(column) for column in items.values()} == {307}
    assert items.keys() == {"codes", "title", "category", "brand", "seller", "price"}
    assert exported["simulated"] is True and exported["behaviors"] == ["click", "favorite", "cart", "purchase"]


def test_the_page_reads_the_weights_that_the_models_have(node_says, exported, models, tmp_path):
    write_export(tmp_path / "live.json", exported)
    script = f"""
        import {{ readFileSync }} from "node:fs";
        const {{ arrays }} = await import("{JS / "weights.js"}");
        const models = Object.entries(JSON.parse(readFileSync("live.json")).models);
        const read = ([name, {{ tensors }}]) => [name, Object.entries(arrays(tensors)).map(([n, a]) => [n, [...a]])];
        process.stdout.write(JSON.stringify(models.map(read)));
    """
    for name, tensors in node_says(script, cwd=tmp_path):
        model, tensors = models[name], dict(tensors)
        wanted = {key: value for key, value in model.state_dict().items() if key in tensors}
        users = torch.tensor([person["user"] for person in exported["users"]])
        if name != "pointing":
            wanted["selector.query"] = model.selector.query(users)
        assert wanted.keys() == tensors.keys()
        for key, value in wanted.items():
            coded = exported["models"][name]["tensors"][key.replace("reference.", "backbone.")]
            own = wanted[key.replace("reference.", "backbone.")]
            coded, moved = (coded, value) if own is value else (coded["back"], value - own)
            step = moved.abs().amax(-1, keepdim=True) / (2 ** (coded["bits"] - 1) - 1) + coded["unit"]
            away = (torch.tensor(tensors[key]).view(value.shape) - value).abs()
            assert (away <= 0.52 * step + 1e-7 * value.abs()).all(), key
        left = model.state_dict().keys() - tensors.keys()
        assert all(key.startswith(("selector.features.", "selector.user.", "selector.mlp.")) for key in left)


def test_text_cannot_end_the_script_that_it_stands_in(exported, tmp_path):
    items = {**exported["items"], "title": ["</script><b>", *exported["items"]["title"][1:]]}
    write_export(tmp_path / "live.json", {**exported, "items": items})
    assert "</script>" not in (tmp_path / "live.json").read_text()
    assert json.loads((tmp_path / "live.json").read_text())["items"] == items


def test_a_script_sets_a_global_and_is_the_same(node_says, exported, tmp_path):
    write_export(tmp_path / "live.js", exported)
    write_export(tmp_path / "live.json", exported)
    found = node_says("await import('./live.js'); console.log(JSON.stringify(globalThis.rclrecExport))", cwd=tmp_path)
    assert found == json.loads((tmp_path / "live.json").read_text())


def test_models_that_cannot_be_exported(models, materials):
    sasrec = SASRec(config=SASRecConfig(d=8, heads=2, layers=1, ffn=8, max_history=23), n_items=307)
    with pytest.raises(InputError, match="model b: found a SASRec, expected an RCLRec"):
        export({"a": models["literal"], "b": sasrec}, materials)
    with pytest.raises(InputError, match="models: found none"):
        export({}, materials)
