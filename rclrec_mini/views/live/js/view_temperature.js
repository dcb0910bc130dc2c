// Scores of events, the softmax of them at a temperature, and the k that are chosen.
// exported: {scores: [T], codes: [[code] x T]}; state: tau, k.
import { assign, h } from "./dom.js";
import { slider } from "./fields.js";
import { frame, setter } from "./frame.js";
import { softmax } from "./layers.js";
import { listed } from "./words.js";

function render({ model, el }) {
  const { scores, codes } = model.get("exported");
  const state = { tau: model.get("tau"), k: model.get("k") };
  const order = [...scores.keys()].sort((a, b) => scores[a] - scores[b] || a - b); // ascending, ties: the later is larger
  const set = setter(state, show);
  const tau = slider({
    name: "τ, temperature", min: 0.05, max: 2, step: 0.05, say: (value) => value.toFixed(2), pick: (value) => set({ tau: value }),
  });
  const k = slider({
    name: "k, events chosen", min: 0, max: scores.length, step: 1, say: (value) => `${value} events`, pick: (value) => set({ k: value }),
  });
  const rows = scores.map((score, t) => {
    const [bar, number, badge] = [h("i"), h("span", { class: "rl-number" }), h("b")];
    const row = h("li", { "data-event": t }, h("span", {}, `event ${t}`), h("span", { class: "rl-number" }, score.toFixed(2)),
      h("span", { class: "rl-bar-row" }, bar), number, h("span", { class: "rl-badge" }, badge));
    return { row, bar, number, badge };
  });
  const head = h("div", { class: "rl-heads", "aria-hidden": "true" }, ["", "s", "p", "", "order"].map((word) => h("span", {}, word)));
  const reads = h("p", { class: "rl-reads" });
  const say = frame(el, "Temperature and top-k", h("div", { class: "rl-controls" }, tau.el, k.el),
    h("div", { class: "rl-events" }, head, h("ol", {}, rows.map(({ row }) => row))), reads);

  function show() {
    const p = softmax(scores.map((score) => score / state.tau));
    const chosen = state.k ? order.slice(-state.k) : [];
    tau.show(state.tau, state.tau.toFixed(2));
    k.show(state.k, String(state.k));
    rows.forEach(({ row, bar, number, badge }, t) => {
      const place = chosen.indexOf(t) + 1;
      bar.style.width = `${100 * p[t]}%`;
      number.textContent = p[t].toFixed(3);
      badge.textContent = place || "";
      assign(row, { "data-p": p[t], "data-place": place, class: place ? "rl-chosen" : null });
    });
    reads.replaceChildren("The decoder reads ", ...["e_pay", ...chosen.flatMap((t) => codes[t])].map((token) => h("code", {}, String(token))),
      " and then the target.");
    const spread = Math.exp(-p.reduce((sum, one) => sum + (one && one * Math.log(one)), 0));
    const took = chosen.length ? `Chosen, least relevant first: ${listed(chosen.map(String))}.` : "Nothing is chosen.";
    say(`At τ = ${state.tau.toFixed(2)} event ${order.at(-1)} has p = ${Math.max(...p).toFixed(2)}, and p is as wide as ${spread.toFixed(1)} equal `
      + `events. By p as by s the order is ${order.join(" < ")}. ${took}`);
  }
  show();
}

export default { render };
