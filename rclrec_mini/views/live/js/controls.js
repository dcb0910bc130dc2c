// Model, selector, length of the curriculum and temperature.
import { assign, h, unique } from "./dom.js";
import { selectorName } from "./inspector_words.js";

// act: {set({model | selector | k | tau})}; selectors(model): those that it has
export function controls(exported, selectors, act) {
  const name = unique("model");
  const models = Object.entries(exported.models).map(([model, { title }]) => {
    const input = h("input", { type: "radio", name, value: model, on: { change: () => act.set({ model }) } });
    return h("label", {}, input, h("span", {}, title));
  });
  const selector = h("select", { on: { change: () => act.set({ selector: selector.value }) } });
  const k = slider({ name: "k, events chosen", min: 0, max: 6, step: 1, say: (value) => `${value} events`, pick: (value) => act.set({ k: value }) });
  const tau = slider({ name: "τ, temperature", min: 0.05, max: 2, step: 0.05, say: (value) => value.toFixed(2), pick: (value) => act.set({ tau: value }) });
  const el = h("div", { class: "rl-controls" },
    h("fieldset", { class: "rl-models" }, h("legend", {}, "model"), h("div", {}, models)),
    h("label", {}, h("span", {}, "selector"), selector),
    k.el, tau.el);

  function update({ state }) {
    for (const label of models) label.firstChild.checked = label.firstChild.value === state.model;
    const known = selectors(state.model);
    if ([...selector.options].map(({ value }) => value).join() !== known.join()) {
      selector.replaceChildren(...known.map((one) => h("option", { value: one }, selectorName(one))));
    }
    selector.value = state.selector;
    assign(k.input, { max: Math.min(6, exported.models[state.model].config?.backbone?.max_prefix ?? 6) });
    k.show(state.k, String(state.k));
    tau.show(state.tau, state.tau.toFixed(2));
  }
  return { el, update };
}

function slider({ name, min, max, step, say, pick }) {
  const id = unique("slider"); // an output could be what a label labels, too
  const output = h("output", { for: id });
  const input = h("input", { id, type: "range", min, max, step, on: { input: () => pick(Number(input.value)) } });
  const show = (value, text) => {
    input.value = value;
    output.textContent = text;
    assign(input, { "aria-valuetext": say(value) });
  };
  const el = h("div", { class: "rl-slider" }, h("label", { for: id }, h("span", {}, name)), output, input);
  return { el, input, show };
}
