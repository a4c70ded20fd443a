// Written by scripts/catalogue.mjs from the files beside it; not to be edited.
import type { Method } from "./method.js";
import { average } from "./average.js";
import { taskArithmetic } from "./task_arithmetic.js";
import { ties } from "./ties.js";

/** Every merge method, sorted by file name. */
export const methods: readonly Method[] = [average, taskArithmetic, ties];

export function findMethod(name: string): Method | undefined {
  return methods.find((method) => method.name === name);
}
