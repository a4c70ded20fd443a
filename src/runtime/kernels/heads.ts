import { PARTS, triangle } from "../../algebra/kernels/gemm.js";
import type { Machine } from "./machine.js";

/**
 * scores = alpha Q K^T, head by head; `[batch, heads, queries, keys]`, rows `stride` apart. Where `causal`, here and below,
 * query i sees keys up to past + i, and other scores are neither written nor read, in whole panels of 4 rows and 8 columns.
 */
export function heads_scores(
  machine: Machine,
  batch: number,
  heads: number,
  keyHeads: number,
  queries: number,
  keys: number,
  size: number,
  q: number,
  qStride: number,
  k: number,
  kStride: number,
  scores: number,
  stride: number,
  alpha: number,
  causal: number,
  past: number,
): void {
  const group = heads / keyHeads;
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const from = q + n * queries * qStride + h * size;
      const key = k + n * keys * kStride + Math.floor(h / group) * size;
      const to = scores + (n * heads + h) * queries * stride;
      triangle(
        machine,
        queries,
        keys,
        size,
        from,
        qStride,
        0,
        key,
        kStride,
        1,
        to,
        stride,
        alpha,
        0,
        0,
        causal === 0 ? PARTS.whole : PARTS.entries,
        past,
      );
    }
  }
}

/** contexts = alpha scores V. */
export function heads_mix(
  machine: Machine,
  batch: number,
  heads: number,
  keyHeads: number,
  queries: number,
  keys: number,
  size: number,
  scores: number,
  stride: number,
  v: number,
  vStride: number,
  y: number,
  yStride: number,
  alpha: number,
  causal: number,
  past: number,
): void {
  const group = heads / keyHeads;
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const from = scores + (n * heads + h) * queries * stride;
      const value = v + n * keys * vStride + Math.floor(h / group) * size;
      const to = y + n * queries * yStride + h * size;
      triangle(
        machine,
        queries,
        size,
        keys,
        from,
        stride,
        0,
        value,
        vStride,
        0,
        to,
        yStride,
        alpha,
        0,
        0,
        causal === 0 ? PARTS.whole : PARTS.first,
        past,
      );
    }
  }
}

/** values = alpha scores^T Y, summed over the heads of a group in order. */
export function heads_mix_t(
  machine: Machine,
  batch: number,
  heads: number,
  keyHeads: number,
  queries: number,
  keys: number,
  size: number,
  scores: number,
  stride: number,
  y: number,
  yStride: number,
  v: number,
  vStride: number,
  alpha: number,
  causal: number,
  past: number,
): void {
  const group = heads / keyHeads;
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const from = scores + (n * heads + h) * queries * stride;
      const right = y + n * queries * yStride + h * size;
      const to = v + n * keys * vStride + Math.floor(h / group) * size;
      const add = h % group === 0 ? 0 : 1;
      triangle(
        machine,
        keys,
        size,
        queries,
        from,
        stride,
        1,
        right,
        yStride,
        0,
        to,
        vStride,
        alpha,
        0,
        add,
        causal === 0 ? PARTS.whole : PARTS.last,
        past,
      );
    }
  }
}
