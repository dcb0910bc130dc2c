// Beam search over a small tree, one step at a time: first the children of the beams are scored, then the best W stay.
// exported: {words: ["012", ...], p: {prefix: [probability of each code]}}, a character a code; state: width.
import { assign, button, h, s } from "./dom.js";
import { slider } from "./fields.js";
import { frame, setter } from "./frame.js";
import { listed, short } from "./words.js";

const [ROW, TOP] = [32, 26];
const [ROOT, LEAF, EXACT] = [2.5, 63, 77]; // where they stand, in per cent of the width
const places = ["best", "second", "third"];

function render({ model, el }) {
  const { words, p } = model.get("exported");
  const tree = grown(words, p);
  const state = { width: model.get("width"), step: 0 };
  const last = 2 * tree.levels;

  const set = setter(state, show);
  const width = slider({
    name: "W, beams", min: 1, max: words.length, step: 1, say: (value) => `${value} beams`, pick: (value) => set({ width: value }),
  });
  const back = button("back", () => set({ step: state.step - 1 }));
  const next = button("next", () => set({ step: state.step + 1 }));
  const count = h("span", { class: "rl-told" });
  const picture = s("svg", { class: "rl-tree", width: "100%", height: TOP + ROW * words.length, "aria-hidden": "true" });
  const say = frame(el, "Beam search, step by step",
    h("div", { class: "rl-controls" }, width.el, h("div", { class: "rl-steps" }, h("span", { class: "rl-join" }, back, next), count)), picture);

  function show() {
    const view = { tree, ...state, levels: search(tree, state.width) };
    width.show(state.width, String(state.width));
    count.textContent = `step ${state.step} of ${last}`;
    for (const [one, end, other] of [[back, 0, next], [next, last, back]]) {
      assign(other, { disabled: state.step === last - end });
      if (state.step === end && document.activeElement === one) other.focus();
      assign(one, { disabled: state.step === end });
    }
    draw(picture, view);
    say(told(view));
  }
  show();
}

// The nodes of each depth, {prefix, parent, p, y}: p is the product of the probabilities down to it, y its row.
function grown(words, p) {
  const sorted = [...words].sort();
  const levels = sorted[0].length;
  const depths = [[{ prefix: "", parent: null, p: 1 }]];
  for (let depth = 1; depth <= levels; depth++) {
    const prefixes = [...new Set(sorted.map((word) => word.slice(0, depth)))];
    depths.push(prefixes.map((prefix) => {
      const parent = depths[depth - 1].find((node) => prefix.startsWith(node.prefix));
      return { prefix, parent, p: parent.p * p[parent.prefix][Number(prefix.at(-1))] };
    }));
  }
  depths[levels].forEach((leaf, row) => (leaf.y = row));
  for (const nodes of depths.slice(0, levels).reverse()) {
    for (const node of nodes) {
      const below = depths[depths.indexOf(nodes) + 1].filter(({ parent }) => parent === node);
      node.y = (below[0].y + below.at(-1).y) / 2;
    }
  }
  const exact = [...depths[levels]].sort((a, b) => b.p - a.p);
  return { levels, depths, exact };
}

// Of each level the nodes that were scored, and those that stay, best first; of equal ones the first word.
function search({ levels, depths }, width) {
  const found = [];
  let beams = depths[0];
  for (let depth = 1; depth <= levels; depth++) {
    const scored = depths[depth].filter(({ parent }) => beams.includes(parent));
    beams = [...scored].sort((a, b) => b.p - a.p).slice(0, width);
    found.push({ scored, kept: beams });
  }
  return found;
}

// What has become of a node: "ahead", "scored", "kept" or "dropped".
function fate(node, depth, { levels, step }) {
  if (depth === 0) return "kept";
  const { scored, kept } = levels[depth - 1];
  if (!scored.includes(node) || step < 2 * depth - 1) return "ahead";
  if (step < 2 * depth) return "scored";
  return kept.includes(node) ? "kept" : "dropped";
}

