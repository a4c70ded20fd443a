/** Points on the great circle through two vectors, as coefficients of the two. */
import type { Gram } from "../methods/method.js";
import { cosine, norm } from "./gram.js";

/** Nearer to the same or to opposite directions the line through both stands for the arc, whose plane is all rounding. */
const LEAST_ANGLE = 1e-4;

export interface ArcRule {
  /** Magnitude of the cosine above which the straight line is taken. */
  readonly linearAbove: number;
  /** What a vector of zeros, which has no direction, does: `line`, or `quarter`: stand at right angles to the other. */
  readonly zero: string;
}

/**
 * sin((1 − t) θ) / sin θ and sin(t θ) / sin θ, with θ the angle between vectors a and b; 1 − t and t on the straight line.
 * Coefficients of the vectors as they are, not of their directions: lengths are interpolated along.
 */
export function alongArc(gram: Gram, a: number, b: number, t: number, rule: ArcRule): [number, number] {
  const hasZero = norm(gram, a) === 0 || norm(gram, b) === 0;
  const cos = cosine(gram, a, b);
  const angle = Math.acos(cos);
  const isFlat = Math.min(angle, Math.PI - angle) < LEAST_ANGLE;
  if (isFlat || Math.abs(cos) > rule.linearAbove || (hasZero && rule.zero === "line")) return [1 - t, t];
  const sin = Math.sin(angle);
  return [Math.sin((1 - t) * angle) / sin, Math.sin(t * angle) / sin];
}
