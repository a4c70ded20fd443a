import { ADD, COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCALARS, SCRATCH, SCRATCH_ROW_BYTES, STRIDE, SUBTRACT } from "../context.as";
import { exp4, expNear4, tanh4, tanhNear4 } from "../functions.as";
import { first, load8, magnitudeBits, overflow, second, store8 } from "../lanes.as";

/**
 * PCB-Merging: see methods/pcb.ts. Scalars: variant (0 es, 1 readme, 2 vision), models (as f32). Columns: low, high, range;
 * to merge also cut, spread, lambda. `count` is a multiple of eight.
 */
const LOW: usize = COLUMNS;
const HIGH: usize = COLUMNS + 4;
const RANGE: usize = COLUMNS + 8;
const CUT: usize = COLUMNS + 12;
const SPREAD: usize = COLUMNS + 16;
const LAMBDA: usize = COLUMNS + 20;

/** In a row of scratch: two vectors each of normalised and of clipped changes, of changes, and of scores. */
const CLIPPED: usize = 32;
const CHANGE: usize = 64;
const SCORE: usize = 96;

/** Clips and normalises a row's four changes. */
// @ts-ignore: decorator
@inline function prepare(row: usize, own: usize, x: v128): void {
  const magnitude = magnitudeBits();
  const sign = v128.andnot(x, magnitude);
  const low = v128.load32_splat(row, LOW);
  const clipped = f32x4.pmin(f32x4.pmax(v128.and(x, magnitude), low), v128.load32_splat(row, HIGH));
  const normal = f32x4.div(f32x4.sub(clipped, low), v128.load32_splat(row, RANGE));
  v128.store(own, v128.or(normal, sign));
  v128.store(own, v128.and(v128.or(clipped, sign), f32x4.ne(x, f32x4.splat(0))), CLIPPED);
  v128.store(own, x, CHANGE);
}

/** Sum over the models of a field of scratch. */
// @ts-ignore: decorator
@inline function total(scratch: usize, end: usize, field: usize): v128 {
  let sum = f32x4.splat(0);
  for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) sum = f32x4.add(sum, v128.load(own + field));
  return sum;
}

/** The sum of tanh over all pairs, into SCORE: each pair is computed once, and the sums run in model order. */
// @ts-ignore: decorator
@inline function pairs(scratch: usize, end: usize): void {
  for (let i = scratch; i < end; i += SCRATCH_ROW_BYTES) v128.store(i, f32x4.splat(0), SCORE);
  for (let i = scratch; i < end; i += SCRATCH_ROW_BYTES) {
    const x = v128.load(i);
    let sum = f32x4.add(v128.load(i, SCORE), tanhNear4(f32x4.mul(x, x)));
    for (let j = i + SCRATCH_ROW_BYTES; j < end; j += SCRATCH_ROW_BYTES) {
      const t = tanhNear4(f32x4.mul(x, v128.load(j)));
      sum = f32x4.add(sum, t);
      v128.store(j, f32x4.add(v128.load(j, SCORE), t), SCORE);
    }
    v128.store(i, sum, SCORE);
  }
}

/** The scores of four columns, from what `prepare` left, into SCORE. */
// @ts-ignore: decorator
@inline function score(context: usize, scratch: usize, end: usize): void {
  const variant = load<f32>(context, SCALARS);
  const models = v128.load32_splat(context, SCALARS + 4);
  if (variant == 0) pairs(scratch, end);
  else {
    const sum = total(scratch, end, variant == 1 ? CHANGE : 0);
    for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) {
      v128.store(own, tanh4(f32x4.mul(v128.load(own, CHANGE), sum)), SCORE);
    }
  }
  for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) {
    const x = v128.load(own);
    const intra = expNear4(f32x4.mul(f32x4.mul(x, x), models));
    v128.store(own, f32x4.mul(intra, v128.load(own, SCORE)), SCORE);
  }
}

/** Scores of eight columns at byte `at` of the inputs, left in scratch. */
function scoreEight<T>(context: usize, at: usize): void {
  const models = <usize>load<i32>(context);
  const scratch = <usize>load<u32>(context, SCRATCH);
  const end = scratch + models * SCRATCH_ROW_BYTES;
  const p = <usize>load<u32>(context, SUBTRACT) + at;
  const s = load8<T>(p);
  const s0 = first<T, f32>(s);
  const s1 = second<T, f32>(s, p);
  let row = context + ROWS;
  for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) {
    const q = <usize>load<u32>(row) + at;
    const v = load8<T>(q);
    prepare(row, own, f32x4.sub(first<T, f32>(v), s0));
    prepare(row, own + 16, f32x4.sub(second<T, f32>(v, q), s1));
    row += ROW_BYTES;
  }
  score(context, scratch, end);
  score(context, scratch + 16, end);
}

