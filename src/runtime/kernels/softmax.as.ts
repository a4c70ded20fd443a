/** Softmax of attention scores and its derivative; definition in softmax.ts. Rows are padded to whole vectors. */
import { exp4 } from "./exp.as";
import { firstLanes, maxOf, sumOf } from "./lanes.as";

export function softmax(
  scores: usize, y: usize, bias: usize, lengths: usize,
  batch: i32, heads: i32, queries: i32, keys: i32, stride: i32, causal: i32, window: i32,
): void {
  const bytes = <usize>stride << 2;
  const lanes = i32x4(0, 1, 2, 3);
  for (let n = 0; n < batch; n++) {
    const length = lengths == 0 ? keys : load<i32>(lengths + (<usize>n << 2));
    let shift = bias;
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        const to = causal != 0 ? min(i + 1, length) : length;
        const from = window > 0 ? max(0, min(i + 1 - window, to - 1)) : 0;
        const first = from & ~3, end = (to + 3) & ~3;
        const low = i32x4.splat(from - 1), high = i32x4.splat(to);
        let most = f32x4.splat(-Infinity);
        for (let j = first; j < end; j += 4) {
          const at = <usize>j << 2;
          let v = v128.load(scores + at);
          if (bias != 0) v = f32x4.add(v, v128.load(shift + at));
          const place = i32x4.add(lanes, i32x4.splat(j));
          const seen = v128.and(i32x4.gt_s(place, low), i32x4.lt_s(place, high));
          v = v128.bitselect(v, f32x4.splat(-Infinity), seen);
          most = f32x4.max(most, v);
          v128.store(y + at, v);
        }
        const top = f32x4.splat(maxOf(most));
        let sums = f32x4.splat(0);
        for (let j = first; j < end; j += 4) {
          const at = <usize>j << 2;
          const place = i32x4.add(lanes, i32x4.splat(j));
          const seen = v128.and(i32x4.gt_s(place, low), i32x4.lt_s(place, high));
          const e = v128.and(exp4(f32x4.sub(v128.load(y + at), top)), seen);
          sums = f32x4.add(sums, e);
          v128.store(y + at, e);
        }
        const scale = f32x4.splat(<f32>1 / sumOf(sums));
        for (let j = first; j < end; j += 4) {
          const at = <usize>j << 2;
          v128.store(y + at, f32x4.mul(v128.load(y + at), scale));
        }
        memory.fill(y, 0, <usize>first << 2);
        memory.fill(y + (<usize>end << 2), 0, <usize>(stride - end) << 2);
        scores += bytes;
        y += bytes;
        shift += bytes;
      }
    }
  }
}

/** ds = p (dp − Σ dp p); what stands behind a row's `keys` entries in `dp` means nothing. */
export function softmax_vjp(p: usize, dp: usize, ds: usize, rows: i32, keys: i32, stride: i32): void {
  const bytes = <usize>stride << 2;
  const whole = <usize>(keys & ~3) << 2;
  const rest = keys & 3;
  const part = firstLanes(rest);
  for (let row = 0; row < rows; row++) {
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
