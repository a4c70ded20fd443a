import { COLUMNS, ENTRIES, ROWS, ROW_BYTES, SUBTRACT } from "../context.as";
import { first, load8, magnitudeBits, second, widen1 } from "../lanes.as";

/**
 * Writes, per model (row), the bit patterns of the magnitudes of its changes, as u32, to the address in the row's first
 * column. Of the tile's entries those that are no padding: nothing is written behind them.
 */
// @ts-ignore: decorator
@inline function magnitudes<T>(context: usize): void {
  const base = <usize>load<u32>(context, SUBTRACT);
  const rowsEnd = context + ROWS + <usize>load<i32>(context) * ROW_BYTES;
  const count = load<i32>(context, ENTRIES);
  const whole = <usize>(count & ~7) * sizeof<T>(), end = <usize>count * sizeof<T>();
  const magnitude = magnitudeBits();
  for (let row = context + ROWS; row < rowsEnd; row += ROW_BYTES) {
    const model = <usize>load<u32>(row);
    let target = <usize>load<u32>(row, COLUMNS);
    for (let at: usize = 0; at < whole; at += 8 * sizeof<T>(), target += 32) {
      const v = load8<T>(base + at), w = load8<T>(model + at);
      const low = f32x4.sub(first<T, f32>(w), first<T, f32>(v));
      const high = f32x4.sub(second<T, f32>(w, model + at), second<T, f32>(v, base + at));
      v128.store(target, v128.and(low, magnitude));
      v128.store(target, v128.and(high, magnitude), 16);
    }
    for (let at = whole; at < end; at += sizeof<T>(), target += 4) {
      store<f32>(target, abs<f32>(widen1<T>(model + at) - widen1<T>(base + at)));
    }
  }
}

export function magnitudes_BF16(context: usize): void { magnitudes<u16>(context); }
export function magnitudes_F16(context: usize): void { magnitudes<i16>(context); }
export function magnitudes_F32(context: usize): void { magnitudes<f32>(context); }
