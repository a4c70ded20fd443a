import { cmaEs } from "./cma_es.js";
import { coordinate } from "./coordinate.js";
import { grid } from "./grid.js";
import { raise } from "./raise.js";
import { sobol } from "./sobol.js";
import type { Strategy } from "./strategy.js";

/** By the name that a user gives. */
export const strategies = { grid, sobol, coordinate, "cma-es": cmaEs, raise } satisfies Record<string, Strategy>;

export type StrategyName = keyof typeof strategies;

/** Candidates that are tried unless a budget says otherwise; `null`: as many as the strategy asks for. */
export function usualBudget(name: StrategyName, axes: number): number | null {
  return name === "grid" || name === "raise" ? null : 20 + 10 * axes;
}
