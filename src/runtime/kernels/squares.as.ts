/** Squares of gradients, one example or one class of an example at a time; definition in squares.ts. */
import { exp4 } from "./exp.as";
import { loadPart, storePart } from "./lanes.as";

export function square_sum(g: usize, sum: usize, count: i32): void {
  const zero = f32x4.splat(0);
  for (const end = g + (<usize>count << 2); g < end; g += 16, sum += 16) {
    const v = v128.load(g);
    v128.store(sum, f32x4.add(v128.load(sum), f32x4.mul(v, v)));
    v128.store(g, zero);
  }
}

export function expected_vjp(
  logits: usize, stats: usize, turn: usize, dlogits: usize, rows: i32, classes: i32,
): void {
  const whole = <usize>(classes & ~3) << 2;
  const rest = classes & 3;
  const place = load<i32>(turn);
  const row = place / classes;
  const target = <usize>(place % classes) << 2;
  const first = <usize>(row * classes) << 2;
  memory.fill(dlogits, 0, <usize>(rows * classes) << 2);
  stats += <usize>row << 4;
  logits += first;
  dlogits += first;
  const top = f32x4.splat(load<f32>(stats)), scale = f32x4.splat(<f32>1 / load<f32>(stats, 4));
  const own = f32x4.mul(exp4(f32x4.sub(f32x4.splat(load<f32>(logits + target)), top)), scale);
  const root = sqrt<f32>(f32x4.extract_lane(own, 0));
  const factor = f32x4.splat(root);
  for (let at: usize = 0; at < whole; at += 16) {
    const p = f32x4.mul(exp4(f32x4.sub(v128.load(logits + at), top)), scale);
    v128.store(dlogits + at, f32x4.mul(p, factor));
  }
  if (rest > 0) {
    const p = f32x4.mul(exp4(f32x4.sub(loadPart(logits + whole, rest), top)), scale);
    storePart(dlogits + whole, f32x4.mul(p, factor), rest);
  }
  store<f32>(dlogits + target, load<f32>(dlogits + target) - root);
  store<i32>(turn, place + 1);
}
