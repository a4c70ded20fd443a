import { stepOf } from "../axis.js";
import type { Strategy } from "./strategy.js";

/**
 * DPPA's greedy amplification (J. Zhu et al., arXiv 2403.02799): every axis begins at its first value. The first goes up,
 * value by value, while the score rises strictly; then it stays at its best and the next axis goes up.
 */
export const raise: Strategy = function* ({ axes }) {
  let best = axes.map(() => 0);
  let score = yield best;
  for (const [axis, one] of axes.entries()) {
    const step = stepOf(one);
    for (let place = step; place <= 1 + 1e-9; place += step) {
      const next = best.with(axis, place);
      const found = yield next;
      if (!(found > score)) break;
      [best, score] = [next, found];
    }
  }
};
