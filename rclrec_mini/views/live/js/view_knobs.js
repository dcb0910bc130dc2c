// Shops that differ in one knob: what each method reaches there, and by how much the first leads the trained ones.
// exported: {methods: [name], trained: [bool], shops: {shop: [value of each method]}, knobs: {knob: {values: [..], shops:
// [..]}}, base: shop}; state: knob, at.
import { assign, h, s } from "./dom.js";
import { select, slider } from "./fields.js";
import { frame, setter } from "./frame.js";

function render({ model, el }) {
  const { methods, trained, shops, knobs, base } = model.get("exported");
  const start = (knob) => knobs[knob].shops.indexOf(base);
  const state = { knob: Object.keys(knobs)[0] };
  state.at = start(state.knob);
  const set = setter(state, show);
  const list = select({ pick: (knob) => set({ knob, at: start(knob) }) });
  const value = slider({ name: "its value", min: 0, max: 2, step: 1, say: (at) => String(knobs[state.knob].values[at]), pick: (at) => set({ at }) });
  const most = Math.max(...Object.values(shops).flat());
  const rows = methods.map((name, i) => {
    const [bar, was, number] = [h("i"), h("u"), h("b")];
    const row = h("li", { class: i ? "" : "rl-count" }, h("span", {}, name), h("span", { class: "rl-bar-row" }, bar, was), number);
    was.style.left = `${(100 * shops[base][i]) / most}%`;
    return { row, bar, number };
  });
  const strip = s("svg", { class: "rl-strip", width: "100%", height: 54, "aria-hidden": "true" });
  const say = frame(el, "The shop's knobs",
    h("div", { class: "rl-controls" }, h("label", {}, h("span", {}, "knob"), list.el), value.el),
    h("div", {}, h("h4", {}, "Recall@10 (%); the thin line is the base shop"), h("ol", { class: "rl-methods" }, rows.map(({ row }) => row))),
    h("div", {}, h("h4", {}, `${methods[0]} minus the best trained row, points; small lines are the other shops`), strip));

  const best = (reached) => Math.max(...reached.filter((_, i) => trained[i]));
  const lead = (shop) => shops[shop][0] - best(shops[shop]);
  const leads = Object.fromEntries(Object.keys(shops).map((shop) => [shop, lead(shop)]));
  const reach = Math.ceil(Math.max(...Object.values(leads).map(Math.abs)) / 5) * 5;
  const x = (points) => `${50 + (45 * points) / reach}%`;

  function show() {
    const { values, shops: along } = knobs[state.knob];
    const shop = along[state.at];
    const reached = shops[shop];
    list.show(Object.keys(knobs).map((knob) => [knob, knob]), state.knob);
    assign(value.input, { max: values.length - 1 });
    value.show(state.at, String(values[state.at]));
    rows.forEach(({ row, bar, number }, i) => {
      bar.style.width = `${(100 * reached[i]) / most}%`;
      number.textContent = reached[i].toFixed(1);
      assign(row, { "data-value": reached[i], "data-best": trained[i] && reached[i] === best(reached) });
    });
    drawStrip(shop);
    const winner = methods.find((_, i) => trained[i] && reached[i] === best(reached));
    const by = leads[shop] >= 0 ? `leads by ${leads[shop].toFixed(1)}` : `is ${(-leads[shop]).toFixed(1)} behind`;
    say(`${state.knob} ${values[state.at]}${shop === base ? ", the base shop" : ""}: the ${methods[0]} reaches ${reached[0].toFixed(1)}, `
      + `the best trained row, ${winner}, ${best(reached).toFixed(1)}: the ${methods[0]} ${by}.`);
  }

  function drawStrip(now) {
    const ticks = [-reach, -reach / 2, 0, reach / 2, reach].map((points) =>
      s("text", { x: x(points), y: 50, "text-anchor": "middle" }, `${points > 0 ? "+" : points < 0 ? "−" : ""}${Math.abs(points)}`));
    const others = Object.values(leads).map((points) => s("line", { class: "rl-other", x1: x(points), x2: x(points), y1: 12, y2: 28 }));
    const points = leads[now];
    strip.replaceChildren(s("line", { class: "rl-zero", x1: x(0), x2: x(0), y1: 4, y2: 36 }), ...ticks,
      s("line", { class: points < 0 ? "rl-lead-bar rl-behind" : "rl-lead-bar", x1: x(0), x2: x(points), y1: 20, y2: 20, "data-lead": points }), ...others);
  }
  show();
}

export default { render };
