/** A merge that is an input gives the bytes that its files would have given, had it been written in float32. */

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import type { MergewrightError } from "../../src/errors.js";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { memoryPlatform } from "../../src/platform/memory/platform.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { parseRecipe } from "../../src/recipe/native.js";
import { mergeModels, planMerge } from "../../src/merge.js";
import { verifyOutput } from "../../src/analyse/verify.js";
import { finishedResult } from "../../src/report/up_to_date.js";
import { Interrupted, interruptedAfter } from "../faults/support.js";
import { methods } from "../../src/methods/catalogue.js";
import {
  fingerprint,
  Folder,
  merge,
  readTensors,
  type RecipeObject,
  recipeOf,
  tensor,
  type TestTensor,
  watched,
} from "./support/family.js";
import { dice, normals } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

/** More than a block, an odd end, a scalar; coarse in BF16, so that many magnitudes are equal and columns cancel. */
const SIZES = [BLOCK_ENTRIES + 5003, 1, 4099, 24];

function checkpoint(seed: number, dtype: FloatDtype): TestTensor[] {
  const roll = dice(seed + 1);
  const tensors = SIZES.map((size, index) => {
    if (dtype === "F32") return tensor(`t${index}`, normals(size, 10 * seed + index, seed === 0 ? 0.05 : 0.01));
    const values = Float32Array.from(
      { length: size },
      () => (seed === 0 ? 0 : (roll(10) < 6 ? 1 : -1) * roll(64)) / 64,
    );
    return tensor(`t${index}`, values, dtype);
  });
  const steps = { name: "steps", dtype: "I64" as const, shape: [2], bytes: new Uint8Array(16).fill(seed) };
  return [steps, ...tensors];
}

const write = (prefix: string, dtype: FloatDtype) =>
  [0, 1, 2, 3, 4].map((seed) => folder.write(`${prefix}-${seed}`, checkpoint(seed, dtype), seed === 2 ? 2 : 1));
const coarse = write("coarse", "BF16");
const fine = write("fine", "F32");

const inners: Readonly<Record<string, (models: readonly string[]) => RecipeObject>> = {
  average: ([, a, b]) => ({ method: "average", models: [a, { model: b, weight: 0.25 }] }),
  "task arithmetic": ([base, a, b]) => ({ method: "task_arithmetic", base, models: [a, b] }),
  "task arithmetic with DARE": ([base, a, b]) => ({
    ...{ method: "task_arithmetic", base, models: [a, b], dare: { drop: 0.4 }, seed: 3 },
  }),
  ties: ([base, a, b]) => ({ method: "ties", base, models: [a, b] }),
  "ties, exactly": ([base, a, b]) => ({ method: "ties", base, models: [a, b], parameters: { quota: "exactly" } }),
  "ties within tensors": ([base, a, b]) => ({
    ...{ method: "ties", base, models: [a, b], parameters: { trim: "tensor", density: 0.4 } },
  }),
  "ties within tensors, exactly": ([base, a, b]) => ({
    ...{ method: "ties", base, models: [a, b], parameters: { trim: "tensor", quota: "exactly", density: 0.3 } },
  }),
  "ties by deviations and norms": ([base, a, b]) => ({
    ...{ method: "ties", base, models: [a, b], parameters: { select: "deviations", elect: "norm-mass" } },
  }),
  "ties of large norms": ([base, a, b]) => ({
    ...{ method: "ties", base, models: [a, b], parameters: { elect: "norm-mass" } },
  }),
  breadcrumbs: ([base, a, b]) => ({
    ...{ method: "breadcrumbs", base, models: [a, b], parameters: { density: 0.4, gamma: 0.1 } },
  }),
  "breadcrumbs over models, elected": ([base, a, b]) => ({
    ...{ method: "breadcrumbs_ties", base, models: [a, b] },
    parameters: { density: 0.4, gamma: 0.1, scope: "model", rescale: "norm" },
  }),
  "della to the old norms": ([base, a, b]) => ({
    ...{ method: "della", base, models: [a, b], parameters: { density: 0.4, rescale: "norm" }, seed: 3 },
  }),
  "DARE with TIES": ([base, a, b]) => ({
    ...{ method: "dare_ties", base, models: [a, b], parameters: { density: 0.4, top: 0.1 }, seed: 3 },
  }),
  "task arithmetic, the largest changes": ([base, a, b]) => ({
    ...{ method: "task_arithmetic", base, models: [a, b], prune: { by: "magnitude", density: 0.3 } },
  }),
  "ties, pruned by rank": ([base, a, b]) => ({
    ...{ method: "ties", base, models: [a, b], prune: { by: "rank", density: 0.5 }, seed: 4 },
  }),
  "Model Stock": ([base, a, b]) => ({ method: "model_stock", base, models: [a, b] }),
  slerp: ([, a, b]) => ({ method: "slerp", models: [a, b], parameters: { t: 0.3 } }),
  "nuslerp of columns": ([base, a, b]) => ({
    ...{ method: "nuslerp", base, models: [a, b] },
    parameters: { nuslerp_flatten: false, nuslerp_row_wise: true },
  }),
  SCE: ([base, a, b]) => ({ method: "sce", base, models: [a, b] }),
  "PCB-Merging": ([base, a, b]) => ({ method: "pcb", base, models: [a, b] }),
  "ties by norm share": ([base, a, b]) => ({
    ...{ method: "ties", base, models: [a, b], parameters: { select: "norm-share" } },
  }),
};

