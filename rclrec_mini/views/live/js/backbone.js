// The encoder-decoder of models/backbone.py for one history. `backbone` is its weights and its `config`.
import { add, decoderLayer, dot, encoderLayer, keysValues, layerNorm, logSoftmax } from "./layers.js";

const row = (embedding, i, d) => embedding.weight.subarray(i * d, (i + 1) * d);

// The token embedding of a code at a level.
function embed({ token_embedding, config }, code, level) {
  return row(token_embedding, level * config.codes + code, config.d);
}

// History to states: codes of each of the T events [T][L], behaviors [T] -> (T, d)
export function encode(backbone, codes, behaviors) {
  const { d, heads, causal, max_history } = backbone.config;
  const events = codes.length;
  const x = new Float32Array(events * d);
  codes.forEach((tuple, t) => {
    const event = x.subarray(t * d, (t + 1) * d);
    tuple.forEach((code, level) => add(event, embed(backbone, code, level)));
    add(event, row(backbone.behavior_embedding, behaviors[t], d));
  });
  const distance = backbone.distance_bias.weight;
  const bias = (head, query, key) =>
    causal && key > query ? -Infinity : distance[(query - key + max_history) * heads + head];
  for (const layer of backbone.encoder) encoderLayer(layer, x, events, bias, heads);
  return layerNorm(x, backbone.encoder_norm, events);
}

// Run [e_b; prefix] once: the state that beams start from, and logits (V) of the target's first token.
// history (T, d), bos the target's behaviour, prefix [k][n] the first n codes of the items, by rule all L, nearest the
// target last.
export function start(backbone, history, bos, prefix) {
  const { d, heads, max_history } = backbone.config;
  const events = history.length / d;
  const n = prefix[0]?.length ?? 1;
  const tokens = 1 + prefix.length * n;
  const x = new Float32Array(tokens * d);
  x.set(row(backbone.behavior_embedding, bos, d));
  prefix.flat().forEach((code, i) => { // an input is the sum of the item's tokens so far
    const input = x.subarray((i + 1) * d, (i + 2) * d);
    if (i % n) input.set(x.subarray(i * d, (i + 1) * d));
    add(input, embed(backbone, code, i % n));
  });
  for (let i = 0; i < tokens; i++) {
    const input = x.subarray(i * d, (i + 1) * d);
    add(input, row(backbone.slot_embedding, prefix.length - Math.floor(i / n), d));
    add(input, row(backbone.level_embedding, i % n, d));
  }
  const recency = backbone.recency_bias.weight;
  const state = {
    history: backbone.decoder.map((layer) => keysValues(layer.cross_attention, history, events)),
    historyBias: (head, query, key) => recency[(bos * max_history + events - 1 - key) * heads + head],
    before: backbone.decoder.map(() => []), // keys and values of the tokens so far, a list for each layer
    written: new Float32Array(d), // sum of the target's token embeddings so far
  };
  const causal = (head, query, key) => (key > query ? -Infinity : 0);
  const next = run(backbone, x, tokens, state, causal);
  return { state: next, logits: head(backbone, x.subarray((tokens - 1) * d), 0) };
}

// Append the token chosen at `level`: a new state, and logits (V) of the next token. The old state stays as it was.
export function step(backbone, state, token, level) {
  const { d } = backbone.config;
  const written = add(state.written.slice(), embed(backbone, token, level));
  const x = written.slice();
  add(x, row(backbone.slot_embedding, 0, d));
  add(x, row(backbone.level_embedding, level + 1, d));
  const next = run(backbone, x, 1, { ...state, written }, () => 0);
  return { state: next, logits: head(backbone, x, level + 1) };
}

// The decoder's layers on new tokens x (rows, d), into x; the state that knows them.
function run(backbone, x, rows, state, bias) {
  const before = backbone.decoder.map((layer, i) => {
    const { history, historyBias } = state;
    const own = decoderLayer(layer, x, rows, state.before[i], bias, history[i], historyBias, backbone.config.heads);
    return [...state.before[i], own];
  });
  return { ...state, before };
}

// Logits (V) of one level, tied to that level's embeddings: x (d)
function head(backbone, x, level) {
  const normed = layerNorm(x, backbone.decoder_norm, 1);
  return Float32Array.from({ length: backbone.config.codes }, (_, code) => dot(normed, embed(backbone, code, level)));
}

// log P_gen of an item: the sum of log softmax(logits)[code] of each of its codes.
export function logLikelihood(backbone, { state, logits }, codes) {
  let sum = 0;
  codes.forEach((code, level) => {
    sum += logSoftmax(logits)[code];
    if (level + 1 < codes.length) ({ state, logits } = step(backbone, state, code, level));
  });
  return sum;
}
