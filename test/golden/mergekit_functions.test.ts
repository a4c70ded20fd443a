/**
 * mergekit's own merge functions, 57 cases on one tensor, as recipes through the whole path. Float32 cases agree within
 * 1e-6 + 1e-5 |x|. The bfloat16 cases record what torch rounded at every step: here the inputs are rounded, the
 * arithmetic is f32 and the result is rounded once, which lies within two units of the largest entry.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { layoutHeader } from "../../src/formats/safetensors/index.js";
import { mergeModels } from "../../src/merge.js";
import { methods } from "../../src/methods/catalogue.js";
import { openCheckpoint } from "../../src/models/checkpoint.js";
import { memoryFolder } from "../../src/models/folder.js";
import { widen } from "../../src/numbers/convert.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { memoryPlatform } from "../../src/platform/memory/platform.js";
import { readRecipe } from "../../src/recipes.js";

type Value = number | boolean;

interface Case {
  readonly name: string;
  readonly method: string;
  readonly base_model: string | null;
  readonly models: readonly string[];
  readonly parameters: Readonly<Record<string, Value | Readonly<Record<string, Value>>>>;
  readonly dtype: "float32" | "bfloat16";
  readonly output: readonly (readonly number[])[];
}

const golden = JSON.parse(
  readFileSync(new URL("../../../test/golden/mergekit-0.1.5.json", import.meta.url), "utf8"),
) as { readonly inputs: Readonly<Record<string, readonly (readonly number[])[]>>; readonly cases: readonly Case[] };

/** How many cases ran when this was written; one that stops running is a failure. */
const AT_LEAST = 57;
/** What the reference wrote as f32 because of a defect. */
const F32_BY_DEFECT: ReadonlySet<string> = new Set(["ramplus_tl_eps0.05_bf16"]);

function filesOf(rows: readonly (readonly number[])[]): Record<string, Uint8Array> {
  const { header, fileSize } = layoutHeader([
    { name: "w.weight", dtype: "F32", shape: [rows.length, rows[0]!.length] },
  ]);
  const bytes = new Uint8Array(fileSize);
  bytes.set(header);
  bytes.set(new Uint8Array(Float32Array.from(rows.flat()).buffer), header.length);
  return { "model.safetensors": bytes };
}

const models = Object.fromEntries(Object.entries(golden.inputs).map(([name, rows]) => [name, filesOf(rows)]));

function recipeOf({ method, base_model: base, models: names, parameters, dtype }: Case) {
  const split = (model: string) =>
    Object.entries(parameters).flatMap(([name, value]): [string, Value][] =>
      typeof value === "object" && value[model] !== undefined ? [[name, value[model]]] : [],
    );
  const shared = Object.entries(parameters).filter(([, value]) => typeof value !== "object");
  return {
    merge_method: method,
    ...(base !== null && { base_model: base }),
    models: names.map((model) => ({ model, parameters: Object.fromEntries(split(model)) })),
    parameters: Object.fromEntries(shared),
    dtype,
  };
}

async function run(recipe: object): Promise<{ dtype: string; values: Float32Array }> {
  const platform = memoryPlatform(models);
  await mergeModels(readRecipe(JSON.stringify(recipe, null, 2)), platform, { out: "out", threads: 1 });
  const file = new Uint8Array(await platform.output.get("model.safetensors")!.arrayBuffer());
  const merged = await openCheckpoint("out", memoryFolder({ "model.safetensors": file }));
  const { dtype, offset, length } = merged.tensors.get("w.weight")!;
  const values = new Float32Array(48);
  widen(dtype as FloatDtype, file.subarray(offset, offset + length), values);
  return { dtype, values };
}

describe("mergekit's functions", () => {
  const there = new Set(methods.map(({ name }) => name));
  // What rescales needs pruning, as the methods that prune at random do.
  const needs = ({ method, parameters }: Case) => (parameters["rescale"] === true ? "dare_ties" : method);
  const running = golden.cases.filter((one) => there.has(needs(one)));
  for (const one of running) {
    for (const compat of ["mergekit", "strict"]) {
      it(`${one.name}, compat: ${compat}`, async () => {
        const { dtype, values } = await run({ ...recipeOf(one), compat });
        const isF32 = one.dtype === "float32" || (compat === "strict" && F32_BY_DEFECT.has(one.name));
        assert.equal(dtype, isF32 ? "F32" : "BF16");
        const expected = one.output.flat();
        const unit = 2 ** (Math.floor(Math.log2(Math.max(...expected.map(Math.abs)))) - 7);
        for (const [p, value] of expected.entries()) {
          const most = one.dtype === "float32" ? 1e-6 + 1e-5 * Math.abs(value) : 2 * unit;
          assert.ok(Math.abs(values[p]! - value) <= most, `${p}: ${values[p]} instead of ${value}`);
        }
      });
    }
  }

  it("run in every case whose method is there", () => {
    assert.equal(golden.cases.length, 57);
    assert.ok(running.length >= AT_LEAST, `${running.length} cases ran`);
  });
});
