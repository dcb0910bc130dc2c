// The history as a timeline: a column for each event, its p as a bar, its behaviour as a mark, what it is to the purchase
// below. One column is focused; arrows walk, Shift and arrows move the event in time, as dragging it does.
import { assign, h, mark } from "./dom.js";
import { attributes, itemName } from "./inspector_words.js";
import { percent, span } from "./words.js";

const NARROW = 500; // px; below it columns are wide enough for a finger
const COLUMN = { wide: 13, narrow: 20 }; // px, at least

// act: {focus(id), move(id, to), remove(id), setBehavior(id, behavior)}
export function timeline(act) {
  const columns = h("div", { class: "rl-columns", role: "listbox", "aria-label": "History, oldest event first" });
  const tip = h("div", { class: "rl-tip", "aria-hidden": "true", hidden: true });
  const el = h("div", { class: "rl-timeline" }, columns, tip);
  const events = new Map(); // id -> column
  let view = null;

  function update(next) {
    view = next;
    const { state, answer } = view;
    const within = columns.contains(document.activeElement); // a column that is put elsewhere loses the focus
    const largest = Math.max(...(answer.p ?? [0]), 1e-9);
    const kept = new Set(state.events.map(({ id }) => id));
    for (const [id, column] of events) if (!kept.has(id)) (column.remove(), events.delete(id));
    state.events.forEach((event, t) => {
      if (!events.has(event.id)) events.set(event.id, columnOf(event.id));
      const column = events.get(event.id);
      if (columns.children[t] !== column) columns.insertBefore(column, columns.children[t] ?? null);
      fill(column, event, t, largest);
    });
    columns.querySelector(".rl-bought")?.remove();
    columns.append(bought(view));
    layOut();
    if (within) focus();
  }

  function focus() {
    events.get(view.state.focus)?.focus({ preventScroll: true });
  }

  function columnOf(id) {
    return h("div", { class: "rl-event", role: "option", "data-id": id },
      h("span", { class: "rl-bar" }, h("b", {}), h("i", {})), h("span", { class: "rl-what" }),
      h("span", { class: "rl-led" }), h("span", { class: "rl-own" }), h("span", { class: "rl-when" }));
  }

  function fill(column, event, t, largest) {
    const { state, answer, person } = view;
    const chosen = answer.selected.indexOf(t) + 1;
    const p = answer.p?.[t];
    const own = event.item === person.target.item;
    const focused = state.focus === event.id;
    column.className = ["rl-event", chosen && "rl-chosen", event.journey && "rl-true", own && "rl-same",
      event.from === null && "rl-added", focused && "rl-focused"].filter(Boolean).join(" ");
    assign(column, { tabindex: focused ? 0 : -1, "aria-selected": focused, "aria-label": label(event, t, chosen, p) });
    const [bar, what] = column.children;
    bar.children[0].textContent = chosen || "";
    bar.children[1].style.height = `${p === undefined ? (chosen ? 100 : 0) : (100 * p) / largest}%`;
    if (what.dataset.behavior !== String(event.behavior)) {
      what.dataset.behavior = event.behavior;
      what.replaceChildren(mark(event.behavior));
    }
  }

  function label(event, t, chosen, p) {
    const { state, person, exported, answer } = view;
    return [
      `event ${t + 1} of ${state.events.length}: ${exported.behaviors[event.behavior]}`,
      itemName(exported, event.item), `${span(person.target.timestamp - event.time)} before the purchase`,
      p === undefined ? null : `p ${percent(p)}`, chosen ? `${chosen} of ${answer.selected.length} in the curriculum` : null,
      event.journey ? "truly led to the purchase" : null, event.item === person.target.item ? "the item bought" : null,
      event.from === null ? "put in by you" : null,
    ].filter(Boolean).join(", ");
  }

  // As many columns a row as fit, rows of one length.
  function layOut() {
    const width = el.clientWidth || 700;
    const n = columns.children.length;
    const fit = Math.max(1, Math.floor(width / (width < NARROW ? COLUMN.narrow : COLUMN.wide)));
    const perRow = Math.ceil(n / Math.ceil(n / fit));
    columns.style.setProperty("--columns", perRow);
    let [last, shown] = ["", -9];
    [...columns.children].slice(0, -1).forEach((column, t) => {
      const text = `${span(view.person.target.timestamp - view.state.events[t].time)}`;
      const room = perRow - (t % perRow) > 4 && t - shown > 6;
      const show = room && (t % perRow === 0 || text !== last);
      column.lastChild.textContent = show ? text : "";
      if (show) [last, shown] = [text, t];
    });
  }

  function idAt(x, y) {
    return document.elementsFromPoint(x, y).find((one) => one.matches?.(".rl-event, .rl-bought") && el.contains(one));
  }

  columns.addEventListener("click", ({ target }) => {
    const id = target.closest(".rl-event")?.dataset.id;
    if (id) act.focus(id);
  });

  columns.addEventListener("keydown", (event) => {
    const id = event.target.closest(".rl-event")?.dataset.id;
    if (!id || event.ctrlKey || event.metaKey || event.altKey) return;
    const list = view.state.events;
    const t = list.findIndex((one) => one.id === id);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const to = step ? t + step : { Home: 0, End: list.length - 1 }[event.key];
    const behavior = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : -1;
    if (to !== undefined && list[to]) event.shiftKey ? act.move(id, to) : act.focus(list[to].id);
    else if (event.key === "Delete" || event.key === "Backspace") act.remove(id);
    else if (behavior >= 0 && behavior < view.exported.behaviors.length) act.setBehavior(id, behavior);
    else if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
  });

  dragging({ columns, idAt, drop: (id, to) => act.move(id, to), places: () => view.state.events.map(({ id }) => id) });
  hints({ columns, el, tip, text: (id) => hint(view, id) });
  new ResizeObserver(() => view && layOut()).observe(el);

  return { el, update, focus };
}

