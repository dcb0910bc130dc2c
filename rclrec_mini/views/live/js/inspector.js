// The curriculum inspector: one user's history, what a selector takes of it, and what that does to the ten best items.
// `render({model, el})` is what anywidget calls; a static page calls it with a model of its own (views/live/page.py).
//
// Of the model it reads and writes user, model, selector, k, tau and history, each as Python names it, and the export,
// which a page has at once and a widget sends when it is asked for, so that it is in no saved notebook.
import { controls } from "./controls.js";
import { button, h, mark } from "./dom.js";
import { createEngine } from "./engine.js";
import { eventCard } from "./event_card.js";
import { insert, move, original, recognised, remove, same, setBehavior, without } from "./history_edits.js";
import { changed, itemName, selectorName, summary, verdict, why } from "./inspector_words.js";
import { read, written } from "./link.js";
import { rankings } from "./rankings.js";
import { timeline } from "./timeline.js";
import { userPicker } from "./user_picker.js";
import { percent } from "./words.js";

const TRAITS = ["user", "model", "selector", "k", "tau"];

async function render({ model, el }) {
  const root = h("div", { class: "rl-view rl-inspector", "data-lm-suppress-shortcuts": "true" }, h("p", {}, "The model is being read …"));
  el.append(root);
  const { exported, selectors } = model.get("exported") ? { exported: model.get("exported") } : await sent(model);
  inspector(root, model, exported, selectors ? inKernel(model, selectors) : inPage(exported));
}

// The export of a widget, which Python sends when asked; `selectors` comes along where the kernel answers.
function sent(model) {
  return new Promise((resolve) => {
    const listen = (message) => {
      if (message.kind !== "export") return;
      model.off("msg:custom", listen);
      resolve(message);
    };
    model.on("msg:custom", listen);
    model.send({ kind: "export" });
  });
}

// Answers from the page. Whoever looks at many users has an engine aside, for each keeps what it last read.
function inPage(exported) {
  const [engine, aside] = [createEngine(exported), createEngine(exported)];
  return { answer: engine.answer, list: aside.list, selectors: engine.selectors };
}

// Answers from Python, as promises.
function inKernel(model, selectors) {
  const waiting = new Map();
  let asked = 0;
  model.on("msg:custom", ({ kind, id, answer, error }) => {
    if (kind !== "answer" || !waiting.has(id)) return;
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(error));
    else resolve(answer);
  });
  const answer = (question) => new Promise((resolve, reject) => {
    asked += 1;
    waiting.set(asked, { resolve, reject });
    model.send({ kind: "question", id: asked, question });
  });
  return { answer, list: async (question) => (await answer(question)).with.top, selectors: (name) => selectors[name] };
}

