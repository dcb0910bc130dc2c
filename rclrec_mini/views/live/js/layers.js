// The layers of models/attention.py and models/backbone.py. A matrix is a Float32Array, row after row, and its number
// of rows goes with it. One history is answered at a time: nothing is padded, and nothing masked but the future.

// x (rows, in) -> (rows, out); weight (out, in), as torch keeps it.
export function linear(x, { weight, bias }, rows) {
  if (rows === 0) return new Float32Array(0);
  const width = x.length / rows;
  const out = weight.length / width;
  const y = new Float32Array(rows * out);
  for (let row = 0; row < rows; row++) {
    const start = row * width;
    for (let column = 0, w = 0; column < out; column++) {
      let a = 0, b = 0, c = 0, d = 0, i = 0; // four sums, so that no addition waits for the one before
      for (; i + 3 < width; i += 4, w += 4) {
        a += x[start + i] * weight[w];
        b += x[start + i + 1] * weight[w + 1];
        c += x[start + i + 2] * weight[w + 2];
        d += x[start + i + 3] * weight[w + 3];
      }
      for (; i < width; i++, w++) a += x[start + i] * weight[w];
      y[row * out + column] = a + b + c + d + (bias ? bias[column] : 0);
    }
  }
  return y;
}

// Each row to mean 0 and variance 1, then scaled and shifted.
export function layerNorm(x, { weight, bias }, rows) {
  const width = weight.length;
  const y = new Float32Array(x.length);
  for (let start = 0; start < rows * width; start += width) {
    let mean = 0, variance = 0;
    for (let i = 0; i < width; i++) mean += x[start + i] / width;
    for (let i = 0; i < width; i++) variance += (x[start + i] - mean) ** 2 / width;
    const scale = 1 / Math.sqrt(variance + 1e-5);
    for (let i = 0; i < width; i++) y[start + i] = (x[start + i] - mean) * scale * weight[i] + bias[i];
  }
  return y;
}

// x Phi(x), with the normal distribution after Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7.
export function gelu(x) {
  return x.map((value) => {
    const z = Math.abs(value) * Math.SQRT1_2;
    const t = 1 / (1 + 0.3275911 * z);
    const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    const tail = 0.5 * series * Math.exp(-z * z); // Phi(-|x|)
    return value * (value < 0 ? tail : 1 - tail);
  });
}

export function relu(x) {
  return x.map((value) => Math.max(value, 0));
}

// log sum exp
export function logSumExp(x) {
  const most = x.reduce((a, b) => Math.max(a, b), -Infinity);
  if (most === -Infinity) return most;
  return most + Math.log(x.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

// In place; -Infinity gets 0.
export function softmax(x) {
  const total = logSumExp(x);
  for (let i = 0; i < x.length; i++) x[i] = Math.exp(x[i] - total);
  return x;
}

export function logSoftmax(x) {
  const total = logSumExp(x);
  return x.map((value) => value - total);
}

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

// a + b, into a.
export function add(a, b) {
  for (let i = 0; i < a.length; i++) a[i] += b[i];
  return a;
}

// Keys and values of an attention, each (rows, d).
export function keysValues(layer, x, rows) {
  return { keys: linear(x, layer.key, rows), values: linear(x, layer.value, rows), rows };
}

// x (rows, d) -> (rows, d). It looks at all of `memory`, a list of keys and values that stand one after the other;
// bias(head, query, key) is added to a score, and -Infinity forbids the key.
function attention(layer, x, rows, memory, bias, heads) {
  const d = x.length / rows;
  const width = d / heads;
  const scale = width ** -0.5;
  const query = linear(x, layer.query, rows);
  const weight = new Float32Array(memory.reduce((sum, part) => sum + part.rows, 0));
  const y = new Float32Array(rows * d);
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < heads; head++) {
      const start = row * d + head * width;
      let key = 0;
      for (const part of memory) {
        for (let place = head * width; place < part.rows * d; place += d, key++) {
          let score = 0;
          for (let i = 0; i < width; i++) score += query[start + i] * part.keys[place + i];
          weight[key] = score * scale + bias(head, row, key);
        }
      }
      softmax(weight);
      key = 0;
      for (const part of memory) {
        for (let place = head * width; place < part.rows * d; place += d, key++) {
          const w = weight[key];
          if (w !== 0) for (let i = 0; i < width; i++) y[start + i] += w * part.values[place + i];
        }
      }
    }
  }
  return linear(y, layer.out, rows);
}

// LayerNorm, Linear, GELU, Linear
function feedForward([norm, up, , down], x, rows) {
  return linear(gelu(linear(layerNorm(x, norm, rows), up, rows)), down, rows);
}

// Pre-norm self-attention and feed-forward: x (rows, d) -> (rows, d), into x.
export function encoderLayer(layer, x, rows, bias, heads) {
  const y = layerNorm(x, layer.norm, rows);
  add(x, attention(layer.attention, y, rows, [keysValues(layer.attention, y, rows)], bias, heads));
  return add(x, feedForward(layer.ffn, x, rows));
}

// Pre-norm self-attention to the tokens `before` (a list of keys and values) and to x itself, cross-attention to the
// history, feed-forward: x (rows, d), into x; returns the keys and values of x in the self-attention.
export function decoderLayer(layer, x, rows, before, bias, history, historyBias, heads) {
  const y = layerNorm(x, layer.self_norm, rows);
  const own = keysValues(layer.self_attention, y, rows);
  add(x, attention(layer.self_attention, y, rows, [...before, own], bias, heads));
  const z = layerNorm(x, layer.cross_norm, rows);
  add(x, attention(layer.cross_attention, z, rows, [history], historyBias, heads));
  add(x, feedForward(layer.ffn, x, rows));
  return own;
}
