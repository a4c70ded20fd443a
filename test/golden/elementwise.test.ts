/** Cases of mergekit 0.1.5's own merge functions for the methods that work entry by entry, from files to files. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { Folder, merge, tensor, valuesOf } from "../laws/support/family.js";

interface Case {
  readonly name: string;
  readonly method: string;
  readonly base_model: string | null;
  readonly models: readonly string[];
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly dtype: "float32" | "bfloat16";
  readonly output: readonly (readonly number[])[];
}

const golden = JSON.parse(
  readFileSync(new URL("../../../test/golden/mergekit-0.1.5.json", import.meta.url), "utf8"),
) as {
  readonly inputs: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly cases: readonly Case[];
};

const METHODS = new Set(["linear", "task_arithmetic", "nearswap", "passthrough", "ram", "ramplus_tl"]);
const folder = new Folder();
after(() => folder.remove());

const paths = Object.fromEntries(
  (["float32", "bfloat16"] as const).map((dtype) => [
    dtype,
    Object.fromEntries(
      Object.entries(golden.inputs).map(([name, rows]) => {
        const weights = tensor("w", rows.flat(), dtype === "float32" ? "F32" : "BF16", [4, 12]);
        return [name, folder.write(`${dtype}-${name}`, [weights])];
      }),
    ),
  ]),
);

/** A value per model goes to the models, everything else is global. */
function recipeOf({ method, base_model: base, models, parameters, dtype }: Case) {
  const own = models.map((model): Record<string, unknown> => ({ model: paths[dtype]![model] }));
  const global: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(parameters)) {
    if (typeof value !== "object") global[name] = value;
    else models.forEach((model, index) => (own[index]![name] = (value as Record<string, number>)[model]));
  }
  return {
    method,
    dialect: "mergekit",
    ...(base !== null && { base: paths[dtype]![base] }),
    models: own,
    parameters: global,
    // The bfloat16 cases round at each step or promote; here everything is f32 and rounded once, so look before that.
    output: { dtype: "float32" },
  };
}

describe("golden mergekit 0.1.5", () => {
  const cases = golden.cases.filter(({ method }) => METHODS.has(method));

  it("has every case", () => assert.equal(cases.length, 16));

  for (const one of cases) {
    it(one.name, async () => {
      const expected = one.output.flat();
      const merged = await merge(recipeOf(one), { out: folder.fresh() });
      const found = merged.values("w");
      const largest = Math.max(...expected.map(Math.abs));
      // Two units of the largest result in bfloat16, which keeps 8 bits.
      const bound = one.dtype === "float32" ? 1e-6 : 2 * 2 ** (Math.floor(Math.log2(largest)) - 7);
      for (const [p, value] of expected.entries()) {
        assert.ok(Math.abs(found[p]! - value) <= bound, `entry ${p}: ${found[p]}, not ${value}`);
      }
    });
  }

  it("linear in bfloat16 is the same in every entry: it sums in f32 there, too", async () => {
    const one = golden.cases.find(({ name }) => name === "linear_norm_bf16")!;
    const merged = await merge({ ...recipeOf(one), output: { dtype: "bfloat16" } }, { out: folder.fresh() });
    // Recorded with nine digits, which round to the entry again.
    assert.deepEqual(merged.values("w"), valuesOf(tensor("w", one.output.flat(), "BF16")));
  });
});
