import { gridOf } from "../axis.js";
import type { Strategy } from "./strategy.js";

/** Every combination of the axes' values, the last axis fastest. */
export const grid: Strategy = function* ({ axes }) {
  const indexes = axes.map((axis) => ("values" in axis ? axis.values.map((_, index) => index) : []));
  const last = indexes.map(({ length }) => Math.max(1, length - 1));
  for (const row of gridOf(axes.map(({ field }, at) => ({ field, values: indexes[at]! })))) {
    yield row.map((index, at) => index / last[at]!);
  }
};
