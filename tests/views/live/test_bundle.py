"""Modules become one text that says the same; what cannot be bundled is refused by name."""

import json

import pytest
import questions

from rclrec_mini.files import InputError
from rclrec_mini.views.live.bundle import bundle
from rclrec_mini.views.live.engine import Engine
from rclrec_mini.views.live.export import export, write_export


def test_the_bundled_engine_gives_the_same_answers(node, models, materials, tmp_path):
    write_export(tmp_path / "live.json", export(models, materials, users=7))
    (tmp_path / "bundled.mjs").write_text(bundle("engine"))
    users = json.loads((tmp_path / "live.json").read_text())["users"]
    asked = questions.many(Engine(models, materials), users)
    found = questions.by_node(node, tmp_path / "live.json", asked, engine=tmp_path / "bundled.mjs")
    assert found == questions.by_node(node, tmp_path / "live.json", asked)
    assert all(len(answer["with"]["top"]) == 10 for answer in found)


def test_a_module_is_there_once_and_keeps_its_names(node_says, tmp_path):
    (tmp_path / "base.js").write_text("let calls = 0;\nexport function count() {\n  return ++calls;\n}\n")
    (tmp_path / "left.js").write_text('import { count } from "./base.js";\nexport const one = () => count();\n')
    (tmp_path / "right-hand.js").write_text(
        'import { count as more } from "./base.js";\nexport class Two {\n  call = more;\n}\n'
    )
    (tmp_path / "top.js").write_text(
        'import {\n  one,\n} from "./left.js";\nimport { Two } from "./right-hand.js";\nconst count = 7;\n'
        "one();\nexport default { calls: new Two().call(), count };\n"
    )
    (tmp_path / "bundled.mjs").write_text(bundle("top", folder=tmp_path))
    script = "import top from './bundled.mjs'; console.log(JSON.stringify(top))"
    assert node_says(script, cwd=tmp_path) == {"calls": 2, "count": 7}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('import { a } from "./absent.js";\n', "absent.js: file not found"),
        ('import { a } from "./top.js";\n', "top.js: imports itself, found top -> top"),
        ('import * as a from "./top.js";\n', "top.js: found import \\* as a"),
        ('import a from "https://a.com/a.js";\n', "top.js: found import a from"),
    ],
)
def test_what_cannot_be_bundled(text, words, tmp_path):
    (tmp_path / "top.js").write_text(text)
    with pytest.raises(InputError, match=words):
        bundle("top", folder=tmp_path)


def test_an_imported_module_must_export_where_it_declares(tmp_path):
    (tmp_path / "base.js").write_text("const a = 1;\nexport { a };\n")
    (tmp_path / "top.js").write_text('import { a } from "./base.js";\n')
    with pytest.raises(InputError, match=r"base.js: found export \{ a \}"):
        bundle("top", folder=tmp_path)
