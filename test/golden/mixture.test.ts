/** What mergekit 0.1.5 itself computed with the methods that mix, through the whole path from files to files. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { findMethod } from "../../src/methods/catalogue.js";
import { Folder, merge, tensor } from "../laws/support/family.js";

type Matrix = readonly (readonly number[])[];

interface Case {
  readonly name: string;
  readonly method: string;
  readonly base_model: string | null;
  readonly models: readonly string[];
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly dtype: "float32" | "bfloat16";
  readonly output: Matrix;
}

const golden = JSON.parse(
  readFileSync(new URL("../../../test/golden/mergekit-0.1.5.json", import.meta.url), "utf8"),
) as { readonly inputs: Readonly<Record<string, Matrix>>; readonly cases: readonly Case[] };

const folder = new Folder();
after(() => folder.remove());

const paths = Object.fromEntries(
  (["F32", "BF16"] as const).map((dtype) => {
    const write = ([name, rows]: [string, Matrix]) => {
      const shape = [rows.length, rows[0]!.length];
      return [name, folder.write(`${name}-${dtype}`, [tensor("w", rows.flat(), dtype, shape)])] as const;
    };
    return [dtype, Object.fromEntries(Object.entries(golden.inputs).map(write))];
  }),
);

/** A global value is the recipe's, a value by model name the model's own. */
function recipeOf({ method, base_model: base, models, parameters, dtype }: Case, dialect: string) {
  const at = paths[dtype === "float32" ? "F32" : "BF16"]!;
  const global = Object.entries(parameters).filter(([, value]) => typeof value !== "object");
  const own = Object.entries(parameters).filter(([, value]) => typeof value === "object");
  return {
    method,
    dialect,
    ...(base !== null && { base: at[base] }),
    models: models
      .filter((name) => name !== base)
      .map((name) => ({
        model: at[name],
        parameters: Object.fromEntries(own.map(([key, value]) => [key, (value as Record<string, unknown>)[name]])),
      })),
    parameters: Object.fromEntries(global),
  };
}

/** In BF16 mergekit rounds at every step; equality is defined within two units of the largest result. */
function allowed({ dtype, output }: Case, value: number): number {
  if (dtype === "float32") return 1e-6 + 1e-5 * Math.abs(value);
  const largest = Math.max(...output.flat().map(Math.abs));
  return 2 * 2 ** (Math.floor(Math.log2(largest)) - 7);
}

async function distance(test: Case, dialect: string): Promise<number> {
  const merged = await merge(recipeOf(test, dialect), { out: folder.fresh() });
  const expected = test.output.flat();
  const found = merged.values("w");
  assert.equal(found.length, expected.length);
  return expected.reduce((most, value, p) => Math.max(most, Math.abs(found[p]! - value) / allowed(test, value)), 0);
}

describe("mergekit 0.1.5's own results", () => {
  const names = new Set(["slerp", "nuslerp", "multislerp", "karcher", "model_stock"]);
  const cases = golden.cases.filter(({ method }) => names.has(method));

  it("are 28 for these methods", () => assert.equal(cases.length, 28));

  for (const test of cases) {
    it(test.name, async () => {
      const dialects = Object.keys(findMethod(test.method)!.dialects).filter((name) => name.startsWith("mergekit"));
      assert.ok(dialects.length > 0);
      for (const dialect of dialects) assert.ok((await distance(test, dialect)) <= 1, dialect);
    });
  }
});
