// What the small views have in common: a named group, and under it what it shows in words, which a screen reader hears
// when they change.
import { h } from "./dom.js";

// Puts the parts into el; say(words) tells what they show now.
export function frame(el, name, ...parts) {
  const said = h("p", { class: "rl-said", role: "status", "aria-live": "polite" });
  const root = h("div", { class: "rl-view rl-small", role: "group", "aria-label": name, "data-lm-suppress-shortcuts": "true" }, ...parts, said);
  el.append(root);
  return (words) => {
    said.textContent = words;
    root.dataset.shown = Number(root.dataset.shown ?? 0) + 1;
  };
}

// A function that changes some of the state and shows it.
export const setter = (state, show) => (changes) => {
  Object.assign(state, changes);
  show();
};
