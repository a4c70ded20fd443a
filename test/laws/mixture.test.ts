/** What methods that mix obey, from files to files: against the same arithmetic done vector by vector. */

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import type { MixtureMethod, ParameterValue } from "../../src/methods/method.js";
import { findMethod } from "../../src/methods/catalogue.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { Folder, merge, tensor, type TestTensor, valuesOf, watched } from "./support/family.js";
import { mixTensor } from "./support/mix.js";
import { Interrupted, interruptedAfter } from "../faults/support.js";
import { normals } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

/** Rows that tiles and blocks cut, rows longer than a tile, columns in several stripes, vectors, scalars. */
const SHAPES: readonly (readonly number[])[] = [[700, 451], [5, 17_000], [2, 3, 7], [3, 5001], [4099], [], [1, 9]];

interface Sketch {
  readonly base: readonly TestTensor[];
  readonly models: readonly (readonly TestTensor[])[];
}

function draw(shapes: readonly (readonly number[])[], dtypeOf: (checkpoint: number) => FloatDtype): Sketch {
  const size = (shape: readonly number[]) => shape.reduce((product, length) => product * length, 1);
  const start = shapes.map((shape, index) => normals(size(shape), index, 0.05));
  const tensors = (checkpoint: number) =>
    shapes.map((shape, index) => {
      const moves = normals(size(shape), 100 * checkpoint + index, 0.01);
      const values = start[index]!.map((x, p) => x + (checkpoint === 0 || p % 7 === checkpoint ? 0 : moves[p]!));
      return tensor(`t${index}`, values, dtypeOf(checkpoint), shape);
    });
  return { base: tensors(0), models: [1, 2, 3].map(tensors) };
}

let written = 0;

function write({ base, models }: Sketch): { base: string; models: string[] } {
  const id = written++;
  return {
    base: folder.write(`base${id}`, base),
    models: models.map((tensors, index) => folder.write(`m${id}-${index}`, tensors, index === 2 ? 2 : 1)),
  };
}

const dtypes: readonly FloatDtype[] = ["BF16", "F32", "F16", "BF16"];
const mixed = draw(SHAPES, (checkpoint) => dtypes[checkpoint]!);
const plain = draw(SHAPES, () => "BF16");
const paths = new Map([mixed, plain].map((sketch) => [sketch, write(sketch)]));

interface Recipe {
  readonly method: string;
  readonly parameters?: Readonly<Record<string, ParameterValue>>;
  readonly models: number;
  readonly base: boolean;
}

const recipes: Readonly<Record<string, Recipe>> = {
  "slerp of two": { method: "slerp", parameters: { t: 0.3 }, models: 2, base: false },
  "slerp from the base": { method: "slerp", parameters: { t: 0.7 }, models: 1, base: true },
  "nuslerp of task vectors": { method: "nuslerp", models: 2, base: true },
  "nuslerp by rows": { method: "nuslerp", parameters: { nuslerp_flatten: false }, models: 2, base: false },
  "nuslerp of task vectors by rows": {
    method: "nuslerp",
    parameters: { nuslerp_flatten: false },
    models: 2,
    base: true,
  },
  "nuslerp by columns": {
    method: "nuslerp",
    parameters: { nuslerp_flatten: false, nuslerp_row_wise: true },
    models: 2,
    base: false,
  },
  "nuslerp of task vectors by columns": {
    method: "nuslerp",
    parameters: { nuslerp_flatten: false, nuslerp_row_wise: true },
    models: 2,
    base: true,
  },
  multislerp: { method: "multislerp", models: 3, base: false },
  "multislerp of task vectors": { method: "multislerp", models: 3, base: true },
  karcher: { method: "karcher", models: 3, base: false },
  "model stock": { method: "model_stock", models: 3, base: true },
  "model stock by rows": { method: "model_stock", parameters: { filter_wise: true }, models: 3, base: true },
  "geometric median": { method: "geometric_median", models: 3, base: true },
};

function recipeOf({ method, parameters = {}, models, base }: Recipe, sketch: Sketch) {
  const at = paths.get(sketch)!;
  return { method, parameters, models: at.models.slice(0, models), ...(base && { base: at.base }) };
}