/** One row of scores per model. */
// @ts-ignore: decorator
@inline function scores<T>(context: usize): void {
  const models = <usize>load<i32>(context);
  const scratch = <usize>load<u32>(context, SCRATCH);
  const end = scratch + models * SCRATCH_ROW_BYTES;
  const stride = <usize>load<u32>(context, STRIDE);
  let out = <usize>load<u32>(context, OUT);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    scoreEight<T>(context, at);
    let target = out;
    for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) {
      v128.store(target, v128.load(own, SCORE));
      v128.store(target, v128.load(own + 16, SCORE), 16);
      target += stride;
    }
    out += 32;
  }
}

/** The mean of four columns' clipped changes, by their scores. */
// @ts-ignore: decorator
@inline function mean(context: usize, scratch: usize, end: usize): v128 {
  let sum = f32x4.splat(0);
  let weights = f32x4.splat(0);
  let row = context + ROWS;
  for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) {
    const cut = v128.load32_splat(row, CUT);
    const kept = f32x4.sub(f32x4.pmax(v128.load(own, SCORE), cut), cut);
    const weight = f32x4.div(kept, v128.load32_splat(row, SPREAD));
    const scaled = f32x4.mul(v128.load(own, CLIPPED), v128.load32_splat(row, LAMBDA));
    sum = f32x4.add(sum, f32x4.mul(scaled, weight));
    weights = f32x4.add(weights, weight);
    row += ROW_BYTES;
  }
  return f32x4.div(sum, f32x4.pmax(weights, f32x4.splat(1e-12)));
}

// @ts-ignore: decorator
@inline function pcb<T, O>(context: usize): i32 {
  const models = <usize>load<i32>(context);
  const scratch = <usize>load<u32>(context, SCRATCH);
  const end = scratch + models * SCRATCH_ROW_BYTES;
  let out = <usize>load<u32>(context, OUT);
  const add = <usize>load<u32>(context, ADD);
  let finite = i32x4.splat(-1);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    scoreEight<T>(context, at);
    const p = add + at;
    const v = load8<T>(p);
    const a = f32x4.add(first<T, f32>(v), mean(context, scratch, end));
    const b = f32x4.add(second<T, f32>(v, p), mean(context, scratch + 16, end));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<f32, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

/** The printed formula: columns cut, spread, lambda, from; the table has three numbers per pair of models. */
const PAPER_CUT: usize = COLUMNS;
const PAPER_SPREAD: usize = COLUMNS + 4;
const PAPER_LAMBDA: usize = COLUMNS + 8;
const PAPER_FROM: usize = COLUMNS + 12;
const TRIPLE: usize = 12;

/** Leaves eight columns' changes in scratch. */
// @ts-ignore: decorator
@inline function changesOf<T>(context: usize, at: usize, scratch: usize, end: usize): void {
  const p = <usize>load<u32>(context, SUBTRACT) + at;
  const s = load8<T>(p);
  const s0 = first<T, f32>(s);
  const s1 = second<T, f32>(s, p);
  let row = context + ROWS;
  for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) {
    const q = <usize>load<u32>(row) + at;
    const v = load8<T>(q);
    v128.store(own, f32x4.sub(first<T, f32>(v), s0), CHANGE);
    v128.store(own, f32x4.sub(second<T, f32>(v, q), s1), CHANGE + 16);
    row += ROW_BYTES;
  }
}

/** Norm of a product of changes, by its pair's numbers. */
// @ts-ignore: decorator
@inline function norm(product: v128, triple: usize): v128 {
  return f32x4.div(f32x4.sub(product, v128.load32_splat(triple)), v128.load32_splat(triple, 4));
}