const outers: Readonly<Record<string, RecipeObject>> = {
  average: { method: "average" },
  "task arithmetic with DARE": { method: "task_arithmetic", dare: { drop: 0.3 }, seed: 5 },
  ties: { method: "ties" },
  "ties, exactly": { method: "ties", parameters: { quota: "exactly", density: 0.35 } },
  "ties within tensors": { method: "ties", parameters: { trim: "tensor" } },
  breadcrumbs: { method: "breadcrumbs", parameters: { density: 0.4, gamma: 0.1, rescale: "norm" } },
  della: { method: "della", parameters: { density: 0.4 }, seed: 5 },
};

const variants = [
  { threads: 1 },
  { threads: 2, tuning: { tileEntries: 1024, chunkEntries: 8192 } },
  { threads: 3, tuning: { tileEntries: 65_536, chunkEntries: 65_536 } },
];
const run = (recipe: RecipeObject, options = {}) => merge(recipe, { out: folder.fresh(), ...options });
const written = (inner: RecipeObject, dtype = "float32") => run({ ...inner, output: { dtype } });

/** The same merge twice: over the inner recipe, and over what it writes. */
async function both(inner: RecipeObject, outerOf: (inner: object) => RecipeObject, options: object = {}) {
  const stage = await written(inner);
  const expected = await run(outerOf({ model: stage.out, name: "inner" }));
  const found = await run(outerOf({ merge: inner, name: "inner" }), options);
  assert.deepEqual(found.prints, expected.prints);
  assert.deepEqual(found.result.result.kept, expected.result.result.kept);
  assert.deepEqual(found.result.result.counters, expected.result.result.counters);
  return found;
}

describe("a merge as a model of another", () => {
  for (const [at, [name, innerOf]] of Object.entries(inners).entries()) {
    for (const [index, [outer, recipe]] of Object.entries(outers).entries()) {
      // Each inner recipe meets one outer one, and each outer one several inner ones.
      if ((3 * at + index) % Object.keys(outers).length !== 0) continue;
      it(`${name} in ${outer}`, async () => {
        const files = at % 2 === 0 ? coarse : fine;
        const base = recipe["method"] === "average" ? {} : { base: files[0] };
        const outerOf = (inner: object) => ({
          ...{ ...recipe, ...base, models: [files[3], inner, files[4]], output: { dtype: "bfloat16" } },
        });
        await both(innerOf(files), outerOf, variants[at % 3]);
      });
    }
  }

  it("ties of norms over 16-bit models, whose thresholds could be guessed", async () => {
    for (const recipe of [{ method: "average" }, { method: "ties", base: coarse[0] }]) {
      await both(inners["ties of large norms"]!(coarse), (inner) => ({
        ...{ ...recipe, models: [inner, coarse[3]], output: { dtype: "bfloat16" } },
      }));
    }
  });
});

