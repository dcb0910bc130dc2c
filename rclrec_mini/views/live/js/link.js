// The state of an inspector as the part of an address behind #, and back. An address of a section is left alone.
//
//     #NAME?user=12&model=literal&selector=rcpm&k=4&tau=0.5&history=0-11.13b2.12t1510000000.x55b0t1510000060
//
// `history` lists the events: 0-11 are the user's own as they were, 13b2 has another behaviour, 12t... another time, and
// x55b0t... is an event of item 55 that was put in. It is absent where nothing was changed.
import { added, original, same } from "./history_edits.js";

export function written(name, { user, model, selector, k, tau, events }, person) {
  const values = new URLSearchParams({ user, model, selector, k, tau });
  const own = original(person);
  if (!same(events, own)) values.set("history", tokens(events, own).join("."));
  return `#${name}?${values}`;
}

function tokens(events, own) {
  const found = [];
  let run = null; // the last two numbers of a run of unchanged events
  for (const { from, item, behavior, time } of events) {
    const old = from === null ? null : own[from];
    if (old && old.behavior === behavior && old.time === time) {
      if (run && run[1] === from - 1) run[1] = from;
      else found.push((run = [from, from]));
      continue;
    }
    run = null;
    const kind = old?.behavior === behavior ? "" : `b${behavior}`;
    found.push(`${old ? from : `x${item}`}${kind}${old?.time === time ? "" : `t${time}`}`);
  }
  return found.map((token) => (Array.isArray(token) ? [...new Set(token)].join("-") : token));
}

// The state that an address tells of, as far as it is one: {user, model, selector, k, tau, events}, absent where it says
// nothing that fits. null: it is no address of this view.
export function read(hash, name, exported) {
  if (!hash.startsWith(`#${name}?`)) return null;
  const values = new URLSearchParams(hash.slice(name.length + 2));
  const person = exported.users.find(({ user }) => String(user) === values.get("user"));
  const state = {};
  if (person) state.user = person.user;
  if (Object.hasOwn(exported.models, values.get("model") ?? "")) state.model = values.get("model");
  if (/^\w+$/.test(values.get("selector") ?? "")) state.selector = values.get("selector");
  if (/^[0-6]$/.test(values.get("k") ?? "")) state.k = Number(values.get("k"));
  const tau = Number(values.get("tau"));
  if (tau >= 0.05 && tau <= 2) state.tau = tau;
  if (person && values.has("history")) state.events = events(values.get("history"), person, exported);
  return state;
}

function events(text, person, exported) {
  const own = original(person);
  const found = [];
  for (const token of text.split(".")) {
    const run = /^(\d+)-(\d+)$/.exec(token);
    if (run) found.push(...own.slice(Number(run[1]), Number(run[2]) + 1));
    const one = /^(x?)(\d+)(?:b(\d+))?(?:t(\d+))?$/.exec(token);
    if (!one) continue;
    const [, isNew, number, behavior, time] = one;
    const old = own[Number(number)];
    const kind = behavior === undefined ? old?.behavior : Number(behavior);
    if (kind === undefined || kind >= exported.behaviors.length) continue;
    if (!isNew && old) found.push({ ...old, behavior: kind, time: time === undefined ? old.time : Number(time) });
    else if (isNew && time !== undefined && Number(number) < exported.items.codes.length) {
      found.push(added(Number(number), kind, Number(time), person.journey && 0));
    }
  }
  const ids = new Set(); // an event twice would be two elements of one id
  return found.filter(({ id }) => !ids.has(id) && ids.add(id));
}
