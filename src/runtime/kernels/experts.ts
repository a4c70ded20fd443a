import { gemm } from "../../algebra/kernels/gemm.js";
import { exp } from "./exp.js";
import { laneSum } from "./machine.js";
import type { Machine } from "./machine.js";

/**
 * Which experts a row goes through, from its projections `[rows, experts × rank]` on their gates: shares are the softmax of
 * the projections' lengths; the `top` largest are chosen, the first of equals, with weights that sum to 1.
 * @param chosen i32 `[rows, top]`. @param weights `[rows, top]`.
 */
export function gate(
  machine: Machine,
  projections: number,
  shares: number,
  chosen: number,
  weights: number,
  rows: number,
  experts: number,
  rank: number,
  top: number,
): void {
  const { f, i, round } = machine;
  for (let row = 0; row < rows; row++) {
    const to = shares + row * experts;
    let most = 0;
    for (let e = 0; e < experts; e++) {
      const at = projections + (row * experts + e) * rank;
      const length = round(Math.sqrt(laneSum(machine, rank, (k) => round(f[at + k]! * f[at + k]!))));
      f[to + e] = length;
      most = Math.max(most, length);
    }
    let sum = 0;
    for (let e = 0; e < experts; e++) {
      f[to + e] = exp(machine, round(f[to + e]! - most));
      sum = round(sum + f[to + e]!);
    }
    for (let e = 0; e < experts; e++) f[to + e] = round(f[to + e]! / sum);
    let kept = 0;
    for (let t = 0; t < top; t++) {
      let best = -1;
      for (let e = 0; e < experts; e++) {
        let taken = false;
        for (let before = 0; before < t; before++) taken ||= i[chosen + row * top + before] === e;
        if (!taken && (best < 0 || f[to + e]! > f[to + best]!)) best = e;
      }
      i[chosen + row * top + t] = best;
      f[weights + row * top + t] = f[to + best]!;
      kept = round(kept + f[to + best]!);
    }
    for (let t = 0; t < top; t++) f[weights + row * top + t] = round(f[weights + row * top + t]! / kept);
  }
}

/**
 * Adds to each row of y what its experts make of its row of x: weight × (left_e^T (right_e x) + bias_e), expert by expert.
 * @param right `[experts × rank, inputs]`; 0: `left` is `[experts × outputs, inputs]`, else `[experts × rank, outputs]`.
 * @param bias `[experts, outputs]`, or 0. @param gathered room for x, @param inner for `[rows, rank]`, @param made for y.
 */
export function experts(
  machine: Machine,
  x: number,
  chosen: number,
  weights: number,
  right: number,
  left: number,
  bias: number,
  gathered: number,
  inner: number,
  made: number,
  y: number,
  rows: number,
  inputs: number,
  outputs: number,
  rank: number,
  count: number,
  top: number,
): void {
  const { f, i, round } = machine;
  for (let e = 0; e < count; e++) {
    let found = 0;
    for (let at = 0; at < rows * top; at++) {
      if (i[chosen + at] !== e) continue;
      const from = x + Math.floor(at / top) * inputs;
      f.copyWithin(gathered + found * inputs, from, from + inputs);
      found++;
    }
    if (found === 0) continue;
    const b = bias === 0 ? 0 : bias + e * outputs;
    if (right === 0) {
      const whole = left + e * outputs * inputs;
      gemm(machine, found, outputs, inputs, gathered, inputs, 0, whole, inputs, 1, made, outputs, 1, b, 0);
    } else {
      const [v, u] = [right + e * rank * inputs, left + e * rank * outputs];
      gemm(machine, found, rank, inputs, gathered, inputs, 0, v, inputs, 1, inner, rank, 1, 0, 0);
      gemm(machine, found, outputs, rank, inner, rank, 0, u, outputs, 0, made, outputs, 1, b, 0);
    }
    let next = 0;
    for (let at = 0; at < rows * top; at++) {
      if (i[chosen + at] !== e) continue;
      const to = y + Math.floor(at / top) * outputs;
      for (let c = 0; c < outputs; c++)
        f[to + c] = round(f[to + c]! + round(f[weights + at]! * f[made + next * outputs + c]!));
      next++;
    }
  }
}
