import { COUNT, OUT, ROWS, ROW_BYTES, SCRATCH, SUBTRACT } from "../context.as";
import { multiply, PAIR_BYTES, RUN, RUN_BASE, RUN_CHANGES, storeDoubles, upper, widenBase } from "../dots.as";
import { first, load8, second } from "../lanes.as";

/** Magnitude bits of the largest finite number; as integers, infinities and NaN lie above. */
const FINITE: i32 = 0x7f7fffff;

/**
 * Twin of `gramOf` in definition.ts; adds to what is in the results. Out: per pair of vectors i <= j, row by row, four
 * f64 partial sums by position modulo 4. Vectors are what remains of each row after the subtraction. `count` may be any
 * number; up to seven entries behind it are read and dropped.
 * @param begin where to begin, a multiple of four.
 */
export function gramFrom<T>(context: usize, begin: i32): void {
  const vectors = load<i32>(context);
  const count = load<i32>(context, COUNT);
  const out = <usize>load<u32>(context, OUT);
  const base = <usize>load<u32>(context, SCRATCH);
  const changes = base + RUN_BASE;
  const subtract = <usize>load<u32>(context, SUBTRACT);
  for (let start = begin; start < count; start += RUN) {
    const run = min(RUN, count - start);
    const padded = (run + 7) & -8;
    const from = <usize>start * sizeof<T>();
    widenBase<T>(subtract + from, padded, base);
    let beyond = i32x4.splat(0);
    for (let i = 0; i < vectors; i++) {
      const input = <usize>load<u32>(context + ROWS + <usize>i * ROW_BYTES) + from;
      beyond = v128.or(beyond, widenChange<T>(input, padded, base, changes + <usize>i * RUN_CHANGES));
    }
    if (v128.any_true(beyond)) clearNonFinite(vectors, run, changes);
    if (run < padded) clearRest(vectors, run, padded, changes);
    multiply(vectors, padded, changes, out);
  }
}

/** @returns a vector with some bit set where an entry is not finite. */
// @ts-ignore: decorator
@inline function widenChange<T>(input: usize, run: i32, base: usize, target: usize): v128 {
  const magnitude = i32x4.splat(0x7fffffff);
  const finite = i32x4.splat(FINITE);
  let beyond = i32x4.splat(0);
  const end = input + <usize>run * sizeof<T>();
  for (let p = input; p < end; p += 8 * sizeof<T>()) {
    const v = load8<T>(p);
    const x0 = f32x4.sub(first<T, f32>(v), v128.load(base));
    const x1 = f32x4.sub(second<T, f32>(v, p), v128.load(base, 16));
    base += 32;
    storeDoubles(target, x0, x1);
    target += 64;
    beyond = v128.or(beyond, i32x4.gt_s(v128.and(x0, magnitude), finite));
    beyond = v128.or(beyond, i32x4.gt_s(v128.and(x1, magnitude), finite));
  }
  return beyond;
}

/** Leaves out positions at which some vector is not finite. */
function clearNonFinite(vectors: i32, run: i32, changes: usize): void {
  for (let p = 0; p < run; p++) {
    let isFinite = true;
    for (let i = 0; i < vectors; i++) {
      const x = load<f64>(changes + <usize>i * RUN_CHANGES + <usize>p * 8);
      if (!(x - x == 0)) isFinite = false;
    }
    if (!isFinite) clear(vectors, p, changes);
  }
}

function clearRest(vectors: i32, from: i32, to: i32, changes: usize): void {
  for (let p = from; p < to; p++) clear(vectors, p, changes);
}

// @ts-ignore: decorator
@inline function clear(vectors: i32, p: i32, changes: usize): void {
  for (let i = 0; i < vectors; i++) store<f64>(changes + <usize>i * RUN_CHANGES + <usize>p * 8, 0);
}

export function gram_BF16(context: usize): void { gramFrom<u16>(context, 0); }
export function gram_F16(context: usize): void { gramFrom<i16>(context, 0); }
export function gram_F32(context: usize): void { gramFrom<f32>(context, 0); }

/**
 * Twin of `columnGram` in definition.ts: adds the products of one row's entries to the sums of each column. Vectors are f32
 * and nothing is subtracted. Out: per four columns and pair i <= j, row by row, four f64 sums. `count` may be any number;
 * up to three entries behind it are read, and their sums mean nothing.
 */
export function gram_columns_F32(context: usize): void {
  const vectors = load<i32>(context);
  const count = load<i32>(context, COUNT);
  let out = <usize>load<u32>(context, OUT);
  const magnitude = i32x4.splat(0x7fffffff);
  const finite = i32x4.splat(FINITE);
  const rowsEnd = context + ROWS + <usize>vectors * ROW_BYTES;
  const end = <usize>count * 4;
  for (let at: usize = 0; at < end; at += 16) {
    let keep = i32x4.splat(-1);
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      const x = v128.load(<usize>load<u32>(row) + at);
      keep = v128.and(keep, i32x4.le_s(v128.and(x, magnitude), finite));
    }
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      const x = v128.and(v128.load(<usize>load<u32>(row) + at), keep);
      const x0 = f64x2.promote_low_f32x4(x);
      const x1 = f64x2.promote_low_f32x4(upper(x));
      for (let other = row; other < rowsEnd; other += ROW_BYTES) {
        const y = v128.and(v128.load(<usize>load<u32>(other) + at), keep);
        v128.store(out, f64x2.add(v128.load(out), f64x2.mul(x0, f64x2.promote_low_f32x4(y))));
        v128.store(out, f64x2.add(v128.load(out, 16), f64x2.mul(x1, f64x2.promote_low_f32x4(upper(y)))), 16);
        out += PAIR_BYTES;
      }
    }
  }
}
