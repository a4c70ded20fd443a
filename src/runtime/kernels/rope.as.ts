/** Rotary positions; definition in rope.ts. */
import { loadPart, storePart } from "./lanes.as";

export function rope(
  x: usize, y: usize, table: usize, rows: i32, heads: i32, size: i32, length: i32, direction: f32,
): void {
  const half = size >> 1;
  const halfBytes = <usize>half << 2;
  const whole = <usize>(half & ~3) << 2;
  const rest = half & 3;
  const turn = f32x4.splat(direction);
  for (let row = 0; row < rows; row++) {
    const cosines = table + (<usize>(row % length) * <usize>size << 2);
    const sines = cosines + halfBytes;
    for (let h = 0; h < heads; h++) {
      for (let at: usize = 0; at < whole; at += 16) {
        const a = v128.load(x + at), b = v128.load(x + halfBytes + at);
        const c = v128.load(cosines + at), s = f32x4.mul(v128.load(sines + at), turn);
        v128.store(y + at, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
        v128.store(y + halfBytes + at, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
      }
      if (rest > 0) {
        const a = loadPart(x + whole, rest), b = loadPart(x + halfBytes + whole, rest);
        const c = loadPart(cosines + whole, rest), s = f32x4.mul(loadPart(sines + whole, rest), turn);
        storePart(y + whole, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)), rest);
        storePart(y + halfBytes + whole, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)), rest);
      }
      x += 2 * halfBytes;
      y += 2 * halfBytes;
    }
  }
}
