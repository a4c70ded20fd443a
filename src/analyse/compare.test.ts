import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { MergewrightError } from "../errors.js";
import { BLOCK_ENTRIES } from "../execute/blocks.js";
import { relationsBytes } from "../kernels/relations/binding.js";
import { relate } from "../kernels/relations/definition.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import { narrow, widen } from "../numbers/convert.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { nodePlatform } from "../platform/node/platform.js";
import { compareModels } from "./compare.js";
import type { CompareOptions, Comparison } from "./compare.js";
import { randomValues, temporaryFolder, writeModel, ZOO } from "./fixtures.test.js";
import type { FixtureTensor } from "./fixtures.test.js";

interface Reference {
  readonly vision: {
    readonly curves: {
      readonly order: readonly string[];
      readonly task_vector_l2: readonly number[];
      readonly task_vector_zero_fraction: readonly number[];
      readonly pairwise_cosine: readonly (readonly number[])[];
      readonly redundancy: Readonly<Record<string, { readonly kept_entries: readonly number[] }>>;
      readonly sign_conflict_top20: Readonly<
        Record<
          string,
          { conflicting: number; fraction_of_all: number; fraction_of_entries_kept_by_two_or_more: number }
        >
      >;
    };
  };
  readonly language: {
    readonly pairwise_cosine: readonly (readonly number[])[];
    readonly task_vector_l2: readonly number[];
  };
}

const reference = JSON.parse(readFileSync(path.join(ZOO, "reference.json"), "utf8")) as Reference;
const folder = temporaryFolder();

function compare(base: string, models: readonly string[], options: Partial<CompareOptions> = {}): Promise<Comparison> {
  return compareModels(base, models, nodePlatform, { threads: 1, ...options });
}

