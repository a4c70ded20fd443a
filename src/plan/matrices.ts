/** Which tensors a method of whole matrices is given. */
import type { MatrixMethod } from "../methods/method.js";
import type { PlannedTensor } from "./types.js";

/** With statistics, only what they know; and of that, what the method takes. */
export function isSolved(
  method: MatrixMethod,
  { name, shape, settings, statistics }: Pick<PlannedTensor, "name" | "shape" | "settings" | "statistics">,
): boolean {
  if (settings === null || (method.statistics !== undefined && statistics === undefined)) return false;
  return method.takes(settings, { name, shape });
}
