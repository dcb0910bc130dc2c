// The mixture of pointing at a history and generating: P(i) = g sum_t p_t [i_t = i] + (1 - g) P_gen(i), with p in
// proportion to weights that can be moved. The gate is set; or it follows the history, as in the library, where "none
// of these" is one more slot beside the events: g = sum of weights / (that sum + weight of none).
// exported: {items: [name], generated: [P_gen of each]}; state: events [{item, weight}], g.
import { assign, button, h } from "./dom.js";
import { choice, slider } from "./fields.js";
import { frame } from "./frame.js";
import { listed, short } from "./words.js";

const [MOST, ADDED] = [12, 2];

function render({ model, el }) {
  const { items, generated } = model.get("exported");
  const state = { g: model.get("g"), follows: false, none: 1 };
  let events = [];

  const total = () => events.reduce((sum, { weight }) => sum + weight, 0);
  function gate() {
    if (!total()) return 0; // there is nothing to point at
    return state.follows ? total() / (total() + state.none) : state.g;
  }

  const g = slider({ name: "g, gate", min: 0.05, max: 0.95, step: 0.05, say: (value) => value.toFixed(2), pick: setGate });
  const kind = choice({ legend: "when the history changes", options: [["stays", "g stays"], ["follows", "g follows"]], pick: setKind });
  const list = h("ol", { class: "rl-history" });
  const add = items.map((name, item) => button(`add ${name}`, () => append({ item, weight: ADDED })));
  const bars = items.map((name) => {
    const [copied, wrote, value, parts] = [h("i", { class: "rl-copied" }), h("i", { class: "rl-wrote" }), h("b"), h("span", { class: "rl-told" })];
    const row = h("li", {}, h("span", {}, `P(${name})`), h("span", { class: "rl-bar-row" }, copied, wrote), value, parts);
    return { row, copied, wrote, value, parts };
  });
  const say = frame(el, "Pointing and generating",
    h("div", { class: "rl-controls" }, kind.el, g.el),
    h("div", { class: "rl-columns-2" },
      h("div", {}, h("h4", {}, "History, oldest first: weight and p"), list, h("div", { class: "rl-add" }, add)),
      h("div", {}, h("h4", {}, "P = ", h("span", { class: "rl-key-copied" }, "copied"), " + ", h("span", { class: "rl-key-wrote" }, "generated")),
        h("ol", { class: "rl-mixture" }, bars.map(({ row }) => row)))));

  function setGate(value) {
    state.g = value;
    if (total()) state.none = (total() * (1 - value)) / value; // the weight that gives this gate
    show();
  }

  function setKind(value) {
    setGate(gate() || state.g);
    state.follows = value === "follows";
    show();
  }

  function append({ item, weight }) {
    if (events.length === MOST) return;
    const event = { item, weight };
    const [bar, number] = [h("i"), h("span", { class: "rl-number" })];
    event.slider = slider({
      name: items[item], min: 0.5, max: 10, step: 0.5, say: (value) => `weight ${value}`,
      pick: (value) => { event.weight = value; show(); },
    });
    const away = button("×", () => remove(event), { "aria-label": `remove ${items[item]}` });
    event.row = h("li", {}, event.slider.el, h("span", { class: "rl-bar-row" }, bar), number, away);
    event.update = (p) => {
      bar.style.width = `${100 * p}%`;
      number.textContent = p.toFixed(2);
      event.slider.show(event.weight, String(event.weight));
      assign(event.row, { "data-p": p });
    };
    events.push(event);
    list.append(event.row);
    show();
  }

  function remove(event) {
    const place = events.indexOf(event);
    events = events.filter((one) => one !== event);
    event.row.remove();
    (events[place] ?? events.at(-1))?.row.querySelector("button").focus();
    if (!events.length) add[0].focus();
    show();
  }

  function show() {
    const [sum, open] = [total(), gate()];
    kind.show(state.follows ? "follows" : "stays");
    g.show(open, open.toFixed(2));
    assign(g.input, { disabled: !events.length });
    for (const one of add) assign(one, { disabled: events.length === MOST });
    for (const event of events) event.update(event.weight / sum);
    const P = bars.map(({ row, copied, wrote, value, parts }, i) => {
      const mass = events.reduce((all, { item, weight }) => all + (item === i ? (open * weight) / sum : 0), 0);
      const rest = (1 - open) * generated[i];
      copied.style.width = `${100 * mass}%`;
      wrote.style.width = `${100 * rest}%`;
      value.textContent = (mass + rest).toFixed(2);
      parts.textContent = `${mass.toFixed(2)} + ${rest.toFixed(2)}`;
      assign(row, { "data-value": mass + rest });
      return mass + rest;
    });
    if (!started) return;
    const history = events.length ? `The history is ${events.map(({ item }) => items[item]).join(" ")}` : "The history is empty, all is generated";
    const slot = state.follows ? `, where “none of these” weighs ${short(state.none)}` : "";
    say(`${history}; g = ${open.toFixed(2)}${slot}; ${listed(items.map((name, i) => `P(${name}) = ${P[i].toFixed(2)}`))}.`);
  }

  let started = false;
  for (const event of model.get("events")) append(event);
  started = true;
  setGate(state.g);
}

export default { render };