/** The result in f64, vector by vector. */
function expected({ method, parameters = {}, models, base }: Recipe, sketch: Sketch, index: number): Float64Array {
  const at = (tensors: readonly TestTensor[]) => valuesOf(tensors[index]!);
  return mixTensor(findMethod(method) as MixtureMethod, sketch.base[index]!.shape, {
    base: base ? at(sketch.base) : null,
    inputs: sketch.models.slice(0, models).map(at),
    given: parameters,
  });
}

describe("a mixture", () => {
  for (const [index, [name, recipe]] of Object.entries(recipes).entries()) {
    it(`${name}: is the weighted sum, vector by vector`, async () => {
      const merged = await merge({ ...recipeOf(recipe, mixed), output: { dtype: "float32" } }, { out: folder.fresh() });
      for (const tensorIndex of SHAPES.keys()) {
        const found = merged.values(`t${tensorIndex}`);
        const wanted = expected(recipe, mixed, tensorIndex);
        const worst = wanted.reduce((most, value, p) => Math.max(most, Math.abs(found[p]! - value)), 0);
        assert.ok(worst < 2e-7, `t${tensorIndex}: ${worst}`);
      }
    });

    it(`${name}: the same bytes for any number of threads, any tile, any shard`, async () => {
      const given = recipeOf(recipe, index % 2 === 0 ? mixed : plain);
      const first = await merge(given, { out: folder.fresh() });
      const variants = [
        { threads: 2, tuning: { tileEntries: 1024, chunkEntries: 8192 }, shard_size: 200_000 },
        { threads: 3, tuning: { tileEntries: 65_536, chunkEntries: 65_536 }, shard_size: 5_000_000_000 },
      ];
      for (const { shard_size, ...options } of variants) {
        const other = await merge({ ...given, output: { shard_size } }, { out: folder.fresh(), ...options });
        assert.deepEqual(other.prints, first.prints, JSON.stringify(options));
        assert.deepEqual(other.result.result, first.result.result);
      }
    });
  }

  it("tiles of eight entries", async () => {
    const sketch = draw([[9, 5], [3, 31], [1], [300]], () => "F16");
    paths.set(sketch, write(sketch));
    for (const [name, recipe] of Object.entries(recipes)) {
      const first = await merge(recipeOf(recipe, sketch), { out: folder.fresh() });
      const tuning = { tileEntries: 8, chunkEntries: 8 };
      const other = await merge(recipeOf(recipe, sketch), { out: folder.fresh(), threads: 2, tuning });
      assert.deepEqual(other.prints, first.prints, name);
    }
  });

  it("rows longer than a block", async () => {
    const sketch = draw([[2, BLOCK_ENTRIES + 12_345]], () => "BF16");
    paths.set(sketch, write(sketch));
    for (const name of ["nuslerp of task vectors by rows", "model stock by rows"]) {
      const given = { ...recipeOf(recipes[name]!, sketch), output: { dtype: "float32" } };
      const first = await merge(given, { out: folder.fresh() });
      const wanted = expected(recipes[name]!, sketch, 0);
      const found = first.values("t0");
      assert.ok(
        wanted.every((value, p) => Math.abs(found[p]! - value) < 2e-7),
        name,
      );
      const tuning = { tileEntries: 4096, chunkEntries: 16_384 };
      const other = await merge(given, { out: folder.fresh(), threads: 2, tuning });
      assert.deepEqual(other.prints, first.prints);
    }
  });

  it("equal models give the model, of F64 and 8-bit entries too", async () => {
    for (const dtype of ["BF16", "F16", "F64", "F8_E4M3"] as const) {
      const { models } = draw([[40, 30]], () => dtype);
      const same = write({ base: models[0]!, models: models.map(() => models[0]!) });
      const values = valuesOf(models[0]![0]!);
      for (const { method, models: count, parameters = {} } of Object.values(recipes)) {
        if (count < 2) continue;
        const base = findMethod(method)!.base === "required" ? { base: same.base } : {};
        const given = { method, parameters, models: same.models.slice(0, count), ...base };
        const found = (await merge(given, { out: folder.fresh() })).values("t0");
        // F64 is rounded to f32 before it is merged.
        const allowed = dtype === "F64" ? 1e-7 : 0;
        assert.ok(
          found.every((x, p) => Math.abs(x - values[p]!) <= allowed),
          `${method} ${dtype}`,
        );
      }
    }
  });
});

