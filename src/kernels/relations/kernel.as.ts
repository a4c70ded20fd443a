import { COLUMNS, COUNT, OUT, ROWS, ROW_BYTES, SCRATCH, SUBTRACT } from "../context.as";
import { multiply, RUN, RUN_BASE, RUN_CHANGES, storeDoubles, upper, widenBase } from "../dots.as";
import { first, load8, second } from "../lanes.as";

/** Behind the base and the changes in the scratch: every model's signs. */
const RUN_SIGNS: usize = 1024;
/** Results of a model; those of the pairs follow the last model's. binding.ts reads them. */
const MODEL_BYTES: usize = 144;
const ZEROS: usize = 0;
const NON_FINITE: usize = 16;
const LARGEST: usize = 32;
const CONFLICTS: usize = 48;
const SHARED: usize = 80;
const KEPT_ENERGY: usize = 112;

/**
 * Twin of `relate` in definition.ts; adds to what is in the results. Columns: threshold. Out: per model vectors of four
 * u32 counters (LARGEST: maxima; CONFLICTS and SHARED: one vector for all and one for kept entries) and four f64
 * partial sums; per pair i <= j, row by row, four f64 partial sums. Partial sums are by entry modulo 4.
 * `count` is a multiple of eight.
 */
// @ts-ignore: decorator
@inline function relations<T>(context: usize): void {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  const out = <usize>load<u32>(context, OUT);
  const pairs = out + <usize>models * MODEL_BYTES;
  const base = <usize>load<u32>(context, SCRATCH);
  const changes = base + RUN_BASE;
  const signs = changes + <usize>models * RUN_CHANGES;
  for (let start = 0; start < count; start += RUN) {
    const run = min(RUN, count - start);
    widenBase<T>(<usize>load<u32>(context, SUBTRACT) + <usize>start * sizeof<T>(), run, base);
    for (let model = 0; model < models; model++) {
      examine<T>(context, model, start, run, base, changes, signs, out);
    }
    compare(models, run, signs, out);
    multiply(models, run, changes, pairs);
  }
}

/** One model by itself: its changes as f64, its signs, its counts. */
// @ts-ignore: decorator
@inline function examine<T>(
  context: usize, model: i32, start: i32, run: i32, base: usize, changes: usize, signs: usize, out: usize
): void {
  const row = context + ROWS + <usize>model * ROW_BYTES;
  const input = <usize>load<u32>(row);
  const threshold = v128.load32_splat(row, COLUMNS);
  const results = out + <usize>model * MODEL_BYTES;
  const zero = f32x4.splat(0);
  const magnitude = i32x4.splat(0x7fffffff);
  const finite = i32x4.splat(0x7f7fffff);
  changes += <usize>model * RUN_CHANGES;
  signs += <usize>model * RUN_SIGNS;
  let zeros = v128.load(results, ZEROS);
  let nonFinite = v128.load(results, NON_FINITE);
  let largest = v128.load(results, LARGEST);
  let energy0 = v128.load(results, KEPT_ENERGY);
  let energy1 = v128.load(results, KEPT_ENERGY + 16);
  const end = <usize>(start + run) * sizeof<T>();
  for (let at = <usize>start * sizeof<T>(); at < end; at += 8 * sizeof<T>()) {
    const p = input + at;
    const v = load8<T>(p);
    const x0 = f32x4.sub(first<T, f32>(v), v128.load(base));
    const x1 = f32x4.sub(second<T, f32>(v, p), v128.load(base, 16));
    base += 32;
    storeDoubles(changes, x0, x1);
    changes += 64;

    const m0 = v128.and(x0, magnitude);
    const m1 = v128.and(x1, magnitude);
    zeros = i32x4.sub(i32x4.sub(zeros, f32x4.eq(x0, zero)), f32x4.eq(x1, zero));
    nonFinite = i32x4.sub(i32x4.sub(nonFinite, i32x4.gt_s(m0, finite)), i32x4.gt_s(m1, finite));
    // as integers magnitudes keep their order, and NaN is the largest
    largest = i32x4.max_s(i32x4.max_s(largest, m0), m1);

    // bytes 0-7: all entries, 8-15: kept ones
    const kept0 = f32x4.ge(m0, threshold);
    const kept1 = f32x4.ge(m1, threshold);
    const above0 = f32x4.gt(x0, zero);
    const above1 = f32x4.gt(x1, zero);
    const below0 = f32x4.lt(x0, zero);
    const below1 = f32x4.lt(x1, zero);
    const keptAbove = i16x8.narrow_i32x4_s(v128.and(above0, kept0), v128.and(above1, kept1));
    const keptBelow = i16x8.narrow_i32x4_s(v128.and(below0, kept0), v128.and(below1, kept1));
    v128.store(signs, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(above0, above1), keptAbove));
    v128.store(signs, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(below0, below1), keptBelow), 16);
    signs += 32;

    const k0 = v128.and(x0, kept0);
    const k1 = v128.and(x1, kept1);
    energy0 = addSquare(addSquare(energy0, f64x2.promote_low_f32x4(k0)), f64x2.promote_low_f32x4(k1));
    energy1 = addSquare(addSquare(energy1, f64x2.promote_low_f32x4(upper(k0))), f64x2.promote_low_f32x4(upper(k1)));
  }
  v128.store(results, zeros, ZEROS);
  v128.store(results, nonFinite, NON_FINITE);
  v128.store(results, largest, LARGEST);
  v128.store(results, energy0, KEPT_ENERGY);
  v128.store(results, energy1, KEPT_ENERGY + 16);
}

// @ts-ignore: decorator
@inline function addSquare(sum: v128, x: v128): v128 {
  return f64x2.add(sum, f64x2.mul(x, x));
}

/** Signs of the first models up to each; eight columns at once. */
function compare(models: i32, run: i32, signs: usize, out: usize): void {
  const end = signs + <usize>run * 4;
  for (let from = signs; from < end; from += 32) {
    let positive = i8x16.splat(0), negative = i8x16.splat(0), shared = i8x16.splat(0);
    let at = from;
    let results = out;
    for (let model = 0; model < models; model++) {
      const above = v128.load(at);
      const below = v128.load(at, 16);
      shared = v128.or(shared, v128.and(v128.or(positive, negative), v128.or(above, below)));
      positive = v128.or(positive, above);
      negative = v128.or(negative, below);
      count(results + CONFLICTS, v128.and(positive, negative));
      count(results + SHARED, shared);
      at += RUN_SIGNS;
      results += MODEL_BYTES;
    }
  }
}

/** Adds bytes that are 0 or -1 to the counters of all and of kept entries. */
// @ts-ignore: decorator
@inline function count(at: usize, mask: v128): void {
  const pairs = i16x8.extadd_pairwise_i8x16_s(mask);
  v128.store(at, i32x4.sub(v128.load(at), i32x4.extend_low_i16x8_s(pairs)));
  v128.store(at, i32x4.sub(v128.load(at, 16), i32x4.extend_high_i16x8_s(pairs)), 16);
}

export function relations_BF16(context: usize): void { relations<u16>(context); }
export function relations_F16(context: usize): void { relations<i16>(context); }
export function relations_F32(context: usize): void { relations<f32>(context); }
