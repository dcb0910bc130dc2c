// Who is shown: search, the next, one at random, and only those that fit a filter. Most filters ask what a list holds.
// The export knows it for each model as it was trained; with another k the model is asked, user by user from the one who
// is shown on, in idle moments, and once.
import { combobox, holds } from "./combobox.js";
import { button, h } from "./dom.js";
import { select } from "./fields.js";
import { itemName, place, selectorName } from "./inspector_words.js";
import { count } from "./words.js";

// What each filter asks of a user: whether the list behind the curriculum holds the purchase, the one without, the one
// by the other selector.
const FILTERS = {
  all: { text: "all users", fits: () => true },
  finds: { text: "the curriculum finds it", asks: ["with", "without"], fits: (person, behind, alone) => behind && !alone },
  misleads: { text: "the curriculum misleads", asks: ["with", "without"], fits: (person, behind, alone) => !behind && alone },
  hits: { text: "only hits", asks: ["with"], fits: (person, behind) => behind },
  misses: { text: "only misses", asks: ["with"], fits: (person, behind) => !behind },
  disagree: { text: "two selectors disagree", asks: ["with", "other"], fits: (person, behind, other) => behind !== other },
  unseen: { text: "the item bought is new", fits: ({ target }) => !target.seen },
};
const SLICE = 12; // ms at work before the page gets its turn
const PATIENCE = 150; // ms before the work begins: a slider may still be moving

// list(question) answers it with ten items or promises to; question(person, changes) is the one of the controls about
// another user; act.user(user, words)
export function userPicker(exported, { list, question, selectors, act }) {
  const people = exported.users;
  const places = new Map(people.map((person, i) => [person, i]));
  const found = new Map(); // "model selector k" -> of users who were asked about: does the list hold the purchase?
  let view = null;
  let filter = "all";
  let rival = null;
  let sweep = 0; // the number of the sweep that is valid
  let key = "";
  let since = performance.now(); // when the page last had its turn

  const search = combobox({
    label: "Search a user by number or by what was bought", placeholder: "search …",
    found: (words) => people.filter(({ user, target }) => holds(`user ${user} ${itemName(exported, target.item)}`, words))
      .map(({ user, target }) => ({ value: user, text: `user ${user}`, note: itemName(exported, target.item) })),
    pick: (user) => act.user(user, `User ${user}`),
  });
  const shown = h("strong", { class: "rl-user" });
  const filters = select({ "aria-label": "which users", pick: (name) => set(name) });
  filters.show(Object.entries(FILTERS).map(([name, { text }]) => [name, text]), filter);
  const others = select({ "aria-label": "the other selector", hidden: true, pick: (name) => set(filter, name) });
  const told = h("span", { class: "rl-told", role: "status" });
  const progress = h("progress", { max: people.length, hidden: true, "aria-label": "users looked at" });
  const el = h("div", { class: "rl-picker" },
    h("span", { class: "rl-join" }, button("‹", () => go(-1), { "aria-label": "previous user" }), shown,
      button("›", () => go(1), { "aria-label": "next user" })),
    button("random", () => go(0)), search.el,
    h("label", { class: "rl-filter" }, h("span", {}, "show"), filters.el, others.el),
    h("span", { class: "rl-found" }, told, progress));

  function update(next) {
    view = next;
    shown.textContent = `user ${view.person.user}`;
    const rest = selectors(view.state.model).filter((one) => one !== view.state.selector);
    if (!rest.includes(rival)) rival = rest.includes("recent") ? "recent" : rest[0];
    others.show(rest.map((one) => [one, `and ${selectorName(one)}`]), rival);
    others.el.hidden = filter !== "disagree";
    const { model, selector, k } = view.state;
    const now = JSON.stringify([filter, filter === "disagree" && rival, model, selector, k]);
    if (now !== key) restart(now);
  }

  function set(name, other = rival) {
    [filter, rival] = [name, other];
    update(view);
    land();
  }

  // If the user who is shown does not fit, the next who does.
  async function land() {
    if (!(await fits(view.person))) go(1);
  }

  // What one of a filter's words asks for: {model, selector, k}; without a curriculum the selector does not matter.
  function asked(word) {
    const { model, selector, k } = view.state;
    const by = { with: selector, other: rival, without: "none" }[word];
    return k === 0 || by === "none" ? { model, selector: "none", k: 0 } : { model, selector: by, k };
  }

  // Does the list hold the purchase? undefined: nobody knows yet.
  function known(person, { model, selector, k }) {
    const { found: shipped, k: own } = exported.models[model];
    if (shipped[selector] && (selector === "none" || k === own)) return shipped[selector][places.get(person)] === "1";
    return found.get(`${model} ${selector} ${k}`)?.get(person);
  }

  async function learn(person, { model, selector, k }) {
    const words = `${model} ${selector} ${k}`;
    if (!found.has(words)) found.set(words, new Map());
    const by = selector === "none" ? view.state.selector : selector;
    const top = await list(question(person, { model, selector: by, k }));
    found.get(words).set(person, place({ top }, person.target.item) !== null);
  }

  // Does a user fit the filter? undefined: nobody knows yet.
  function verdict(person) {
    const { asks = [], fits } = FILTERS[filter];
    const answers = asks.map((word) => known(person, asked(word)));
    return answers.includes(undefined) ? undefined : fits(person, ...answers);
  }

  async function fits(person) {
    for (const word of FILTERS[filter].asks ?? []) {
      if (known(person, asked(word)) === undefined) await learn(person, asked(word));
    }
    return verdict(person);
  }

  function restart(now) {
    key = now;
    sweep += 1;
    if (tell()) setTimeout(sweepAll, PATIENCE, sweep);
  }

  async function sweepAll(mine) {
    const start = people.indexOf(view.person);
    for (let i = 0; i < people.length; i++) {
      if (mine !== sweep || !el.isConnected) return;
      await fits(people[(start + i) % people.length]);
      if (await breathe()) tell();
    }
    if (mine === sweep) tell();
  }

  // Tell how many fit of those who are known; how many are left to ask about.
  function tell() {
    const verdicts = people.map(verdict).filter((one) => one !== undefined);
    const fit = verdicts.filter(Boolean).length;
    const left = people.length - verdicts.length;
    told.textContent = left ? `${fit} of ${verdicts.length} so far` : filter === "all" ? count(fit, "user") : `${fit} of ${count(people.length, "user")}`;
    progress.hidden = !left;
    progress.value = verdicts.length;
    return left;
  }

  // Now and then give the page its turn; says whether it did.
  async function breathe() {
    if (performance.now() - since < SLICE) return false;
    await new Promise((resume) => setTimeout(resume, 8));
    since = performance.now();
    return true;
  }

  // The next user who fits in a direction; 0: one at random.
  async function go(direction) {
    const n = people.length;
    const start = direction ? people.indexOf(view.person) : Math.floor(Math.random() * n);
    const step = direction || 1;
    const mine = (go.last = (go.last ?? 0) + 1);
    for (let i = direction ? 1 : 0; i <= n; i++) {
      const person = people[(((start + i * step) % n) + n) % n];
      await breathe();
      if (mine !== go.last) return;
      if (await fits(person)) return act.user(person.user, `User ${person.user}`);
    }
  }
  return { el, update };
}
