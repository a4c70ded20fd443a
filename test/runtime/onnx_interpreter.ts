/** Runs ONNX files in plain loops and f64: reads the bytes anew, so that the writer is tested, too. */

import assert from "node:assert/strict";

interface Field {
  readonly field: number;
  readonly value: number | Uint8Array;
  readonly float: number;
}

function fieldsOf(bytes: Uint8Array): Field[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fields: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag & 7;
    if (kind === 0) fields.push({ field: tag >> 3, value: varint(), float: 0 });
    else if (kind === 5) {
      fields.push({ field: tag >> 3, value: 0, float: view.getFloat32(at, true) });
      at += 4;
    } else {
      const length = varint();
      fields.push({ field: tag >> 3, value: bytes.subarray(at, at + length), float: 0 });
      at += length;
    }
  }
  return fields;
}

const all = (fields: readonly Field[], field: number) =>
  fields.filter((one) => one.field === field).map(({ value }) => value as Uint8Array);
const whole = (fields: readonly Field[], field: number) =>
  fields.filter((one) => one.field === field).map(({ value }) => value as number);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

export interface Grid {
  readonly dims: readonly number[];
  readonly data: Float64Array;
}

type Attributes = ReadonlyMap<string, number | string | readonly number[]>;

const sizeOf = (dims: readonly number[]) => dims.reduce((product, size) => product * size, 1);

const grid = (dims: readonly number[], at: (place: number[], index: number) => number): Grid => {
  const place = dims.map(() => 0);
  const data = new Float64Array(sizeOf(dims));
  for (let index = 0; index < data.length; index++) {
    data[index] = at(place, index);
    for (let axis = dims.length - 1; axis >= 0 && ++place[axis]! === dims[axis]; axis--) place[axis] = 0;
  }
  return { dims, data };
};

/** Entry at a place of a grid whose axes may be missing or of size one. */
function pick({ dims, data }: Grid, place: readonly number[]): number {
  let index = 0;
  for (const [axis, size] of dims.entries()) {
    index = index * size + (size === 1 ? 0 : place[place.length - dims.length + axis]!);
  }
  return data[index]!;
}

function broadcast(grids: readonly Grid[], rule: (...values: number[]) => number): Grid {
  const rank = Math.max(...grids.map(({ dims }) => dims.length));
  const dims = Array.from({ length: rank }, (_, axis) =>
    Math.max(...grids.map((one) => one.dims[axis - rank + one.dims.length] ?? 1)),
  );
  return grid(dims, (place) => rule(...grids.map((one) => pick(one, place))));
}