/** One row of scores per pair of models: the products of their changes, or the powers of their norms. */
// @ts-ignore: decorator
@inline function pairScores<T, POWERS>(context: usize): void {
  const models = <usize>load<i32>(context);
  const scratch = <usize>load<u32>(context, SCRATCH);
  const end = scratch + models * SCRATCH_ROW_BYTES;
  const stride = <usize>load<u32>(context, STRIDE);
  let out = <usize>load<u32>(context, OUT);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    changesOf<T>(context, at, scratch, end);
    let target = out;
    let triple = end;
    for (let i = scratch; i < end; i += SCRATCH_ROW_BYTES) {
      const x0 = v128.load(i, CHANGE);
      const x1 = v128.load(i, CHANGE + 16);
      for (let j = i; j < end; j += SCRATCH_ROW_BYTES) {
        let a = f32x4.mul(x0, v128.load(j, CHANGE));
        let b = f32x4.mul(x1, v128.load(j, CHANGE + 16));
        if (isInteger<POWERS>()) {
          a = exp4(norm(a, triple));
          b = exp4(norm(b, triple));
        }
        v128.store(target, a);
        v128.store(target, b, 16);
        target += stride;
        triple += TRIPLE;
      }
    }
    out += 32;
  }
}

/** The scores of four columns, from their changes, into SCORE: each pair is computed once, and the sums run in model order. */
// @ts-ignore: decorator
@inline function balance(context: usize, scratch: usize, end: usize, table: usize): void {
  const models = v128.load32_splat(context, SCALARS + 4);
  for (let i = scratch; i < end; i += SCRATCH_ROW_BYTES) v128.store(i, f32x4.splat(0), SCORE);
  let triple = table;
  for (let i = scratch; i < end; i += SCRATCH_ROW_BYTES) {
    const x = v128.load(i, CHANGE);
    const own = norm(f32x4.mul(x, x), triple);
    let sum = f32x4.add(v128.load(i, SCORE), f32x4.mul(exp4(own), v128.load32_splat(triple, 8)));
    triple += TRIPLE;
    for (let j = i + SCRATCH_ROW_BYTES; j < end; j += SCRATCH_ROW_BYTES) {
      const power = exp4(norm(f32x4.mul(x, v128.load(j, CHANGE)), triple));
      const likeness = f32x4.mul(power, v128.load32_splat(triple, 8));
      sum = f32x4.add(sum, likeness);
      v128.store(j, f32x4.add(v128.load(j, SCORE), likeness), SCORE);
      triple += TRIPLE;
    }
    v128.store(i, f32x4.mul(exp4(f32x4.mul(own, models)), sum), SCORE);
  }
}

function balanceEight<T>(context: usize, at: usize): void {
  const scratch = <usize>load<u32>(context, SCRATCH);
  const end = scratch + <usize>load<i32>(context) * SCRATCH_ROW_BYTES;
  changesOf<T>(context, at, scratch, end);
  balance(context, scratch, end, end);
  balance(context, scratch + 16, end, end);
}

/** One row of scores per model. */
// @ts-ignore: decorator
@inline function balances<T>(context: usize): void {
  const scratch = <usize>load<u32>(context, SCRATCH);
  const end = scratch + <usize>load<i32>(context) * SCRATCH_ROW_BYTES;
  const stride = <usize>load<u32>(context, STRIDE);
  let out = <usize>load<u32>(context, OUT);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    balanceEight<T>(context, at);
    let target = out;
    for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) {
      v128.store(target, v128.load(own, SCORE));
      v128.store(target, v128.load(own + 16, SCORE), 16);
      target += stride;
    }
    out += 32;
  }
}

/** The mean of four columns' changes, by their scores. */
// @ts-ignore: decorator
@inline function balancedMean(context: usize, scratch: usize, end: usize): v128 {
  let sum = f32x4.splat(0);
  let weights = f32x4.splat(0);
  let row = context + ROWS;
  for (let own = scratch; own < end; own += SCRATCH_ROW_BYTES) {
    const score = v128.load(own, SCORE);
    const dropped = f32x4.lt(score, v128.load32_splat(row, PAPER_CUT));
    const above = f32x4.sub(score, v128.load32_splat(row, PAPER_FROM));
    const weight = f32x4.div(above, v128.load32_splat(row, PAPER_SPREAD));
    const scaled = f32x4.mul(v128.load(own, CHANGE), v128.load32_splat(row, PAPER_LAMBDA));
    sum = f32x4.add(sum, v128.andnot(f32x4.mul(scaled, weight), dropped));
    weights = f32x4.add(weights, v128.andnot(weight, dropped));
    row += ROW_BYTES;
  }
  const none = f32x4.eq(weights, f32x4.splat(0));
  return f32x4.div(sum, v128.bitselect(f32x4.splat(1), weights, none));
}

