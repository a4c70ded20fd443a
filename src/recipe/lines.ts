/** The block `lines:` of a recipe. */

import type { Where } from "../errors.js";
import type { Method } from "../methods/method.js";
import type { LinesSettings } from "./recipe.js";
import type { Node } from "./tree.js";
import { isNothing, note, readEntries, readNumber, type Reading } from "./values.js";

/** @param where of the key. */
export function readLines(reading: Reading, node: Node, where: Where, method: Method | null): LinesSettings | null {
  if (isNothing(node)) return null;
  if (method !== null && method.parameters.lambda?.type !== "number") {
    reading.issues.add(`lines does not go with ${method.name}`, {
      code: "recipe/unsupported",
      where,
      expected: "a method with the parameter lambda, the scale of the merged change",
      advice: "remove lines, or use task_arithmetic, ties or another method with a lambda",
    });
  }
  const entries = readEntries(reading, node, "lines", { known: ["alpha", "beta"] });
  if (entries === null) return null;
  const read = (key: "alpha" | "beta") => {
    const entry = entries.get(key);
    if (entry === undefined) return undefined;
    note(reading, `lines.${key}`, entry.where);
    return key === "alpha" && isNothing(entry.node) ? undefined : readNumber(reading, {}, entry.node, `lines.${key}`);
  };
  const alpha = read("alpha") ?? null;
  const beta = read("beta");
  if (beta === undefined && !entries.has("beta")) {
    reading.issues.add("the recipe has no lines.beta", {
      code: "recipe/missing-key",
      where,
      expected: "beta: what the last layer's factor is above the first layer's",
    });
  }
  return { alpha, beta: beta ?? 0 };
}
