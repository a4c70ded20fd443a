/** Layer norm and root-mean-square norm of rows, and their derivatives; definition in norm.ts. */
import { firstLanes, loadPart, storePart, sumOf } from "./lanes.as";

export function layer_norm(
  x: usize, y: usize, stats: usize, gain: usize, shift: usize, rows: i32, columns: i32, eps: f32,
): void {
  const whole = <usize>(columns & ~3) << 2;
  const rest = columns & 3;
  const bytes = <usize>columns << 2;
  for (let row = 0; row < rows; row++) {
    let sums = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) sums = f32x4.add(sums, v128.load(x + at));
    if (rest > 0) sums = f32x4.add(sums, loadPart(x + whole, rest));
    const average = sumOf(sums) / <f32>columns;
    const mean = f32x4.splat(average);
    let squares = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const d = f32x4.sub(v128.load(x + at), mean);
      squares = f32x4.add(squares, f32x4.mul(d, d));
    }
    if (rest > 0) {
      const d = v128.and(f32x4.sub(loadPart(x + whole, rest), mean), firstLanes(rest));
      squares = f32x4.add(squares, f32x4.mul(d, d));
    }
    const scale: f32 = 1 / sqrt<f32>(sumOf(squares) / <f32>columns + eps);
    const inverse = f32x4.splat(scale);
    for (let at: usize = 0; at < whole; at += 16) {
      const h = f32x4.mul(f32x4.sub(v128.load(x + at), mean), inverse);
      v128.store(y + at, f32x4.add(f32x4.mul(h, v128.load(gain + at)), v128.load(shift + at)));
    }
    if (rest > 0) {
      const h = f32x4.mul(f32x4.sub(loadPart(x + whole, rest), mean), inverse);
      const v = f32x4.add(f32x4.mul(h, loadPart(gain + whole, rest)), loadPart(shift + whole, rest));
      storePart(y + whole, v, rest);
    }
    store<f32>(stats, average);
    store<f32>(stats, scale, 4);
    stats += 8;
    x += bytes;
    y += bytes;
  }
}

/** `dgain` and `dshift` are added to; 0 where not wanted. */
export function layer_norm_vjp(
  x: usize, dy: usize, stats: usize, gain: usize, dx: usize, dgain: usize, dshift: usize, rows: i32, columns: i32,
): void {
  const whole = <usize>(columns & ~3) << 2;
  const rest = columns & 3;
  const bytes = <usize>columns << 2;
  for (let row = 0; row < rows; row++) {
    const mean = f32x4.splat(load<f32>(stats)), inverse = f32x4.splat(load<f32>(stats, 4));
    let sums = f32x4.splat(0), products = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const g = v128.load(dy + at);
      const xh = f32x4.mul(f32x4.sub(v128.load(x + at), mean), inverse);
      const h = f32x4.mul(g, v128.load(gain + at));
      sums = f32x4.add(sums, h);
      products = f32x4.add(products, f32x4.mul(h, xh));
      if (dgain != 0) v128.store(dgain + at, f32x4.add(v128.load(dgain + at), f32x4.mul(g, xh)));
      if (dshift != 0) v128.store(dshift + at, f32x4.add(v128.load(dshift + at), g));
    }
    if (rest > 0) {
      const g = loadPart(dy + whole, rest);
      const xh = f32x4.mul(f32x4.sub(loadPart(x + whole, rest), mean), inverse);
      const h = f32x4.mul(g, loadPart(gain + whole, rest));
      sums = f32x4.add(sums, h);
      products = f32x4.add(products, f32x4.mul(h, xh));
      if (dgain != 0) storePart(dgain + whole, f32x4.add(loadPart(dgain + whole, rest), f32x4.mul(g, xh)), rest);
      if (dshift != 0) storePart(dshift + whole, f32x4.add(loadPart(dshift + whole, rest), g), rest);
    }
    const m1 = f32x4.splat(sumOf(sums) / <f32>columns), m2 = f32x4.splat(sumOf(products) / <f32>columns);
    for (let at: usize = 0; at < whole; at += 16) {
      const xh = f32x4.mul(f32x4.sub(v128.load(x + at), mean), inverse);
      const h = f32x4.mul(v128.load(dy + at), v128.load(gain + at));
      v128.store(dx + at, f32x4.mul(inverse, f32x4.sub(f32x4.sub(h, m1), f32x4.mul(xh, m2))));
    }
    if (rest > 0) {
      const xh = f32x4.mul(f32x4.sub(loadPart(x + whole, rest), mean), inverse);
      const h = f32x4.mul(loadPart(dy + whole, rest), loadPart(gain + whole, rest));
      storePart(dx + whole, f32x4.mul(inverse, f32x4.sub(f32x4.sub(h, m1), f32x4.mul(xh, m2))), rest);
    }
    stats += 8;
    x += bytes;
    dy += bytes;
    dx += bytes;
  }
}

