"""The live view of a running test: JavaScript against the library, and as a reader meets it in Chromium."""

import json

import numpy as np
import pytest
from every_view import EveryView, numbers, said, slide, timed

from rclrec_mini.files import InputError
from rclrec_mini.online.sequential import mixture
from rclrec_mini.views.abtest import DAYS, LOOKS, SEED, TESTS, USERS, day_noise, running, running_test
from rclrec_mini.views.live.bundle import JS

CV = 3.7
SCRIPT = """
const { horizons, seen, shares, walks } = await import(process.argv[1]);
const { asked, ...settings } = JSON.parse(process.argv[2]);
const all = walks(settings);
const answers = asked.map(({ effect, users, looks, test }) => {
  const at = horizons({ ...settings, users, looks });
  const { lift, peeking, valid } = seen(all[test - 1], at, effect);
  return { lift, fixed: at.map((one) => one.fixed), valid: at.map((one) => one.valid), day: at.map((one) => one.day),
    first: [peeking, valid].map((i) => at[i]?.day ?? null), shares: [shares(all, at, 0), shares(all, at, effect)] };
});
console.log(JSON.stringify({ walks: all.map((walk) => [...walk]), answers }));
"""
ASKED = [
    {"effect": 0.0, "users": 100, "looks": 28, "test": 1},
    {"effect": 0.02, "users": 30_000, "looks": 14, "test": 7},
    {"effect": -0.05, "users": 3_000, "looks": 1, "test": 1000},
    {"effect": 0.01, "users": 1_000_000, "looks": 4, "test": 91},
]


def test_javascript_and_the_library_say_the_same(node_says):
    settings = {"cv": CV, "days": DAYS, "tests": TESTS, "seed": SEED, "ratio": mixture(1.0) ** 2, "asked": ASKED}
    found = node_says(SCRIPT, JS / "running_test.js", json.dumps(settings))
    np.testing.assert_allclose(found["walks"], day_noise().cumsum(axis=1), atol=1e-11)
    for question, answer in zip(ASKED, found["answers"], strict=True):
        expected = running(**question, cv=CV)
        for name in ("day", "lift", "fixed", "valid"):
            np.testing.assert_allclose(answer[name], expected[name], rtol=1e-9, atol=1e-13)
        assert answer["first"] == list(expected["first"].values())
        for one, calls in zip(answer["shares"], expected["shares"].values(), strict=True):
            assert list(one.values()) == [calls.at_the_end, calls.peeking, calls.always_valid]


def test_the_noise_is_normal_and_of_each_day_its_own():
    noise = day_noise(2000, 28, seed=3)
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size) and abs(noise.std() - 1) < 4 / np.sqrt(2 * noise.size)
    assert np.abs(np.corrcoef(noise.T) - np.eye(28)).max() < 4.5 / np.sqrt(2000)
    assert np.abs(np.corrcoef(noise[:60]) - np.eye(60)).max() < 0.85
    assert abs(np.corrcoef(noise.ravel(), day_noise(2000, 28, seed=4).ravel())[0, 1]) < 4 / np.sqrt(noise.size)


def test_what_the_sliders_do_not_have_is_refused():
    with pytest.raises(InputError, match="looks: found 3, expected one of 1, 2, 4, 7, 14, 28"):
        running_test(cv=CV, looks=3)
    with pytest.raises(InputError, match="users: found 5"):
        running_test(cv=CV, users=5)
    with pytest.raises(InputError, match="cv: found 0, expected more than 0"):
        running_test(cv=0)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("running") / "view.html"
    path.write_text(running_test(cv=CV, effect=0.02, users=3_000, looks=14, test=5).html())
    return path


@pytest.mark.slow
class TestInThePage(EveryView):
    sentence = "14 looks"

    def shows_titles(self, file):
        return False

    def test_it_shows_what_the_library_says(self, open_file, file):
        page = open_file(file)
        for question in ({"effect": 0.02, "users": 3_000, "looks": 14, "test": 5}, *ASKED):
            slide(page, "true effect", question["effect"])
            slide(page, "users a day and arm", USERS.index(question["users"]))
            slide(page, "looks", LOOKS.index(question["looks"]))
            slide(page, "test", question["test"])
            expected = running(**question, cv=CV)
            for name in ("day", "lift", "fixed", "valid"):
                assert numbers(page, "[data-look]", name) == pytest.approx(expected[name].tolist())
            calls = [
                share
                for one in expected["shares"].values()
                for share in (one.at_the_end, one.peeking, one.always_valid)
            ]
            assert numbers(page, "[data-caller]", "share") == calls
            stops = {"peeking": expected["first"]["fixed"], "valid": expected["first"]["valid"]}
            for kind, day in stops.items():
                shown = numbers(page, f"[data-stop={kind}]", "day")
                assert shown == ([] if day is None else [day])
            never = expected["first"]["fixed"] is None
            assert ("never stops" in said(page)) == never
        timed(page, "input[type=range]")

    def test_by_keyboard_alone(self, open_file, file):
        page = open_file(file)
        page.keyboard.press("Tab")
        page.keyboard.press("Home")
        assert "with an effect of −5.00%" in page.locator(".rl-view").inner_text()
        for _ in range(3):
            page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert "6 of 1000" in page.locator(".rl-view").inner_text()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Home")
        assert page.get_by_role("slider", name="looks").get_attribute("aria-valuetext") == "1 look in 28 days"
