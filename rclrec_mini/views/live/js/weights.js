// The tensors of an export as Float32Arrays, in a tree that has the names of Python's modules:
// "backbone.encoder.0.norm.weight" is weights(tensors).backbone.encoder[0].norm.weight.

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
const VALUE = new Uint8Array(128);
[...DIGITS].forEach((digit, i) => { VALUE[digit.charCodeAt(0)] = i; });

// The bytes of a base85 text (Python's b85encode): five digits are four bytes, a shorter end one byte less than digits.
function bytes(text) {
  const groups = Math.ceil(text.length / 5);
  const view = new DataView(new ArrayBuffer(4 * groups));
  for (let group = 0; group < groups; group++) {
    let number = 0;
    for (let i = 5 * group; i < 5 * group + 5; i++) {
      number = number * 85 + (i < text.length ? VALUE[text.charCodeAt(i)] : 84);
    }
    view.setUint32(4 * group, number);
  }
  return new DataView(view.buffer, 0, text.length - groups);
}

// Integers of so many bits, with a sign, that lie one after the other without gaps, times the scale of their row.
function integers({ data, bits, scale, unit }, size) {
  const view = bytes(data);
  const rows = bytes(scale);
  const values = new Float32Array(size);
  const columns = size / (rows.byteLength / 2);
  for (let i = 0, place = 0, held = 0, waiting = 0; i < size; i++) {
    for (; held < bits; held += 8) waiting = (waiting << 8) | view.getUint8(place++);
    held -= bits;
    const integer = (waiting >> held) << (32 - bits) >> (32 - bits);
    values[i] = integer * rows.getUint16(2 * Math.floor(i / columns), true) * unit;
  }
  return values;
}

// All tensors by name, those of theta_0 as well, to which there is a way back from the backbone's.
export function arrays(tensors) {
  const found = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    const size = tensor.shape.reduce((product, n) => product * n, 1);
    const values = integers(tensor, size);
    found[name] = values;
    if (tensor.back) found[name.replace("backbone", "reference")] = integers(tensor.back, size).map((way, i) => values[i] + way);
  }
  return found;
}

// All tensors as the tree.
export function weights(tensors) {
  const tree = {};
  for (const [name, values] of Object.entries(arrays(tensors))) {
    const parts = name.split(".");
    let node = tree;
    parts.slice(0, -1).forEach((part, i) => {
      node[part] ??= /^\d+$/.test(parts[i + 1]) ? [] : {};
      node = node[part];
    });
    node[parts.at(-1)] = values;
  }
  return tree;
}
