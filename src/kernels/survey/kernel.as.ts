import { COLUMNS, COUNT, ROWS, ROW_BYTES, ROW_COUNTERS, SUBTRACT } from "../context.as";
import { addLanes, first, load8, second } from "../lanes.as";

/**
 * Counts magnitudes of changes around a guessed threshold, exactly.
 *
 * Per model (row): columns high, guess, low (f32 bit patterns of magnitudes as i32, low < guess <= high), histogram
 * (address of u32 bins, shared by all threads), shift. Row counters (i64, added to): magnitudes >= high, > guess,
 * >= guess. Magnitudes strictly between low and high other than guess are counted in bin (bits - low) >> shift: the ends
 * of a bracket taken from a sample are often values that very many entries share, and stay out of the histogram.
 * `count` is a multiple of eight.
 */
// @ts-ignore: decorator
@inline function survey<T>(context: usize): void {
  const models = load<i32>(context);
  const base = <usize>load<u32>(context, SUBTRACT);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const one = i32x4.splat(1);
  const magnitude = i32x4.splat(0x7fffffff);
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const model = <usize>load<u32>(row);
    const highLess = i32x4.sub(v128.load32_splat(row, COLUMNS), one);
    const guess = v128.load32_splat(row, COLUMNS + 4);
    const guessLess = i32x4.sub(guess, one);
    const low = v128.load32_splat(row, COLUMNS + 8);
    let atHigh = i32x4.splat(0), above = i32x4.splat(0), atLeast = i32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
      let p = base + at;
      let v = load8<T>(p);
      const s0 = first<T, T>(v);
      const s1 = second<T, T>(v, p);
      p = model + at;
      v = load8<T>(p);
      const m0 = v128.and(f32x4.sub(first<T, T>(v), s0), magnitude);
      const m1 = v128.and(f32x4.sub(second<T, T>(v, p), s1), magnitude);
      const high0 = i32x4.gt_s(m0, highLess);
      const high1 = i32x4.gt_s(m1, highLess);
      const above0 = i32x4.gt_s(m0, guess);
      const above1 = i32x4.gt_s(m1, guess);
      const least0 = i32x4.gt_s(m0, guessLess);
      const least1 = i32x4.gt_s(m1, guessLess);
      atHigh = i32x4.sub(i32x4.sub(atHigh, high0), high1);
      above = i32x4.sub(i32x4.sub(above, above0), above1);
      atLeast = i32x4.sub(i32x4.sub(atLeast, least0), least1);
      const inside0 = v128.andnot(v128.andnot(i32x4.gt_s(m0, low), high0), v128.xor(above0, least0));
      const inside1 = v128.andnot(v128.andnot(i32x4.gt_s(m1, low), high1), v128.xor(above1, least1));
      // One entry in a hundred or fewer.
      if (v128.any_true(v128.or(inside0, inside1))) {
        countInside(row, m0, i32x4.bitmask(inside0));
        countInside(row, m1, i32x4.bitmask(inside1));
      }
    }
    addLanes(row + ROW_COUNTERS, atHigh);
    addLanes(row + ROW_COUNTERS + 8, above);
    addLanes(row + ROW_COUNTERS + 16, atLeast);
  }
}

// Kept out of the loop: inlined eight times over it would push the loop's values out of the registers.
// @ts-ignore: decorator
function countInside(row: usize, magnitudes: v128, mask: i32): void {
  if (mask == 0) return;
  const low = load<u32>(row, COLUMNS + 8);
  const bins = <usize>load<u32>(row, COLUMNS + 12);
  const shift = load<u32>(row, COLUMNS + 16);
  if (mask & 1) atomic.add<u32>(bins + (<usize>((i32x4.extract_lane(magnitudes, 0) - low) >>> shift) << 2), 1);
  if (mask & 2) atomic.add<u32>(bins + (<usize>((i32x4.extract_lane(magnitudes, 1) - low) >>> shift) << 2), 1);
  if (mask & 4) atomic.add<u32>(bins + (<usize>((i32x4.extract_lane(magnitudes, 2) - low) >>> shift) << 2), 1);
  if (mask & 8) atomic.add<u32>(bins + (<usize>((i32x4.extract_lane(magnitudes, 3) - low) >>> shift) << 2), 1);
}

export function survey_BF16(context: usize): void { survey<u16>(context); }
export function survey_F16(context: usize): void { survey<i16>(context); }
export function survey_F32(context: usize): void { survey<f32>(context); }