/** `gain` 0 stands for ones. */
export function rms_norm(x: usize, y: usize, stats: usize, gain: usize, rows: i32, columns: i32, eps: f32): void {
  const whole = <usize>(columns & ~3) << 2;
  const rest = columns & 3;
  const bytes = <usize>columns << 2;
  const one = f32x4.splat(1);
  for (let row = 0; row < rows; row++) {
    let squares = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const v = v128.load(x + at);
      squares = f32x4.add(squares, f32x4.mul(v, v));
    }
    if (rest > 0) {
      const v = loadPart(x + whole, rest);
      squares = f32x4.add(squares, f32x4.mul(v, v));
    }
    const scale: f32 = 1 / sqrt<f32>(sumOf(squares) / <f32>columns + eps);
    const inverse = f32x4.splat(scale);
    for (let at: usize = 0; at < whole; at += 16) {
      const h = f32x4.mul(v128.load(x + at), inverse);
      v128.store(y + at, f32x4.mul(h, gain == 0 ? one : v128.load(gain + at)));
    }
    if (rest > 0) {
      const h = f32x4.mul(loadPart(x + whole, rest), inverse);
      storePart(y + whole, f32x4.mul(h, gain == 0 ? one : loadPart(gain + whole, rest)), rest);
    }
    store<f32>(stats, scale);
    stats += 4;
    x += bytes;
    y += bytes;
  }
}

/** `dgain` is added to; 0 where not wanted. */
export function rms_norm_vjp(
  x: usize, dy: usize, stats: usize, gain: usize, dx: usize, dgain: usize, rows: i32, columns: i32,
): void {
  const whole = <usize>(columns & ~3) << 2;
  const rest = columns & 3;
  const bytes = <usize>columns << 2;
  const one = f32x4.splat(1);
  for (let row = 0; row < rows; row++) {
    const inverse = f32x4.splat(load<f32>(stats));
    let products = f32x4.splat(0);
    for (let at: usize = 0; at < whole; at += 16) {
      const g = v128.load(dy + at);
      const xh = f32x4.mul(v128.load(x + at), inverse);
      const h = f32x4.mul(g, gain == 0 ? one : v128.load(gain + at));
      products = f32x4.add(products, f32x4.mul(h, xh));
      if (dgain != 0) v128.store(dgain + at, f32x4.add(v128.load(dgain + at), f32x4.mul(g, xh)));
    }
    if (rest > 0) {
      const g = loadPart(dy + whole, rest);
      const xh = f32x4.mul(loadPart(x + whole, rest), inverse);
      const h = f32x4.mul(g, gain == 0 ? one : loadPart(gain + whole, rest));
      products = f32x4.add(products, f32x4.mul(h, xh));
      if (dgain != 0) storePart(dgain + whole, f32x4.add(loadPart(dgain + whole, rest), f32x4.mul(g, xh)), rest);
    }
    const m2 = f32x4.splat(sumOf(products) / <f32>columns);
    for (let at: usize = 0; at < whole; at += 16) {
      const xh = f32x4.mul(v128.load(x + at), inverse);
      const h = f32x4.mul(v128.load(dy + at), gain == 0 ? one : v128.load(gain + at));
      v128.store(dx + at, f32x4.mul(inverse, f32x4.sub(h, f32x4.mul(xh, m2))));
    }
    if (rest > 0) {
      const xh = f32x4.mul(loadPart(x + whole, rest), inverse);
      const h = f32x4.mul(loadPart(dy + whole, rest), gain == 0 ? one : loadPart(gain + whole, rest));
      storePart(dx + whole, f32x4.mul(inverse, f32x4.sub(h, f32x4.mul(xh, m2))), rest);
    }
    stats += 4;
    x += bytes;
    dy += bytes;
    dx += bytes;
  }
}
