/**
 * Routers: which task an input is of, from the mean last hidden state of the shared model. Two kinds: multinomial logistic
 * regression, and the perceptron of Twin-Merging's released code (arXiv 2406.15479): d → 2d → 2d → tasks with batch norm,
 * leaky ReLU (0.01) and dropout (0.5), AdamW, a rate that falls linearly.
 */
import type { Algebra, Matrix } from "../algebra/algebra.js";
import { randomWord, randomWords, streamKey } from "../numbers/random.js";
import { Adam } from "../runtime/optimiser.js";

/** x W^T + b; `[outputs, inputs]`. */
export interface RouterLayer {
  readonly inputs: number;
  readonly outputs: number;
  readonly weight: Float32Array;
  readonly bias: Float32Array;
}

/** Ready to route: batch norms are part of the layers; leaky ReLU between them. */
export interface Router {
  readonly kind: RouterKind;
  /** What is subtracted from an embedding, and what it is then multiplied by. */
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  readonly layers: readonly RouterLayer[];
}

export type RouterKind = "logistic" | "mlp";

/** Embeddings `[count, width]` and the task of each. */
export interface RouterData {
  readonly width: number;
  readonly count: number;
  readonly values: Float32Array;
  readonly tasks: Int32Array;
}

const SLOPE = 0.01;

/** Softmax of the router's logits, `[examples, tasks]`. */
export function routerWeights({ mean, scale, layers }: Router, embeddings: Float32Array, width: number): Float32Array {
  const count = embeddings.length / width;
  const outputs = layers.at(-1)!.outputs;
  const weights = new Float32Array(count * outputs);
  for (let row = 0; row < count; row++) {
    let x: Float64Array = Float64Array.from(mean, (centre, c) => (embeddings[row * width + c]! - centre) * scale[c]!);
    for (const [index, layer] of layers.entries()) {
      const y = new Float64Array(layer.outputs);
      for (let o = 0; o < layer.outputs; o++) {
        let sum = layer.bias[o]!;
        for (let i = 0; i < layer.inputs; i++) sum += layer.weight[o * layer.inputs + i]! * x[i]!;
        y[o] = index < layers.length - 1 && sum < 0 ? SLOPE * sum : sum;
      }
      x = y;
    }
    const most = Math.max(...x);
    const total = x.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    weights.set(
      x.map((logit) => Math.exp(logit - most) / total),
      row * outputs,
    );
  }
  return weights;
}

/** How many examples get the largest weight of their own task, by task. */
export function rightByTask(router: Router, data: RouterData, tasks: number): number[] {
  const weights = routerWeights(router, data.values, data.width);
  const right = Array.from({ length: tasks }, () => 0);
  for (let row = 0; row < data.count; row++) {
    const own = weights.subarray(row * tasks, (row + 1) * tasks);
    if (own.indexOf(Math.max(...own)) === data.tasks[row]) right[data.tasks[row]!]! += 1;
  }
  return right;
}

function standardised({ width, count, values }: RouterData): { mean: Float32Array; scale: Float32Array } {
  const [sums, squares] = [new Float64Array(width), new Float64Array(width)];
  for (let at = 0; at < count * width; at++) sums[at % width]! += values[at]!;
  const mean = Float32Array.from(sums, (sum) => sum / count);
  for (let at = 0; at < count * width; at++) squares[at % width]! += (values[at]! - mean[at % width]!) ** 2;
  // A feature that never changes says nothing.
  return { mean, scale: Float32Array.from(squares, (sum) => (sum === 0 ? 0 : 1 / Math.sqrt(sum / count))) };
}

function features({ width, values }: RouterData, mean: Float32Array, scale: Float32Array): Float32Array {
  return values.map((value, at) => (value - mean[at % width]!) * scale[at % width]!);
}

export interface LogisticOptions {
  /** Half of this times the sum of squared weights is added to the mean cross-entropy. Default 1e-3. */
  readonly decay?: number;
}

/** Multinomial logistic regression on standardised features, by L-BFGS in f64 until the gradient is below 1e-6. */
export function trainLogistic(data: RouterData, tasks: number, { decay = 1e-3 }: LogisticOptions = {}): Router {
  const { mean, scale } = standardised(data);
  const { width } = data;
  const x = features(data, mean, scale);
  const objective = (theta: Float64Array, gradient: Float64Array) =>
    crossEntropy(x, data, tasks, theta, gradient, decay);
  const theta = minimise(objective, new Float64Array(tasks * (width + 1)));
  const weight = Float32Array.from(theta.subarray(0, tasks * width));
  const bias = Float32Array.from(theta.subarray(tasks * width));
  return { kind: "logistic", mean, scale, layers: [{ inputs: width, outputs: tasks, weight, bias }] };
}

