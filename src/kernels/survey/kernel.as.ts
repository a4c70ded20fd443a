import { COLUMNS, COUNT, ROWS, ROW_BYTES, ROW_COUNTERS, SCRATCH, SUBTRACT } from "../context.as";
import { addLanes, first, load8, magnitudeBits, secondBy, upperBits } from "../lanes.as";

/** The same in src/statistics/threshold.ts. */
const LOG_ENTRIES: u32 = 8192;
const LOGGED: usize = ROW_COUNTERS + 24;

/**
 * Counts magnitudes of changes around a guessed threshold, exactly.
 *
 * Per model (row): columns high, guess, low (f32 bit patterns of magnitudes as i32, low < guess <= high), histogram
 * (address of u32 bins, shared by all threads), shift, seen (address of one u32 per bin, or 0), log (address of
 * LOG_ENTRIES u32, or 0). Row counters (i64, added to): magnitudes >= high, > guess, >= guess, and how many were logged.
 * Magnitudes strictly between low and high other than guess are counted in bin (bits - low) >> shift and logged: the ends
 * of a bracket taken from a sample are often values that very many entries share, and stay out of both. A log that is
 * full takes no more, but goes on counting.
 * Where bins drop bits, `seen` has bit v set for a bin that met the value (dropped bits) v, of 32 values at most.
 * `count` is a multiple of eight. Uses two words of scratch memory.
 */
// @ts-ignore: decorator
@inline function survey<T>(context: usize): void {
  const models = load<i32>(context);
  const base = <usize>load<u32>(context, SUBTRACT);
  const rowsEnd = context + ROWS + <usize>models * ROW_BYTES;
  const scratch = <usize>load<u32>(context, SCRATCH);
  const magnitude = magnitudeBits(), upper = upperBits();
  const bytes = <usize>load<i32>(context, COUNT) * sizeof<T>();
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const model = <usize>load<u32>(row);
    // Taken from it, what is inside becomes the least of the signed integers: one comparison tells it.
    const shifted = load<i32>(row, COLUMNS + 8) + 1 + i32.MIN_VALUE;
    store<i32>(scratch, shifted);
    store<i32>(scratch, load<i32>(row, COLUMNS) - shifted, 4);
    const from = v128.load32_splat(scratch), width = v128.load32_splat(scratch, 4);
    const guess = v128.load32_splat(row, COLUMNS + 4);
    let above = i32x4.splat(0), equal = i32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 8 * sizeof<T>()) {
      let p = base + at;
      let v = load8<T>(p);
      const s0 = first<T, T>(v);
      const s1 = secondBy<T, T>(v, p, upper);
      p = model + at;
      v = load8<T>(p);
      const m0 = v128.and(f32x4.sub(first<T, T>(v), s0), magnitude);
      const m1 = v128.and(f32x4.sub(secondBy<T, T>(v, p, upper), s1), magnitude);
      above = i32x4.add(i32x4.add(above, i32x4.gt_s(m0, guess)), i32x4.gt_s(m1, guess));
      const equal0 = i32x4.eq(m0, guess), equal1 = i32x4.eq(m1, guess);
      equal = i32x4.add(i32x4.add(equal, equal0), equal1);
      const inside0 = v128.andnot(i32x4.gt_s(width, i32x4.sub(m0, from)), equal0);
      const inside1 = v128.andnot(i32x4.gt_s(width, i32x4.sub(m1, from)), equal1);
      // One entry in a hundred or fewer; those equal to the guess would be several.
      if (v128.any_true(v128.or(inside0, inside1))) {
        countInside(row, m0, i32x4.bitmask(inside0));
        countInside(row, m1, i32x4.bitmask(inside1));
      }
    }
    const atLeast = i32x4.add(above, equal);
    // Less those between guess and high, which were taken off one by one.
    const isEnd = load<i32>(row, COLUMNS) == load<i32>(row, COLUMNS + 4);
    addLanes(row + ROW_COUNTERS, i32x4.neg(isEnd ? atLeast : above));
    addLanes(row + ROW_COUNTERS + 8, i32x4.neg(above));
    addLanes(row + ROW_COUNTERS + 16, i32x4.neg(atLeast));
  }
}

// Kept out of the loop: inlined eight times over it would push the loop's values out of the registers.
function countInside(row: usize, magnitudes: v128, mask: i32): void {
  if (mask & 1) countOne(row, i32x4.extract_lane(magnitudes, 0));
  if (mask & 2) countOne(row, i32x4.extract_lane(magnitudes, 1));
  if (mask & 4) countOne(row, i32x4.extract_lane(magnitudes, 2));
  if (mask & 8) countOne(row, i32x4.extract_lane(magnitudes, 3));
}

// @ts-ignore: decorator
@inline function countOne(row: usize, bits: u32): void {
  if (bits > load<u32>(row, COLUMNS + 4)) store<i64>(row, load<i64>(row, ROW_COUNTERS) - 1, ROW_COUNTERS);
  const log = <usize>load<u32>(row, COLUMNS + 24);
  if (log != 0) {
    const logged = load<u32>(row, LOGGED);
    if (logged < LOG_ENTRIES) store<u32>(log + (<usize>logged << 2), bits);
    store<u32>(row, logged + 1, LOGGED);
  }
  const shift = load<u32>(row, COLUMNS + 16);
  const seen = <usize>load<u32>(row, COLUMNS + 20);
  const place = bits - load<u32>(row, COLUMNS + 8);
  const at = <usize>(place >>> shift) << 2;
  atomic.add<u32>(<usize>load<u32>(row, COLUMNS + 12) + at, 1);
  if (seen != 0) {
    const value = <u32>1 << (place & ((1 << shift) - 1));
    // Read first: after the first few entries of a bin nothing changes, and a read needs no lock.
    if ((load<u32>(seen + at) & value) == 0) atomic.or<u32>(seen + at, value);
  }
}

export function survey_BF16(context: usize): void { survey<u16>(context); }
export function survey_F16(context: usize): void { survey<i16>(context); }
export function survey_F32(context: usize): void { survey<f32>(context); }
