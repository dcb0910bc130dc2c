// A running A/B test: the lift at its looks with a fixed-horizon and an always-valid interval, tests like it, and the
// shares of a thousand that are called.
// exported: {cv, days, tests, seed, ratio, looks: [n], users: [n an arm and day]}; state: effect, users, looks, test.
import { assign, h, s } from "./dom.js";
import { slider } from "./fields.js";
import { frame, setter } from "./frame.js";
import { horizons, seen, shares, walks } from "./running_test.js";

const [HEIGHT, LEFT, BOTTOM, OTHERS] = [250, 10, 22, 40]; // LEFT in per cent
const CALLERS = { end: "one look, at the end", peeking: "stops once significant", valid: "always valid" };

function render({ model, el }) {
  const exported = model.get("exported");
  const { cv, days, tests, ratio } = exported;
  const all = walks(exported);
  const state = Object.fromEntries(["effect", "users", "looks", "test"].map((name) => [name, model.get(name)]));
  const set = setter(state, show);
  const listed = (name, key, say) => slider({
    name, min: 0, max: exported[key].length - 1, step: 1, say: (i) => say(exported[key][i]), pick: (i) => set({ [key]: exported[key][i] }),
  });
  const effect = slider({ name: "true effect", min: -0.05, max: 0.05, step: 0.0025, say: percent, pick: (value) => set({ effect: value }) });
  const users = listed("users a day and arm", "users", (n) => `${count(n)} users`);
  const looks = listed("looks", "looks", (n) => `${n} ${n > 1 ? "looks" : "look"} in ${days} days`);
  const test = slider({ name: "test", min: 1, max: tests, step: 1, say: (n) => `test ${n} of ${tests}`, pick: (value) => set({ test: value }) });
  const picture = s("svg", { class: "rl-running", width: "100%", height: HEIGHT + BOTTOM, "aria-hidden": "true" });
  const keys = h("ul", { class: "rl-keys-row", "aria-hidden": "true" }, [
    ["rl-key-lift", "this test's lift"], ["rl-key-fixed", "its interval at a fixed horizon"], ["rl-key-valid", "its always-valid interval"],
    ["rl-key-other", `${OTHERS} more tests`], ["rl-key-called", "of them, those a peeker calls"], ["rl-key-true", "true effect"],
  ].map(([name, words]) => h("li", {}, h("i", { class: name }), words)));
  const bars = { nothing: rowsOf(), effect: rowsOf() };
  const title = h("h4");
  const say = frame(el, "A running test",
    h("div", { class: "rl-controls" }, effect.el, users.el, looks.el, test.el), picture, keys,
    h("div", { class: "rl-columns-2" },
      h("div", {}, h("h4", {}, `called, of ${tests} tests without any effect (%)`), bars.nothing.el),
      h("div", {}, title, bars.effect.el)));

  function show() {
    const at = horizons({ ...state, days, cv, ratio });
    const here = seen(all[state.test - 1], at, state.effect);
    const found = { nothing: shares(all, at, 0), effect: shares(all, at, state.effect) };
    effect.show(state.effect, percent(state.effect));
    users.show(exported.users.indexOf(state.users), count(state.users));
    looks.show(exported.looks.indexOf(state.looks), String(state.looks));
    test.show(state.test, `${state.test} of ${tests}`);
    title.textContent = `called, of ${tests} tests with an effect of ${percent(state.effect)} (%)`;
    for (const [name, row] of Object.entries(bars)) row.show(found[name]);
    draw(picture, { at, here, days, effect: state.effect, others: others().map((walk) => seen(walk, at, state.effect)) });
    say(words(at, here, found));
  }

  // those after this one, so that all can be seen one by one
  const others = () => Array.from({ length: OTHERS }, (_, i) => all[(state.test + i) % tests]);

  function words(at, { lift, peeking, valid }, found) {
    const [end, estimate] = [at.at(-1), lift.at(-1)];
    const interval = (half) => `[${percent(estimate - half)}, ${percent(estimate + half)}]`;
    const stops = peeking < 0 ? "Somebody who stops as soon as it looks significant never stops."
      : `Somebody who stops as soon as it looks significant stops on day ${at[peeking].day} and reports ${percent(lift[peeking])}.`;
    const called = valid < 0 ? "The always-valid interval never leaves out 0." : `The always-valid interval leaves out 0 on day ${at[valid].day}.`;
    const share = ({ peeking, end, valid }) => `${hundred(peeking)} of 100 by stopping early, ${hundred(end)} at the end, ${hundred(valid)} always valid`;
    return `After ${days} days this test says ${percent(estimate)}, fixed horizon ${interval(end.fixed)}, always valid ${interval(end.valid)}. `
      + `${stops} ${called} Called without any effect: ${share(found.nothing)}; with this one: ${share(found.effect)}.`;
  }
  show();
}

