/** Inner products of runs of entries in f64: what the relations and gram kernels share. */
import { first, load8, second } from "./lanes.as";

/** Columns in the scratch at once: the base as f32, then every vector's entries as f64. */
export const RUN: i32 = 256;
export const RUN_BASE: usize = 1024;
export const RUN_CHANGES: usize = 2048;
export const PAIR_BYTES: usize = 32;

/** `run` entries as f32; a multiple of eight. */
// @ts-ignore: decorator
@inline export function widenBase<T>(from: usize, run: i32, target: usize): void {
  const end = from + <usize>run * sizeof<T>();
  for (; from < end; from += 8 * sizeof<T>()) {
    const v = load8<T>(from);
    v128.store(target, first<T, f32>(v));
    v128.store(target, second<T, f32>(v, from), 16);
    target += 32;
  }
}

// @ts-ignore: decorator
@inline export function upper(x: v128): v128 {
  return v128.shuffle<i64>(x, x, 1, 1);
}

/** Eight entries as f64. */
// @ts-ignore: decorator
@inline export function storeDoubles(at: usize, x0: v128, x1: v128): void {
  v128.store(at, f64x2.promote_low_f32x4(x0));
  v128.store(at, f64x2.promote_low_f32x4(upper(x0)), 16);
  v128.store(at, f64x2.promote_low_f32x4(x1), 32);
  v128.store(at, f64x2.promote_low_f32x4(upper(x1)), 48);
}

/** Adds the products of every pair, four partial sums each; a vector with up to four others at once, so that additions need not wait for each other. */
export function multiply(vectors: i32, run: i32, changes: usize, pairs: usize): void {
  for (let i = 0; i < vectors; i++) {
    const a = changes + <usize>i * RUN_CHANGES;
    for (let j = i; j < vectors; j += 4) {
      const others = min(4, vectors - j);
      dots(a, changes + <usize>j * RUN_CHANGES, others, <usize>run * 8, pairs);
      pairs += <usize>others * PAIR_BYTES;
    }
  }
}

/** Where there are fewer than four others the last one stands in, and its surplus sums are dropped. */
function dots(a: usize, b: usize, others: i32, bytes: usize, sums: usize): void {
  const c = b + <usize>min(1, others - 1) * RUN_CHANGES;
  const d = b + <usize>min(2, others - 1) * RUN_CHANGES;
  const e = b + <usize>min(3, others - 1) * RUN_CHANGES;
  let b0 = v128.load(sums), b1 = v128.load(sums, 16);
  let c0 = f64x2.splat(0), c1 = f64x2.splat(0);
  let d0 = f64x2.splat(0), d1 = f64x2.splat(0);
  let e0 = f64x2.splat(0), e1 = f64x2.splat(0);
  if (others > 1) { c0 = v128.load(sums, 32); c1 = v128.load(sums, 48); }
  if (others > 2) { d0 = v128.load(sums, 64); d1 = v128.load(sums, 80); }
  if (others > 3) { e0 = v128.load(sums, 96); e1 = v128.load(sums, 112); }
  for (let at: usize = 0; at < bytes; at += 32) {
    const x0 = v128.load(a + at);
    const x1 = v128.load(a + at, 16);
    b0 = f64x2.add(b0, f64x2.mul(x0, v128.load(b + at)));
    b1 = f64x2.add(b1, f64x2.mul(x1, v128.load(b + at, 16)));
    c0 = f64x2.add(c0, f64x2.mul(x0, v128.load(c + at)));
    c1 = f64x2.add(c1, f64x2.mul(x1, v128.load(c + at, 16)));
    d0 = f64x2.add(d0, f64x2.mul(x0, v128.load(d + at)));
    d1 = f64x2.add(d1, f64x2.mul(x1, v128.load(d + at, 16)));
    e0 = f64x2.add(e0, f64x2.mul(x0, v128.load(e + at)));
    e1 = f64x2.add(e1, f64x2.mul(x1, v128.load(e + at, 16)));
  }
  v128.store(sums, b0); v128.store(sums, b1, 16);
  if (others > 1) { v128.store(sums, c0, 32); v128.store(sums, c1, 48); }
  if (others > 2) { v128.store(sums, d0, 64); v128.store(sums, d1, 80); }
  if (others > 3) { v128.store(sums, e0, 96); v128.store(sums, e1, 112); }
}