// The last column: what was bought, which the model does not see.
function bought({ person, exported }) {
  const name = itemName(exported, person.target.item);
  return h("div", { class: "rl-bought", title: `bought: ${name}` }, h("span", { class: "rl-bar" }),
    h("span", { class: "rl-what" }, mark(3)), h("span", { class: "rl-led" }), h("span", { class: "rl-own" }), h("span", { class: "rl-when" }));
}

// Two lines on an event, for the pointer.
function hint({ state, person, exported, answer }, id) {
  const t = state.events.findIndex((one) => one.id === id);
  if (t < 0) return null;
  const { item, behavior, time } = state.events[t];
  const p = answer.p ? `, p ${percent(answer.p[t])}` : "";
  return [`${exported.behaviors[behavior]}: ${itemName(exported, item)}`,
    `${span(person.target.timestamp - time)} before${p}`, attributes(exported, item).join(" · ")];
}

function hints({ columns, el, tip, text }) {
  columns.addEventListener("pointermove", (event) => {
    const column = event.pointerType === "mouse" && !event.buttons && event.target.closest(".rl-event");
    const lines = column && text(column.dataset.id);
    tip.hidden = !lines;
    if (!lines) return;
    tip.replaceChildren(...lines.map((line) => h("div", {}, line)));
    const [box, all] = [column.getBoundingClientRect(), el.getBoundingClientRect()];
    tip.style.left = `${Math.max(0, Math.min(box.left - all.left - 40, all.width - tip.offsetWidth))}px`;
    tip.style.top = `${box.bottom - all.top + 4}px`;
  });
  columns.addEventListener("pointerleave", () => (tip.hidden = true));
}

// Drag an event to another place; a line shows where it would go.
function dragging({ columns, idAt, drop, places }) {
  let drag = null; // {id, x, moved, over}
  const clear = () => columns.querySelectorAll(".rl-before, .rl-dragged").forEach((one) => one.classList.remove("rl-before", "rl-dragged"));
  columns.addEventListener("pointerdown", (event) => {
    const column = event.target.closest(".rl-event");
    if (column && event.button === 0) drag = { id: column.dataset.id, column, x: event.clientX, moved: false, over: null };
  });
  columns.addEventListener("pointermove", (event) => {
    if (!drag || (!drag.moved && Math.abs(event.clientX - drag.x) < 6)) return;
    if (!drag.moved) columns.setPointerCapture(event.pointerId);
    drag.moved = true;
    clear();
    drag.column.classList.add("rl-dragged");
    drag.over = idAt(event.clientX, event.clientY) ?? drag.over;
    drag.over?.classList.add("rl-before");
  });
  columns.addEventListener("pointerup", () => {
    if (drag?.moved && drag.over && drag.over.dataset.id !== drag.id) {
      const rest = places().filter((id) => id !== drag.id);
      const at = rest.indexOf(drag.over.dataset.id);
      drop(drag.id, at < 0 ? rest.length : at);
    }
    clear();
    drag = null;
  });
  columns.addEventListener("pointercancel", () => (clear(), (drag = null)));
}
