// The focused event: what is known of it, what can be done to it, and what can be done to the whole history.
import { combobox, holds } from "./combobox.js";
import { assign, button, h, mark } from "./dom.js";
import { attributes, itemName } from "./inspector_words.js";
import { percent, span } from "./words.js";

// act: see inspector.js
export function eventCard(act) {
  const about = h("div", { class: "rl-about" });
  const kinds = h("div", { class: "rl-kinds", role: "group", "aria-label": "behaviour of this event" });
  const earlier = button("← earlier", () => act.shift(-1));
  const later = button("later →", () => act.shift(1));
  const remove = button("remove", () => act.remove());
  const own = h("div", { class: "rl-tools rl-of-event" }, kinds, h("span", { class: "rl-join" }, earlier, later), remove);

  let view = null;
  const search = combobox({
    label: "Insert an item after this event", placeholder: "insert an item …",
    found: (words) => view.exported.items.codes.flatMap((_, item) => {
      const about = attributes(view.exported, item).join(" · ");
      const text = itemName(view.exported, item);
      return holds(`${text} ${about} item ${item}`, words) ? [{ value: item, text, note: about }] : [];
    }),
    pick: (item) => act.insert(item),
  });
  const cart = button("Without the cart?", () => act.withoutCart(), { class: "rl-what-if" });
  const undo = button("undo", () => act.undo());
  const redo = button("redo", () => act.redo());
  const reset = button("as it was", () => act.reset());
  const all = h("div", { class: "rl-tools" }, search.el, cart, h("span", { class: "rl-join" }, undo, redo, reset));
  const el = h("div", { class: "rl-card", role: "group", "aria-label": "The focused event, and edits" }, about, own, all);

  function update(next) {
    view = next;
    const { state, exported, can } = view;
    const t = state.events.findIndex(({ id }) => id === state.focus);
    about.replaceChildren(...described(view, t));
    own.hidden = t < 0;
    if (kinds.children.length !== exported.behaviors.length) {
      kinds.replaceChildren(...exported.behaviors.map((name, behavior) =>
        h("button", { type: "button", title: `make it a ${name} (${behavior + 1})`, on: { click: () => act.setBehavior(behavior) } },
          mark(behavior), name)));
    }
    [...kinds.children].forEach((one, behavior) => assign(one, { "aria-pressed": String(state.events[t]?.behavior === behavior) }));
    earlier.disabled = t <= 0;
    later.disabled = t < 0 || t === state.events.length - 1;
    cart.disabled = !can.withoutCart;
    cart.title = can.withoutCart ? "What would they buy had they put nothing in the cart? Removes every cart event." : "no cart event stands in the history";
    undo.disabled = !can.undo;
    redo.disabled = !can.redo;
    reset.disabled = !can.reset;
  }
  return { el, update };
}

function described({ state, exported, person, answer }, t) {
  if (t < 0) return [h("strong", {}, "The history is empty."), " The model answers all the same."];
  const { item, behavior, time, from } = state.events[t];
  const times = state.events.filter((event) => event.item === item).length;
  const facts = [
    `${exported.behaviors[behavior]}, ${span(person.target.timestamp - time)} before the purchase`,
    ...attributes(exported, item),
    times > 1 ? `${times} events of this item` : null,
    answer.p ? `p ${percent(answer.p[t])}` : null,
    from === null ? "put in by you" : null,
  ];
  return [mark(behavior), h("strong", {}, itemName(exported, item)), h("span", {}, facts.filter(Boolean).join(" · "))];
}