const percent = (value) => `${value < 0 ? "−" : value > 0 ? "+" : ""}${(100 * Math.abs(value)).toFixed(Math.abs(value) < 0.1 ? 2 : 1)}%`;
const count = (n) => n.toLocaleString("en");
const hundred = (share) => (100 * share).toFixed(1);

// Three bars, a caller each.
function rowsOf() {
  const rows = Object.entries(CALLERS).map(([caller, words]) => {
    const [bar, number] = [h("i"), h("b")];
    return { caller, bar, number, row: h("li", { "data-caller": caller }, h("span", {}, words), h("span", { class: "rl-bar-row" }, bar), number) };
  });
  const show = (found) => rows.forEach(({ caller, bar, number, row }) => {
    bar.style.width = `${100 * found[caller]}%`;
    number.textContent = hundred(found[caller]);
    assign(row, { "data-share": found[caller] });
  });
  return { el: h("ol", { class: "rl-callers" }, rows.map(({ row }) => row)), show };
}

function draw(picture, { at, here, days, effect, others }) {
  const reach = Math.abs(effect) + 7 * at.at(-1).std;
  const x = (day) => LEFT + ((98 - LEFT) * day) / days;
  const y = (lift) => HEIGHT * (0.5 - lift / (2 * reach));
  // inside a nested picture of 100 x 100 that is stretched, so that paths may speak in per cent
  const line = (points) => points.map(([day, lift], i) => `${i ? "L" : "M"}${x(day).toFixed(2)} ${(100 * y(lift) / HEIGHT).toFixed(2)}`).join("");
  const inner = s("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", width: "100%", height: HEIGHT });
  const path = (name, points, close = "") => s("path", { class: name, d: line(points) + close, "vector-effect": "non-scaling-stroke" });
  const along = (lift) => lift.map((one, i) => [at[i].day, one]);
  const band = (name, half) => path(name, [
    ...at.map((one, i) => [one.day, here.lift[i] + one[half]]), ...at.map((one, i) => [one.day, here.lift[i] - one[half]]).reverse(),
  ], "Z");
  const bars = (name, half) => path(name, [[days, here.lift[0] - at[0][half]], [days, here.lift[0] + at[0][half]]]);
  const single = at.length === 1;
  inner.append(
    ...others.map(({ lift, peeking }) => path(peeking < 0 ? "rl-other-test" : "rl-other-test rl-called", along(lift))),
    ...["valid", "fixed"].map((half) => (single ? bars : band)(`rl-${half}-band`, half)),
    path("rl-true-effect", [[0, effect], [days, effect]]), path("rl-this-test", along(here.lift)));
  const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5].find((one) => reach / one <= 3) ?? 10;
  const levels = Array.from({ length: 2 * Math.floor(reach / step) + 1 }, (_, i) => (i - Math.floor(reach / step)) * step);
  const grid = levels.flatMap((value) => [
    s("line", { class: value ? "rl-grid" : "rl-zero", x1: `${LEFT}%`, x2: "98%", y1: y(value), y2: y(value) }),
    s("text", { x: `${LEFT - 1}%`, y: y(value) + 4, "text-anchor": "end" }, `${value > 0 ? "+" : value < 0 ? "−" : ""}${Number((100 * Math.abs(value)).toPrecision(2))}%`),
  ]);
  const weeks = Array.from({ length: Math.floor(days / 7) + 1 }, (_, i) => s("text", { x: `${x(7 * i)}%`, y: HEIGHT + 16, "text-anchor": 7 * i === days ? "end" : "middle" }, i ? `day ${7 * i}` : "0"));
  const dots = at.map(({ day }, i) => s("circle", {
    class: "rl-look", cx: `${x(day)}%`, cy: y(here.lift[i]), r: at.length > 14 ? 2 : 3.5, "data-look": i, "data-day": day, "data-lift": here.lift[i], "data-fixed": at[i].fixed, "data-valid": at[i].valid,
  }));
  const stops = [["peeking", "rl-stop-peeking"], ["valid", "rl-stop-valid"]].filter(([kind]) => here[kind] >= 0).map(([kind, name]) => {
    const look = at[here[kind]];
    const place = { x: `${x(look.day)}%`, y: Math.min(Math.max(y(here.lift[here[kind]]), 10), HEIGHT - 10), overflow: "visible", width: 1, height: 1 };
    return s("svg", place, kind === "peeking" ? s("circle", { class: name, r: 8, "data-stop": kind, "data-day": look.day })
      : s("path", { class: name, d: "M0-9 9 0 0 9-9 0Z", "data-stop": kind, "data-day": look.day }));
  });
  picture.replaceChildren(...grid, ...weeks, inner, s("svg", { width: "100%", height: HEIGHT }, ...dots, ...stops));
}

export default { render };