function inspector(root, model, exported, engine) {
  const people = new Map(exported.users.map((person) => [person.user, person]));
  const longest = Math.max(...Object.values(exported.models).map(({ config }) => config?.backbone?.max_history ?? 50));
  const name = model.get("name");
  const state = {};
  let [past, future, before, action] = [[], [], null, ""];

  const person = () => people.get(state.user);
  const question = (of, { user, events = original(of), ...changes } = {}) => ({
    model: state.model, selector: state.selector, k: state.k, tau: state.tau, ...changes,
    user: of.user, row: of.target.row, target: of.target.item,
    items: events.map(({ item }) => item), behaviors: events.map(({ behavior }) => behavior),
    timestamps: events.map(({ time }) => time), journey: of.journey && events.map(({ journey }) => journey ?? 0),
  });

  // Changes of the state, each with words for the sentence that tells of it.
  function set(changes, words) {
    const old = exported.models[state.model];
    Object.assign(state, changes);
    if (!people.has(state.user)) state.user = exported.users[0].user;
    if (changes.model && old) follow(old, exported.models[state.model]);
    if (!engine.selectors(state.model).includes(state.selector)) state.selector = exported.models[state.model].selector;
    state.events = (state.events ?? original(person())).slice(-longest);
    if (!state.events.some(({ id }) => id === state.focus)) state.focus = state.events.at(-1)?.id ?? null;
    action = words;
    tellModel();
    refresh();
  }

  // What was the old model's own is the new one's own.
  function follow(old, now) {
    for (const trait of ["selector", "k", "tau"]) if (state[trait] === old[trait]) state[trait] = now[trait];
  }

  const toUser = (user, words) => {
    [past, future] = [[], []];
    set({ user, events: original(people.get(user)), focus: null }, words);
  };

  function edit(events, words, focus = state.focus) {
    if (same(events, state.events)) return;
    past.push(state.events);
    future = [];
    set({ events, focus }, words);
  }

  function back(from, to, words) {
    if (!from.length) return;
    to.push(state.events);
    set({ events: from.pop() }, words);
  }

  const focused = () => state.events.findIndex(({ id }) => id === state.focus);
  const called = (id) => itemName(exported, state.events.find((event) => event.id === id).item);
  const cart = exported.behaviors.indexOf("cart");
  const end = () => person().target.timestamp;
  const act = {
    user: toUser,
    set: (changes) => set(changes, told(changes)),
    focus(id) {
      state.focus = id;
      draw();
      line.focus();
    },
    move: (id, to) => edit(move(state.events, id, to, end()), `Moved ${called(id)}`, id),
    shift: (step) => edit(move(state.events, state.focus, focused() + step, end()), `Moved ${called(state.focus)}`),
    remove(id = state.focus) {
      const t = focused();
      const next = state.events[t + 1] ?? state.events[t - 1];
      edit(remove(state.events, id), `Removed ${called(id)}`, next?.id);
    },
    setBehavior: (...given) => {
      const [behavior, id] = [given.at(-1), given.length > 1 ? given[0] : state.focus];
      edit(setBehavior(state.events, id, behavior), `${called(id)} is a ${exported.behaviors[behavior]} now`);
    },
    insert(item) {
      const events = insert(state.events, focused() + 1, item, 0, end(), longest);
      edit(events, `Put in ${itemName(exported, item)}`, events.find(({ id }) => !state.events.some((old) => old.id === id))?.id);
    },
    withoutCart: () => edit(without(state.events, cart), "Without the cart"),
    undo: () => back(past, future, "Undone"),
    redo: () => back(future, past, "Done again"),
    reset: () => edit(original(person()), "The history as it was"),
  };

  const told = ({ model: of, selector, k, tau }) =>
    of ? `Model ${exported.models[of].title}` : selector ? `Selector ${selectorName(selector)}`
      : k !== undefined ? `k = ${k}` : `τ = ${tau.toFixed(2)}`;

  const picker = userPicker(exported, { list: engine.list, question, selectors: engine.selectors, act });
  const panel = controls(exported, engine.selectors, act);
  const line = timeline(act);
  const card = eventCard(act);
  const effect = rankings(act);
  const frame = framed({ exported, link: name && linkButton });
  root.replaceChildren(picker.el, panel.el, frame.verdict, line.el, frame.legend, card.el, effect.el, frame.foot);
  root.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.matches("input[type=text]")) return;
    event.preventDefault();
    if (event.shiftKey) act.redo();
    else act.undo();
  });

  // Ask for an answer to the state as it is; while one is under way, only the last state is asked for.
  let [busy, again] = [false, false];
  async function refresh() {
    if (busy) return void (again = true);
    busy = true;
    do {
      again = false;
      const asked = { ...state };
      try {
        const given = engine.answer(question(person(), { events: state.events }));
        const answer = given instanceof Promise ? await given : given;
        if (!again) show(asked, answer);
      } catch (error) {
        frame.live.textContent = `No answer: ${error.message}`;
      }
    } while (again);
    busy = false;
  }

  let view = null;
  function show(asked, answer) {
    view = { state: asked, person: people.get(asked.user), answer, exported };
    frame.say(before ? changed(action, before, view) : "");
    before = view;
    draw();
  }

  function draw() {
    if (!view) return;
    const own = original(view.person);
    const can = { undo: past.length > 0, redo: future.length > 0, reset: !same(state.events, own),
      withoutCart: state.events.some(({ behavior }) => behavior === cart) };
    const now = { ...view, state: { ...view.state, focus: state.focus }, can };
    for (const part of [picker, panel, line, card, effect, frame]) part.update(now);
    root.dataset.shown = Number(root.dataset.shown ?? 0) + 1;
  }

  function linkButton() {
    const hash = written(name, state, person());
    location.replace(hash);
    navigator.clipboard?.writeText(location.href).catch(() => {});
    frame.say("The address of this page now leads to what you see.");
  }

  // What Python knows of the state, and what it tells.
  const rows = () => state.events.map(({ item, behavior, time, journey }) => ({ item, behavior, timestamp: time, journey }));
  let mine = false; // while the page itself writes
  function tellModel() {
    mine = true;
    for (const trait of TRAITS) if (model.get(trait) !== state[trait]) model.set(trait, state[trait]);
    if (JSON.stringify(model.get("history")) !== JSON.stringify(rows())) model.set("history", rows());
    model.save_changes();
    mine = false;
  }
  function hear() {
    if (mine) return;
    const changes = Object.fromEntries(TRAITS.filter((trait) => model.get(trait) !== state[trait]).map((trait) => [trait, model.get(trait)]));
    if ("user" in changes) changes.events = null;
    if (model.get("history") && JSON.stringify(model.get("history")) !== JSON.stringify(rows())) {
      const own = original(people.get(model.get("user")) ?? person());
      changes.events = recognised(model.get("history"), own);
    }
    if (Object.keys(changes).length) set(changes, "Set from Python");
  }
  for (const trait of [...TRAITS, "history"]) model.on(`change:${trait}`, hear);

  const start = Object.fromEntries(TRAITS.map((trait) => [trait, model.get(trait)]));
  const given = model.get("history");
  const linked = (hash) => (name ? read(hash, name, exported) : null);
  const fromLink = linked(location.hash);
  const own = original(people.get(start.user));
  set({ ...start, events: given && fromLink?.user === undefined ? recognised(given, own) : null, ...fromLink }, "");
  if (fromLink) root.scrollIntoView();
  if (name) {
    addEventListener("hashchange", () => {
      const found = linked(location.hash);
      if (!found || location.hash === written(name, state, person())) return;
      set({ events: null, ...found }, "From the link");
      root.scrollIntoView();
    });
  }
}

