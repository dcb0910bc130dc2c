// A group of ReRe: the beams of one history with their rewards and advantages, beside those of the policy after training.
// exported: {titles: {item: title}, names: [before, after], histories: [{user, bought, events: [[item, behavior]], groups:
// [[[item, log-probability], best first], before and after]}]}; state: at, rule, ranking, gate, std.
import { assign, h, mark, slopes } from "./dom.js";
import { slider, switches } from "./fields.js";
import { frame, setter } from "./frame.js";
import { advantages, rewards } from "./group_rewards.js";
import { listed, percent, signed } from "./words.js";

const SCALE = [-3.4, 4]; // of advantages, what the bars can show
const PARTS = { rule: "rule", ranking: "ranking", gate: "gate", std: "divide by std" };

function render({ model, el }) {
  const { titles, names, histories } = model.get("exported");
  const state = Object.fromEntries(["at", ...Object.keys(PARTS)].map((name) => [name, model.get(name)]));
  const set = setter(state, show);
  const history = slider({
    name: "history", min: 1, max: histories.length, step: 1, say: (n) => `history ${n} of ${histories.length}`, pick: (n) => set({ at: n - 1 }),
  });
  const parts = switches({ legend: "the reward", options: Object.entries(PARTS), pick: (name, on) => set({ [name]: on }) });
  const before = h("p", { class: "rl-before-it" });
  const lists = h("div", { class: "rl-lists rl-groups" });
  const say = frame(el, "A group before and after training",
    h("div", { class: "rl-controls" }, parts.el, history.el), before, lists);

  function show() {
    const { user, bought, events, groups } = histories[state.at];
    const [items, later] = groups.map((group) => group.map(([item]) => item));
    const earned = rewards(items, bought, state);
    const worth = advantages(earned.map(({ total }) => total), state.std);
    history.show(state.at + 1, `${state.at + 1} of ${histories.length}`);
    parts.show(state, { gate: state.ranking });
    before.replaceChildren(`User ${user} bought `, mark(3), ` ${titles[bought]}. The last events before: `,
      ...events.flatMap(([item, behavior], i) => [i ? "; " : "", mark(behavior), ` ${titles[item]}`]), ".");
    const rows = groups.map((group, side) => group.map(([item, logp], i) =>
      h("li", { "data-item": item, class: item === bought ? "rl-target" : null, title: titles[item],
        ...(side ? {} : { "data-reward": earned[i].total, "data-advantage": worth ? worth[i] : 0 }) },
      h("span", { class: "rl-rank" }, item === bought ? mark(3) : String(i + 1)), h("span", { class: "rl-name" }, titles[item]),
      h("span", { class: "rl-number" }, percent(Math.exp(logp))),
      ...(side ? [] : [h("span", { class: "rl-number" }, signed(earned[i].total)), bar(worth ? worth[i] : 0),
        h("span", { class: "rl-number" }, worth ? signed(worth[i]) : "0")]))));
    const heads = [["", names[0], "π", "reward", "advantage"], ["", names[1], "π"]].map((words) =>
      h("div", { class: "rl-heads", "aria-hidden": "true" }, words.map((word) => h("span", {}, word))));
    lists.replaceChildren(
      h("div", { class: "rl-list rl-group" }, heads[0], h("ol", { "aria-label": `The group ${names[0]}` }, rows[0])), slopes(items, later, bought),
      h("div", { class: "rl-list rl-group rl-later" }, heads[1], h("ol", { "aria-label": `The group ${names[1]}` }, rows[1])));
    assign(lists, { "data-signal": worth !== null });
    say(`${moved(groups, bought)} ${taught(items, bought, earned, worth)}`);
  }

  function moved(groups, bought) {
    const [was, is] = groups.map((group) => {
      const at = group.findIndex(([item]) => item === bought);
      return at < 0 ? `not among the ${group.length}` : `at place ${at + 1} with ${percent(Math.exp(group[at][1]))}`;
    });
    return `The purchase is ${was} ${names[0]}, and ${is} ${names[1]}.`;
  }

  function taught(items, bought, earned, worth) {
    if (!worth) return "All rewards of the group are alike: it teaches nothing.";
    const order = [...worth.keys()].sort((a, b) => worth[b] - worth[a]);
    const [up, down] = [order[0], order.at(-1)];
    const most = items[up] === bought ? "The purchase" : `Place ${up + 1}`;
    return `${most} is pushed up most, A = ${signed(worth[up])}; place ${down + 1}, ${titles[items[down]]}, is pushed down most, `
      + `A = ${signed(worth[down])}. Switched on: ${listed(Object.entries(PARTS).filter(([name]) => state[name]).map(([, words]) => words))}.`;
  }
  show();
}

// An advantage as a bar to the right or left of 0.
function bar(value) {
  const [low, high] = SCALE;
  const x = (one) => (100 * (Math.min(Math.max(one, low), high) - low)) / (high - low);
  const [from, to] = [Math.min(x(0), x(value)), Math.max(x(0), x(value))];
  return h("span", { class: "rl-both-ways", style: `--zero: ${x(0)}%` },
    h("i", { class: value < 0 ? "rl-down" : "rl-up", style: `left: ${from}%; width: ${to - from}%` }));
}

export default { render };
