// Model, selector, length of the curriculum and temperature.
import { assign, h } from "./dom.js";
import { choice, select, slider } from "./fields.js";
import { selectorName } from "./inspector_words.js";

// act: {set({model | selector | k | tau})}; selectors(model): those that it has
export function controls(exported, selectors, act) {
  const titles = Object.entries(exported.models).map(([model, { title }]) => [model, title]);
  const models = choice({ legend: "model", options: titles, pick: (model) => act.set({ model }) });
  const selector = select({ pick: (selector) => act.set({ selector }) });
  const k = slider({ name: "k, events chosen", min: 0, max: 6, step: 1, say: (value) => `${value} events`, pick: (value) => act.set({ k: value }) });
  const tau = slider({ name: "τ, temperature", min: 0.05, max: 2, step: 0.05, say: (value) => value.toFixed(2), pick: (value) => act.set({ tau: value }) });
  const el = h("div", { class: "rl-controls" },
    models.el,
    h("label", {}, h("span", {}, "selector"), selector.el),
    h("div", { class: "rl-sliders" }, k.el, tau.el));

  function update({ state }) {
    models.show(state.model);
    selector.show(selectors(state.model).map((one) => [one, selectorName(one)]), state.selector);
    assign(k.input, { max: Math.min(6, exported.models[state.model].config?.backbone?.max_prefix ?? 6) });
    k.show(state.k, String(state.k));
    tau.show(state.tau, state.tau.toFixed(2));
  }
  return { el, update };
}
