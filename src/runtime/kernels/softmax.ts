import { exp } from "./exp.js";
import { laneSum } from "./machine.js";
import type { Machine } from "./machine.js";

/**
 * Softmax over the keys that a query sees, zero elsewhere and in the padding. Query i sees keys below its sequence's
 * length; where `causal` only up to past + i; where `window` is above 0 only the last `window` of those. `bias`, `[heads,
 * queries, stride]`, is added first; `lengths` 0 means all keys. Where `causal` and without a bias, a row is not written
 * behind the four keys that hold its last.
 */
export function softmax(
  machine: Machine,
  scores: number,
  y: number,
  bias: number,
  lengths: number,
  batch: number,
  heads: number,
  queries: number,
  keys: number,
  stride: number,
  causal: number,
  window: number,
  past: number,
): void {
  const { f, i: integers, round } = machine;
  for (let row = 0; row < batch * heads * queries; row++) {
    const query = past + (row % queries);
    const length = lengths === 0 ? keys : integers[lengths + Math.floor(row / queries / heads)]!;
    const to = causal === 0 ? length : Math.min(query + 1, length);
    const from = window > 0 ? Math.max(0, Math.min(query + 1 - window, to - 1)) : 0;
    const at = row * stride;
    const shift = bias === 0 ? 0 : bias + (row % (heads * queries)) * stride;
    const score = (key: number) =>
      bias === 0 ? f[scores + at + key]! : round(f[scores + at + key]! + f[shift + key]!);
    const seen = (key: number) => key >= from && key < to;
    let top = -Infinity;
    for (let key = from; key < to; key++) top = Math.max(top, score(key));
    const terms = Array.from({ length: stride }, (_, key) => (seen(key) ? exp(machine, round(score(key) - top)) : 0));
    const scale = round(1 / laneSum(machine, stride, (key) => terms[key]!));
    const filled = causal !== 0 && bias === 0 ? Math.min(query - (query % 4) + 4, stride) : stride;
    for (let key = 0; key < filled; key++) f[y + at + key] = round(terms[key]! * scale);
  }
}

/**
 * ds = p (dp − Σ dp p) over `blocks` of `queries` rows, zero in the padding; `stride` is `keys` rounded up to a multiple of
 * four. Where `causal`, only keys up to the four that hold past + i count, and those behind are not written.
 */
export function softmax_vjp(
  machine: Machine,
  p: number,
  dp: number,
  ds: number,
  blocks: number,
  queries: number,
  keys: number,
  stride: number,
  causal: number,
  past: number,
): void {
  const { f, round } = machine;
  for (let row = 0; row < blocks * queries; row++) {
    const at = row * stride;
    const query = past + (row % queries);
    const limit = causal === 0 ? stride : query - (query % 4) + 4;
    const count = Math.min(limit, keys);
    const sum = laneSum(machine, count, (key) => round(f[dp + at + key]! * f[p + at + key]!));
    for (let key = 0; key < Math.min(limit, stride); key++) {
      f[ds + at + key] = key < keys ? round(f[p + at + key]! * round(f[dp + at + key]! - sum)) : 0;
    }
  }
}
