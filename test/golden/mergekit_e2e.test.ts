/**
 * Whole recipes of mergekit, from files to files: 28 that mergekit-yaml 0.1.5 ran on four small Llama checkpoints. The
 * same weights must come out: 1e-6 at most between any two entries, and no difference at all for linear in bfloat16.
 */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { planHash } from "../../src/execute/journal.js";
import { mergeModels, planMerge } from "../../src/merge.js";
import { methods } from "../../src/methods/catalogue.js";
import type { Checkpoint } from "../../src/models/model.js";
import { widen } from "../../src/numbers/convert.js";
import { entriesOf, type FloatDtype } from "../../src/numbers/dtypes.js";
import { nodePlatform, openModel } from "../../src/platform/node/platform.js";
import { stringifyRecipe } from "../../src/recipe/write.js";
import { readRecipe } from "../../src/recipes.js";

const root = fileURLToPath(new URL("../../../test/golden/mergekit-e2e", import.meta.url));
const out = mkdtempSync(path.join(tmpdir(), "mergewright-e2e-"));
after(() => rmSync(out, { recursive: true }));

/** Every case, and the method that it needs. */
const CASES: Readonly<Record<string, string>> = {
  "arcee-fusion": "arcee_fusion",
  breadcrumbs: "breadcrumbs",
  "breadcrumbs-ties": "breadcrumbs_ties",
  "dare-linear-density-0": "dare_linear",
  "dare-ties-density-1": "dare_ties",
  "della-density-1-0": "della",
  "frankenmerge-passthrough": "passthrough",
  "frankenmerge-ties": "ties",
  karcher: "karcher",
  linear: "linear",
  "linear-base-listed-once": "linear",
  "linear-bfloat16": "linear",
  "linear-gradient-filter": "linear",
  "linear-out-bfloat16": "linear",
  "model-stock": "model_stock",
  "model-stock-filter-wise": "model_stock",
  multislerp: "multislerp",
  nearswap: "nearswap",
  nuslerp: "nuslerp",
  "nuslerp-base-rows": "nuslerp",
  ram: "ram",
  "ramplus-tl": "ramplus_tl",
  sce: "sce",
  "slerp-gradient-filters": "slerp",
  "slerp-single-condition": "slerp",
  "task-arithmetic": "task_arithmetic",
  ties: "ties",
  "ties-rescale-tiny-density": "dare_ties",
};
/** How many of them ran when this was written; a case that stops running is a failure. */
const AT_LEAST = 28;
const EXACT: ReadonlySet<string> = new Set(["linear-bfloat16", "linear-out-bfloat16"]);

async function valuesOf(
  model: Checkpoint,
): Promise<Map<string, { dtype: string; shape: string; values: Float32Array }>> {
  const all = new Map<string, { dtype: string; shape: string; values: Float32Array }>();
  for (const { name, dtype, shape, shard, offset, length } of model.tensors.values()) {
    const bytes = new Uint8Array(length);
    await model.shards[shard]!.source.read(offset, bytes);
    const values = new Float32Array(entriesOf(shape));
    widen(dtype as FloatDtype, bytes, values);
    all.set(name, { dtype, shape: shape.join("x"), values });
  }
  await model.close();
  return all;
}

async function check(name: string, compat: string): Promise<void> {
  const folder = path.join(root, name);
  const text = `compat: ${compat}\n${readFileSync(path.join(folder, "recipe.yml"), "utf8")}`;
  const written = path.join(out, `${name}-${compat}`);
  // As if it were run from there: the recipe's paths are relative.
  const platform = { ...nodePlatform, openModel: (label: string) => openModel(path.resolve(folder, label)) };
  await mergeModels(readRecipe(text, "recipe.yml"), platform, { out: written, threads: 1 });
  assert.equal(readFileSync(path.join(written, "mergekit_config.yml"), "utf8"), text);
  const found = await valuesOf(await openModel(written));
  const expected = await valuesOf(await openModel(path.join(folder, "expected.safetensors")));
  assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort());
  for (const [tensor, { dtype, shape, values }] of expected) {
    const mine = found.get(tensor)!;
    assert.deepEqual([mine.dtype, mine.shape], [dtype, shape], tensor);
    const most = EXACT.has(name) ? 0 : 1e-6;
    for (const [p, value] of values.entries()) {
      assert.ok(Math.abs(mine.values[p]! - value) <= most, `${tensor}[${p}]: ${mine.values[p]} instead of ${value}`);
    }
  }
}

describe("a recipe of mergekit gives mergekit's weights", () => {
  const there = new Set(methods.map((method) => method.name));
  const running = Object.entries(CASES).filter(([, method]) => there.has(method));
  // What mergekit gets wrong shows in none of them, so strictness changes nothing.
  for (const [name] of running) {
    for (const compat of ["mergekit", "strict"]) it(`${name}, compat: ${compat}`, () => check(name, compat));
  }

  for (const [name] of running) {
    it(`${name}: our own words make the same plan`, async () => {
      const folder = path.join(root, name);
      const platform = { openModel: (label: string) => openModel(path.resolve(folder, label)) };
      const recipe = { ...readRecipe(readFileSync(path.join(folder, "recipe.yml"), "utf8")), mergekit: null };
      const native = readRecipe(stringifyRecipe(recipe));
      assert.equal(planHash(await planMerge(native, platform)), planHash(await planMerge(recipe, platform)));
    });
  }

  it("in every case whose method is there", () => {
    assert.ok(running.length >= AT_LEAST, `${running.length} cases ran`);
  });
});
