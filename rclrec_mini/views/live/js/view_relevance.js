// Figure 1(c) by window: the share of the events before a target that have its category, brand or seller.
// exported: {windows: [w], shares: {w: {attribute: {behavior: {source: [mean, low, high]}}}}, leads: {w: {attribute:
// [mean, low, high]}}, purchases minus clicks}; state: window, attribute.
import { h, s } from "./dom.js";
import { choice, slider } from "./fields.js";
import { frame, setter } from "./frame.js";

const SOURCES = { history: "the window", "own shuffled": "own events, shuffled", "other users": "other users' events" };
const [ROW, LEFT, BOTTOM] = [44, 22, 24]; // LEFT in per cent

function render({ model, el }) {
  const { windows, shares, leads } = model.get("exported");
  const state = { window: model.get("window"), attribute: model.get("attribute") };
  const set = setter(state, show);
  const attributes = Object.keys(shares[windows[0]]);
  const attribute = choice({ legend: "what agrees", options: attributes.map((name) => [name, name]), pick: (name) => set({ attribute: name }) });
  const length = slider({
    name: "w, events in the window", min: 0, max: windows.length - 1, step: 1, say: (i) => `${windows[i]} events`, pick: (i) => set({ window: windows[i] }),
  });
  const behaviors = Object.keys(shares[windows[0]][attributes[0]]);
  const picture = s("svg", { class: "rl-dots-by-row", width: "100%", height: ROW * behaviors.length + BOTTOM, "aria-hidden": "true" });
  const legend = h("ul", { class: "rl-keys-row" }, Object.entries(SOURCES).map(([source, words]) =>
    h("li", {}, s("svg", { class: "rl-key-mark", viewBox: "-8 -8 16 16", "aria-hidden": "true" }, marked(source)), words)));
  const say = frame(el, "Figure 1(c) by window", h("div", { class: "rl-controls" }, attribute.el, length.el), picture, legend);

  function show() {
    const now = shares[state.window][state.attribute];
    length.show(windows.indexOf(state.window), String(state.window));
    attribute.show(state.attribute);
    const every = windows.flatMap((w) => Object.values(shares[w][state.attribute]).flatMap((by) => Object.values(by).map(([, , high]) => high)));
    draw(picture, now, Math.max(...every) * 1.03);
    const [mean, low, high] = leads[state.window][state.attribute];
    const verdict = low > 0 ? "purchases lead" : high < 0 ? "clicks lead" : "neither leads for sure";
    const means = Object.entries(now).map(([behavior, { history }]) => `${behavior} ${history[0].toFixed(3)}`);
    say(`Of the last ${state.window} events this share has the ${state.attribute} of the target: ${means.join(", ")}. `
      + `Purchases minus clicks: ${signed(mean)} [${signed(low)}, ${signed(high)}], ${verdict}.`);
  }
  show();
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`; // an end at +0.000 is above 0

function marked(source, at = {}) {
  const shape = {
    history: () => s("circle", { r: 5 }),
    "own shuffled": () => s("rect", { x: -4.5, y: -4.5, width: 9, height: 9 }),
    "other users": () => s("path", { d: "M0-5.5 5.5 4.5H-5.5Z" }),
  }[source]();
  return s("svg", { ...at, overflow: "visible", width: 1, height: 1, class: `rl-of-${source.replace(" ", "-")}` }, shape);
}

function draw(picture, shares, most) {
  const x = (value) => `${LEFT + ((100 - LEFT - 2) * value) / most}%`;
  const step = [0.01, 0.02, 0.05, 0.1, 0.2].find((one) => most / one <= 5) ?? 0.5;
  const bottom = picture.height.baseVal.value - BOTTOM;
  const ticks = Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step).flatMap((value) => [
    s("line", { class: "rl-grid", x1: x(value), x2: x(value), y1: 0, y2: bottom }),
    s("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, String(Number(value.toFixed(2)))),
  ]);
  const rows = Object.entries(shares).flatMap(([behavior, by], i) => [
    s("text", { x: 0, y: ROW * (i + 0.5) + 4, class: "rl-row-name" }, behavior),
    ...Object.entries(by).flatMap(([source, [mean, low, high]], j) => {
      const y = ROW * (i + 0.5) + 10 * (j - (Object.keys(by).length - 1) / 2);
      return [
        s("line", { class: `rl-interval rl-of-${source.replace(" ", "-")}`, x1: x(low), x2: x(high), y1: y, y2: y }),
        s("g", { "data-share": mean, "data-behavior": behavior, "data-source": source }, marked(source, { x: x(mean), y })),
      ];
    }),
  ]);
  picture.replaceChildren(...ticks, ...rows);
}

export default { render };
