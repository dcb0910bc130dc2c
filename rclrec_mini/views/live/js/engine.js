// Questions about one history, answered by exported models; views/live/engine.py answers the same in Python.
import { encode, logLikelihood, start, step } from "./backbone.js";
import { beamSearch, trie } from "./beam_search.js";
import { FIXED, rcpmScores, topK } from "./curriculum.js";
import { softmax } from "./layers.js";
import { mix, point } from "./pointer.js";
import { weights } from "./weights.js";

const BEAMS = 20;
const LISTED = 10;

// {answer(question), list(question), selectors(model), read(question), exported}; what a question and its answer are,
// engine.py says.
export function createEngine(exported) {
  const codes = exported.items.codes;
  const tree = trie(codes);
  const purchase = exported.behaviors.indexOf("purchase");
  const place = new Map(exported.users.map(({ user }, i) => [user, i]));
  const loaded = new Map(); // models whose weights were asked for
  const last = new Map(); // what each model read last: its key and the reading

  function modelOf(name) {
    const names = Object.keys(exported.models);
    if (!names.includes(name)) throw wrong("model", name, `one of ${names.join(", ")}`);
    if (!loaded.has(name)) loaded.set(name, load(exported.models[name]));
    return loaded.get(name);
  }

  // The selectors that a model has; the oracle needs a simulated shop.
  function selectors(name) {
    const { selector, pointer } = modelOf(name);
    const own = [...(selector ? [selector.counts ? "counting" : "rcpm"] : []), ...(pointer ? ["pointer"] : [])];
    return [...own, ...Object.keys(FIXED).filter((one) => one !== "oracle" || exported.simulated)];
  }

  // What a model makes of a history, whatever is selected from it; kept until it reads another.
  function read(question) {
    const { model, items, behaviors, timestamps } = question;
    const key = JSON.stringify([items, behaviors, timestamps]);
    if (last.get(model)?.key !== key) {
      const events = { codes: items.map((item) => codes[item]), behaviors, timestamps };
      last.set(model, { key, reading: reading(modelOf(model), events, tree, purchase) });
    }
    return last.get(model).reading;
  }

  // The logits of the selector's p before the temperature, (T); null if it has none.
  function scores({ model, selector, user }, { events, states, pointing }) {
    if (selector === "pointer") return pointing.logCopy;
    if (selector in FIXED) return null;
    if (!place.has(user)) throw wrong("user", user, `one of the ${place.size} in the export`);
    const { selector: rcpm, backbone } = modelOf(model);
    const { d, behaviors } = backbone.config;
    const q = rcpm.query.subarray(place.get(user) * d, (place.get(user) + 1) * d);
    return rcpmScores(rcpm, q, events, states, behaviors);
  }

  // What a question's selector takes of the history: logits of its p or null, columns, and the prefix that they make.
  function chosen(question) {
    const { backbone, levels } = modelOf(question.model);
    check(question, selectors(question.model), backbone.config, codes.length, exported.behaviors.length);
    const { items, selector, k } = question;
    const found = read(question);
    const logits = scores(question, found);
    const relevance = logits ?? FIXED[selector]({ ...question, length: items.length });
    const selected = relevance ? topK(relevance, k) : [];
    const prefix = selected.map((t) => codes[items[t]].slice(0, levels));
    return { found, logits, selected, prefix };
  }

  // The ten best items alone, behind what is chosen: a third of the work.
  function list(question) {
    const { found, prefix } = chosen(question);
    return prefix.length ? found.generate(prefix).top : found.plain().top;
  }

  function answer(question) {
    const { found, logits, selected, prefix } = chosen(question);
    const { backbone, reference, margin } = modelOf(question.model);
    const { items, tau, target = null } = question;
    const plain = found.plain();
    const prefixed = prefix.length ? found.generate(prefix) : plain;
    const same = items.flatMap((item, t) => (item === target ? [t] : []));
    const logp = (begin) => {
      if (target === null) return null;
      const generated = logLikelihood(backbone, begin, codes[target]);
      return found.pointing ? mix(found.pointing, generated, same) : generated;
    };
    const nll = (weights, begin) => -logLikelihood(weights, begin, codes[target]) / tree.levels;
    const base = reference && target !== null ? nll(reference, found.reference()) : null;
    return {
      p: logits && Array.from(softmax(logits.map((score) => score / tau))),
      selected,
      prefix,
      gate: found.pointing && -Math.expm1(found.pointing.logRest),
      copy: found.pointing && Array.from(softmax(found.pointing.logCopy.slice())),
      with: { top: prefixed.top, target: logp(prefixed.begin) },
      without: { top: plain.top, target: logp(plain.begin) },
      base,
      gain: base === null ? null : base - nll(backbone, prefixed.begin),
      margin,
    };
  }

  return { answer, list, selectors, read, exported };
}

// The weights of an exported model with the configs beside them.
function load({ tensors, config, margin }) {
  const { backbone, reference = null, selector = null, pointer = null } = weights(tensors);
  for (const one of [backbone, reference]) if (one) one.config = config.backbone;
  if (pointer) pointer.config = config.pointer;
  return { backbone, reference, selector, pointer, margin, levels: config.prefix_levels ?? config.backbone.levels };
}

// What a model makes of a history: generate(prefix) is what it writes behind one, plain() without one, and reference()
// where theta_0 starts from.
function reading({ backbone, reference, pointer }, events, tree, purchase) {
  const states = encode(backbone, events.codes, events.behaviors);
  const pointing = pointer && point(pointer, events, states, purchase, backbone.config.behaviors);
  function generate(prefix) {
    const begin = start(backbone, states, purchase, prefix);
    const next = (state, token, level) => step(backbone, state, token, level);
    const search = { begin, step: next, tree, width: BEAMS, count: LISTED, pointing, events: events.codes };
    return { begin, top: beamSearch(search) };
  }
  const old = () => start(reference, encode(reference, events.codes, events.behaviors), purchase, []);
  return { events, states, pointing, generate, plain: once(() => generate([])), reference: once(old) };
}

// A function that works once and then remembers.
function once(work) {
  let found;
  return () => (found ??= work());
}

function check({ items, behaviors, timestamps, journey, target, selector, k, tau }, known, config, n, kinds) {
  const outside = (values, count) => values.find((one) => !(Number.isInteger(one) && one >= 0 && one < count));
  const lengths = [items, behaviors, timestamps, journey ?? items].map((column) => column.length);
  const item = outside([...items, target ?? 0], n);
  const behavior = outside(behaviors, kinds);
  for (const [name, found, fits, expected] of [
    ["selector", selector, known.includes(selector), `one of ${known.join(", ")}`],
    ["items", `${items.length} events`, items.length <= config.max_history, `at most ${config.max_history}`],
    ["columns", `${lengths.join(", ")} events`, new Set(lengths).size === 1, "as many in each"],
    ["item", item, item === undefined, `0..${n - 1}`],
    ["behavior", behavior, behavior === undefined, `0..${kinds - 1}`],
    ["k", k, outside([k], config.max_prefix + 1) === undefined, `0..${config.max_prefix}`],
    ["tau", tau, tau > 0, "more than 0"],
  ]) if (!fits) throw wrong(name, found, expected);
}

function wrong(name, found, expected) {
  return new Error(`${name}: found ${found}, expected ${expected}`);
}
