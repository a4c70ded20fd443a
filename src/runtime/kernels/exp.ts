import type { Machine } from "./machine.js";

/**
 * e^x for x from −87.3 to 88, clamped outside: x = n ln 2 + r with |r| ≤ ln 2 / 2, then a polynomial of degree 6 in r.
 * Coefficients and the split of ln 2 are those of the Cephes library (S. Moshier, expf): relative error about 1e-7.
 */
export function exp({ round }: Machine, x: number): number {
  const a = Math.min(Math.max(x, round(-87.3)), 88);
  const n = Math.floor(round(round(a * round(1.4426950408889634)) + 0.5));
  const r = round(round(a - round(n * 0.693359375)) + round(n * round(2.1219444e-4)));
  let y = round(1.98756915e-4);
  for (const c of [1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1]) {
    y = round(round(y * r) + round(c));
  }
  y = round(round(round(y * round(r * r)) + r) + 1);
  return round(y * 2 ** n);
}

/** 1 / (1 + e^−x). */
export function logistic(machine: Machine, x: number): number {
  const { round } = machine;
  return round(1 / round(1 + exp(machine, -x)));
}
