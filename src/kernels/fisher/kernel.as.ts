import { addCounter, COLUMNS, COUNT, ENTRIES, OUT, ROWS, ROW_BYTES, SUMS } from "../context.as";
import { overflow, store8 } from "../lanes.as";

/** Columns of a row: see methods/fisher.ts. */
const WEIGHT: usize = COLUMNS;
const FACTOR: usize = COLUMNS + 4;
const ADDED: usize = COLUMNS + 8;
const LEAST: usize = COLUMNS + 12;
const SCALE: usize = COLUMNS + 16;

/** What four entries of a model are weighted with. */
// @ts-ignore: decorator
@inline function weightOf(row: usize, sums: v128): v128 {
  const f = f32x4.add(f32x4.mul(sums, v128.load32_splat(row, FACTOR)), v128.load32_splat(row, ADDED));
  return f32x4.mul(f32x4.max(f, v128.load32_splat(row, LEAST)), v128.load32_splat(row, SCALE));
}

/** Four columns from `at` bytes on; those from `left` on are padding and not counted as unseen. */
// @ts-ignore: decorator
@inline function merged(context: usize, rowsEnd: usize, at: usize, left: i32): v128 {
  let above = f32x4.splat(0);
  let below = f32x4.splat(0);
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const w = weightOf(row, v128.load(<usize>load<u32>(row, SUMS) + at));
    above = f32x4.add(above, f32x4.mul(w, v128.load(<usize>load<u32>(row) + at)));
    below = f32x4.add(below, w);
  }
  const unseen = f32x4.eq(below, f32x4.splat(0));
  if (v128.any_true(unseen)) {
    let averaged = above;
    let total = below;
    for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
      const weight = v128.load32_splat(row, WEIGHT);
      averaged = f32x4.add(averaged, f32x4.mul(weight, v128.load(<usize>load<u32>(row) + at)));
      total = f32x4.add(total, weight);
    }
    above = v128.bitselect(averaged, above, unseen);
    below = v128.bitselect(total, below, unseen);
    const real = i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(left));
    addCounter(context, 0, i32x4.neg(v128.and(unseen, real)));
  }
  return f32x4.div(above, below);
}

/**
 * An average weighted entry by entry with collected sums, which lie beside each row. Inputs are F32, since tiles with sums
 * are. `count` is a multiple of eight. Returns 1 when every result is finite in format O, else 0.
 */
// @ts-ignore: decorator
@inline function fisher<O>(context: usize): i32 {
  const models = load<i32>(context);
  const count = load<i32>(context, COUNT);
  const entries = load<i32>(context, ENTRIES);
  let out = <usize>load<u32>(context, OUT);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  let finite = i32x4.splat(-1);
  for (let p = 0; p < count; p += 8) {
    const at = <usize>p << 2;
    const a = merged(context, rowsEnd, at, entries - p);
    const b = merged(context, rowsEnd, at + 16, entries - p - 4);
    finite = v128.and(finite, f32x4.lt(f32x4.abs(a), overflow<O>()));
    finite = v128.and(finite, f32x4.lt(f32x4.abs(b), overflow<O>()));
    store8<f32, O>(out, a, b);
    out += 8 * sizeof<O>();
  }
  return i32x4.all_true(finite) ? 1 : 0;
}

export function fisher_F32_BF16(context: usize): i32 { return fisher<u16>(context); }
export function fisher_F32_F16(context: usize): i32 { return fisher<i16>(context); }
export function fisher_F32_F32(context: usize): i32 { return fisher<f32>(context); }
