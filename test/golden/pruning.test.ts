/** mergekit's golden vectors of the task arithmetic family, from files to files. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { narrow, widen } from "../../src/numbers/convert.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { Folder, merge, tensor } from "../laws/support/family.js";

type PerModel = Readonly<Record<string, number>>;

interface Golden {
  readonly inputs: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly cases: readonly {
    readonly name: string;
    readonly method: string;
    readonly models: readonly string[];
    readonly parameters: Readonly<Record<string, number | boolean | PerModel>>;
    readonly dtype: string;
    readonly output: readonly (readonly number[])[];
  }[];
}

const golden = JSON.parse(
  readFileSync(new URL("../../../test/golden/mergekit-0.1.5.json", import.meta.url), "utf8"),
) as Golden;

const FAMILY = new Set([
  "task_arithmetic",
  "ties",
  "dare_linear",
  "dare_ties",
  "breadcrumbs",
  "breadcrumbs_ties",
  "della",
  "della_linear",
]);

const folder = new Folder();
after(() => folder.remove());

for (const dtype of ["F32", "BF16"] as const) {
  for (const [name, rows] of Object.entries(golden.inputs))
    folder.write(`${dtype}-${name}`, [tensor("w", rows.flat(), dtype, [4, 12])]);
}

/** mergekit's words in ours: `normalize` is a flag of the linear ones and chooses `merge` of the others. */
function translate(method: string, name: string, value: number | boolean): readonly [string, unknown] {
  const elects = method !== "task_arithmetic" && !method.endsWith("_linear") && method !== "breadcrumbs";
  if (name === "normalize" && elects) return ["merge", value === true ? "mean" : "sum"];
  if (name === "rescale") return ["rescale", value === true ? "norm" : "none"];
  return [name, value];
}

/** The spacing of BF16 numbers at a magnitude. */
function spacing(magnitude: number): number {
  return 2 ** (Math.floor(Math.log2(magnitude)) - 7);
}

describe("mergekit 0.1.5, task arithmetic and what prunes before it", () => {
  const cases = golden.cases.filter(({ method }) => FAMILY.has(method));
  assert.ok(cases.length >= 14, `${cases.length} cases`);
  for (const { name, method, models, parameters, dtype, output } of cases) {
    it(name, async () => {
      const format: FloatDtype = dtype === "bfloat16" ? "BF16" : "F32";
      const global: Record<string, unknown> = {};
      const own = new Map<string, Record<string, unknown>>(models.map((model) => [model, {}]));
      for (const [key, value] of Object.entries(parameters)) {
        if (key === "int8_mask" || (key === "density" && method === "task_arithmetic")) continue;
        if (typeof value === "object") {
          for (const [model, one] of Object.entries(value)) own.get(model)![key] = one;
        } else {
          const [ours, said] = translate(method, key, value);
          global[ours] = said;
        }
      }
      const recipe = {
        method,
        dialect: "mergekit",
        base: folder.at(`${format}-base`),
        models: models.map((model) => ({ model: folder.at(`${format}-${model}`), ...own.get(model)! })),
        parameters: global,
      };
      const merged = await merge(recipe, { out: folder.fresh() });
      const found = merged.values("w");
      const flat = output.flat();
      const most = Math.max(...flat.map(Math.abs));
      for (const [p, expected] of flat.entries()) {
        // mergekit rounds every step to BF16 there; here once.
        const apart = format === "BF16" ? 2 * spacing(most) : 1e-6 + 1e-5 * Math.abs(expected);
        assert.ok(Math.abs(found[p]! - expected) <= apart, `[${p}]: ${found[p]}, not ${expected}`);
      }
    });
  }

  it("BF16 inputs give the F32 result, rounded once", async () => {
    const recipe = { method: "breadcrumbs", dialect: "mergekit", parameters: { density: 0.6, gamma: 0.1 } };
    const models = (of: string) => ["a", "b", "c"].map((model) => folder.at(`${of}-${model}`));
    const half = await merge(
      { ...recipe, base: folder.at("BF16-base"), models: models("BF16") },
      { out: folder.fresh() },
    );
    const wide = await merge(
      { ...recipe, base: folder.at("BF16-base"), models: models("BF16"), output: { dtype: "float32" } },
      { out: folder.fresh() },
    );
    const rounded = new Uint8Array(2 * 48);
    narrow("BF16", wide.values("w"), rounded);
    const expected = new Float32Array(48);
    widen("BF16", rounded, expected);
    assert.deepEqual(half.values("w"), expected);
  });
});