describe("a merge as anything else", () => {
  const inner = inners.ties!(coarse);

  it("as the base", async () => {
    const stage = await written(inner);
    const recipe = { method: "ties", models: [coarse[3], coarse[4]], output: { dtype: "bfloat16" } };
    const expected = await run({ ...recipe, base: stage.out });
    assert.deepEqual((await run({ ...recipe, base: { merge: inner } }, variants[1])).prints, expected.prints);
  });

  it("as the checkpoint that a parameter names", async () => {
    const stage = await written(inner);
    const recipe = { method: "ties", base: coarse[0], models: [coarse[3], coarse[4]] };
    const of = (oracle: unknown) => run({ ...recipe, parameters: { elect: "oracle", oracle } });
    assert.deepEqual((await of({ merge: inner })).prints, (await of(stage.out)).prints);
  });

  it("several levels deep", async () => {
    const middle = (first: unknown) => ({ method: "task_arithmetic", base: coarse[0], models: [first, coarse[3]] });
    const outer = (first: unknown) => ({ ...inners.ties!(coarse), models: [coarse[4], first] });
    const one = await written(inner);
    const two = await written(middle({ model: one.out, name: "one" }));
    const three = await run({ ...outer({ model: two.out, name: "two" }), output: { dtype: "bfloat16" } });
    const nested = outer({ merge: middle({ merge: inner, name: "one" }), name: "two" });
    assert.deepEqual((await run(nested, variants[1])).prints, three.prints);
  });

  it("with its own output format, it is rounded; without, not even once", async () => {
    const of = inners.ties!(fine);
    const outer = (first: unknown) => ({ method: "average", models: [first, fine[3]], output: { dtype: "float32" } });
    const rounded = await run(outer((await written(of, "bfloat16")).out));
    const nested = await run(outer({ merge: { ...of, output: { dtype: "bfloat16" } } }));
    assert.deepEqual(nested.prints, rounded.prints);
    assert.notDeepEqual((await run(outer({ merge: of }))).prints, rounded.prints);
  });

  it("excluded and integer tensors are handed on; separate heads are left out", async () => {
    const outer = (first: unknown) => ({ method: "average", models: [first, coarse[3]], exclude: ["t1"] });
    const of = (more: object) => ({ ...inner, exclude: ["t1", "t3"], ...more });
    const stage = await written(of({}));
    const nested = await run({ ...outer({ merge: of({}) }), output: { dtype: "float32" } });
    assert.deepEqual(nested.prints, (await run({ ...outer(stage.out), output: { dtype: "float32" } })).prints);
    assert.ok(nested.prints.some((print) => print.startsWith("steps I64")));
    const apart = await run({ ...outer({ merge: of({ heads: "separate" }) }), exclude: [] });
    assert.deepEqual([...apart.tensors.keys()].sort(), ["steps", "t0", "t2"]);
  });
});

