/**
 * Activations. `gelu` is x Φ(x), with Φ from the error function of Abramowitz and Stegun, formula 7.1.26 (error 1.5e-7);
 * the others are gates x σ(w(x)): `gelu_tanh` 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))), `quick_gelu` x σ(1.702 x),
 * `silu` x σ(x); then `relu` and `tanh`.
 */

import { exp, logistic } from "./exp.js";
import type { Machine } from "./machine.js";

export const ACTIVATIONS = ["gelu", "gelu_tanh", "quick_gelu", "silu", "relu", "tanh"] as const;
export type Activation = (typeof ACTIVATIONS)[number];

const TAIL = [-0.7265760135, 0.7107068705, -0.142248368, 0.127414796];

/** Φ(x) from e = exp(−x²/2). */
function phi({ round }: Machine, x: number, e: number): number {
  const z = round(Math.abs(x) * round(Math.SQRT1_2));
  const t = round(1 / round(1 + round(z * round(0.3275911))));
  let q = round(0.5307027145);
  for (const c of TAIL) q = round(round(q * t) + round(c));
  const tail = round(round(q * t) * e);
  return x < 0 ? tail : round(1 - tail);
}

function bell(machine: Machine, x: number): number {
  const { round } = machine;
  return exp(machine, round(round(x * x) * -0.5));
}

/** w(x). */
function gate({ round }: Machine, kind: number, x: number): number {
  if (kind === 2) return round(x * round(1.702));
  if (kind === 3) return x;
  const cube = round(round(x * x) * round(0.0713548162726));
  return round(x * round(cube + round(1.59576912160573)));
}

function gateSlope({ round }: Machine, kind: number, x: number): number {
  if (kind === 2) return round(1.702);
  if (kind === 3) return 1;
  return round(round(round(x * x) * round(0.2140644488178)) + round(1.59576912160573));
}

function tanh(machine: Machine, x: number): number {
  const { round } = machine;
  return round(round(logistic(machine, round(x * 2)) * 2) - 1);
}

function value(machine: Machine, kind: number, x: number): number {
  const { round } = machine;
  if (kind === 0) return round(x * phi(machine, x, bell(machine, x)));
  if (kind < 4) return round(x * logistic(machine, gate(machine, kind, x)));
  return kind === 4 ? Math.max(x, 0) : tanh(machine, x);
}

function slope(machine: Machine, kind: number, x: number): number {
  const { round } = machine;
  if (kind === 0) {
    const e = bell(machine, x);
    return round(phi(machine, x, e) + round(round(x * e) * round(0.3989422804014327)));
  }
  if (kind < 4) {
    const s = logistic(machine, gate(machine, kind, x));
    return round(s + round(round(x * round(s * round(1 - s))) * gateSlope(machine, kind, x)));
  }
  const t = tanh(machine, x);
  return round(1 - round(t * t));
}

/** y = activation(x); `count` is a multiple of four, as memory is given out. */
export function activate(machine: Machine, kind: number, x: number, y: number, count: number): void {
  const { f } = machine;
  for (let index = 0; index < count; index++) f[y + index] = value(machine, kind, f[x + index]!);
}

/** dx = dy · activation'(x). */
export function activate_vjp(machine: Machine, kind: number, x: number, dy: number, dx: number, count: number): void {
  const { f, round } = machine;
  for (let index = 0; index < count; index++) {
    const v = f[x + index]!;
    const g = f[dy + index]!;
    if (kind === 4) f[dx + index] = v > 0 ? g : 0;
    else f[dx + index] = round(g * slope(machine, kind, v));
  }
}
