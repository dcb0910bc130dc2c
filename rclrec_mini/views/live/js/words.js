// Numbers and lists in words.

// A number in three digits, without zeros behind.
export const short = (value) => String(Number(value.toPrecision(3)));

// A number in two digits behind the point with its sign, unless it rounds to zero.
export function signed(value) {
  const text = Math.abs(value).toFixed(2);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

export const percent = (share) =>
  share >= 0.0995 ? `${Math.round(100 * share)}%` : share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(1)}%`;

// "1 item", "2 items"
export const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

// "a, b and c"
export const listed = (words) => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

// A span of seconds in its largest unit.
export function span(seconds) {
  if (seconds < 45) return "less than a minute";
  const [amount, unit] =
    seconds >= 2 * 86400 ? [seconds / 86400, "day"] : seconds >= 5400 ? [seconds / 3600, "hour"] : [seconds / 60, "minute"];
  return count(Math.max(1, Math.round(amount)), unit);
}