describe("what is not finite", () => {
  it("stays where it is, and the angle is that of the rest", async () => {
    const shape = [6, 50];
    const spoil = (values: Float32Array) => {
      values[7] = Number.NaN;
      values[120] = Number.POSITIVE_INFINITY;
      return values;
    };
    const [base, a, b] = [1, 2, 3].map((seed) => normals(300, seed, 0.1));
    const clean = [a!, b!].map((values) => values.slice());
    for (const values of clean) values[7] = values[120] = 0;
    const zeroed = base!.slice();
    zeroed[7] = zeroed[120] = 0;
    const save = (name: string, values: Float32Array) => folder.write(name, [tensor("w", values, "F32", shape)]);
    const bad = { base: save("bad-base", base!), models: [save("bad-a", spoil(a!)), save("bad-b", b!)] };
    const good = { base: save("good-base", zeroed), models: [save("good-a", clean[0]!), save("good-b", clean[1]!)] };
    for (const parameters of [{}, { nuslerp_flatten: false }, { nuslerp_flatten: false, nuslerp_row_wise: true }]) {
      const found = await merge({ method: "nuslerp", parameters, ...bad }, { out: folder.fresh() });
      const wanted = await merge({ method: "nuslerp", parameters, ...good }, { out: folder.fresh() });
      const [x, y] = [found.values("w"), wanted.values("w")];
      assert.ok(Number.isNaN(x[7]!) && x[120] === Number.POSITIVE_INFINITY);
      x[7] = y[7]!;
      x[120] = y[120]!;
      assert.deepEqual(x, y, JSON.stringify(parameters));
      assert.match(found.result.result.warnings.join(), /w: 2 NaN or infinite entries in the output \(2 in bad-a\)/);
    }
  });
});