// @ts-ignore: decorator
@inline function paper<T, O>(context: usize): i32 {
  const scratch = <usize>load<u32>(context, SCRATCH);
  const end = scratch + <usize>load<i32>(context) * SCRATCH_ROW_BYTES;
  let out = <usize>load<u32>(context, OUT);
  const add = <usize>load<u32>(context, ADD);
  let finite = i32x4.splat(-1);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
    balanceEight<T>(context, at);
    const p = add + at;
    const v = load8<T>(p);
    const a = f32x4.add(first<T, f32>(v), balancedMean(context, scratch, end));
    const b = f32x4.add(second<T, f32>(v, p), balancedMean(context, scratch + 16, end));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<f32, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

/** One row of scores per model: the magnitudes of its changes. */
// @ts-ignore: decorator
@inline function magnitudes<T>(context: usize): void {
  const rowsEnd = context + ROWS + <usize>load<i32>(context) * ROW_BYTES;
  const stride = <usize>load<u32>(context, STRIDE);
  const subtract = <usize>load<u32>(context, SUBTRACT);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  let target = <usize>load<u32>(context, OUT);
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const model = <usize>load<u32>(row);
    let out = target;
    for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
      let p = subtract + at;
      let v = load8<T>(p);
      const s0 = first<T, f32>(v), s1 = second<T, f32>(v, p);
      p = model + at;
      v = load8<T>(p);
      v128.store(out, f32x4.abs(f32x4.sub(first<T, f32>(v), s0)));
      v128.store(out, f32x4.abs(f32x4.sub(second<T, f32>(v, p), s1)), 16);
      out += 32;
    }
    target += stride;
  }
}

export function pcb_BF16_BF16(context: usize): i32 { return pcb<u16, u16>(context); }
export function pcb_BF16_F16(context: usize): i32 { return pcb<u16, i16>(context); }
export function pcb_BF16_F32(context: usize): i32 { return pcb<u16, f32>(context); }
export function pcb_F16_BF16(context: usize): i32 { return pcb<i16, u16>(context); }
export function pcb_F16_F16(context: usize): i32 { return pcb<i16, i16>(context); }
export function pcb_F16_F32(context: usize): i32 { return pcb<i16, f32>(context); }
export function pcb_F32_BF16(context: usize): i32 { return pcb<f32, u16>(context); }
export function pcb_F32_F16(context: usize): i32 { return pcb<f32, i16>(context); }
export function pcb_F32_F32(context: usize): i32 { return pcb<f32, f32>(context); }
export function pcb_scores_BF16(context: usize): void { scores<u16>(context); }
export function pcb_scores_F16(context: usize): void { scores<i16>(context); }
export function pcb_scores_F32(context: usize): void { scores<f32>(context); }
export function magnitude_BF16(context: usize): void { magnitudes<u16>(context); }
export function magnitude_F16(context: usize): void { magnitudes<i16>(context); }
export function magnitude_F32(context: usize): void { magnitudes<f32>(context); }
export function pcb_paper_BF16_BF16(context: usize): i32 { return paper<u16, u16>(context); }
export function pcb_paper_BF16_F16(context: usize): i32 { return paper<u16, i16>(context); }
export function pcb_paper_BF16_F32(context: usize): i32 { return paper<u16, f32>(context); }
export function pcb_paper_F16_BF16(context: usize): i32 { return paper<i16, u16>(context); }
export function pcb_paper_F16_F16(context: usize): i32 { return paper<i16, i16>(context); }
export function pcb_paper_F16_F32(context: usize): i32 { return paper<i16, f32>(context); }
export function pcb_paper_F32_BF16(context: usize): i32 { return paper<f32, u16>(context); }
export function pcb_paper_F32_F16(context: usize): i32 { return paper<f32, i16>(context); }
export function pcb_paper_F32_F32(context: usize): i32 { return paper<f32, f32>(context); }
export function pcb_product_BF16(context: usize): void { pairScores<u16, f32>(context); }
export function pcb_likeness_BF16(context: usize): void { pairScores<u16, i32>(context); }
export function pcb_balance_BF16(context: usize): void { balances<u16>(context); }
export function pcb_product_F16(context: usize): void { pairScores<i16, f32>(context); }
export function pcb_likeness_F16(context: usize): void { pairScores<i16, i32>(context); }
export function pcb_balance_F16(context: usize): void { balances<i16>(context); }
export function pcb_product_F32(context: usize): void { pairScores<f32, f32>(context); }
export function pcb_likeness_F32(context: usize): void { pairScores<f32, i32>(context); }
export function pcb_balance_F32(context: usize): void { balances<f32>(context); }
