import { stepOf } from "../axis.js";
import type { Strategy } from "./strategy.js";

/**
 * From the middle, along one axis after the other: a step either way, as long as it helps strictly. Once no axis helps,
 * steps are halved, down to the axes' own.
 */
export const coordinate: Strategy = function* ({ axes }) {
  const finest = axes.map(stepOf);
  // The middle of an axis with an even number of values is one of them.
  let best = finest.map((step) => Math.round(0.5 / step) * step);
  let score = yield best;
  for (let width = 0.25; ; width /= 2) {
    const steps = finest.map((step) => Math.max(step, Math.round(width / step) * step));
    for (let helped = true; helped; ) {
      helped = false;
      for (const [axis, step] of steps.entries()) {
        for (const sign of [1, -1]) {
          for (;;) {
            const place = best[axis]! + sign * step;
            if (place < -1e-9 || place > 1 + 1e-9) break;
            const next = best.with(axis, place);
            const found = yield next;
            if (!(found > score)) break;
            [best, score, helped] = [next, found, true];
          }
        }
      }
    }
    if (steps.every((step, axis) => step <= finest[axis]!)) return;
  }
};
