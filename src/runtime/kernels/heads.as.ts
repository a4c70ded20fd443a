/**
 * The three products of attention, head by head in the layout `[batch x length, heads x size]`, without transposing.
 * Groups of heads / keyHeads heads share a key head. Scores are `[batch, heads, queries, keys]` with `stride` entries per
 * row. Row strides of queries, keys, values and contexts count entries. Where `causal`, query i sees keys up to past + i and
 * only those scores are written and read, in whole panels.
 */
import { triangle } from "../../algebra/kernels/gemm.as";

/** scores = alpha Q K^T. */
export function heads_scores(
  batch: i32, heads: i32, keyHeads: i32, queries: i32, keys: i32, size: i32,
  q: usize, qStride: i32, k: usize, kStride: i32, scores: usize, stride: i32, alpha: f32,
  causal: i32, past: i32, scratch: usize,
): void {
  const group = heads / keyHeads;
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const from = q + (<usize>(n * queries * qStride + h * size) << 2);
      const key = k + (<usize>(n * keys * kStride + (h / group) * size) << 2);
      const to = scores + (<usize>(n * heads + h) * <usize>(queries * stride) << 2);
      triangle(queries, keys, size, from, qStride, 0, key, kStride, 1, to, stride, alpha, 0, 0, causal != 0 ? 1 : 0, past, scratch);
    }
  }
}

/** contexts = alpha scores V. */
export function heads_mix(
  batch: i32, heads: i32, keyHeads: i32, queries: i32, keys: i32, size: i32,
  scores: usize, stride: i32, v: usize, vStride: i32, y: usize, yStride: i32, alpha: f32,
  causal: i32, past: i32, scratch: usize,
): void {
  const group = heads / keyHeads;
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const from = scores + (<usize>(n * heads + h) * <usize>(queries * stride) << 2);
      const value = v + (<usize>(n * keys * vStride + (h / group) * size) << 2);
      const to = y + (<usize>(n * queries * yStride + h * size) << 2);
      triangle(queries, size, keys, from, stride, 0, value, vStride, 0, to, yStride, alpha, 0, 0, causal != 0 ? 2 : 0, past, scratch);
    }
  }
}

/** values = alpha scores^T Y, summed over the heads of a group in order. */
export function heads_mix_t(
  batch: i32, heads: i32, keyHeads: i32, queries: i32, keys: i32, size: i32,
  scores: usize, stride: i32, y: usize, yStride: i32, v: usize, vStride: i32, alpha: f32,
  causal: i32, past: i32, scratch: usize,
): void {
  const group = heads / keyHeads;
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const from = scores + (<usize>(n * heads + h) * <usize>(queries * stride) << 2);
      const right = y + (<usize>(n * queries * yStride + h * size) << 2);
      const to = v + (<usize>(n * keys * vStride + (h / group) * size) << 2);
      const add = h % group == 0 ? 0 : 1;
      triangle(keys, size, queries, from, stride, 1, right, yStride, 0, to, vStride, alpha, 0, add, causal != 0 ? 3 : 0, past, scratch);
    }
  }
}
