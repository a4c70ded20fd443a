/** What the losses need of rows of logits, and the derivatives; definition in loss.ts. */
import { exp4 } from "./exp.as";
import { firstLanes, loadPart, maxOf, storePart, sumOf } from "./lanes.as";

export function row_stats(logits: usize, targets: usize, stats: usize, rows: i32, classes: i32): void {
  const bytes = <usize>classes << 2;
  const whole = <usize>(classes & ~3) << 2;
  const rest = classes & 3;
  const part = firstLanes(rest);
  for (let row = 0; row < rows; row++) {
    let most = f32x4.splat(-Infinity);
    for (let at: usize = 0; at < whole; at += 16) most = f32x4.max(most, v128.load(logits + at));
    if (rest > 0) most = f32x4.max(most, v128.bitselect(loadPart(logits + whole, rest), f32x4.splat(-Infinity), part));
    const top = maxOf(most);
    const highest = f32x4.splat(top);
    let sums = f32x4.splat(0), products = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const d = f32x4.sub(v128.load(logits + at), highest);
      const e = exp4(d);
      sums = f32x4.add(sums, e);
      products = f32x4.add(products, f32x4.mul(e, d));
    }
    if (rest > 0) {
      const d = f32x4.sub(loadPart(logits + whole, rest), highest);
      const e = v128.and(exp4(d), part);
      sums = f32x4.add(sums, e);
      products = f32x4.add(products, f32x4.mul(e, d));
    }
    const target = targets == 0 ? -1 : load<i32>(targets + (<usize>row << 2));
    store<f32>(stats, top);
    store<f32>(stats, sumOf(sums), 4);
    store<f32>(stats, target < 0 ? 0 : load<f32>(logits + (<usize>target << 2)) - top, 8);
    store<f32>(stats, sumOf(products), 12);
    stats += 16;
    logits += bytes;
  }
}

export function cross_entropy_vjp(
  logits: usize, stats: usize, targets: usize, weights: usize, dlogits: usize, rows: i32, classes: i32,
): void {
  const bytes = <usize>classes << 2;
  const whole = <usize>(classes & ~3) << 2;
  const rest = classes & 3;
  for (let row = 0; row < rows; row++) {
    const weight = load<f32>(weights + (<usize>row << 2));
    const highest = f32x4.splat(load<f32>(stats)), scale = f32x4.splat(weight / load<f32>(stats, 4));
    for (let at: usize = 0; at < whole; at += 16) {
      v128.store(dlogits + at, f32x4.mul(exp4(f32x4.sub(v128.load(logits + at), highest)), scale));
    }
    if (rest > 0) {
      storePart(dlogits + whole, f32x4.mul(exp4(f32x4.sub(loadPart(logits + whole, rest), highest)), scale), rest);
    }
    const target = load<i32>(targets + (<usize>row << 2));
    if (target >= 0) {
      const at = dlogits + (<usize>target << 2);
      store<f32>(at, load<f32>(at) - weight);
    }
    stats += 16;
    logits += bytes;
    dlogits += bytes;
  }
}

export function entropy_vjp(
  logits: usize, stats: usize, weights: usize, dlogits: usize, rows: i32, classes: i32,
): void {
  const bytes = <usize>classes << 2;
  const whole = <usize>(classes & ~3) << 2;
  const rest = classes & 3;
  for (let row = 0; row < rows; row++) {
    const sum = load<f32>(stats, 4);
    const highest = f32x4.splat(load<f32>(stats)), average = f32x4.splat(load<f32>(stats, 12) / sum);
    const scale = f32x4.splat(load<f32>(weights + (<usize>row << 2)) / sum);
    for (let at: usize = 0; at < whole; at += 16) {
      const d = f32x4.sub(v128.load(logits + at), highest);
      v128.store(dlogits + at, f32x4.mul(f32x4.mul(exp4(d), scale), f32x4.sub(average, d)));
    }
    if (rest > 0) {
      const d = f32x4.sub(loadPart(logits + whole, rest), highest);
      storePart(dlogits + whole, f32x4.mul(f32x4.mul(exp4(d), scale), f32x4.sub(average, d)), rest);
    }
    stats += 16;
    logits += bytes;
    dlogits += bytes;
  }
}
