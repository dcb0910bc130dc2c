// Elements of a view. Text is only ever set as text, so a title with markup in it is a title with markup in it.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes (null and false: absent, true: present), `on` its listeners, and children, strings as text.
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

// The same for SVG.
export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, { on = {}, ...attributes }, children) {
  assign(element, attributes);
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Set attributes of an element that is there.
export function assign(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value === true ? "" : value)) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  return element;
}

// A button of text.
export function button(text, act, attributes = {}) {
  return h("button", { type: "button", ...attributes, on: { click: act } }, text);
}

const STAR = Array.from({ length: 10 }, (_, i) => {
  const [radius, angle] = [i % 2 ? 3.1 : 7.4, (i * Math.PI) / 5 - Math.PI / 2];
  return `${(radius * Math.cos(angle)).toFixed(2)},${(radius * Math.sin(angle)).toFixed(2)}`;
}).join(" ");

// The mark of a behaviour, by shape and colour: click, favorite, cart, purchase; others like a click.
export function mark(behavior) {
  const shape = [
    () => s("circle", { r: 4.2 }),
    () => s("path", { d: "M0-6.6 5.6 0 0 6.6-5.6 0Z" }),
    () => s("rect", { x: -4.8, y: -4.8, width: 9.6, height: 9.6, rx: 1 }),
    () => s("polygon", { points: STAR }),
  ];
  const kind = behavior < shape.length ? behavior : 0;
  return s("svg", { class: `rl-mark rl-b${kind}`, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, shape[kind]());
}

// A line from each item of the left list to its place in the right one, if it has any; that of `target` stands out.
export function slopes(left, right, target, rows = Math.max(left.length, right.length)) {
  const lines = left.filter((item) => right.includes(item)).map((item) => {
    const [from, to] = [left, right].map((items) => items.indexOf(item) + 0.5);
    return s("path", { d: `M0 ${from}C4 ${from} 6 ${to} 10 ${to}`, class: item === target ? "rl-target" : null });
  });
  return s("svg", { class: "rl-slopes", viewBox: `0 0 10 ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true",
    style: `--rows: ${rows}` }, lines);
}

let numbers = 0;

// An id that no other element of the page has.
export function unique(name) {
  numbers += 1;
  return `rl-${name}-${numbers}`;
}