function close(found: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(found - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${found} is not ${expected}`);
}

describe("compareModels on the zoo", () => {
  const { curves } = reference.vision;
  const models = curves.order.map((name) => path.join(ZOO, "vision", name));
  const base = path.join(ZOO, "vision/base");
  const exclude = ["classifier.*"];

  it("finds norms, zeros, kept entries and cosines that another implementation found", async () => {
    const found = await compare(base, models, { exclude });
    assert.equal(found.tensors.length, 102);
    assert.equal(found.entries, 1_198_592);
    for (const [i, model] of found.models.entries()) {
      assert.equal(model.name, curves.order[i]);
      close(model.norm, curves.task_vector_l2[i]!, 1e-6);
      close(model.zeroShare, curves.task_vector_zero_fraction[i]!, 1e-9);
      assert.equal(model.kept, curves.redundancy["20"]!.kept_entries[i]);
      for (const [j, cosine] of found.cosine[i]!.entries()) close(cosine, curves.pairwise_cosine[i]![j]!, 6e-6);
    }
    assert.deepEqual(
      found.leftOut.map(({ name }) => name),
      ["classifier.bias", "classifier.weight"],
    );
  });

  it("finds the sign conflicts after the trim that another implementation found", async () => {
    const { signs } = await compare(base, models, { exclude });
    assert.deepEqual(
      signs.map(({ models }) => models),
      [2, 3, 4, 5, 6, 7, 8],
    );
    for (const [count, wanted] of Object.entries(curves.sign_conflict_top20)) {
      const { trimmed } = signs[Number(count) - 2]!;
      assert.equal(trimmed.conflicts, wanted.conflicting);
      close(trimmed.share, wanted.fraction_of_all, 1e-12);
      close(trimmed.shareOfShared, wanted.fraction_of_entries_kept_by_two_or_more, 1e-6);
    }
  });

  it("keeps what the density says", async () => {
    const { models: ten } = await compare(base, models.slice(0, 2), { exclude, density: 0.1 });
    assert.deepEqual(
      ten.map(({ kept }) => kept),
      curves.redundancy["10"]!.kept_entries.slice(0, 2),
    );
    const { models: everything, signs } = await compare(base, models.slice(0, 2), { exclude, density: 1 });
    assert.deepEqual(
      everything.map(({ threshold, kept, keptEnergy }) => [threshold, kept, keptEnergy > 1 - 1e-12]),
      [
        [0, 1_198_592, true],
        [0, 1_198_592, true],
      ],
    );
    assert.deepEqual(signs[0]!.trimmed, signs[0]!.untrimmed);
  });

  it("gives the same numbers for any threads and tiles", async () => {
    const one = await compare(base, models, { exclude, threads: 1 });
    const two = await compare(base, models, { exclude, threads: 2 });
    const small = await compare(base, models, {
      exclude,
      threads: 2,
      tuning: { tileEntries: 1000, chunkEntries: 4000 },
    });
    assert.deepEqual(two, one);
    assert.deepEqual(small, one);
  });

  it("reads sharded and single bf16 models alike", async () => {
    const language = (name: string) => path.join(ZOO, "language", name);
    const found = await compare(language("base"), [language("french"), language("german")], { threads: 2 });
    for (const i of [0, 1]) close(found.models[i]!.norm, reference.language.task_vector_l2[i]!, 1e-6);
    close(found.cosine[0]![1]!, reference.language.pairwise_cosine[0]![1]!, 6e-6);
    assert.deepEqual(found.leftOut, []);
  });

  it("tells how far it is", async () => {
    const seen: number[] = [];
    let total = 0;
    const progress: CompareOptions["progress"] = ({ phase, doneBytes, totalBytes }) => {
      assert.equal(phase, "statistics");
      seen.push(doneBytes);
      total = totalBytes;
    };
    await compare(base, models.slice(0, 2), { exclude, progress });
    assert.equal(total, 2 * 3 * 2 * 1_198_592);
    assert.equal(seen.at(-1), total);
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => a - b),
    );
  });
});

const FORMATS: readonly FloatDtype[] = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"];

/** What is stored of values in a format. */
function rounded(dtype: FloatDtype, values: readonly number[]): Float32Array {
  const bytes = new Uint8Array(values.length * DTYPE_BYTES[dtype]);
  narrow(dtype, Float32Array.from(values), bytes);
  const out = new Float32Array(values.length);
  widen(dtype, bytes, out);
  return out;
}

describe("compareModels", () => {
  let made = 0;
  const place = () => path.join(folder, `model-${made++}`);
  const model = (tensors: Readonly<Record<string, FixtureTensor>>, files?: Readonly<Record<string, string>>) =>
    writeModel(place(), tensors, files);

  it("agrees with the definition on whole models of any formats, which may differ between models", async () => {
    const cases = fc.record({
      dtypes: fc.array(fc.array(fc.constantFrom(...FORMATS), { minLength: 2, maxLength: 2 }), {
        minLength: 2,
        maxLength: 5,
      }),
      sizes: fc.tuple(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 50 })),
      seed: fc.integer({ min: 1, max: 1e6 }),
      density: fc.constantFrom(0.05, 0.2, 0.5, 0.93),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ dtypes, sizes, seed, density }) => {
        const streams = dtypes.map((pair, index) =>
          pair.map((dtype, tensor) => ({ dtype, values: randomValues(sizes[tensor]!, seed + 2 * index + tensor) })),
        );
        const labels = streams.map(([a, b]) => model({ a: a!, b: b! }));
        const found = await compare(labels[0]!, labels.slice(1), { density });
        const [base, ...others] = streams.map((pair) =>
          pair.flatMap(({ dtype, values }) => [...rounded(dtype, values)]),
        );
        const changes = others.map((entries) => Float32Array.from(entries, (x, p) => x - base![p]!));
        const rank = Math.trunc(found.entries * density) + 1;
        const thresholds = changes.map((change) => change.map(Math.abs).sort().at(-rank)!);
        const expected = relate(changes, thresholds);
        assert.deepEqual(
          found.models.map(({ threshold }) => threshold),
          thresholds,
        );
        for (const [i, wanted] of expected.models.entries()) {
          const { zeros, largest, nonFinite, kept, keptEnergy, norm } = found.models[i]!;
          assert.deepEqual(
            { zeros, largest, nonFinite },
            { zeros: wanted.zeros, largest: wanted.largest, nonFinite: 0 },
          );
          assert.equal(kept, changes[i]!.filter((x) => Math.abs(x) >= thresholds[i]!).length);
          close(keptEnergy, wanted.keptEnergy / norm ** 2, 1e-12);
        }
        assert.deepEqual(
          found.signs.map(({ trimmed: { conflicts, shared } }) => ({ conflicts, shared })),
          expected.models.slice(1).map(({ keptSigns }) => keptSigns),
        );
        assert.deepEqual(
          found.signs.map(({ untrimmed: { conflicts, shared } }) => ({ conflicts, shared })),
          expected.models.slice(1).map(({ signs }) => signs),
        );
        const pairs = found.gram.flatMap((row, i) => row.slice(i));
        for (const [pair, dot] of pairs.entries()) close(dot, expected.dots[pair]!, 1e-10);
      }),
      { seed: 5, numRuns: 25 },
    );
  });

  it("says per tensor how far each model went", async () => {
    const base = model({ "model.layers.3.a": { dtype: "F32", values: [1, 1, 1] }, b: { dtype: "F32", values: [0] } });
    const other = model({
      "model.layers.3.a": { dtype: "F32", values: [4, 1, -3] },
      b: { dtype: "F32", values: [-2] },
    });
    const { tensors, models } = await compare(base, [other]);
    assert.deepEqual(tensors, [
      {
        name: "model.layers.3.a",
        shape: [3],
        entries: 3,
        layer: 3,
        role: null,
        models: [{ norm: 5, zeros: 1, largest: 4, nonFinite: 0 }],
      },
      {
        name: "b",
        shape: [1],
        entries: 1,
        layer: null,
        role: null,
        models: [{ norm: 2, zeros: 0, largest: 2, nonFinite: 0 }],
      },
    ]);
    assert.equal(models[0]!.norm, Math.sqrt(29));
  });

  it("counts tied tensors once and leaves out integers, saying so", async () => {
    const tensors = (x: number): Record<string, FixtureTensor> => ({
      "model.embed_tokens.weight": { dtype: "F32", shape: [2, 1], values: [x, 2] },
      "lm_head.weight": { dtype: "F32", shape: [2, 1], values: [x, 2] },
      position_ids: { dtype: "U8", values: [0, 1] },
    });
    const config = { "config.json": '{"tie_word_embeddings": true}' };
    const found = await compare(model(tensors(1), config), [model(tensors(3), config)]);
    assert.equal(found.entries, 2);
    assert.equal(found.models[0]!.norm, 2);
    assert.deepEqual(found.leftOut, [
      { name: "lm_head.weight", reason: "tied to model.embed_tokens.weight" },
      { name: "position_ids", reason: "U8 is not merged" },
    ]);
  });

  it("has no cosine with a task vector that is zero, and warns of one that is not finite", async () => {
    const base = model({ a: { dtype: "F32", values: [1, 2] } });
    const same = model({ a: { dtype: "F32", values: [1, 2] } });
    const broken = model({ a: { dtype: "F32", values: [NaN, 3] } });
    const { cosine, models, warnings } = await compare(base, [same, broken]);
    assert.deepEqual(cosine.flat(), [NaN, NaN, NaN, NaN]);
    assert.deepEqual(
      models.map(({ norm, largest, nonFinite }) => ({ norm, largest, nonFinite })),
      [
        { norm: 0, largest: 0, nonFinite: 0 },
        { norm: NaN, largest: NaN, nonFinite: 1 },
      ],
    );
    assert.equal(warnings.filter((warning) => /1 changes are NaN or infinite/.test(warning)).length, 1);
  });

  it("has room for the pairs of 128 models where a block's output would be", () => {
    assert.ok(relationsBytes(128) <= BLOCK_ENTRIES * DTYPE_BYTES.F32);
  });

  it("refuses models that do not fit together, as a merge does, unless what differs is excluded", async () => {
    const base = model({ a: { dtype: "F32", values: [1, 2] }, head: { dtype: "F32", values: [1] } });
    const wide = model({ a: { dtype: "F32", values: [1, 2] }, head: { dtype: "F32", values: [1, 2] } });
    const headless = model({ a: { dtype: "F32", values: [1, 5] } });
    const code = (wanted: string) => (error: MergewrightError) => error.code === wanted;
    await assert.rejects(compare(base, [wide]), code("plan/shape"));
    await assert.rejects(compare(base, [headless]), code("plan/missing-tensor"));
    await assert.rejects(compare(base, [headless], { exclude: ["*"] }), code("plan/nothing-to-merge"));
    await assert.rejects(compare(base, [headless], { exclude: ["heads"] }), code("recipe/pattern"));
    await assert.rejects(compare(base, [wide], { exclude: ["head"], density: 1.5 }), code("recipe/out-of-range"));
    await assert.rejects(
      compare(
        base,
        Array.from({ length: 129 }, () => wide),
      ),
      code("recipe/models"),
    );
    const found = await compare(base, [wide, headless], { exclude: ["head"] });
    assert.deepEqual(
      found.models.map(({ norm }) => norm),
      [0, 3],
    );
    assert.deepEqual(found.skipped, [{ model: path.basename(wide), name: "head", reason: "excluded by the recipe" }]);
  });
});
