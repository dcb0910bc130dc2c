// Questions about one history, answered by exported models; views/live/engine.py answers the same in Python.
import { encode, logLikelihood, start, step } from "./backbone.js";
import { beamSearch, trie } from "./beam_search.js";
import { FIXED, rcpmScores, topK } from "./curriculum.js";
import { softmax } from "./layers.js";
import { mix, point } from "./pointer.js";
import { weights } from "./weights.js";

const BEAMS = 20;
const LISTED = 10;

// {answer(question), selectors(model), read(question), exported}; what a question and its answer are, engine.py says.
export function createEngine(exported) {
  const codes = exported.items.codes;
  const tree = trie(codes);
  const purchase = exported.behaviors.indexOf("purchase");
  const place = new Map(exported.users.map(({ user }, i) => [user, i]));
  const loaded = new Map(); // models whose weights were asked for
  const last = new Map(); // what each model read last: its key and the reading

  function modelOf(name) {
    if (!Object.hasOwn(exported.models, name)) throw wrong("model", name, `one of ${Object.keys(exported.models).join(", ")}`);
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
    if (!place.has(user)) throw new Error(`user ${user}: expected one of the ${place.size} in the export`);
    const { selector: rcpm, backbone } = modelOf(model);
    const { d, behaviors } = backbone.config;
    const q = rcpm.query.subarray(place.get(user) * d, (place.get(user) + 1) * d);
    return rcpmScores(rcpm, q, events, states, behaviors);
  }

  function answer(question) {
    const model = modelOf(question.model);
    if (!selectors(question.model).includes(question.selector)) {
      throw wrong("selector", question.selector, `one of ${selectors(question.model).join(", ")}`);
    }
    check(question, model.backbone.config, codes.length, exported.behaviors.length);
    const { items, selector, k, tau, target = null } = question;
    const found = read(question);
    const logits = scores(question, found);
    const relevance = logits ?? FIXED[selector]({ ...question, length: items.length });
    const selected = relevance ? topK(relevance, k) : [];
    const prefix = selected.map((t) => codes[items[t]]);
    const prefixed = prefix.length ? found.generate(prefix) : found.plain;
    const same = items.flatMap((item, t) => (item === target ? [t] : []));
    const logp = (begin) => {
      if (target === null) return null;
      const generated = logLikelihood(model.backbone, begin, codes[target]);
      return found.pointing ? mix(found.pointing, generated, same) : generated;
    };
    const nll = (backbone, begin) => -logLikelihood(backbone, begin, codes[target]) / tree.levels;
    const base = model.reference && target !== null ? nll(model.reference, found.reference) : null;
    const gate = found.pointing && 1 - Math.exp(found.pointing.logRest);
    return {
      p: logits && Array.from(softmax(logits.map((score) => score / tau))),
      selected,
      prefix,
      gate,
      copy: found.pointing && Array.from(found.pointing.logCopy, (value) => Math.exp(value) / gate),
      with: { top: prefixed.top, target: logp(prefixed.begin) },
      without: { top: found.plain.top, target: logp(found.plain.begin) },
      base,
      gain: base === null ? null : base - nll(model.backbone, prefixed.begin),
      margin: model.margin,
    };
  }

  return { answer, selectors, read, exported };
}

// The weights of an exported model with the configs beside them.
function load({ tensors, config, margin }) {
  const { backbone, reference = null, selector = null, pointer = null } = weights(tensors);
  for (const one of [backbone, reference]) if (one) one.config = config.backbone;
  if (pointer) pointer.config = config.pointer;
  return { backbone, reference, selector, pointer, margin };
}

function reading({ backbone, reference, pointer }, events, tree, purchase) {
  const states = encode(backbone, events.codes, events.behaviors);
  const pointing = pointer && point(pointer, events, states, purchase, backbone.config.behaviors);
  function generate(prefix) {
    const begin = start(backbone, states, purchase, prefix);
    const next = (state, token, level) => step(backbone, state, token, level);
    const search = { begin, step: next, tree, width: BEAMS, count: LISTED, pointing, events: events.codes };
    return { begin, top: beamSearch(search) };
  }
  const old = reference && start(reference, encode(reference, events.codes, events.behaviors), purchase, []);
  return { events, states, pointing, generate, plain: generate([]), reference: old };
}

function check({ items, behaviors, timestamps, k, tau, target = null }, config, n, kinds) {
  const inside = (value, count) => Number.isInteger(value) && value >= 0 && value < count;
  const events = items.length;
  if (events > config.max_history) throw wrong("items", `${events} events`, `at most ${config.max_history}`);
  if (behaviors.length !== events || timestamps.length !== events) {
    throw new Error(`items, behaviors, timestamps: expected as many of each, found ${events}, ${behaviors.length}, ` +
      `${timestamps.length}`);
  }
  const item = [...items, ...(target === null ? [] : [target])].find((one) => !inside(one, n));
  if (item !== undefined) throw wrong("item", item, `0..${n - 1}`);
  const behavior = behaviors.find((one) => !inside(one, kinds));
  if (behavior !== undefined) throw wrong("behavior", behavior, `0..${kinds - 1}`);
  if (!inside(k, config.max_prefix + 1)) throw wrong("k", k, `0..${config.max_prefix}`);
  if (!(tau > 0)) throw wrong("tau", tau, "more than 0");
}

function wrong(name, found, expected) {
  return new Error(`${name}: found ${found}, expected ${expected}`);
}
