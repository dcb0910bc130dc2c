// Rewards and advantages of a group, as post_training/rewards.py has them. `items` are those of the group, best first.

const EPSILON = 1e-4; // beside the standard deviation

// Of each item the rule reward, the ranking reward and their sum; what is switched off is 0.
export function rewards(items, target, { rule, ranking, gate }) {
  const hit = items.includes(target);
  const w = items.map((_, i) => 1 / Math.log2(i + 2));
  const all = w.reduce((sum, one) => sum + one, 0);
  return items.map((item, i) => {
    const right = rule && item === target ? 1 : 0;
    const wrong = ranking && item !== target && (hit || !gate) ? -w[i] / all : 0;
    return { rule: right, ranking: wrong, total: right + wrong };
  });
}

// What each earned against the mean of its group, by the sample standard deviation if `std`; null where all earned the
// same, for then the group teaches nothing.
export function advantages(total, std) {
  if (total.every((one) => one === total[0])) return null;
  const mean = total.reduce((sum, one) => sum + one, 0) / total.length;
  const centred = total.map((one) => one - mean);
  const variance = centred.reduce((sum, one) => sum + one * one, 0) / (total.length - 1);
  return centred.map((one) => (std ? one / (Math.sqrt(variance) + EPSILON) : one));
}
