/** mergekit's golden vectors of the methods that rank scores, from files to files. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { Folder, merge, tensor } from "../laws/support/family.js";

interface Golden {
  readonly inputs: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly cases: readonly {
    readonly name: string;
    readonly method: string;
    readonly models: readonly string[];
    readonly parameters: Readonly<Record<string, number>>;
    readonly output: readonly (readonly number[])[];
  }[];
}

const golden = JSON.parse(
  readFileSync(new URL("../../../test/golden/mergekit-0.1.5.json", import.meta.url), "utf8"),
) as Golden;

const folder = new Folder();
after(() => folder.remove());

for (const [name, rows] of Object.entries(golden.inputs))
  folder.write(name, [tensor("w", rows.flat(), "F32", [4, 12])]);

describe("mergekit 0.1.5", () => {
  const cases = golden.cases.filter(({ method }) => ["sce", "arcee_fusion"].includes(method));
  assert.ok(cases.length >= 3);
  for (const { name, method, models, parameters, output } of cases) {
    it(name, async () => {
      const recipe = {
        method,
        dialect: "mergekit",
        parameters,
        base: folder.at("base"),
        models: models.map((model) => folder.at(model)),
      };
      const merged = await merge(recipe, { out: folder.fresh() });
      for (const [p, expected] of output.flat().entries()) {
        const found = merged.values("w")[p]!;
        assert.ok(Math.abs(found - expected) <= 1e-6 + 1e-5 * Math.abs(expected), `[${p}]: ${found}, not ${expected}`);
      }
    });
  }
});
