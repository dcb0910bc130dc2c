// A walk down the trie of semantic ids: the codes that lead on, the items below, and where their vectors lie.
// exported: {codes: [[L] x N], places: [[x, y] x N] in 0..1, titles: [N], categories: [N], variance: share of it that
// the plane holds}.
import { assign, button, h, s } from "./dom.js";
import { frame } from "./frame.js";
import { count } from "./words.js";

const [WIDE, HIGH, SHOWN] = [100, 76, 6]; // of the plane, and how many items are listed

function render({ model, el }) {
  const { codes, places, titles, categories, variance } = model.get("exported");
  const all = codes.map((_, i) => i);
  let path = [];

  const crumbs = h("ol", { class: "rl-crumbs", "aria-label": "the way here" });
  const hint = h("h4", {}, "the next code, and how many of its items are of the commonest category");
  const children = h("div", { class: "rl-children" });
  const dots = places.map(([x, y], i) => s("circle", { "data-dot": i, cx: x * WIDE, cy: (1 - y) * HIGH }));
  const plane = s("svg", { class: "rl-plane", "aria-hidden": "true" }, dots);
  const items = h("ol", { class: "rl-items" });
  const told = h("p", { class: "rl-told" }, 
    `The vectors by their two main directions, ${Math.round(100 * variance)}% of the variance. Blue: below the prefix. Orange: below the code in focus.`);
  const say = frame(el, "The trie of semantic ids",
    h("div", { class: "rl-columns-2" }, h("div", { class: "rl-walk" }, crumbs, hint, children, items), h("div", {}, plane, told)));

  const below = (prefix) => all.filter((i) => prefix.every((code, level) => codes[i][level] === code));

  function go(prefix) {
    path = prefix;
    show();
    (children.firstChild ?? crumbs.lastChild.firstChild).focus();
  }

  function point(prefix) {
    const pointed = new Set(prefix ? below(prefix) : []);
    dots.forEach((dot, i) => assign(dot, { "data-pointed": pointed.has(i) }));
  }

  function child(code) {
    const prefix = [...path, code];
    const there = below(prefix);
    const [category, share] = commonest(there, categories);
    const one = button("", () => go(prefix), {
      class: "rl-child", "data-code": code, "data-items": there.length, "data-share": share,
      "aria-label": `code ${code}, ${count(there.length, "item")}, ${share} of category ${category}`,
    });
    one.append(h("b", {}, String(code)), h("span", {}, `${share} of ${there.length}`));
    for (const event of ["focus", "pointerenter"]) one.addEventListener(event, () => point(prefix));
    for (const event of ["blur", "pointerleave"]) one.addEventListener(event, () => point(null));
    return one;
  }

  function show() {
    const here = below(path);
    const deep = path.length === codes[0].length;
    crumbs.replaceChildren(...[[], ...path.map((_, i) => path.slice(0, i + 1))].map((prefix) =>
      h("li", {}, button(prefix.length ? String(prefix.at(-1)) : "root", () => go(prefix), { "aria-current": prefix.length === path.length ? "true" : null }))));
    const leads = deep ? [] : [...new Set(here.map((i) => codes[i][path.length]))].sort((a, b) => a - b);
    children.replaceChildren(...leads.map(child));
    hint.hidden = !leads.length;
    const set = new Set(here);
    dots.forEach((dot, i) => assign(dot, { "data-below": set.has(i) }));
    plane.append(...here.map((i) => dots[i])); // on top
    const box = around(here.map((i) => dots[i]));
    assign(plane, { viewBox: box.join(" "), style: `--r: ${box[2] * 0.011}px` });
    point(null);
    items.replaceChildren(...here.slice(0, SHOWN).map((i) =>
      h("li", { "data-item": i }, h("code", {}, codes[i].join(" ")), h("span", {}, titles[i]))),
      here.length > SHOWN ? h("li", { class: "rl-told" }, `and ${here.length - SHOWN} more`) : "");
    const [category, share] = commonest(here, categories);
    const prefix = path.length ? `Below ${path.join(" ")}` : "Below the root";
    say(`${prefix}: ${count(here.length, "item")}, ${share} of category ${category}, the commonest. `
      + (deep ? "This is a whole word." : `${leads.length === 1 ? "One code leads" : `${leads.length} codes lead`} on.`));
  }
  show();
}

// The part of the plane around some dots.
function around(dots) {
  const [xs, ys] = ["cx", "cy"].map((name) => dots.map((dot) => Number(dot.getAttribute(name))));
  const [x, y] = [xs, ys].map((all) => (Math.min(...all) + Math.max(...all)) / 2);
  const size = Math.max(0.15, (2 * Math.max(...xs) - 2 * x) / WIDE, (2 * Math.max(...ys) - 2 * y) / HIGH) * 1.08;
  return [x - (size * WIDE) / 2, y - (size * HIGH) / 2, size * WIDE, size * HIGH];
}

// The commonest category of some items, and how many have it.
function commonest(items, categories) {
  const counts = new Map();
  for (const i of items) counts.set(categories[i], (counts.get(categories[i]) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0];
}

export default { render };