function draw(picture, view) {
  const { tree: { levels, depths, exact } } = view;
  const x = (depth) => `${ROOT + ((LEAF - ROOT) * depth) / levels}%`;
  const y = (node) => TOP + ROW * (node.y + 0.5);
  const edges = [];
  const nodes = [];
  const heads = depths.slice(1).map((_, i) => s("text", { x: x(i + 1), y: 12, class: "rl-head", "text-anchor": "middle" }, `level ${i + 1}`));
  heads.push(s("text", { x: "100%", y: 12, class: "rl-head", "text-anchor": "end" }, "exact"));
  depths.forEach((all, depth) => all.forEach((node) => {
    const now = fate(node, depth, view);
    const place = depth ? view.levels[depth - 1].kept.indexOf(node) + 1 : 0;
    if (depth) edges.push(s("line", { class: `rl-edge rl-${now}`, x1: x(depth - 1), y1: y(node.parent), x2: x(depth), y2: y(node) }));
    const at = { x: x(depth), y: y(node) };
    const mark = now === "dropped"
      ? s("text", { ...at, dy: 5, class: "rl-cross", "text-anchor": "middle" }, "×")
      : s("circle", { cx: at.x, cy: at.y, r: now === "kept" && depth ? 9 : 5 });
    const number = now === "kept" && depth ? s("text", { ...at, dy: 4, class: "rl-place", "text-anchor": "middle" }, String(place)) : null;
    const leaf = depth === levels;
    const score = now === "ahead" || leaf ? "" : ` ${short(node.p)}`;
    const label = s("text", { ...at, class: "rl-label", dy: leaf ? 4 : -13, dx: leaf ? 14 : 0, "text-anchor": leaf ? "start" : "middle" },
      node.prefix, s("tspan", {}, score));
    nodes.push(s("g", { class: `rl-node rl-${now}`, "data-prefix": node.prefix, "data-fate": now, "data-p": node.p }, [mark, number, depth ? label : null]));
    if (leaf) nodes.push(...beside(node, exact, y(node)));
  }));
  picture.replaceChildren(...heads, ...edges, ...nodes);
}

// The likelihood of a leaf as a bar, and its true place.
function beside(node, exact, y) {
  const wide = ((100 - EXACT) * node.p) / exact[0].p;
  const place = exact.indexOf(node) + 1;
  return [
    s("rect", { class: place === 1 ? "rl-exact rl-first" : "rl-exact", x: `${100 - wide}%`, y: y + 7, width: `${wide}%`, height: 4, rx: 2 }),
    s("text", { class: place === 1 ? "rl-label rl-first" : "rl-label", x: "100%", y: y + 2, "text-anchor": "end", "data-exact": node.p },
      s("tspan", {}, `${place}.`), ` ${short(node.p)}`),
  ];
}

function told({ tree, levels, step, width }) {
  const names = (nodes) => listed(nodes.map(({ prefix, p }) => `${prefix} (${short(p)})`));
  const depth = Math.ceil(step / 2);
  const looked = levels.slice(0, depth).reduce((sum, { scored }) => sum + scored.length, 0);
  const all = tree.depths.slice(1).reduce((sum, nodes) => sum + nodes.length, 0);
  const counted = ` ${looked} of ${all} nodes scored so far.`;
  if (!step) return `The search begins at the root with ${width} ${width > 1 ? "beams" : "beam"}. Exact: ${names(tree.exact.slice(0, 3))} are the best.`;
  const { scored, kept } = levels[depth - 1];
  if (step % 2) return `Level ${depth}: the children of the beams are scored, ${names(scored)}.${counted}`;
  const dropped = scored.filter((node) => !kept.includes(node));
  const gone = dropped.length ? `${names(dropped)} ${dropped.length > 1 ? "are" : "is"} dropped` : "none is dropped";
  if (depth < tree.levels) return `Level ${depth}: ${names(kept)} ${kept.length > 1 ? "stay" : "stays"}, ${gone}.${counted}`;
  const wrong = kept.findIndex((node, i) => node !== tree.exact[i]);
  const verdict = wrong < 0 ? `These are the exact best ${kept.length}.`
    : `Not exact: the ${places[wrong] ?? `${wrong + 1}th`} is ${names([tree.exact[wrong]])}, lost at level ${lost(tree.exact[wrong], levels)}.`;
  return `Found: ${names(kept)}. ${verdict}${counted.replace(" so far", "")}`;
}

// The level at which the way to a leaf was dropped.
function lost(leaf, levels) {
  const way = [];
  for (let node = leaf; node.parent; node = node.parent) way.unshift(node);
  return way.findIndex((node, level) => !levels[level].kept.includes(node)) + 1;
}

export default { render };
