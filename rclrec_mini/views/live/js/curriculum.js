// The selectors of models/curriculum.py for one history of T events.
import { add, dot, gelu, linear } from "./layers.js";

// The k largest entries, their places in ascending order of relevance. -Infinity is never selected, and of equal
// entries the more recent counts as larger.
export function topK(relevance, k) {
  const places = Array.from(relevance.keys()).filter((t) => relevance[t] > -Infinity);
  places.sort((a, b) => relevance[a] - relevance[b] || a - b);
  return places.slice(Math.max(0, places.length - k));
}

// s_t = q . h_t / sqrt(d), eq. 2: the logits of p before the temperature. `rcpm` are its weights and q (d) the user's
// query, which the export holds; events {codes [T][L], behaviors [T]}, history (T, d) the encoder's states, `kinds` how
// many behaviours there are.
export function rcpmScores(rcpm, q, events, history, kinds) {
  const d = q.length;
  const rows = events.codes.length;
  const states = history.slice();
  for (let t = 0; t < rows; t++) {
    const recency = rows - 1 - t; // 0 = newest
    add(states.subarray(t * d, (t + 1) * d), rcpm.recency.weight.subarray(recency * d, (recency + 1) * d));
  }
  if (rcpm.counts) {
    const [first, , second] = rcpm.counts;
    add(states, linear(gelu(linear(eventCounts(events, kinds), first, rows)), second, rows));
  }
  return Float32Array.from({ length: rows }, (_, t) => dot(q, states.subarray(t * d, (t + 1) * d)) / Math.sqrt(d));
}

// How many leading codes two items have in common.
export function shared(a, b) {
  let levels = 0;
  while (levels < a.length && a[levels] === b[levels]) levels++;
  return levels;
}

// log(1 + n) of the n events that agree with an event's codes up to each level, under each behaviour, itself included:
// (T, L * kinds); `kernel` weighs them, one each by default.
export function eventCounts({ codes, behaviors }, kinds, kernel = () => 1) {
  const width = codes.length && codes[0].length * kinds;
  const counts = new Float32Array(codes.length * width);
  codes.forEach((own, t) => {
    codes.forEach((other, s) => {
      for (let level = shared(own, other) - 1; level >= 0; level--) {
        counts[t * width + level * kinds + behaviors[s]] += kernel(s);
      }
    });
  });
  return counts.map(Math.log1p);
}

// A random number of 0 to 1 for each of the T events of the sample `row`, the same on every call.
function chance(row, length, seed = 0) {
  return Float32Array.from({ length }, (_, t) => {
    let x = BigInt(row) * 1000003n + BigInt(length - 1 - t) + BigInt(seed) * 7919n;
    for (let i = 0; i < 3; i++) x = ((x ^ (x >> 16n)) * 0x45d9f3bn) % 2n ** 32n;
    return Math.fround(Number(x)) / 2 ** 32;
  });
}

// Relevance of the selectors without weights; null where `journey` is needed and not known.
export const FIXED = {
  recent: ({ length }) => Float32Array.from({ length }, (_, t) => t),
  random: ({ length, row }) => chance(row, length),
  oracle: ({ length, journey }) =>
    journey && Float32Array.from({ length }, (_, t) => (journey[t] ? t : -Infinity)),
};