// The verdict, the legend, the foot with what is told to a screen reader, and the live region.
function framed({ exported, link }) {
  const title = h("h3", { class: "rl-title" });
  const whole = h("p", { class: "rl-why" });
  const live = h("p", { class: "rl-live", role: "status", "aria-live": "polite" });
  const verdictEl = h("div", { class: "rl-verdict" }, title, whole, live);
  const scale = h("span", {});
  const text = h("p", { class: "rl-hidden" });
  const keys = h("p", { class: "rl-keys" },
    "Keys in the history: ← → walk, Shift ← → move the event in time, 1 to ", String(exported.behaviors.length),
    " its behaviour, Delete removes it, Ctrl Z undoes. Or drag.");
  const foot = h("div", { class: "rl-foot" }, keys, link ? button("link to this view", link, { class: "rl-link" }) : null, text);
  const say = (words) => (live.textContent = words);
  function update(view) {
    const { kind, words, where } = verdict(view);
    verdictEl.dataset.kind = kind;
    title.textContent = words;
    whole.replaceChildren(h("span", {}, where), " ", why(view));
    text.textContent = summary(view);
    const { p } = view.answer;
    scale.textContent = p?.length ? `p, at most ${percent(Math.max(...p))}` : `no p: ${selectorName(view.state.selector)}`;
  }
  return { verdict: verdictEl, legend: legend(exported, scale), foot, live, say, update };
}

function legend(exported, scale) {
  const entry = (shown, text) => h("li", {}, shown, text);
  return h("ul", { class: "rl-legend", "aria-label": "Legend" },
    exported.behaviors.map((name, behavior) => entry(mark(behavior), name)),
    entry(h("span", { class: "rl-key rl-key-p" }), scale), entry(h("span", { class: "rl-key rl-key-chosen" }, "4"), "chosen, the last is next to the purchase"),
    exported.simulated ? entry(h("span", { class: "rl-key rl-key-true" }), "truly led to the purchase") : null,
    entry(h("span", { class: "rl-key rl-key-same" }), "the item bought"));
}

export default { render };
