// Fields: a slider, one of a few, a list, and switches.
import { assign, h, unique } from "./dom.js";

// A slider; say(value) is what a screen reader is told, and show(value, text) sets it and the text beside it.
export function slider({ name, min, max, step, say, pick }) {
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

// One of a few, options [[value, text]], by the arrow keys as by pointer.
export function choice({ legend, options, pick }) {
  const name = unique("choice");
  const labels = options.map(([value, text]) => {
    const input = h("input", { type: "radio", name, value, on: { change: () => pick(value) } });
    return h("label", {}, input, h("span", {}, text));
  });
  const el = h("fieldset", { class: "rl-choice" }, h("legend", {}, legend), h("div", {}, labels));
  const show = (value) => labels.forEach(({ firstChild }) => (firstChild.checked = firstChild.value === String(value)));
  return { el, show };
}

// A list to unfold; show(options, value), options [[value, text]], fills it anew where they are others, and sets it.
export function select({ pick, ...attributes }) {
  const el = h("select", { ...attributes, on: { change: () => pick(el.value) } });
  const show = (options, value) => {
    if ([...el.options].map((one) => one.value).join() !== options.map(([one]) => one).join()) {
      el.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
    }
    el.value = value;
  };
  return { el, show };
}

// Switches, options [[name, text]]; pick(name, on) hears of one, and show(state, able) sets them: those that `able` calls
// false can do nothing now.
export function switches({ legend, options, pick }) {
  const inputs = options.map(([name]) => h("input", { type: "checkbox", name, on: { change: ({ target }) => pick(name, target.checked) } }));
  const labels = options.map(([, text], i) => h("label", {}, inputs[i], h("span", {}, text)));
  const el = h("fieldset", { class: "rl-choice" }, h("legend", {}, legend), h("div", {}, labels));
  const show = (state, able = {}) => inputs.forEach((input) => {
    input.checked = state[input.name];
    input.disabled = able[input.name] === false;
  });
  return { el, show };
}
