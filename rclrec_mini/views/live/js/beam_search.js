// Beam search that can only write items of the catalogue: decoding/beam_search.py and semantic_ids/catalog.py.
import { logSoftmax, logSumExp } from "./layers.js";

// The prefix trie of all items' codes [N][L]. The nodes of depth l + 1 are the distinct prefixes of l + 1 codes in
// order, first[l][n] .. first[l][n + 1] - 1 the children of node n of depth l, token[l] the last code of each node of
// depth l + 1, and item[n] the item of leaf n.
export function trie(codes) {
  const item = codes.map((_, i) => i).sort((a, b) => compared(codes[a], codes[b]));
  const levels = codes[0].length;
  const first = Array.from({ length: levels }, () => []);
  const token = Array.from({ length: levels }, () => []);
  item.forEach((i, place) => {
    const same = place ? codes[i].findIndex((code, level) => code !== codes[item[place - 1]][level]) : 0;
    for (let level = same; level < levels; level++) {
      if (level > same || place === 0) first[level].push(token[level].length); // its parent is new as well
      token[level].push(codes[i][level]);
    }
  });
  first.forEach((offsets, level) => offsets.push(token[level].length));
  return { levels, first, token, item };
}

function compared(a, b) {
  const level = a.findIndex((code, i) => code !== b[i]);
  return level < 0 ? 0 : a[level] - b[level];
}

// The child of `node` of depth `level` that `code` leads to.
function childOf({ first, token }, level, node, code) {
  let child = first[level][node];
  while (token[level][child] !== code) child++;
  return child;
}

// The best items, [{item, logp}], best first. `begin` is {state, logits} of backbone.start, step(state, token, level)
// goes on from there. Of equal scores the lowest code tuple comes first. With `pointing` (see pointer.js) the mass of
// a node is the mixture's; `events` are the codes of the history [T][L].
export function beamSearch({ begin, step, tree, width, count, pointing = null, events = [] }) {
  let beams = [{ node: 0, score: 0, generated: 0, ...begin }];
  let path = events.map(() => 0); // the node that each event's item goes through
  for (let level = 0; level < tree.levels; level++) {
    const copied = {}; // mass of the children that an event's item goes through
    if (pointing) {
      path = path.map((node, t) => childOf(tree, level, node, events[t][level]));
      path.forEach((child, t) => { copied[child] = (copied[child] ?? 0) + Math.exp(pointing.logCopy[t]); });
    }
    const found = [];
    for (const beam of beams) {
      const spelled = logSoftmax(beam.logits);
      for (let child = tree.first[level][beam.node]; child < tree.first[level][beam.node + 1]; child++) {
        const token = tree.token[level][child];
        const generated = beam.generated + spelled[token];
        const score = pointing ? logSumExp([Math.log(copied[child] ?? 0), pointing.logRest + generated]) : generated;
        found.push({ node: child, score, generated, beam, token });
      }
    }
    const best = found.sort((a, b) => b.score - a.score || a.node - b.node).slice(0, width);
    beams = best.sort((a, b) => a.node - b.node).map(({ beam, token, ...one }) => ({
      ...one,
      ...(level + 1 < tree.levels ? step(beam.state, token, level) : {}),
    }));
  }
  const ranked = beams.sort((a, b) => b.score - a.score || a.node - b.node).slice(0, count);
  return ranked.map(({ node, score }) => ({ item: tree.item[node], logp: score }));
}
