// A thousand tests of one kind as sums of noise: what each sees at its looks, and who calls a difference when. The twin
// of views/abtest.py, number for number.

const HORIZON = 1.959963984540054; // standard errors of a 95% interval at a fixed horizon
const ALPHA = 0.05;

// A hash of 32 bits (lowbias32 by Chris Wellons).
function mix(x) {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

// A standard normal number for each seed, test and day.
function normal(seed, test, day) {
  const key = mix(mix(seed + 1) + test);
  const [one, two] = [2 * day + 1, 2 * day + 2].map((number) => (mix(key ^ mix(number)) + 0.5) / 2 ** 32);
  return Math.sqrt(-2 * Math.log(one)) * Math.cos(2 * Math.PI * two);
}

// What each test's noise has summed up to by each day, in standard deviations of one day.
export function walks({ seed, tests, days }) {
  return Array.from({ length: tests }, (_, test) => {
    let sum = 0;
    return Float64Array.from({ length: days }, (_, day) => (sum += normal(seed, test, day)));
  });
}

// Days, standard errors, and half of both intervals at the looks; ratio is tau^2 over the variance at the end.
export function horizons({ days, looks, users, cv, ratio }) {
  const last = cv * Math.sqrt(2 / (users * days));
  const tau2 = ratio * last ** 2;
  return Array.from({ length: looks }, (_, i) => {
    const day = ((i + 1) * days) / looks;
    const variance = last ** 2 * (days / day);
    const total = variance + tau2;
    const valid = Math.sqrt((variance * total / tau2) * (2 * Math.log(1 / ALPHA) + Math.log(total / variance)));
    return { day, std: Math.sqrt(variance), fixed: HORIZON * Math.sqrt(variance), valid };
  });
}

// The estimates of one walk at its looks, and the look of the first call of either kind (-1: never).
export function seen(walk, at, effect) {
  const lift = at.map(({ day, std }) => effect + (std * walk[day - 1]) / Math.sqrt(day));
  const first = (kind) => lift.findIndex((one, i) => Math.abs(one) > at[i][kind]);
  return { lift, peeking: first("fixed"), valid: first("valid") };
}

// The shares of walks that are called at the last look, at any look, and by the always-valid interval.
export function shares(all, at, effect) {
  const found = { end: 0, peeking: 0, valid: 0 };
  for (const walk of all) {
    const { lift, peeking, valid } = seen(walk, at, effect);
    found.end += Math.abs(lift.at(-1)) > at.at(-1).fixed;
    found.peeking += peeking >= 0;
    found.valid += valid >= 0;
  }
  return Object.fromEntries(Object.entries(found).map(([name, count]) => [name, count / all.length]));
}
