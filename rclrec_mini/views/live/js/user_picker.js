// Who is shown: search, the next, one at random, and only those that fit a filter. Most filters ask the model about a
// user, so users are looked at one after another in idle moments, from the one that is shown on.
import { combobox, holds } from "./combobox.js";
import { button, h } from "./dom.js";
import { itemName, place, selectorName } from "./inspector_words.js";

// What of a user each filter asks: `here` {with, without} is whether the lists hold the purchase, `there` by the other
// selector; `person` alone where no model is needed.
const FILTERS = {
  all: { text: "all users", fits: () => true },
  finds: { text: "the curriculum finds it", fits: ({ here }) => here.with && !here.without },
  misleads: { text: "the curriculum misleads", fits: ({ here }) => !here.with && here.without },
  hits: { text: "only hits", fits: ({ here }) => here.with },
  misses: { text: "only misses", fits: ({ here }) => !here.with },
  disagree: { text: "two selectors disagree", fits: ({ here, there }) => here.with !== there.with },
  unseen: { text: "the item bought is new", fits: ({ person }) => !person.target.seen },
};
const ALONE = ["all", "unseen"];
const SLICE = 12; // ms at work before the page gets its turn

// ask(question) answers it or promises to; question(person, changes) is the one of the controls about another user;
// act.user(user, words)
export function userPicker(exported, { ask, question, selectors, act }) {
  const people = exported.users;
  let view = null;
  let filter = "all";
  let rival = null;
  let sweep = 0; // the number of the sweep that is valid
  let key = "";
  let since = performance.now(); // when the page last had its turn
  const found = new Map(); // user -> does it fit; for this key

  const search = combobox({
    label: "Search a user by number or by what was bought", placeholder: "search …",
    found: (words) => people.filter(({ user, target }) => holds(`user ${user} ${itemName(exported, target.item)}`, words))
      .map(({ user, target }) => ({ value: user, text: `user ${user}`, note: itemName(exported, target.item) })),
    pick: (user) => act.user(user, `User ${user}`),
  });
  const shown = h("strong", { class: "rl-user" });
  const filters = h("select", { "aria-label": "which users", on: { change: () => set(filters.value) } },
    Object.entries(FILTERS).map(([name, { text }]) => h("option", { value: name }, text)));
  const others = h("select", { "aria-label": "the other selector", hidden: true, on: { change: () => set(filter, others.value) } });
  const told = h("span", { class: "rl-told", role: "status" });
  const el = h("div", { class: "rl-picker" },
    h("span", { class: "rl-join" }, button("‹", () => go(-1), { "aria-label": "previous user" }), shown,
      button("›", () => go(1), { "aria-label": "next user" })),
    button("random", () => go(0)), search.el,
    h("label", { class: "rl-filter" }, h("span", {}, "show"), filters, others), told);

  function update(next) {
    view = next;
    shown.textContent = `user ${view.person.user}`;
    const rest = selectors(view.state.model).filter((one) => one !== view.state.selector);
    if ([...others.options].map(({ value }) => value).join() !== rest.join()) {
      others.replaceChildren(...rest.map((one) => h("option", { value: one }, `and ${selectorName(one)}`)));
    }
    if (!rest.includes(rival)) rival = rest.includes("recent") ? "recent" : rest[0];
    others.value = rival;
    others.hidden = filter !== "disagree";
    const { model, selector, k, tau } = view.state;
    const now = JSON.stringify([filter, rival, model, selector, k, selector === "random" || tau]);
    if (now !== key) restart(now);
  }

  function set(name, other = rival) {
    [filter, rival] = [name, other];
    update(view);
    if (filter !== "all") land();
  }

  // If the user who is shown does not fit, the next who does.
  async function land() {
    if (!(await fits(view.person))) go(1);
  }

  function restart(now) {
    key = now;
    found.clear();
    sweep += 1;
    told.textContent = filter === "all" ? count(people.length) : "looking …";
    if (filter !== "all") setTimeout(() => sweepAll(sweep), 300); // a slider may still be moving
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

  function tell() {
    const fit = [...found.values()].filter(Boolean).length;
    told.textContent = found.size < people.length ? `${fit} of ${found.size} so far` : `${fit} of ${count(people.length)}`;
  }

  async function fits(person) {
    const asked = key;
    if (found.has(person.user)) return found.get(person.user);
    let known = { person };
    if (!ALONE.includes(filter)) known = { ...known, here: await looked(person, {}) };
    if (filter === "disagree") known.there = await looked(person, { selector: rival });
    const answer = FILTERS[filter].fits(known);
    if (asked === key) found.set(person.user, answer);
    return answer;
  }

  // Now and then give the page its turn; says whether it did.
  async function breathe() {
    if (performance.now() - since < SLICE) return false;
    await new Promise((resume) => setTimeout(resume, 8));
    since = performance.now();
    return true;
  }

  async function looked(person, changes) {
    const answer = await ask(question(person, changes));
    const { item } = person.target;
    return { with: place(answer.with, item) !== null, without: place(answer.without, item) !== null };
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
      if (!(await fits(person))) continue;
      act.user(person.user, `User ${person.user}`);
      return;
    }
    told.textContent = "nobody fits";
  }
  return { el, update };
}

const count = (n) => `${n} users`;
