// A history as a list of events that can be changed: every function returns a new list and leaves the old one alone.
// An event: {id, from: its place in the user's own history | null, item, behavior, time, journey: 0 | 1 | null}

let inserted = 0;

// The user's own history; a timestamp of the export counts from the event before.
export function original({ items, behaviors, timestamps, journey }) {
  let time = 0;
  return items.map((item, t) => {
    time += timestamps[t];
    return { id: `e${t}`, from: t, item, behavior: behaviors[t], time, journey: journey ? journey[t] : null };
  });
}

export function remove(events, id) {
  return events.filter((event) => event.id !== id);
}

export function setBehavior(events, id, behavior) {
  return events.map((event) => (event.id === id ? { ...event, behavior } : event));
}

// Put an event at the place `to` of the list without it; its time becomes the middle of its neighbours'.
export function move(events, id, to, end) {
  const moved = events.find((event) => event.id === id);
  const rest = remove(events, id);
  return rest.toSpliced(to, 0, { ...moved, time: between(rest, to, end) });
}

// A new event at the place `to`. Of more than `longest` events the oldest is forgotten, as a model's window does.
export function insert(events, to, item, behavior, end, longest) {
  const event = added(item, behavior, between(events, to, end), events.length && events[0].journey === null ? null : 0);
  return events.toSpliced(to, 0, event).slice(-longest);
}

export function added(item, behavior, time, journey) {
  inserted += 1;
  return { id: `x${inserted}`, from: null, item, behavior, time, journey };
}

// What would be there if nothing had been done under this behaviour.
export function without(events, behavior) {
  return events.filter((event) => event.behavior !== behavior);
}

// A time for the place `to`; `end` is when the purchase came.
function between(events, to, end) {
  const [before, after] = [events[to - 1]?.time, events[to]?.time ?? end];
  return before === undefined ? after - 60 : Math.floor((before + Math.max(before, after)) / 2);
}

// Are two histories the same to a model?
export function same(a, b) {
  return a.length === b.length && a.every((event, t) => {
    const other = b[t];
    return event.item === other.item && event.behavior === other.behavior && event.time === other.time;
  });
}

// A history as Python writes it, [{item, behavior, timestamp, journey}], as events; those of `own` keep their identity.
export function recognised(rows, own) {
  const left = [...own];
  return rows.map(({ item, behavior, timestamp, journey = null }) => {
    const at = left.findIndex((event) => same([event], [{ item, behavior, time: timestamp }]));
    return at >= 0 ? left.splice(at, 1)[0] : added(item, behavior, timestamp, journey);
  });
}
