"""The live view of a group: JavaScript against the library's rewards, and as a reader meets it in Chromium."""

import copy
import itertools
import json

import pytest
import torch
from every_view import MARKUP, EveryView, numbers, said, slide, timed

from rclrec_mini.decoding.beam_search import beam_search
from rclrec_mini.files import InputError
from rclrec_mini.post_training.groups import Group
from rclrec_mini.post_training.rewards import advantages, ranking, rule
from rclrec_mini.views.live.bundle import JS
from rclrec_mini.views.post_training import group_view

SIZE = 11
PARTS = ("rule", "ranking", "gate", "std")
LABELS = {"std": "divide by std"}
SCRIPT = """
const { advantages, rewards } = await import(process.argv[1]);
console.log(JSON.stringify(JSON.parse(process.argv[2]).map(({ items, target, ...on }) => {
  const total = rewards(items, target, on).map((one) => one.total);
  return { total, advantages: advantages(total, on.std) };
})));
"""
EVERY = [dict(zip(PARTS, on, strict=True)) for on in itertools.product((True, False), repeat=len(PARTS))]


def by_library(items: list[int], target: int, on: dict[str, bool]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and advantages (G,) of one group."""
    valid = torch.ones(1, len(items), dtype=torch.bool)
    one, bought = Group(torch.tensor([items]), valid, valid / len(items)), torch.tensor([target])
    total = on["rule"] * rule(one, bought) + on["ranking"] * ranking(one, bought, gate=on["gate"])
    return total[0], advantages(total, one, std=on["std"]).value[0]


def test_javascript_and_the_library_say_the_same(node_says):
    groups = [(list(range(20, 20 + n)), target) for n, target in ((16, 20), (16, 35), (16, 99), (7, 23), (2, 21))]
    asked = [{"items": items, "target": target, **on} for items, target in groups for on in EVERY]
    found = node_says(SCRIPT, JS / "group_rewards.js", json.dumps(asked))
    for question, answer in zip(asked, found, strict=True):
        total, value = by_library(question["items"], question["target"], question)
        assert answer["total"] == pytest.approx(total.tolist(), abs=1e-6)
        if answer["advantages"] is None:
            assert not value.any()
        else:
            assert answer["advantages"] == pytest.approx(value.tolist(), abs=2e-5) and value.any()


@pytest.fixture(scope="module")
def policies(models):
    moved = copy.deepcopy(models["literal"])
    with torch.no_grad():
        for weights in moved.backbone.parameters():
            weights.add_(0.03 * torch.randn_like(weights))
    return {"before": models["literal"], "after": moved}


@pytest.fixture(scope="module")
def batch(materials, policies):
    """Five histories, three of which got what the policy's beams hold at some place."""
    few = materials.sequences.batch(materials.split.test[:5], 23)
    items, _ = beam_search(policies["before"], few, materials.catalog, beams=SIZE, k=SIZE)
    for i, place in ((1, 0), (2, 4), (4, SIZE - 1)):
        few.target_item[i] = items[i, place]
    return few


@pytest.fixture(scope="module")
def file(policies, batch, materials, tmp_path_factory):
    titles = [MARKUP if i % 2 else None for i in range(len(materials.catalog))]
    path = tmp_path_factory.mktemp("group") / "view.html"
    path.write_text(group_view(policies, batch, materials.catalog, titles=titles, size=SIZE).html())
    return path


def test_two_policies_are_compared(policies, batch, materials):
    with pytest.raises(InputError, match="policies: found 1, expected 2"):
        group_view({"before": policies["before"]}, batch, materials.catalog, titles=[])


@pytest.mark.slow
class TestInThePage(EveryView):
    sentence = "advantages of the 11 beams"

    def test_it_shows_what_the_library_says(self, open_file, file, policies, batch, materials):
        page = open_file(file)
        assert page.get_by_label("history").input_value() == "2"  # the first that holds the purchase
        lists = [beam_search(one, batch, materials.catalog, beams=SIZE, k=SIZE)[0] for one in policies.values()]
        for i, on in itertools.product(range(len(batch)), EVERY[::3]):
            slide(page, "history", i + 1)
            for part in ("ranking", "rule", "gate", "std"):
                box = page.get_by_label(LABELS.get(part, part), exact=True)
                if part == "gate":
                    assert box.is_disabled() != on["ranking"]
                if box.is_enabled():
                    box.set_checked(on[part], force=True)
            target = int(batch.target_item[i])
            total, value = by_library(lists[0][i].tolist(), target, on)
            assert numbers(page, ".rl-group:not(.rl-later) li", "item") == lists[0][i].tolist()
            assert numbers(page, ".rl-later li", "item") == lists[1][i].tolist()
            assert numbers(page, "[data-reward]", "reward") == pytest.approx(total.tolist(), abs=1e-6)
            assert numbers(page, "[data-advantage]", "advantage") == pytest.approx(value.tolist(), abs=2e-5)
            assert ("it teaches nothing" in said(page)) == (not value.any())
            assert ("not among the 11 before" in said(page)) == (target not in lists[0][i])
        timed(page, "input[type=range]")

    def test_by_keyboard_alone(self, open_file, file):
        page = open_file(file)
        page.keyboard.press("Tab")
        page.keyboard.press("Space")  # rule off: the ranking reward still pulls
        assert "Switched on: ranking, gate and divide by std." in said(page)
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert "it teaches nothing" in said(page)
        for _ in range(2):
            page.keyboard.press("Tab")  # the gate has nothing to do
        page.keyboard.press("End")
        assert "5 of 5" in page.locator(".rl-view").inner_text()
