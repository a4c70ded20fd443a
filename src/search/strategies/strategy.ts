/**
 * How a search goes about it. A strategy yields points, one number from 0 to 1 per axis, and is told how good each is
 * (higher is better) before it yields the next. It ends when it is done, or is left where the budget is spent.
 */

import type { Axis } from "../axis.js";

export type Point = readonly number[];

export interface StrategyHow {
  readonly axes: readonly Axis[];
  /** Of everything random. */
  readonly seed: number;
}

export type Strategy = (how: StrategyHow) => Generator<Point, void, number>;