describe("mixtures and the rest of a recipe", () => {
  const at = paths.get(plain)!;

  it("rows are read once, everything else twice", async () => {
    for (const [parameters, jobs] of [
      [{ nuslerp_flatten: false }, ["mixRows"]],
      [{ nuslerp_flatten: false, nuslerp_row_wise: true }, ["mixColumns", "combineColumns"]],
      [{}, ["gram", "combine"]],
    ] as const) {
      const { platform, stages } = watched();
      const two = at.models.slice(0, 2);
      const exclude = SHAPES.slice(1).map((_, index) => `t${index + 1}`);
      await merge({ method: "nuslerp", parameters, models: two, exclude }, { out: folder.fresh() }, platform);
      assert.deepEqual(
        stages.filter((job) => job !== "copy"),
        jobs,
      );
    }
  });

  it("t may differ between tensors; 0 and 1 are the ends", async () => {
    const merged = await merge(
      { method: "slerp", parameters: { t: { value: 0, patterns: { t1: 1 } } }, models: at.models.slice(0, 2) },
      { out: folder.fresh() },
    );
    assert.deepEqual(merged.values("t0"), valuesOf(plain.models[0]![0]!));
    assert.deepEqual(merged.values("t1"), valuesOf(plain.models[1]![1]!));
  });

  it("DARE goes before task vectors are mixed", async () => {
    const recipe = { method: "nuslerp", base: at.base, models: at.models.slice(0, 2) };
    const [without, none, some] = [
      await merge(recipe, { out: folder.fresh() }),
      await merge({ ...recipe, dare: { drop: 0 } }, { out: folder.fresh() }),
      await merge({ ...recipe, dare: { drop: 0.9 } }, { out: folder.fresh(), threads: 2 }),
    ];
    assert.deepEqual(none.prints, without.prints);
    assert.notDeepEqual(some.prints, without.prints);
    const baseless = { method: "nuslerp", models: recipe.models, dare: { drop: 0.5 } };
    await assert.rejects(merge(baseless, { out: folder.fresh() }), /without a base/);
  });

  it("a tensor that one model lacks is the other's", async () => {
    const lacking = folder.write("lacking", plain.models[1]!.slice(1));
    const recipe = { method: "slerp", models: [at.models[0], lacking], missing: "skip" };
    const merged = await merge(recipe, { out: folder.fresh() });
    assert.deepEqual(merged.values("t0"), valuesOf(plain.models[0]![0]!));
  });

  it("as an input of another merge it gives what its files would give", async () => {
    const { base, models } = paths.get(mixed)!;
    const columns = { nuslerp_flatten: false, nuslerp_row_wise: true };
    for (const inner of [
      { method: "nuslerp", parameters: columns, models: models.slice(0, 2) },
      { method: "nuslerp", parameters: columns, base, models: models.slice(1) },
      { method: "slerp", parameters: { t: 0.2 }, models: models.slice(0, 2) },
      { method: "model_stock", base, models },
      { method: "model_stock", parameters: { filter_wise: true }, base, models },
    ]) {
      const outer = { method: "geometric_median", base };
      const output = { dtype: "float32" };
      const { out } = await merge({ ...inner, output }, { out: folder.fresh() });
      const stepwise = await merge({ ...outer, output, models: [out, ...models.slice(1)] }, { out: folder.fresh() });
      const nested = { ...outer, output, models: [{ merge: inner }, ...models.slice(1)] };
      assert.deepEqual((await merge(nested, { out: folder.fresh() })).prints, stepwise.prints);
      const other = await merge(nested, {
        out: folder.fresh(),
        threads: 2,
        tuning: { tileEntries: 1024, chunkEntries: 4096 },
      });
      assert.deepEqual(other.prints, stepwise.prints);
    }
  });

  it("by columns, an input of statistics is read for its coefficients once, however often it is restarted", async () => {
    const { base, models } = paths.get(plain)!;
    const parameters = { nuslerp_flatten: false, nuslerp_row_wise: true };
    const inner = { method: "nuslerp", parameters, models: models.slice(0, 2) };
    const nested = { method: "ties", base, models: [{ merge: inner, name: "inner" }, models[2]] };
    const { out: stage } = await merge({ ...inner, output: { dtype: "float32" } }, { out: folder.fresh() });
    const stepwise = await merge(
      { ...nested, models: [{ model: stage, name: "inner" }, models[2]] },
      { out: folder.fresh() },
    );
    const out = folder.fresh();
    await assert.rejects(merge(nested, { out }, interruptedAfter({ blocks: 1 })), Interrupted);
    const { platform, stages } = watched();
    assert.deepEqual((await merge(nested, { out }, platform)).prints, stepwise.prints);
    assert.ok(!stages.includes("mixColumns"));
  });

  it("directions that cancel are refused by name", async () => {
    const models = [
      [1, 0],
      [-0.5, 0.75],
      [-0.5, -0.75],
    ].map((values, index) => folder.write(`star-${index}`, [tensor("w", values)]));
    const weight = Math.hypot(0.5, 0.75);
    const weighted = models.map((model, index) => ({ model, weight: index === 0 ? 1 : weight }));
    await assert.rejects(merge({ method: "multislerp", models: weighted }, { out: folder.fresh() }), (error) => {
      assert.ok(error instanceof MergewrightError);
      assert.deepEqual([error.code, error.where.tensor, error.exitCode], ["values/no-mixture", "w", 2]);
      return true;
    });
  });

  it("the number of models counts a base that is a member", async () => {
    const check = (object: Readonly<Record<string, unknown>>, pattern: RegExp) =>
      assert.rejects(merge({ method: "slerp", ...object }, { out: folder.fresh() }), pattern);
    await check({ models: at.models }, /number of models/);
    await check({ models: at.models.slice(0, 1) }, /number of models/);
    await check({ base: at.base, models: at.models.slice(0, 2) }, /expected: 1 model\n/);
    await merge({ method: "slerp", base: at.base, models: at.models.slice(0, 1) }, { out: folder.fresh() });
  });
});
