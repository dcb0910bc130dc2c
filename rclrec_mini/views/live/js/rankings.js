// What the choice does: the curriculum in its order with its tokens, the ten best items without it and with it, and the
// gain against the margin of the quality loss.
import { assign, h, mark, s, slopes } from "./dom.js";
import { gainOf, itemName, place } from "./inspector_words.js";
import { percent, signed } from "./words.js";

const GAUGE = 2; // nats a token at either end

// act: {focus(id)}
export function rankings(act) {
  const curriculum = h("ol", { class: "rl-curriculum" });
  const lists = h("div", { class: "rl-lists" });
  const gain = h("div", { class: "rl-gain" });
  const el = h("div", { class: "rl-effect" },
    h("h3", {}, "The curriculum, as the decoder reads it"), curriculum,
    h("h3", {}, "What the model expects to be bought"), lists, dots(), gain);

  function update(view) {
    curriculum.replaceChildren(...steps(view, act));
    lists.replaceChildren(list(view, "without"), lines(view), list(view, "with"));
    gain.replaceChildren(...gauge(view));
    assign(gain, { "data-gain": view.answer.gain, "data-ln": view.answer.with.target });
  }
  return { el, update };
}

function steps({ state, person, answer, exported }, act) {
  const target = exported.items.codes[person.target.item];
  const chosen = answer.selected.map((t, i) => {
    const { id, item, behavior, journey } = state.events[t];
    return h("li", { "data-column": t, class: journey ? "rl-true" : null },
      h("button", { type: "button", class: "rl-step", title: "show in the history", on: { click: () => act.focus(id) } },
        h("b", {}, String(i + 1)), mark(behavior), h("span", {}, itemName(exported, item))),
      tokens(answer.prefix[i], target));
  });
  if (!chosen.length) chosen.push(h("li", { class: "rl-empty" }, "nothing: the decoder starts at once"));
  chosen.push(h("li", { class: "rl-aim" },
    h("span", { class: "rl-step" }, mark(3), h("span", {}, itemName(exported, person.target.item))), tokens(target, target)));
  return chosen;
}

// The codes of an item; those that begin as the purchase's do are filled.
function tokens(codes, target) {
  let alike = true;
  return h("code", { title: "semantic id; filled: as the purchase's begins" },
    codes.map((code, level) => {
      alike = alike && code === target[level];
      return h("i", { class: alike ? "rl-alike" : null }, String(code));
    }));
}

function list({ state, person, answer, exported }, side) {
  const target = person.target.item;
  const { top, target: logp } = answer[side];
  const chosen = new Set(answer.selected.map((t) => state.events[t].item));
  const seen = new Set(state.events.map(({ item }) => item));
  const title = side === "with" ? "with the curriculum" : "without a curriculum";
  const row = (item, value, rank) => {
    const from = chosen.has(item) ? "rl-in-curriculum" : seen.has(item) ? "rl-in-history" : "rl-new";
    const told = { "rl-in-curriculum": "in the curriculum", "rl-in-history": "in the history", "rl-new": "new" }[from];
    return h("li", { "data-item": item, class: item === target ? "rl-target" : null, title: `${itemName(exported, item)}, ${told}` },
      h("span", { class: "rl-rank" }, item === target ? mark(3) : rank),
      h("span", { class: "rl-name" }, itemName(exported, item)),
      h("span", { class: `rl-from ${from}`, role: "img", "aria-label": told }),
      h("span", { class: "rl-p" }, value === null ? "" : percent(Math.exp(value))));
  };
  const rows = top.map(({ item, logp: value }, i) => row(item, value, String(i + 1)));
  if (place(answer[side], target) === null) {
    const last = row(target, logp, "");
    last.classList.add("rl-out");
    rows.push(last);
  }
  return h("div", { class: `rl-list rl-${side}` }, h("h4", {}, title), h("ol", { "aria-label": `The ten best items ${title}` }, rows));
}

// What the two marks of a list say.
const dots = () => h("p", { class: "rl-dots" }, h("span", { class: "rl-from rl-in-curriculum" }), "in the curriculum",
  h("span", { class: "rl-from rl-in-history" }), "elsewhere in the history", mark(3), "the purchase");

// Lines between the two lists; below a list stands the purchase that it lacks.
function lines({ person, answer }) {
  const target = person.target.item;
  const tops = [answer.without, answer.with].map(({ top }) => top.map(({ item }) => item));
  const [left, right] = tops.map((items) => [...new Set([...items, target])]);
  return slopes(left, right, target, Math.max(...tops.map(({ length }) => length)) + 1);
}

function gauge({ answer, exported }) {
  const { margin, gate } = answer;
  const [before, after] = [answer.without.target, answer.with.target];
  const { value: gain, words: told } = gainOf({ answer, exported });
  const ln = (value) => value.toFixed(2).replace("-", "−");
  const words = h("p", {}, "ln P of the purchase: ", h("b", {}, ln(before)), " without, ", h("b", {}, ln(after)), " with, ",
    h("b", {}, signed(after - before)), gate === null ? "." : `. The pointer takes g = ${percent(gate)} of the mass.`);
  const x = (value) => 50 + (50 * Math.max(-GAUGE, Math.min(GAUGE, value))) / GAUGE;
  const [low, high] = [Math.min(x(0), x(gain)), Math.max(x(0), x(gain))];
  const picture = s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": told },
    s("rect", { class: "rl-hinge", x: 0, y: 1, width: x(margin), height: 8 }),
    s("rect", { class: gain < 0 ? "rl-loss" : gain < margin ? "rl-small" : "rl-won", x: low, y: 3, width: Math.max(high - low, 0.4), height: 4 }),
    s("line", { class: "rl-zero", x1: 50, x2: 50, y1: 0, y2: 10 }),
    s("line", { class: "rl-margin", x1: x(margin), x2: x(margin), y1: 0, y2: 10 }));
  const label = (value, text, attributes = {}) => h("span", { style: `--at: ${x(value)}%`, ...attributes }, text);
  const scale = h("div", { class: "rl-scale", "aria-hidden": "true" }, label(-GAUGE, `−${GAUGE} nats a token`), label(0, "0"),
    label(margin, "m", { class: "rl-m" }), label(GAUGE, `+${GAUGE}`));
  return [words, h("div", { class: "rl-gauge" }, picture, scale), h("p", { class: "rl-gain-words" }, told)];
}
