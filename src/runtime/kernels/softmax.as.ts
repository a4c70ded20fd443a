/** Softmax of attention scores and its derivative; definition in softmax.ts. Rows are padded to whole vectors. */
import { exp4 } from "./exp.as";
import { firstLanes, maxOf, sumOf } from "./lanes.as";

/** The entries of four keys from `j` on that lie in [from, to), `other` in the place of the rest. */
// @ts-ignore: decorator
@inline function seen(v: v128, other: v128, j: i32, from: i32, to: i32): v128 {
  const place = i32x4.add(i32x4(0, 1, 2, 3), i32x4.splat(j));
  const inside = v128.and(i32x4.gt_s(place, i32x4.splat(from - 1)), i32x4.lt_s(place, i32x4.splat(to)));
  return v128.bitselect(v, other, inside);
}

/** One row over the keys in [from, to); only their vectors are written. */
function softmaxRow(x: usize, y: usize, from: i32, to: i32): void {
  const first = from & ~3;
  // Only the first and the last vector hold keys that are not seen.
  const last = (to - 1) & ~3;
  const lowest = f32x4.splat(-Infinity), zero = f32x4.splat(0);
  let most = seen(v128.load(x + (<usize>first << 2)), lowest, first, from, to);
  for (let j = first + 4; j < last; j += 4) most = f32x4.pmax(most, v128.load(x + (<usize>j << 2)));
  if (last > first) most = f32x4.pmax(most, seen(v128.load(x + (<usize>last << 2)), lowest, last, from, to));
  const top = f32x4.splat(maxOf(most));

  const start = <usize>first << 2, end = <usize>last << 2;
  let sums = seen(exp4(f32x4.sub(v128.load(x + start), top)), zero, first, from, to);
  v128.store(y + start, sums);
  for (let at = start + 16; at < end; at += 16) {
    const e = exp4(f32x4.sub(v128.load(x + at), top));
    sums = f32x4.add(sums, e);
    v128.store(y + at, e);
  }
  if (last > first) {
    const e = seen(exp4(f32x4.sub(v128.load(x + end), top)), zero, last, from, to);
    sums = f32x4.add(sums, e);
    v128.store(y + end, e);
  }
  const scale = f32x4.splat(<f32>1 / sumOf(sums));
  for (let at = start; at <= end; at += 16) v128.store(y + at, f32x4.mul(v128.load(y + at), scale));
}

export function softmax(
  scores: usize, y: usize, bias: usize, lengths: usize,
  batch: i32, heads: i32, queries: i32, keys: i32, stride: i32, causal: i32, window: i32, past: i32,
): void {
  const bytes = <usize>stride << 2;
  for (let n = 0; n < batch; n++) {
    const length = lengths == 0 ? keys : load<i32>(lengths + (<usize>n << 2));
    let shift = bias;
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        const position = past + i;
        const to = causal != 0 ? min(position + 1, length) : length;
        const from = window > 0 ? max(0, min(position + 1 - window, to - 1)) : 0;
        const first = <usize>(from & ~3) << 2, end = <usize>((to + 3) & ~3) << 2;
        if (bias != 0) {
          for (let at = first; at < end; at += 16) {
            v128.store(y + at, f32x4.add(v128.load(scores + at), v128.load(shift + at)));
          }
          softmaxRow(y, y, from, to);
        } else softmaxRow(scores, y, from, to);
        const filled = causal != 0 && bias == 0 ? <usize>min((position & ~3) + 4, stride) << 2 : bytes;
        memory.fill(y, 0, first);
        memory.fill(y + end, 0, filled - end);
        scores += bytes;
        y += bytes;
        shift += bytes;
      }
    }
  }
}

export function softmax_vjp(
  p: usize, dp: usize, ds: usize, blocks: i32, queries: i32, keys: i32, stride: i32, causal: i32, past: i32,
): void {
  const bytes = <usize>stride << 2;
  for (let block = 0; block < blocks; block++) {
    for (let i = 0; i < queries; i++) {
      const count = causal != 0 ? min(((past + i) & ~3) + 4, keys) : keys;
      const whole = <usize>(count & ~3) << 2;
      const rest = count & 3;
      const part = firstLanes(rest);
      let sums = f32x4.splat(0);
      for (let at: usize = 0; at < whole; at += 16) {
        sums = f32x4.add(sums, f32x4.mul(v128.load(dp + at), v128.load(p + at)));
      }
      if (rest > 0) {
        const product = f32x4.mul(v128.load(dp + whole), v128.load(p + whole));
        sums = f32x4.add(sums, v128.and(product, part));
      }
      const sum = f32x4.splat(sumOf(sums));
      for (let at: usize = 0; at < whole; at += 16) {
        v128.store(ds + at, f32x4.mul(v128.load(p + at), f32x4.sub(v128.load(dp + at), sum)));
      }
      if (rest > 0) {
        const v = f32x4.mul(v128.load(p + whole), f32x4.sub(v128.load(dp + whole), sum));
        v128.store(ds + whole, v128.and(v, part));
      }
      p += bytes;
      dp += bytes;
      ds += bytes;
    }
  }
}
