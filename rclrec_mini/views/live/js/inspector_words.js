// What an inspector shows, in sentences. A view: {state, person, answer, exported}.
import { count, signed, span } from "./words.js";

const SELECTORS = {
  rcpm: "RCPM", counting: "RCPM that counts", pointer: "pointer", recent: "most recent", random: "random",
  oracle: "oracle (reads the truth)",
};

export const selectorName = (name) => SELECTORS[name] ?? name;

// The title of an item, or its number where it has none.
export const itemName = ({ items }, item) => items.title?.[item] || `item ${item}`;

// What else is known of an item: ["category 3", "brand brand8", ...]
export function attributes({ items }, item) {
  return ["category", "brand", "seller", "price"]
    .filter((name) => ![null, undefined, ""].includes(items[name]?.[item]))
    .map((name) => `${name} ${items[name][item]}`);
}

// The place of the purchase in a list, from 1; null if it is not there.
export function place({ top }, target) {
  const at = top.findIndex(({ item }) => item === target);
  return at < 0 ? null : at + 1;
}

const at = (rank) => (rank === null ? "outside the ten" : `at place ${rank}`);

// How the curriculum moved the purchase: finds, misleads, helps, hurts, or none.
function outcome(answer, target) {
  const [before, after] = [place(answer.without, target), place(answer.with, target)];
  if (before === null && after !== null) return "finds";
  if (before !== null && after === null) return "misleads";
  const change = answer.with.target - answer.without.target;
  return Math.abs(change) < 0.05 ? "none" : change > 0 ? "helps" : "hurts";
}

// The verdict on the curriculum: a few words and a sentence.
export function verdict({ answer, person }) {
  const target = person.target.item;
  const kind = answer.selected.length ? outcome(answer, target) : "empty";
  const [before, after] = [place(answer.without, target), place(answer.with, target)];
  const words = {
    finds: "The curriculum finds the purchase",
    misleads: "The curriculum misleads",
    helps: "The curriculum helps",
    hurts: "The curriculum hurts",
    none: "The curriculum changes little",
    empty: "No curriculum",
  }[kind];
  const where =
    kind === "empty" ? `The purchase stands ${at(before)}.`
      : `Without it the purchase stands ${at(before)}, with it ${before === after ? "as well" : at(after)}.`;
  return { kind, words, where };
}

// Why: what the chosen events are, against the purchase and what the lists then hold.
export function why({ state, answer, person, exported }) {
  const { selected } = answer;
  if (!selected.length) return state.k ? "No event was chosen." : "With k = 0 the model writes the purchase at once.";
  const chosen = selected.map((t) => state.events[t]);
  const { item: target } = person.target;
  const parts = [];
  if (person.journey) {
    const led = state.events.filter(({ journey }) => journey).length;
    const right = chosen.filter(({ journey }) => journey).length;
    parts.push(`${right} of its ${count(chosen.length, "event")} truly led to the purchase (${led} in the history did)`);
  }
  const own = chosen.filter(({ item }) => item === target).length;
  const seen = state.events.filter(({ item }) => item === target).length;
  parts.push(seen ? `${own || "none"} ${own === 1 ? "is" : "are"} of the very item, which stands ${count(seen, "time")} in the history`
    : "the item bought does not stand in the history");
  return `${parts.join("; ")}. ${kinds({ answer, exported, chosen, target })}`;
}

// How much of each list is of the purchase's category, and of the curriculum's items.
function kinds({ answer, exported, chosen, target }) {
  const { category } = exported.items;
  const listed = [answer.without, answer.with].map(({ top }) => top.map(({ item }) => item));
  if (!category || category[target] === null) {
    const [before, after] = listed.map((items) => items.filter((i) => chosen.some(({ item }) => item === i)).length);
    return `Items of the curriculum take ${after} of the ten places, and ${before} without it.`;
  }
  const [before, after] = listed.map((items) => items.filter((i) => category[i] === category[target]).length);
  const alike = chosen.filter(({ item }) => category[item] === category[target]).length;
  return `${alike || "None"} of the chosen ${alike === 1 ? "is" : "are"} of the purchase's category, which takes ` +
    `${after} of the ten places with the curriculum and ${before} without.`;
}

// What is held against the margin, in nats a token, and in words: the gain of eq. 7 and 8; of a model that keeps no
// theta_0, since it was trained without the quality loss, the change against itself without a prefix.
export function gainOf({ answer, exported }) {
  const { gain, margin, gate } = answer;
  const value = gain ?? (answer.with.target - answer.without.target) / exported.levels;
  const named = gain === null ? "Change" : gate === null ? "Gain" : "Gain of what is generated";
  const than = gain === null ? "without it" : "to the frozen model";
  const loss = gain === null ? "" : value < margin ? ", so the quality loss asks for more" : ", the quality loss is content";
  const side = value < 0 ? `behind the prefix the purchase is less likely than it was ${than}`
    : `${value < margin ? "less than" : "above"} the margin${loss}`;
  const blind = gain !== null && gain >= margin && answer.with.target < answer.without.target
    ? " It compares with the frozen model alone, not with what this one expects without a curriculum." : "";
  return { value, words: `${named} ${signed(value)} nats a token, margin ${margin.toFixed(2)}: ${side}.${blind}` };
}

// Everything in one text, for a reader who cannot see the picture.
export function summary(view) {
  const { state, person, answer, exported } = view;
  const { words, where } = verdict(view);
  const chosen = answer.selected.map((t) => {
    const { item, behavior, time } = state.events[t];
    return `${exported.behaviors[behavior]} of ${itemName(exported, item)}, ${span(person.target.timestamp - time)} before`;
  });
  const best = answer.with.top.slice(0, 3).map(({ item }) => itemName(exported, item));
  return [
    `User ${person.user}, ${count(state.events.length, "event")}, bought ${itemName(exported, person.target.item)}.`,
    chosen.length ? `The curriculum by ${selectorName(state.selector)}, the last next to the purchase: ${chosen.join("; ")}.` : "",
    `${words}. ${where} ${why(view)}`,
    `First of the list: ${best.join(", ")}.`,
    gainOf(view).words,
  ].filter(Boolean).join(" ");
}

// One sentence on what an action changed.
export function changed(action, before, now) {
  const target = now.person.target.item;
  const here = at(place(now.answer.with, target));
  if (!before || before.person !== now.person) return `${action}. The purchase is ${itemName(now.exported, target)}, ${here}.`;
  const there = at(place(before.answer.with, target));
  const events = ({ state, answer }) => answer.selected.map((t) => state.events[t].id);
  const old = events(before);
  const fresh = events(now).filter((id) => !old.includes(id)).length;
  const curriculum = fresh ? `${fresh} of ${events(now).length} events of the curriculum are new`
    : old.length === events(now).length ? "the curriculum stays" : `the curriculum has ${count(events(now).length, "event")}`;
  const moved = here === there ? `stays ${here}` : `moves from ${there.replace("at ", "")} to ${here.replace("at ", "")}`;
  const ln = [before, now].map(({ answer }) => answer.with.target.toFixed(2).replace("-", "−"));
  return `${action}: ${curriculum}; the purchase ${moved}, ln P ${ln[0]} → ${ln[1]}.`;
}
