// The pointer of models/pointer.py for the target that follows one history.
import { eventCounts, shared } from "./curriculum.js";
import { dot, linear, logSumExp, relu } from "./layers.js";

const SECONDS_PER_DAY = 86400;

// Where the target points: logCopy (T), log(g p_t) of each event, and logRest, log(1 - g). `pointer` are its weights
// and its `config`; events {codes [T][L], behaviors [T], timestamps [T]}, states (T, d) of the encoder, `purchase` the
// target's behaviour, `kinds` how many there are.
export function point(pointer, events, states, purchase, kinds) {
  const rows = events.codes.length;
  const { pairs, history } = told(pointer.config, events, purchase, kinds);
  const score = mlp(pointer.score, [0, 3, 5], pairs, rows);
  if (pointer.config.content && rows) {
    const content = agreement(pointer, states, rows, purchase);
    for (let t = 0; t < rows; t++) score[t] += content[t];
  }
  const none = mlp(pointer.none, [0, 2], history, 1)[0];
  const total = logSumExp([...score, none]);
  return { logCopy: score.map((value) => value - total), logRest: none - total };
}

// Linear layers, those at `places` of a Sequential, with ReLU between them.
function mlp(layers, places, x, rows) {
  places.forEach((place, i) => { x = linear(i ? relu(x) : x, layers[place], rows); });
  return x;
}

// What is known of each event (T, -), and of the history (3 kinds).
function told(config, events, purchase, kinds) {
  const { codes, behaviors, timestamps } = events;
  const rows = codes.length;
  const plain = eventCounts(events, kinds);
  const decayed = eventCounts(events, kinds, (s) => Math.exp(-(rows - 1 - s) / config.decay));
  const counted = rows ? plain.length / rows : 0;
  const towards = oneHot(purchase, kinds);
  const pairs = codes.map((_, t) => {
    const days = Math.max(0, timestamps[rows - 1] - timestamps[t]) / SECONDS_PER_DAY;
    return [
      ...plain.subarray(t * counted, (t + 1) * counted),
      ...decayed.subarray(t * counted, (t + 1) * counted),
      ...config.days.map((scale) => Math.exp(-days / scale)),
      ...config.ages.map((scale) => Math.exp(-(rows - 1 - t) / scale)),
      ...oneHot(behaviors[t], kinds),
      ...towards,
    ];
  });
  const past = new Array(2 * kinds).fill(0);
  codes.forEach((own, t) => {
    past[behaviors[t]]++;
    if (codes.slice(0, t).some((other) => shared(own, other) === own.length)) past[kinds + behaviors[t]]++;
  });
  return { pairs: Float32Array.from(pairs.flat()), history: Float32Array.from([...past.map(Math.log1p), ...towards]) };
}

function oneHot(place, length) {
  return Array.from({ length }, (_, i) => Number(i === place));
}

// What the newest state and the state of each event have in common, as far as targets of this behaviour trust it: (T)
function agreement(pointer, states, rows, purchase) {
  const d = states.length / rows;
  const query = linear(states.subarray((rows - 1) * d), pointer.query, 1);
  const keys = linear(states, pointer.key, rows);
  const scale = d ** -0.5 * pointer.trust.weight[purchase];
  return Array.from({ length: rows }, (_, t) => dot(query, keys.subarray(t * d, (t + 1) * d)) * scale);
}

// log P of an item under the mixture, from log P_gen and the places of the events that are of that item.
export function mix({ logCopy, logRest }, logGenerated, places) {
  return logSumExp([...places.map((t) => logCopy[t]), logRest + logGenerated]);
}