/** @param theta weights `[tasks, width]`, then biases. @returns the objective; the gradient is written. */
function crossEntropy(
  x: Float32Array,
  { width, count, tasks: own }: RouterData,
  tasks: number,
  theta: Float64Array,
  gradient: Float64Array,
  decay: number,
): number {
  gradient.fill(0);
  const logits = new Float64Array(tasks);
  let loss = 0;
  for (let row = 0; row < count; row++) {
    const from = row * width;
    for (let t = 0; t < tasks; t++) {
      let sum = theta[tasks * width + t]!;
      for (let c = 0; c < width; c++) sum += theta[t * width + c]! * x[from + c]!;
      logits[t] = sum;
    }
    const most = Math.max(...logits);
    let total = 0;
    for (const logit of logits) total += Math.exp(logit - most);
    loss += (Math.log(total) + most - logits[own[row]!]!) / count;
    for (let t = 0; t < tasks; t++) {
      const error = (Math.exp(logits[t]! - most) / total - (t === own[row] ? 1 : 0)) / count;
      gradient[tasks * width + t]! += error;
      for (let c = 0; c < width; c++) gradient[t * width + c]! += error * x[from + c]!;
    }
  }
  for (let at = 0; at < tasks * width; at++) {
    loss += (decay / 2) * theta[at]! ** 2;
    gradient[at]! += decay * theta[at]!;
  }
  return loss;
}

const HISTORY = 10;
const STEPS = 500;

/** L-BFGS with a backtracking search. @returns where the gradient's largest entry is below 1e-6, or the last place. */
function minimise(
  objective: (theta: Float64Array, gradient: Float64Array) => number,
  start: Float64Array,
): Float64Array {
  let theta = start;
  let gradient = new Float64Array(start.length);
  let value = objective(theta, gradient);
  const history: { readonly s: Float64Array; readonly y: Float64Array; readonly rho: number }[] = [];
  for (let step = 0; step < STEPS; step++) {
    if (gradient.every((one) => Math.abs(one) < 1e-6)) break;
    const direction = newtonLike(gradient, history);
    const slope = dot(direction, gradient);
    let length = step === 0 ? Math.min(1, 1 / Math.sqrt(dot(gradient, gradient))) : 1;
    let next = theta;
    let nextGradient = gradient;
    let found = value;
    for (let tries = 0; tries < 40; tries++, length /= 2) {
      next = theta.map((one, at) => one + length * direction[at]!);
      nextGradient = new Float64Array(start.length);
      found = objective(next, nextGradient);
      if (found <= value + 1e-4 * length * slope) break;
    }
    if (!(found < value)) break;
    const s = next.map((one, at) => one - theta[at]!);
    const y = nextGradient.map((one, at) => one - gradient[at]!);
    const curvature = dot(s, y);
    if (curvature > 1e-12) history.push({ s, y, rho: 1 / curvature });
    if (history.length > HISTORY) history.shift();
    [theta, gradient, value] = [next, nextGradient, found];
  }
  return theta;
}

function newtonLike(
  gradient: Float64Array,
  history: readonly { readonly s: Float64Array; readonly y: Float64Array; readonly rho: number }[],
): Float64Array {
  const q = gradient.map((one) => -one);
  const alphas: number[] = [];
  for (const { s, y, rho } of history.toReversed()) {
    const alpha = rho * dot(s, q);
    alphas.push(alpha);
    for (let at = 0; at < q.length; at++) q[at]! -= alpha * y[at]!;
  }
  const last = history.at(-1);
  const scale = last === undefined ? 1 : dot(last.s, last.y) / dot(last.y, last.y);
  for (let at = 0; at < q.length; at++) q[at]! *= scale;
  for (const [index, { s, y, rho }] of history.entries()) {
    const beta = rho * dot(y, q);
    const alpha = alphas[history.length - 1 - index]!;
    for (let at = 0; at < q.length; at++) q[at]! += (alpha - beta) * s[at]!;
  }
  return q;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < a.length; at++) sum += a[at]! * b[at]!;
  return sum;
}

export interface MlpOptions {
  /** Default 50. */
  readonly epochs?: number;
  /** Default 5e-4; falls linearly to 0. */
  readonly rate?: number;
  /** Default 1024; no larger than the data. */
  readonly batch?: number;
  /** Share of hidden entries that a step leaves out. Default 0.5. */
  readonly dropout?: number;
  readonly seed?: number;
  readonly progress?: (epoch: number, of: number) => void;
}

const NORM_EPS = 1e-5;
const MOMENTUM = 0.1;

/** A linear layer of the perceptron, with batch norm behind it where it is hidden. */
interface Block {
  readonly inputs: number;
  readonly outputs: number;
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly norm: {
    readonly gain: Float32Array;
    readonly shift: Float32Array;
    readonly mean: Float32Array;
    readonly variance: Float32Array;
  } | null;
}