describe("merges inside a merge", () => {
  const inner = inners.ties!(coarse);

  it("keep the format that they would have been written in", async () => {
    const nested = await run({ method: "average", models: [{ merge: inner }, { merge: inners.average!(fine) }] });
    assert.deepEqual(new Set([...nested.tensors.values()].map(({ dtype }) => dtype)), new Set(["I64", "BF16"]));
    assert.deepEqual(nested.result.plan.warnings, []);
  });

  it("equal ones are planned and settled once", async () => {
    const { platform, stages } = watched();
    const middle = (density: number) => ({
      ...{
        method: "ties",
        base: coarse[0],
        models: [{ merge: inner, name: "in" }, coarse[3]],
        parameters: { density },
      },
    });
    const recipe = {
      ...{ method: "task_arithmetic", base: coarse[0], output: { dtype: "bfloat16" } },
      models: [{ merge: middle(0.2) }, { merge: middle(0.3) }, { merge: inner }],
    };
    const nested = await merge(recipe, { out: folder.fresh() }, platform);
    assert.equal(nested.result.plan.merges.length, 3);
    // One per ties recipe; the outermost method needs no statistics.
    assert.equal(stages.filter((stage) => stage === "rehearse").length, 3);
    const one = await written(inner);
    const [low, high] = [0.2, 0.3].map((density) => ({
      ...middle(density),
      models: [{ model: one.out, name: "in" }, coarse[3]],
    }));
    const parts = [await written(low!), await written(high!), one];
    const expected = await run({ ...recipe, models: parts.map(({ out }) => out) });
    assert.deepEqual(nested.prints, expected.prints);
  });

  it("work where models are in memory", async () => {
    const files = (label: string, file = path.join(label, "model.safetensors")) => ({
      "model.safetensors": new Uint8Array(fs.readFileSync(file)),
    });
    const recipe = { method: "average", models: [{ merge: inner, name: "inner" }, coarse[3]!] };
    const labels = [coarse[0]!, coarse[1]!, coarse[3]!];
    const small = { ...recipe, models: [{ merge: { ...inner, models: [coarse[1]] }, name: "inner" }, coarse[3]!] };
    const platform = memoryPlatform(Object.fromEntries(labels.map((label) => [label, files(label)])));
    const { provenance } = await mergeModels(recipeOf(small), platform, { out: "memory", threads: 1 });
    assert.deepEqual(provenance.checksums, (await run(small)).result.provenance.checksums);
  });

  it("are recorded, found again and verified", async () => {
    const a = folder.write("changing", checkpoint(1, "BF16"));
    const recipe = {
      ...{ method: "task_arithmetic", base: coarse[0] },
      models: [{ merge: { method: "average", models: [a, { merge: { ...inner, models: [a] } }] } }, coarse[3]],
    };
    const { out, result } = await run(recipe);
    const { provenance, plan } = result;
    assert.deepEqual(
      provenance.inputs.map(({ files, merge }) => [files.length, merge !== undefined]),
      [
        [1, false],
        [0, true],
        [1, false],
      ],
    );
    assert.deepEqual(
      provenance.merges!.map(({ method }) => method),
      ["ties", "average"],
    );
    const again = folder.fresh();
    await mergeModels(parseRecipe(provenance.recipe, { methods }), nodePlatform, { out: again, threads: 1 });
    assert.deepEqual(fingerprint((await readTensors(again)).values()), fingerprint((await readTensors(out)).values()));
    const text = fs.readFileSync(path.join(out, "mergewright.json"), "utf8");
    const wanted = { strict: false, hashInputs: false };
    assert.notEqual(finishedResult(text, plan, wanted), null);
    const inputsOf = async () => {
      const { checks } = await verifyOutput(out, nodePlatform, { threads: 1, inputs: true });
      return checks.find(({ name }) => name === "inputs")!;
    };
    assert.deepEqual(await inputsOf(), { name: "inputs", ok: true, detail: "3 models, unchanged", problems: [] });
    folder.write("changing", checkpoint(2, "BF16"));
    assert.match((await inputsOf()).detail, /changing\/model\.safetensors was written to since/);
    assert.equal(finishedResult(text, await planMerge(recipeOf(recipe), nodePlatform), wanted), null);
  });

  it("a restart does not read them for statistics again", async () => {
    const recipe = {
      method: "ties",
      base: coarse[0],
      models: [{ merge: inners["ties, exactly"]!(coarse) }, coarse[3]],
    };
    const out = folder.fresh();
    await assert.rejects(merge(recipe, { out }, interruptedAfter({ blocks: 1 })), Interrupted);
    const { platform, stages } = watched();
    const { prints } = await merge(recipe, { out }, platform);
    assert.deepEqual(
      stages.filter((stage) => stage === "rehearse" || stage === "survey"),
      [],
    );
    assert.deepEqual(prints, (await run(recipe)).prints);
  });

  it("errors name their line in the whole file", () => {
    const text = [
      "method: average",
      "models:",
      "  - ./a",
      "  - merge:",
      "      method: ties",
      "      base: ./base",
      "      models:",
      "        - {model: ./b, densty: 0.5}",
      "      parameters: {density: 3}",
      "      output: {shard_size: 5GB}",
    ].join("\n");
    assert.throws(
      () => parseRecipe(text, { methods, file: "graph.yaml" }),
      (error: MergewrightError) => {
        assert.match(error.message, /graph\.yaml:8:\d+, models\.1\.merge\.models\.0\.densty/);
        assert.match(error.message, /graph\.yaml:9:\d+, models\.1\.merge\.parameters\.density/);
        assert.match(error.message, /graph\.yaml:10:\d+, models\.1\.merge\.output\.shard_size/);
        return true;
      },
    );
  });

  it("errors of planning do too", async () => {
    const recipe = [
      "method: average",
      "models:",
      `  - ${coarse[3]}`,
      `  - merge: {method: average, models: [${coarse[1]}, ${coarse[2]}], exclude: ["nothing*"]}`,
    ].join("\n");
    await assert.rejects(
      mergeModels(parseRecipe(recipe, { methods, file: "graph.yaml" }), nodePlatform, {
        out: folder.fresh(),
        threads: 1,
      }),
      /graph\.yaml:4:\d+, models\.1\.merge\.exclude/,
    );
  });
});