/** The error function to double precision (its series, and its continued fraction far out). */
function erf(x: number): number {
  if (Math.abs(x) > 3) {
    let fraction = 0;
    for (let k = 60; k > 0; k--) fraction = k / 2 / (Math.abs(x) + fraction);
    return Math.sign(x) * (1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (Math.abs(x) + fraction));
  }
  let term = x;
  let sum = x;
  for (let n = 1; n < 100; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const ENTRYWISE: Readonly<Record<string, (...values: number[]) => number>> = {
  Identity: (x) => x,
  Cast: (x) => x,
  Add: (a, b) => a + b,
  Sum: (...terms) => terms.reduce((total, term) => total + term, 0),
  Max: Math.max,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
  Less: (a, b) => (a < b ? 1 : 0),
  Greater: (a, b) => (a > b ? 1 : 0),
  Equal: (a, b) => (a === b ? 1 : 0),
  Where: (condition, a, b) => (condition === 1 ? a : b),
  Exp: Math.exp,
  Sqrt: Math.sqrt,
  Erf: erf,
  Tanh: Math.tanh,
  Relu: (x) => Math.max(0, x),
  Reciprocal: (x) => 1 / x,
  Sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

function reduce(operator: string, x: Grid, axes: Grid, keeps: boolean): Grid {
  const gone = new Set([...axes.data].map((axis) => (axis < 0 ? axis + x.dims.length : axis)));
  const kept = x.dims.map((size, axis) => (gone.has(axis) ? 1 : size));
  const groups = new Map<string, number[]>();
  grid(x.dims, (place, index) => {
    const key = place.map((at, axis) => (gone.has(axis) ? 0 : at)).join();
    groups.set(key, [...(groups.get(key) ?? []), x.data[index]!]);
    return 0;
  });
  const full = grid(kept, (place) => {
    const values = groups.get(place.join())!;
    if (operator === "ReduceMax") return Math.max(...values);
    const sum = values.reduce((total, value) => total + value, 0);
    return operator === "ReduceMean" ? sum / values.length : sum;
  });
  return keeps ? full : { dims: x.dims.filter((_, axis) => !gone.has(axis)), data: full.data };
}

/** Products of the last two axes, over equal leading ones. */
function matmul(a: Grid, b: Grid, turnsA: boolean, turnsB: boolean, alpha: number): Grid {
  const last = (dims: readonly number[], turns: boolean) => (turns ? dims.slice(-2).toReversed() : dims.slice(-2));
  const [rows, depth] = last(a.dims, turnsA) as [number, number];
  const [, columns] = last(b.dims, turnsB) as [number, number];
  return grid([...a.dims.slice(0, -2), rows, columns], (place) => {
    const [row, column] = place.slice(-2) as [number, number];
    const lead = place.slice(0, -2);
    let sum = 0;
    for (let k = 0; k < depth; k++) {
      const left = pick(a, [...lead, ...(turnsA ? [k, row] : [row, k])]);
      sum += left * pick(b, [...lead, ...(turnsB ? [column, k] : [k, column])]);
    }
    return alpha * sum;
  });
}

function lastAxis(x: Grid, rule: (row: Float64Array) => ArrayLike<number>): Grid {
  const width = x.dims.at(-1)!;
  const data = new Float64Array(x.data.length);
  for (let at = 0; at < data.length; at += width) data.set(rule(x.data.subarray(at, at + width)), at);
  return { dims: x.dims, data };
}

function layerNorm(x: Grid, gain: Grid, shift: Grid, eps: number): Grid[] {
  const dims = [...x.dims.slice(0, -1), 1];
  const means: number[] = [];
  const inverses: number[] = [];
  const y = lastAxis(x, (row) => {
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    const inverse = 1 / Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length + eps);
    means.push(mean);
    inverses.push(inverse);
    return row.map((value, at) => (value - mean) * inverse * gain.data[at]! + shift.data[at]!);
  });
  return [y, { dims, data: Float64Array.from(means) }, { dims, data: Float64Array.from(inverses) }];
}

/** Gain and root mean square only. */
function rmsNorm(x: Grid, gain: Grid, eps: number): Grid[] {
  const inverses: number[] = [];
  const y = lastAxis(x, (row) => {
    const inverse = 1 / Math.sqrt(row.reduce((sum, value) => sum + value ** 2, 0) / row.length + eps);
    inverses.push(inverse);
    return row.map((value, at) => value * inverse * gain.data[at]!);
  });
  return [y, { dims: [...x.dims.slice(0, -1), 1], data: Float64Array.from(inverses) }];
}

/** The sizes of rows of heads one beside the other, `[batch, rows, heads × size]`, as heads `[batch, heads, rows, size]`. */
function byHeads({ dims, data }: Grid, heads: number): Grid {
  const [batch, rows, width] = dims as [number, number, number];
  const size = width / heads;
  return grid([batch, heads, rows, size], ([b, h, row, at]) => data[(b! * rows + row!) * width + h! * size + at!]!);
}

/** softmax(scale Q K^T + mask) V over groups of heads that share keys, and the weights. */
function attention(q: Grid, k: Grid, v: Grid, mask: Grid | undefined, attributes: Attributes): Grid[] {
  const number = (name: string) => attributes.get(name) as number;
  const [heads, keyHeads] = [number("q_num_heads"), number("kv_num_heads")];
  assert.equal(number("qk_matmul_output_mode"), 3);
  const [queries, keys, values] = [byHeads(q, heads), byHeads(k, keyHeads), byHeads(v, keyHeads)];
  const group = heads / keyHeads;
  const shared = ({ dims, data }: Grid): Grid => {
    const [batch, , rows, size] = dims as [number, number, number, number];
    const each = rows * size;
    return grid([batch, heads, rows, size], ([b, h, row, at]) => {
      return data[(b! * keyHeads + Math.floor(h! / group)) * each + row! * size + at!]!;
    });
  };
  const products = matmul(queries, shared(keys), false, true, number("scale"));
  const weights = lastAxis(mask === undefined ? products : broadcast([products, mask], (x, y) => x + y), softmax);
  const mixed = matmul(weights, shared(values), false, false, 1);
  const [batch, , rows, size] = mixed.dims as [number, number, number, number];
  const y = grid([batch, rows, heads * size], ([b, row, at]) => {
    return mixed.data[((b! * heads + Math.floor(at! / size)) * rows + row!) * size + (at! % size)]!;
  });
  return [y, keys, values, weights];
}

/** Pairs (i, i + half) of every head of `[batch, length, heads × 2 half]`, from the first position on. */
function rotate({ dims, data }: Grid, first: Grid, cosine: Grid, sine: Grid, heads: number): Grid {
  const [, length, width] = dims as [number, number, number];
  const half = width / heads / 2;
  return grid(dims, (place, index) => {
    const at = place[2]! % (2 * half);
    const pair = (first.data[0]! + (place[1]! % length)) * half + (at % half);
    const [c, s] = [cosine.data[pair]!, sine.data[pair]!];
    return at < half ? data[index]! * c - data[index + half]! * s : data[index]! * c + data[index - half]! * s;
  });
}

function softmax(row: Float64Array): Float64Array {
  const top = Math.max(...row);
  const terms = row.map((value) => Math.exp(value - top));
  const sum = terms.reduce((total, value) => total + value, 0);
  return terms.map((value) => value / sum);
}

function gelu(x: number, form: string): number {
  if (form === "none") return (x * (1 + erf(x / Math.SQRT2))) / 2;
  return (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2;
}

function compute(operator: string, inputs: readonly (Grid | undefined)[], attributes: Attributes): Grid[] {
  const [a, b, c, d] = inputs as [Grid, Grid, Grid, Grid];
  const number = (name: string, fallback: number) => (attributes.get(name) as number | undefined) ?? fallback;
  const entrywise = ENTRYWISE[operator];
  if (entrywise !== undefined) return [broadcast(inputs as Grid[], entrywise)];
  switch (operator) {
    case "Reshape":
      return [{ dims: [...b.data], data: a.data }];
    case "Expand":
      return [broadcast([a, { dims: [...b.data], data: new Float64Array(sizeOf([...b.data])) }], (x) => x)];
    case "Transpose": {
      const order = attributes.get("perm") as readonly number[];
      const dims = order.map((axis) => a.dims[axis]!);
      return [
        grid(dims, (place) =>
          pick(
            a,
            a.dims.map((_, axis) => place[order.indexOf(axis)]!),
          ),
        ),
      ];
    }
    case "Slice": {
      const [from, to, axis] = [b.data[0]!, c.data[0]!, d.data[0]!];
      const dims = a.dims.map((size, at) => (at === axis ? to - from : size));
      const single = (place: number[]) => place.map((p, at) => (at === axis ? p + from : p));
      return [grid(dims, (place) => a.data[single(place).reduce((index, p, at) => index * a.dims[at]! + p, 0)]!)];
    }
    case "Concat": {
      const axis = number("axis", 0);
      const parts = inputs as Grid[];
      const dims = a.dims.map((size, at) => (at === axis ? parts.reduce((s, { dims: own }) => s + own[at]!, 0) : size));
      return [
        grid(dims, (place) => {
          let at = place[axis]!;
          const part = parts.find(({ dims: own }) => (at < own[axis]! ? true : ((at -= own[axis]!), false)))!;
          const inner = place.map((p, index) => (index === axis ? at : p));
          return part.data[inner.reduce((index, p, k) => index * part.dims[k]! + p, 0)]!;
        }),
      ];
    }
    case "ReduceSum":
    case "ReduceMean":
    case "ReduceMax":
      return [reduce(operator, a, b, number("keepdims", 1) === 1)];
    case "Gemm": {
      const product = matmul(a, b, number("transA", 0) === 1, number("transB", 0) === 1, number("alpha", 1));
      return [c === undefined ? product : broadcast([product, c], (x, y) => x + y)];
    }
    case "FusedMatMul":
      return [matmul(a, b, number("transA", 0) === 1, number("transB", 0) === 1, number("alpha", 1))];
    case "SimplifiedLayerNormalization":
      return rmsNorm(a, b, number("epsilon", 0));
    case "RotaryEmbedding":
      return [rotate(a, b, c, d, number("num_heads", 0))];
    case "LayerNormalization":
      return layerNorm(a, b, c, number("epsilon", 0));
    case "Attention":
      return attention(a, b, c, d, attributes);
    case "Gelu":
      return [broadcast([a], (x) => gelu(x, attributes.get("approximate") as string))];
    case "Gather": {
      const dims = [...b.dims, ...a.dims.slice(1)];
      const width = sizeOf(a.dims.slice(1));
      return [grid(dims, (_, index) => a.data[b.data[Math.floor(index / width)]! * width + (index % width)]!)];
    }
    case "Pad": {
      const dims = a.dims.map((size, axis) => size + b.data[axis + a.dims.length]!);
      return [
        grid(dims, (place) =>
          place.every((p, axis) => p < a.dims[axis]!)
            ? a.data[place.reduce((index, p, axis) => index * a.dims[axis]! + p, 0)]!
            : 0,
        ),
      ];
    }
    case "GatherElements":
      return [grid(b.dims, ([row], index) => a.data[row! * a.dims[1]! + b.data[index]!]!)];
    case "ScatterElements": {
      const data = a.data.slice();
      for (const [row, value] of c.data.entries()) data[row * a.dims[1]! + b.data[row]!]! += value;
      return [{ dims: a.dims, data }];
    }
    case "ScatterND": {
      const data = a.data.slice();
      const width = sizeOf(a.dims.slice(1));
      for (const [index, value] of c.data.entries()) {
        data[b.data[Math.floor(index / width)]! * width + (index % width)]! += value;
      }
      return [{ dims: a.dims, data }];
    }
    default:
      throw new RangeError(`no such operator: ${operator}`);
  }
}

function attributesOf(messages: readonly Uint8Array[]): Attributes {
  return new Map(
    messages.map((bytes) => {
      const fields = fieldsOf(bytes);
      const [kind] = whole(fields, 20);
      const value =
        kind === 1
          ? fields.find(({ field }) => field === 2)!.float
          : kind === 2
            ? whole(fields, 3)[0]!
            : kind === 3
              ? text(all(fields, 4)[0]!)
              : whole(fields, 8);
      return [text(all(fields, 1)[0]!), value];
    }),
  );
}

function constantOf(bytes: Uint8Array): [string, Grid] {
  const fields = fieldsOf(bytes);
  const raw = all(fields, 9)[0]!.slice().buffer;
  const [type] = whole(fields, 2);
  const values = type === 1 ? new Float32Array(raw) : type === 6 ? new Int32Array(raw) : new BigInt64Array(raw);
  return [text(all(fields, 8)[0]!), { dims: whole(fields, 1), data: Float64Array.from(values, Number) }];
}

/** @param feeds by name of the graph's inputs. */
export function runOnnx(file: Uint8Array, feeds: Readonly<Record<string, Grid>>): Map<string, Grid> {
  const graph = fieldsOf(all(fieldsOf(file), 7)[0]!);
  const values = new Map<string, Grid>([...Object.entries(feeds), ...all(graph, 5).map(constantOf)]);
  for (const bytes of all(graph, 1)) {
    const fields = fieldsOf(bytes);
    const inputs = all(fields, 1).map((name) => {
      const value = values.get(text(name));
      if (name.length > 0 && value === undefined) throw new RangeError(`${text(name)} is not there`);
      return value;
    });
    const outputs = compute(text(all(fields, 4)[0]!), inputs, attributesOf(all(fields, 5)));
    // An output without a name is not wanted.
    for (const [index, name] of all(fields, 2).entries()) if (name.length > 0) values.set(text(name), outputs[index]!);
  }
  const names = all(graph, 12).map((port) => text(all(fieldsOf(port), 1)[0]!));
  return new Map(names.map((name) => [name, values.get(name)!]));
}