/** @param validation by which the epoch is chosen: the most right answers, the first of equals. */
export function trainMlp(
  algebra: Algebra,
  data: RouterData,
  validation: RouterData | null,
  tasks: number,
  options: MlpOptions = {},
): Router {
  const { epochs = 50, rate = 5e-4, dropout = 0.5, seed = 0, progress } = options;
  const { mean, scale } = standardised(data);
  const { width, count } = data;
  const batch = Math.min(options.batch ?? 1024, count);
  const x = features(data, mean, scale);
  const hidden = 2 * width;
  const blocks = [
    block(width, hidden, true, seed, 0),
    block(hidden, hidden, true, seed, 1),
    block(hidden, tasks, false, seed, 2),
  ];
  const arrays = blocks.flatMap(({ weight, bias, norm }) => [
    weight,
    bias,
    ...(norm === null ? [] : [norm.gain, norm.shift]),
  ]);
  const adam = new Adam(arrays, { rate });
  const each = Math.ceil(count / batch);
  let best: { right: number; router: Router } | null = null;
  for (let epoch = 0, step = 0; epoch < epochs; epoch++) {
    const order = shuffled(count, seed, epoch);
    for (let first = 0; first < count; first += batch, step++) {
      adam.rate = rate * (1 - step / (epochs * each));
      const rows = order.subarray(first, first + batch);
      // Batch norm makes nothing of a single example.
      if (rows.length > 1) adam.step(gradients(algebra, blocks, x, rows, data.tasks, { dropout, seed, step }));
    }
    const router: Router = { kind: "mlp", mean, scale, layers: blocks.map(folded) };
    const right =
      validation === null ? epoch : rightByTask(router, validation, tasks).reduce((sum, one) => sum + one, 0);
    if (best === null || right > best.right) best = { right, router };
    progress?.(epoch + 1, epochs);
  }
  return best!.router;
}

/** Uniform in ±1/√inputs, as PyTorch begins. */
function block(inputs: number, outputs: number, isHidden: boolean, seed: number, index: number): Block {
  const bound = 1 / Math.sqrt(inputs);
  const draw = (name: string, length: number) => {
    const words = new Uint32Array(length);
    randomWords(streamKey(seed, "router", `${name} ${index}`), 0, words);
    return Float32Array.from(words, (word) => ((word / 2 ** 32) * 2 - 1) * bound);
  };
  const filled = (value: number) => new Float32Array(outputs).fill(value);
  return {
    ...{ inputs, outputs, weight: draw("weight", inputs * outputs), bias: draw("bias", outputs) },
    norm: isHidden ? { gain: filled(1), shift: filled(0), mean: filled(0), variance: filled(1) } : null,
  };
}

function shuffled(count: number, seed: number, epoch: number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, index) => index);
  const key = streamKey(seed, "router", `order ${epoch}`);
  for (let at = count - 1; at > 0; at--) {
    const other = Math.floor((randomWord(key, at) / 2 ** 32) * (at + 1));
    [order[at], order[other]] = [order[other]!, order[at]!];
  }
  return order;
}

/** One layer's way forward. */
interface Passed {
  readonly x: Matrix;
  /** Normalised, before gain and shift, and 1 / deviation per column; `null` behind the last layer. */
  readonly normed: { readonly values: Float32Array; readonly inverse: Float32Array } | null;
  /** What the entries were multiplied by: slope and dropout. */
  readonly passes: Float32Array | null;
}

/** Of the mean cross-entropy, in the order of the parameters. Running means and variances of the norms move along. */
function gradients(
  algebra: Algebra,
  blocks: readonly Block[],
  all: Float32Array,
  rows: Int32Array,
  tasks: Int32Array,
  { dropout, seed, step }: { readonly dropout: number; readonly seed: number; readonly step: number },
): Float32Array[] {
  const [{ inputs: width }] = blocks as [Block];
  const count = rows.length;
  const data = new Float32Array(count * width);
  for (const [at, row] of rows.entries()) data.set(all.subarray(row * width, (row + 1) * width), at * width);
  let x: Matrix = { rows: count, columns: width, data };
  const passed: Passed[] = [];
  for (const [index, { inputs, outputs, weight, bias, norm }] of blocks.entries()) {
    const y = algebra.multiply(x, { rows: outputs, columns: inputs, data: weight }, { transposeB: true });
    for (let at = 0; at < y.data.length; at++) y.data[at]! += bias[at % outputs]!;
    if (norm === null) {
      passed.push({ x, normed: null, passes: null });
      x = y;
      continue;
    }
    const normed = normalise(y, norm);
    const words = new Uint32Array(y.data.length);
    randomWords(streamKey(seed, "router", `dropout ${step} ${index}`), 0, words);
    const threshold = dropout * 2 ** 32;
    const passes = new Float32Array(y.data.length);
    for (let at = 0; at < y.data.length; at++) {
      const value = normed.values[at]! * norm.gain[at % outputs]! + norm.shift[at % outputs]!;
      passes[at] = words[at]! < threshold ? 0 : (value < 0 ? SLOPE : 1) / (1 - dropout);
      y.data[at] = value * passes[at]!;
    }
    passed.push({ x, normed, passes });
    x = y;
  }
  softmaxError(x, rows, tasks);
  return backward(algebra, blocks, passed, x);
}

