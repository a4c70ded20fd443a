import { COLUMNS, COUNT, ROWS, ROW_BYTES, ROW_COUNTERS, SCRATCH, SUBTRACT } from "../context.as";
import { addLanes, first, load8, magnitudeBits, secondBy, upperBits } from "../lanes.as";

/**
 * Counts, per model, the magnitudes of changes above and at or above a value: the proof that a guessed threshold is
 * the exact one. Uses a word of scratch memory. Columns: the value's bit pattern. Row counters (i64, added to): above, at or above.
 * `count` is a multiple of eight.
 */
// @ts-ignore: decorator
@inline function count<T>(context: usize): void {
  const models = load<i32>(context);
  const base = <usize>load<u32>(context, SUBTRACT);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const scratch = <usize>load<u32>(context, SCRATCH);
  const magnitude = magnitudeBits(), upper = upperBits();
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const model = <usize>load<u32>(row);
    const value = v128.load32_splat(row, COLUMNS);
    store<i32>(scratch, load<i32>(row, COLUMNS) - 1);
    const less = v128.load32_splat(scratch);
    let above = i32x4.splat(0), atLeast = i32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
      let p = base + at;
      let v = load8<T>(p);
      const s0 = first<T, T>(v), s1 = secondBy<T, T>(v, p, upper);
      p = model + at;
      v = load8<T>(p);
      const m0 = v128.and(f32x4.sub(first<T, T>(v), s0), magnitude);
      const m1 = v128.and(f32x4.sub(secondBy<T, T>(v, p, upper), s1), magnitude);
      above = i32x4.add(i32x4.add(above, i32x4.gt_s(m0, value)), i32x4.gt_s(m1, value));
      atLeast = i32x4.add(i32x4.add(atLeast, i32x4.gt_s(m0, less)), i32x4.gt_s(m1, less));
    }
    addLanes(row + ROW_COUNTERS, i32x4.neg(above));
    addLanes(row + ROW_COUNTERS + 8, i32x4.neg(atLeast));
  }
}

export function count_BF16(context: usize): void { count<u16>(context); }
export function count_F16(context: usize): void { count<i16>(context); }
export function count_F32(context: usize): void { count<f32>(context); }
