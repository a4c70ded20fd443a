import { sumLanes } from "./lanes.as";

/**
 * The block of memory through which a kernel is called; src/kernels/context.ts writes it.
 * Pointers are byte addresses; a row per model follows the fixed part.
 */
export const COUNT: usize = 4;
export const OUT: usize = 8;
export const SUBTRACT: usize = 12;
export const ADD: usize = 16;
export const SCRATCH: usize = 20;
export const SCALARS: usize = 24;
/** An f32 per entry: the measure of its row. */
export const STREAM: usize = 56;
/** Of the rows of an output that has several. */
export const STRIDE: usize = 60;
export const COUNTERS: usize = 64;
/** How many of the entries are no padding, an i32; for kernels that count what padding may look like. */
export const ENTRIES: usize = 184;
export const ROWS: usize = 192;
export const ROW_BYTES: usize = 64;
/** Of scratch memory. */
export const SCRATCH_ROW_BYTES: usize = 128;
/** Inside a row. */
export const COLUMNS: usize = 4;
/** Address of the row's collected sums, an f32 per entry, where the method has any; in place of the last column. */
export const SUMS: usize = 28;
export const ROW_COUNTERS: usize = 32;

/** Adds four i32 to a counter, an f64. */
// @ts-ignore: decorator
@inline export function addCounter(context: usize, index: usize, v: v128): void {
  const at = context + COUNTERS + 8 * index;
  store<f64>(at, load<f64>(at) + <f64>sumLanes(v));
}