function normalise({ rows, columns, data }: Matrix, norm: NonNullable<Block["norm"]>) {
  const values = new Float32Array(data.length);
  const inverse = new Float32Array(columns);
  for (let c = 0; c < columns; c++) {
    let sum = 0;
    for (let at = c; at < data.length; at += columns) sum += data[at]!;
    const mean = sum / rows;
    let squares = 0;
    for (let at = c; at < data.length; at += columns) squares += (data[at]! - mean) ** 2;
    const variance = squares / rows;
    inverse[c] = 1 / Math.sqrt(variance + NORM_EPS);
    for (let at = c; at < data.length; at += columns) values[at] = (data[at]! - mean) * inverse[c]!;
    norm.mean[c] = (1 - MOMENTUM) * norm.mean[c]! + MOMENTUM * mean;
    norm.variance[c] = (1 - MOMENTUM) * norm.variance[c]! + (MOMENTUM * squares) / (rows - 1);
  }
  return { values, inverse };
}

/** Logits become the mean cross-entropy's derivative by them. */
function softmaxError({ columns, data }: Matrix, rows: Int32Array, tasks: Int32Array): void {
  for (const [at, row] of rows.entries()) {
    const own = data.subarray(at * columns, (at + 1) * columns);
    const most = Math.max(...own);
    const total = own.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    for (let t = 0; t < columns; t++) {
      own[t] = (Math.exp(own[t]! - most) / total - (t === tasks[row] ? 1 : 0)) / rows.length;
    }
  }
}

function backward(algebra: Algebra, blocks: readonly Block[], passed: readonly Passed[], last: Matrix): Float32Array[] {
  const found: Float32Array[] = [];
  let dy = last;
  for (const [back, { inputs, outputs, weight, norm }] of blocks.toReversed().entries()) {
    const { x, normed, passes } = passed[blocks.length - 1 - back]!;
    const own: Float32Array[] = [];
    if (norm !== null && normed !== null && passes !== null) own.push(...throughNorm(dy, norm, normed, passes));
    const dw = algebra.multiply(dy, x, { transposeA: true }).data;
    const db = new Float32Array(outputs);
    for (let at = 0; at < dy.data.length; at++) db[at % outputs]! += dy.data[at]!;
    found.unshift(dw, db, ...own);
    if (back < blocks.length - 1) dy = algebra.multiply(dy, { rows: outputs, columns: inputs, data: weight });
  }
  return found;
}

/** Changes dy to the derivative in front of the norm. @returns those by gain and shift. */
function throughNorm(
  { rows, columns, data }: Matrix,
  { gain }: NonNullable<Block["norm"]>,
  { values, inverse }: NonNullable<Passed["normed"]>,
  passes: Float32Array,
): [Float32Array, Float32Array] {
  const [dGain, dShift] = [new Float32Array(columns), new Float32Array(columns)];
  for (let c = 0; c < columns; c++) {
    let [products, sums] = [0, 0];
    for (let at = c; at < data.length; at += columns) {
      const d = data[at]! * passes[at]!;
      data[at] = d;
      products += d * values[at]!;
      sums += d;
    }
    dGain[c] = products;
    dShift[c] = sums;
    const factor = gain[c]! * inverse[c]!;
    for (let at = c; at < data.length; at += columns) {
      data[at] = factor * (data[at]! - sums / rows - (values[at]! * products) / rows);
    }
  }
  return [dGain, dShift];
}

/** The layer with its norm, as it is used. */
function folded({ inputs, outputs, weight, bias, norm }: Block): RouterLayer {
  if (norm === null) return { inputs, outputs, weight: weight.slice(), bias: bias.slice() };
  const factors = norm.gain.map((gain, c) => gain / Math.sqrt(norm.variance[c]! + NORM_EPS));
  return {
    inputs,
    outputs,
    weight: weight.map((value, at) => value * factors[Math.floor(at / inputs)]!),
    bias: bias.map((value, c) => (value - norm.mean[c]!) * factors[c]! + norm.shift[c]!),
  };
}
