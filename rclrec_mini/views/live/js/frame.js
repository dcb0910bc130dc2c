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

// A number in three digits, without zeros behind.
export const short = (value) => String(Number(value.toPrecision(3)));

// "a, b and c"
export const listed = (words) => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
