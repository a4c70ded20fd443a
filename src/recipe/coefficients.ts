/** `coefficients: FILE`: a table that takes the place of one parameter of the method. */

import type { Method } from "../methods/method.js";
import type { Setting } from "./recipe.js";
import type { Entry } from "./tree.js";
import { isNothing, join, placed, readLocation, type Reading } from "./values.js";

/** The table's path, where the method can be given one. */
export function readCoefficients(
  reading: Reading,
  { node, where }: Entry,
  methods: readonly Method[],
  method: Method | null,
): string | null {
  if (isNothing(node)) return null;
  if (method !== null && method.weighing === undefined) {
    const able = methods.filter(({ weighing }) => weighing !== undefined).map(({ name }) => name);
    reading.issues.add(`${method.name} takes no table of coefficients`, {
      code: "recipe/unsupported",
      where: placed(where, "coefficients"),
      expected: `one of ${able.join(", ")}`,
      advice: "remove coefficients:, or change the method",
    });
  }
  return readLocation(reading, node, "coefficients") ?? null;
}

/** The parameters as the table needs them: those that it fixes have its values, and nothing else sets the coefficient. */
export function withFixed(
  { issues, positions }: Reading,
  parameters: Readonly<Record<string, Setting>>,
  { weighing }: Method,
): Readonly<Record<string, Setting>> {
  const fixed = Object.entries(weighing?.fixed ?? {});
  for (const [name, value] of fixed) {
    const path = join("parameters", name);
    const where = positions.get(path);
    const { value: given, patterns } = parameters[name]!;
    if (where === undefined || (given === value && patterns.length === 0)) continue;
    issues.add(`${name} does not go together with a table of coefficients`, {
      code: "recipe/out-of-range",
      where: placed(where, path),
      expected: `${name}: ${String(value)}`,
      advice: `remove ${name}: the table says how strong each model is`,
    });
  }
  for (const [path, where] of positions) {
    if (weighing === undefined || !isSetting(path, weighing.coefficient)) continue;
    issues.add(`${weighing.coefficient} is given twice`, {
      code: "recipe/out-of-range",
      where: placed(where, path),
      expected: "either coefficients: or a value",
      advice: `remove ${weighing.coefficient}: the table gives it for every tensor`,
    });
  }
  return { ...parameters, ...Object.fromEntries(fixed.map(([name, value]) => [name, { value, patterns: [] }])) };
}

/** Whether a key path is that of a parameter, of the recipe's or of a model's. */
function isSetting(path: string, name: string): boolean {
  return path === `parameters.${name}` || (/^models\.\d+\./.test(path) && path.endsWith(`.parameters.${name}`));
}
