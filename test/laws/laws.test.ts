/** What every merge obeys, from files to files. */

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, describe, it } from "node:test";
import * as fc from "fast-check";
import { MergewrightError } from "../../src/errors.js";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import type { ParameterValue } from "../../src/methods/method.js";
import { narrow } from "../../src/numbers/convert.js";
import { DTYPE_BYTES, DTYPE_OF_RECIPE_NAME, type FloatDtype } from "../../src/numbers/dtypes.js";
import { bruteTies, type Family } from "./support/brute.js";
import {
  fingerprint,
  Folder,
  merge,
  type RecipeObject,
  tensor,
  type TestTensor,
  valuesOf,
  watched,
} from "./support/family.js";
import { dice, normals } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

const RECIPE_NAME = Object.fromEntries(
  Object.entries(DTYPE_OF_RECIPE_NAME).map(([name, dtype]) => [dtype, name]),
) as Record<FloatDtype, string>;

/** Checkpoints of the same tensors in memory. */
interface Sketch {
  readonly base: readonly TestTensor[];
  readonly models: readonly (readonly TestTensor[])[];
}

let written = 0;

function write({ base, models }: Sketch): { base: string; models: string[] } {
  const id = written++;
  return {
    base: folder.write(`base${id}`, base),
    models: models.map((tensors, index) => folder.write(`m${id}-${index}`, tensors, index % 3 === 2 ? 2 : 1)),
  };
}

const run = (recipe: RecipeObject, options = {}) => merge(recipe, { out: folder.fresh(), ...options });

interface Draw {
  readonly seed: number;
  readonly models: number;
  readonly sizes: readonly number[];
  /** `exact`: multiples of 2^-8 below 2, so that every sum of a few is exact in f32. */
  readonly exact: boolean;
}

const draws = (exact: boolean, least = 1) =>
  fc.record({
    seed: fc.integer(),
    models: fc.integer({ min: least, max: 5 }),
    sizes: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 4 }),
    exact: fc.constant(exact),
  });

/** Entries of base and models; about a third of the changes is zero, many are equal. */
function draw({ seed, models, sizes, exact }: Draw, dtypeOf: (checkpoint: number) => FloatDtype = () => "F32"): Sketch {
  const roll = dice(seed);
  const entry = exact ? () => (roll(1024) - 512) / 256 : () => (roll(2 ** 24) / 2 ** 23 - 1) * 0.1;
  const change = exact
    ? () => (roll(3) === 0 ? 0 : (roll(65) - 32) / 256)
    : () => (roll(3) === 0 ? 0 : (roll(2 ** 24) / 2 ** 23 - 1) * 0.01);
  const base = sizes.map((size) => Float32Array.from({ length: size }, entry));
  const moved = Array.from({ length: models }, () => base.map((values) => values.map((x) => x + change())));
  const name = (index: number) => `t${index}`;
  return {
    base: base.map((values, index) => tensor(name(index), values, dtypeOf(-1))),
    models: moved.map((all, model) => all.map((values, index) => tensor(name(index), values, dtypeOf(model)))),
  };
}

const check = (property: fc.IAsyncProperty<unknown>, numRuns = 12) => fc.assert(property, { seed: 7, numRuns });

describe("the same bytes", () => {
  // One tensor of more than a block, small ones, a scalar; three formats.
  const sizes = [BLOCK_ENTRIES + 7001, 1, 4099, 24];
  const dtypes: readonly FloatDtype[] = ["BF16", "F32", "F16", "BF16"];
  const values = (checkpoint: number, index: number) => {
    const start = normals(sizes[index]!, index, 0.05);
    const moves = normals(sizes[index]!, 100 * checkpoint + index, 0.004);
    return checkpoint === 0 ? start : start.map((x, p) => x + (p % 5 === checkpoint ? 0 : moves[p]!));
  };
  const sketch = (dtypeOf: (checkpoint: number) => FloatDtype) => {
    const tensors = (checkpoint: number) =>
      sizes.map((_, index) => tensor(`t${index}`, values(checkpoint, index), dtypeOf(checkpoint)));
    return write({ base: tensors(0), models: [1, 2, 3].map(tensors) });
  };
  const mixed = sketch((checkpoint) => dtypes[checkpoint]!);
  const plain = sketch(() => "BF16");

  const recipes: Readonly<Record<string, RecipeObject>> = {
    average: { method: "average", ...plain },
    "task arithmetic with DARE": { method: "task_arithmetic", dare: { drop: 0.3 }, seed: 5, ...mixed },
    "ties of BF16": { method: "ties", ...plain },
    "ties of three formats": { method: "ties", parameters: { density: 0.3 }, ...mixed },
    "ties, exactly": { method: "ties", parameters: { density: 0.3, quota: "exactly" }, ...plain },
    "ties within tensors": {
      method: "ties",
      dialect: "peft",
      parameters: { density: 0.4, zero_sign: "majority" },
      ...plain,
    },
    "ties with norms and deviations": {
      method: "ties",
      parameters: { elect: "norm-mass", select: "deviations" },
      ...mixed,
    },
    "sce of three formats": { method: "sce", parameters: { select_topk: 0.4 }, ...mixed },
    "pcb of the paper": { method: "pcb/paper", ...plain },
    "arcee_fusion of three formats": { method: "arcee_fusion", base: mixed.base, models: mixed.models.slice(0, 1) },
    "pcb of three formats": { method: "pcb", ...mixed },
    "pcb of the vision script, with DARE": { method: "pcb/vision", dare: { drop: 0.3 }, ...plain },
    "sce of everything, with DARE": { method: "sce", dare: { drop: 0.3 }, ...plain },
    "ties by norm share, with DARE": {
      method: "ties",
      parameters: { select: "norm-share" },
      dare: { drop: 0.5 },
      ...plain,
    },
  };

  for (const [name, recipe] of Object.entries(recipes)) {
    it(`${name}: for any number of threads, any tile, any shard`, async () => {
      const first = await run(recipe);
      const variants = [
        { threads: 2, tuning: { tileEntries: 1024, chunkEntries: 8192 } },
        { threads: 3, tuning: { tileEntries: 65_536, chunkEntries: 65_536 } },
      ];
      for (const [index, options] of variants.entries()) {
        const other = await run({ ...recipe, output: { shard_size: index === 0 ? 200_000 : 5_000_000_000 } }, options);
        assert.deepEqual(other.prints, first.prints, JSON.stringify(options));
        assert.deepEqual(other.result.result, first.result.result);
      }
    });
  }

  it("tiles of eight entries", async () => {
    const small = write(draw({ seed: 3, models: 3, sizes: [1, 7, 8, 9, 300], exact: false }, () => "F16"));
    for (const recipe of [
      { method: "average" },
      { method: "ties", dare: { drop: 0.2 } },
      { method: "ties", parameters: { quota: "exactly" } },
    ]) {
      const first = await run({ ...recipe, ...small });
      const other = await run({ ...recipe, ...small }, { threads: 2, tuning: { tileEntries: 8, chunkEntries: 8 } });
      assert.deepEqual(other.prints, first.prints);
      assert.deepEqual(other.result.result, first.result.result);
    }
  });
});

describe("identities", () => {
  it("the average of equal models is that model", async () => {
    await check(
      fc.asyncProperty(draws(false), fc.constantFrom<FloatDtype>("BF16", "F16"), async (drawn, dtype) => {
        const { models } = draw(drawn, () => dtype);
        const { models: paths } = write({ base: models[0]!, models: models.map(() => models[0]!) });
        assert.deepEqual((await run({ method: "average", models: paths })).prints, fingerprint(models[0]!));
      }),
    );
  });

  it("task arithmetic at lambda 1/n is the average, within one rounding", async () => {
    await check(
      fc.asyncProperty(draws(false), async (drawn) => {
        const paths = write(draw(drawn, () => "BF16"));
        const average = await run({ method: "average", ...paths });
        const sum = await run({ method: "task_arithmetic", parameters: { lambda: 1 / drawn.models }, ...paths });
        for (const [name, { bytes }] of average.tensors) {
          const [a, b] = [bytes, sum.tensors.get(name)!.bytes].map((part) => new Int16Array(part.slice().buffer));
          // Neighbouring BF16 numbers have neighbouring patterns; near zero a difference of rounding is of the base's size.
          for (const [p, pattern] of a!.entries()) {
            const near = Math.abs(pattern - b![p]!) <= 1;
            const tiny = Math.abs(average.values(name)[p]! - sum.values(name)[p]!) < 1e-7;
            assert.ok(near || tiny, `${name}[${p}]: ${average.values(name)[p]} and ${sum.values(name)[p]}`);
          }
        }
      }),
    );
  });

  it("lambda 0 gives the base", async () => {
    await check(
      fc.asyncProperty(draws(false), fc.constantFrom("task_arithmetic", "ties"), async (drawn, method) => {
        const sketch = draw(drawn, (checkpoint) => (checkpoint === 1 ? "F32" : "BF16"));
        const merged = await run({ method, parameters: { lambda: 0 }, ...write(sketch) });
        assert.deepEqual(merged.prints, fingerprint(sketch.base));
      }),
    );
  });

  it("one model, everything kept, lambda 1: the model, up to two roundings in f32", async () => {
    await check(
      fc.asyncProperty(draws(false), async (drawn) => {
        const sketch = draw({ ...drawn, models: 1 });
        for (const recipe of [
          { method: "ties", parameters: { density: 1 } },
          { method: "task_arithmetic", parameters: { lambda: 1 } },
        ]) {
          const merged = await run({ ...recipe, ...write(sketch) });
          for (const [index, base] of sketch.base.entries()) {
            const model = valuesOf(sketch.models[0]![index]!);
            const expected = valuesOf(base).map((x, p) => x + Math.fround(model[p]! - x));
            assert.deepEqual(merged.values(base.name), expected);
          }
        }
      }),
    );
  });

  it("a model that equals the base adds nothing", async () => {
    await check(
      fc.asyncProperty(draws(false), fc.nat(5), async (drawn, place) => {
        const sketch = draw(drawn);
        const more = { base: sketch.base, models: sketch.models.toSpliced(place, 0, sketch.base) };
        for (const recipe of [
          { method: "task_arithmetic" },
          { method: "ties", parameters: { density: 0.5 } },
          { method: "ties", dialect: "mergekit" },
        ]) {
          const [without, with_] = [
            await run({ ...recipe, ...write(sketch) }),
            await run({ ...recipe, ...write(more) }),
          ];
          assert.deepEqual(with_.prints, without.prints, JSON.stringify(recipe));
        }
      }),
    );
  });

  it("the order of models with equal weights changes nothing where sums are exact, else only rounding", async () => {
    const recipes = [
      { method: "average" },
      { method: "task_arithmetic", parameters: { lambda: 0.5 } },
      { method: "ties", parameters: { density: 0.5 } },
      { method: "ties", parameters: { density: 0.5, merge: "sum", elect: "count" } },
    ];
    await check(
      fc.asyncProperty(
        fc.boolean().chain((exact) => draws(exact, 2)),
        fc.nat(),
        async (drawn, turn) => {
          const sketch = draw(drawn);
          const turned = [
            ...sketch.models.slice(turn % drawn.models),
            ...sketch.models.slice(0, turn % drawn.models),
          ].reverse();
          for (const recipe of drawn.exact ? recipes : recipes.slice(0, 2)) {
            const [one, other] = [
              await run({ ...recipe, ...write(sketch) }),
              await run({ ...recipe, ...write({ ...sketch, models: turned }) }),
            ];
            if (drawn.exact) assert.deepEqual(other.prints, one.prints, JSON.stringify(recipe));
            for (const name of one.tensors.keys()) {
              const values = other.values(name);
              for (const [p, x] of one.values(name).entries())
                assert.ok(Math.abs(x - values[p]!) <= 1e-7, `${name}[${p}]`);
            }
          }
        },
      ),
    );
  });
});

describe("DARE", () => {
  it("drop 0 changes nothing", async () => {
    await check(
      fc.asyncProperty(draws(false), fc.constantFrom("task_arithmetic", "ties"), async (drawn, method) => {
        const paths = write(draw(drawn, (checkpoint) => (["BF16", "F16", "F32"] as const)[(checkpoint + 1) % 3]!));
        const [without, with_] = [await run({ method, ...paths }), await run({ method, dare: { drop: 0 }, ...paths })];
        assert.deepEqual(with_.prints, without.prints);
      }),
    );
  });

  it("drops its share at random, and the rescaled rest has the same mean", async () => {
    const entries = 200_000;
    const ones = () => [tensor("w", new Float32Array(entries).fill(1))];
    const { base, models } = write({ base: [tensor("w", new Float32Array(entries))], models: [ones(), ones()] });
    for (const drop of [0.1, 0.5, 0.9]) {
      const merged = await run({
        ...{
          method: "task_arithmetic",
          parameters: { lambda: 1 },
          base,
          models: [models[0]],
          dare: { drop },
          seed: 11,
        },
      });
      const values = merged.values("w");
      const survivor = Math.fround(1 / (1 - drop));
      const kept = values.filter((x) => x !== 0);
      assert.ok(kept.every((x) => x === survivor));
      const sigma = Math.sqrt(drop * (1 - drop) * entries);
      assert.ok(
        Math.abs(kept.length - (1 - drop) * entries) < 5 * sigma,
        `${kept.length} of ${entries} kept at ${drop}`,
      );
      const mean = values.reduce((sum, x) => sum + x, 0) / entries;
      assert.ok(Math.abs(mean - 1) < (5 * sigma * survivor) / entries, `mean ${mean}`);
      const bare = await run({
        ...{
          method: "task_arithmetic",
          parameters: { lambda: 1 },
          base,
          models: [models[0]],
          dare: { drop, rescale: false },
          seed: 11,
        },
      });
      assert.deepEqual(
        bare.values("w"),
        values.map((x) => (x === 0 ? 0 : 1)),
      );
    }
  });

  it("masks follow from seed, model and tensor, and from nothing else", async () => {
    const ones = (name: string) => tensor(name, new Float32Array(5000).fill(1));
    const zeros = (name: string) => tensor(name, new Float32Array(5000));
    const base = folder.write("mask-base", [zeros("a"), zeros("b")]);
    const [x, y] = ["x", "y"].map((name) => folder.write(`mask-${name}`, [ones("a"), ones("b")]));
    const masks = async (models: readonly unknown[], seed: number) => {
      const merged = await run({
        method: "task_arithmetic",
        parameters: { lambda: 1 },
        dare: { drop: 0.5 },
        seed,
        base,
        models,
      });
      return [merged.values("a"), merged.values("b")].map((values) => values.join(""));
    };
    const [a, b] = await masks([x], 1);
    assert.notEqual(a, b);
    assert.deepEqual(await masks([{ model: y, weight: 0 }, x], 1), [a, b]);
    assert.deepEqual(await masks([{ model: y, name: "mask-x" }], 1), [a, b]);
    const [other] = await masks([y], 1);
    const [again] = await masks([x], 2);
    assert.equal(new Set([a, b, other, again]).size, 4);
  });

  it("everything dropped leaves the base", async () => {
    const sketch = draw({ seed: 1, models: 3, sizes: [100, 7], exact: false });
    for (const method of ["task_arithmetic", "ties"]) {
      const merged = await run({ method, dare: { drop: 1 }, ...write(sketch) });
      assert.deepEqual(merged.prints, fingerprint(sketch.base));
    }
  });
});

describe("formats", () => {
  const dtypes: readonly FloatDtype[] = ["BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2"];
  const recipes: readonly RecipeObject[] = [
    { method: "average" },
    { method: "task_arithmetic", dare: { drop: 0.2 } },
    { method: "ties", parameters: { density: 0.4 } },
    { method: "ties", dialect: "peft", parameters: { elect: "norm-mass" } },
  ];

  /** The same numbers, all in F32. */
  const widened = (tensors: readonly TestTensor[]) => tensors.map((one) => tensor(one.name, valuesOf(one)));

  it("any mixture of formats equals the merge in f32, rounded once", async () => {
    const formats = fc.array(fc.constantFrom(...dtypes), { minLength: 6, maxLength: 6 });
    await check(
      fc.asyncProperty(
        draws(false),
        formats,
        fc.constantFrom(null, ...dtypes),
        fc.nat(3),
        async (drawn, mixture, output, which) => {
          const sketch = draw(drawn, (checkpoint) => mixture[checkpoint + 1]!);
          const recipe = { ...recipes[which]!, seed: 9 };
          const paths = write(sketch);
          const named = paths.models.map((model, index) => ({ model, name: `m${index}` }));
          const merged = await run({
            ...recipe,
            base: paths.base,
            models: named,
            ...(output && { output: { dtype: RECIPE_NAME[output] } }),
          });
          const wide = write({ base: widened(sketch.base), models: sketch.models.map(widened) });
          const wideNamed = wide.models.map((model, index) => ({ model, name: `m${index}` }));
          const exact = await run({ ...recipe, base: wide.base, models: wideNamed, output: { dtype: "float32" } });
          for (const [name, { dtype, bytes }] of merged.tensors) {
            assert.equal(dtype, output ?? mixture[0]);
            const expected = new Uint8Array(bytes.length);
            narrow(dtype, exact.values(name), expected);
            assert.deepEqual(bytes, expected, `${name} in ${dtype}, from ${mixture.join(" ")}`);
          }
        },
      ),
      25,
    );
  });

  it("integers are copied, scalars merged, tensors without entries kept", async () => {
    const integers = (seed: number): TestTensor[] => {
      const roll = dice(seed);
      const copied = ["I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"] as const;
      return copied.map((dtype) => ({
        ...{ name: `i.${dtype}`, dtype, shape: [2, 3] },
        bytes: Uint8Array.from({ length: 6 * DTYPE_BYTES[dtype] }, () => roll(dtype === "BOOL" ? 2 : 256)),
      }));
    };
    const make = (value: number) => [
      tensor("scalar", [value], "BF16", []),
      ...integers(value),
      tensor("empty", [], "F32", [0, 4]),
      tensor("one", [value, -value], "F16", [1, 2]),
    ];
    const [base, ...models] = [0, 2, 4].map(make) as [TestTensor[], TestTensor[], TestTensor[]];
    for (const recipe of [
      { method: "average" },
      { method: "task_arithmetic", parameters: { lambda: 0.5 } },
      { method: "ties", parameters: { density: 1 } },
    ]) {
      const merged = await run({ ...recipe, ...write({ base, models }), output: { dtype: "float32" } });
      for (const one of integers(0)) assert.deepEqual(merged.tensors.get(one.name), one);
      assert.deepEqual(merged.values("scalar"), Float32Array.of(3));
      assert.deepEqual(merged.tensors.get("scalar")!.shape, []);
      assert.deepEqual(merged.values("one"), Float32Array.of(3, -3));
      assert.deepEqual(merged.tensors.get("empty")!.shape, [0, 4]);
      assert.deepEqual(merged.result.provenance.counts.tensors, { merged: 2, copied: 10, skipped: 18 });
    }
  });
});

describe("ties from files equals brute force", () => {
  const familyOf = ({ base, models }: Sketch): Family => ({
    tensors: base.map((one, index) => ({
      name: one.name,
      base: valuesOf(one),
      models: models.map((all) => valuesOf(all[index]!)),
    })),
  });
  const choice = <T>(...values: T[]) => fc.constantFrom(...values);
  const parameters: fc.Arbitrary<Record<string, ParameterValue>> = fc.record({
    density: choice(0, 0.05, 0.2, 0.5, 0.99, 1),
    lambda: choice(1, 0.3, -1),
    trim: choice("model", "tensor"),
    select: choice("top", "top", "top", "none"),
    quota: choice("at-least", "exactly", "exactly-nonzero"),
    elect: choice("mass", "mass", "count", "norm-mass", "norm-fraction", "none"),
    vote: choice("weighted", "unweighted"),
    zero_sign: choice("majority", "majority", "positive", "negative"),
    merge: choice("mean", "sum", "max", "plain-mean", "plain-sum", "plain-median", "plain-magnitude"),
    divide: choice("weights", "count"),
  });
  const own = fc.record({ weight: choice(1, 1, 1, 0.5, -1, 2), density: choice(undefined, undefined, 0.3) });

  type Own = Readonly<Record<string, number | undefined>>;

  /** @returns the stages that it took. */
  /** @param lacking per model: the tensors that it does not have. */
  async function compare(
    sketch: Sketch,
    given: Record<string, ParameterValue>,
    each: readonly Own[],
    options = {},
    lacking: readonly (readonly string[])[] = [],
  ): Promise<string[]> {
    const has = (model: number, name: string) => !(lacking[model] ?? []).includes(name);
    const paths = write({
      ...sketch,
      models: sketch.models.map((all, model) => all.filter(({ name }) => has(model, name))),
    });
    const settings = each.map(
      (values) =>
        Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Record<string, number>,
    );
    const models = paths.models.map((model, index) => ({ model, parameters: settings[index]! }));
    const { platform, stages } = watched();
    const recipe = { method: "ties", parameters: given, base: paths.base, models, missing: "skip" };
    const merged = await merge(recipe, { out: folder.fresh(), ...options }, platform);
    const family = familyOf(sketch).tensors.map((one) => ({
      ...one,
      models: one.models.map((values, model) => (has(model, one.name) ? values : null)),
    }));
    const brute = bruteTies({ tensors: family }, given, settings);
    for (const { name, dtype, bytes } of sketch.base) {
      const expected = new Uint8Array(bytes.length);
      narrow(dtype as FloatDtype, brute.tensors.get(name)!, expected);
      const found = merged.tensors.get(name)!.bytes;
      const at = Buffer.from(found).equals(expected) ? -1 : found.findIndex((byte, index) => byte !== expected[index]);
      assert.equal(at, -1, `${name}, byte ${at}; ${JSON.stringify({ given, settings })}`);
    }
    const { kept, counters } = merged.result.result;
    if (kept !== null)
      assert.deepEqual(
        kept.map((count) => count.kept),
        brute.kept,
      );
    for (const [name, count] of Object.entries(counters)) assert.equal(count, brute.counters[name] ?? 0, name);
    return stages;
  }

  it("any parameters, small", async () => {
    const owns = fc.array(own, { minLength: 5, maxLength: 5 });
    const dtype = fc.constantFrom<FloatDtype>("F32", "BF16", "F16");
    await check(
      fc.asyncProperty(
        fc.boolean().chain((exact) => draws(exact)),
        parameters,
        owns,
        dtype,
        async (drawn, given, each, format) => {
          const sketch = draw(drawn, () => format);
          await compare(sketch, given, each.slice(0, drawn.models));
        },
      ),
      100,
    );
  });

  it("models that lack tensors, small", async () => {
    const owns = fc.array(own, { minLength: 5, maxLength: 5 });
    const lacks = fc.array(fc.subarray(["t0", "t1", "t2", "t3"]), { minLength: 4, maxLength: 4 });
    await check(
      fc.asyncProperty(
        draws(true).filter(({ sizes }) => sizes.length > 1),
        parameters,
        owns,
        lacks,
        async (drawn, given, each, some) => {
          // The first model has everything, so that no tensor is merely copied; none has nothing.
          const lacking = [
            [],
            ...some.map((names) => names.filter((name) => name !== `t${(drawn.sizes.length + drawn.seed) & 1}`)),
          ];
          await compare(draw(drawn), given, each.slice(0, drawn.models), {}, lacking);
        },
      ),
      60,
    );
  });

  // Multiples of 1/64 below 1 as BF16: few magnitudes, so that a sample says all, and many columns that cancel exactly.
  const small = 2 * BLOCK_ENTRIES + 999;
  const grains = (
    change: (roll: (below: number) => number, model: number, at: number) => number,
    total = small,
  ): Sketch => {
    const sizes = [BLOCK_ENTRIES + 5, 7, total - BLOCK_ENTRIES - 12];
    const cut = (values: Float32Array) => {
      let start = 0;
      return sizes.map((size, index) => tensor(`t${index}`, values.subarray(start, (start += size)), "BF16"));
    };
    const models = [1, 2, 3].map((model) => {
      const roll = dice(model);
      return cut(Float32Array.from({ length: total }, (_, at) => change(roll, model, at) / 64));
    });
    return { base: cut(new Float32Array(total)), models };
  };
  const three = [{}, {}, {}];

  it("thresholds guessed from a sample, and a majority that turns", async () => {
    // The first block votes positive, the rest negative, and a tenth of all columns cancels.
    const turning = grains((roll, model, at) => {
      const size = roll(63) + 1;
      if (at % 10 === 0) return model === 3 ? 0 : model === 1 ? 1 + (at % 60) : -1 - (at % 60);
      return at < 0.8 * BLOCK_ENTRIES === roll(10) > 0 ? size : -size;
    });
    for (const threads of [1, 2]) {
      const stages = await compare(turning, { density: 0.21 }, three, { threads });
      assert.ok(stages.includes("assume") && !stages.includes("survey"), stages.join());
      // One thread assumes the first block's majority in the second, and mends it.
      assert.ok(threads > 1 || stages.includes("combine"), stages.join());
    }
    const weighted = await compare(turning, { density: 0.21, vote: "unweighted" }, [
      { weight: 2 },
      { weight: 0.5 },
      { weight: 1 },
    ]);
    assert.ok(weighted.includes("assume"));
  });

  it("a majority that decides although no entries of both signs meet", async () => {
    // A vote of zero where weights turn the entries the same way: elected, they add up; else none is left.
    const opposed = grains((roll, model, at) => {
      const size = 1 + (at % 60);
      if (at % 3 === 0) return model === 3 ? 0 : model === 1 ? size : -size;
      return at < 0.8 * BLOCK_ENTRIES === roll(10) > 0 ? size : -size;
    });
    await compare(opposed, { density: 0.6, vote: "unweighted" }, [{ weight: 1 }, { weight: -1 }, { weight: 1 }]);
  });

  it("a guess that the counts refute", async () => {
    // The sample reads the first 512 of every 768 entries and more; what it does not see is larger.
    const [total, runs] = [3 * BLOCK_ENTRIES + 999, 1024];
    const seen = (at: number) => at - Math.floor((Math.floor((at * runs) / total) * total) / runs) < 512;
    const change = (roll: (below: number) => number, _: number, at: number) =>
      (roll(2) === 0 ? -1 : 1) * (seen(at) ? 1 + roll(4) : 20 + roll(4));
    const stages = await compare(grains(change, total), { density: 0.2 }, three, { threads: 2 });
    assert.ok(stages.includes("assume"), stages.join());
    assert.ok(stages.includes("survey"), stages.join());
  });

  it("exact quotas that a sample predicts wrongly, over the model and within tensors", async () => {
    // The threshold is 40 for every model; the entries equal to it crowd at the end, where no even spread expects them.
    const crowded = grains((roll, model, at) => {
      const sign = roll(2) === 0 ? -1 : 1;
      const large = roll(10) === 0;
      return sign * (large ? 41 + roll(20) : at > 0.7 * small + model ? 40 : 1 + roll(30));
    });
    for (const trim of ["model", "tensor"]) {
      for (const threads of [1, 2]) {
        const given = { density: 0.25, quota: "exactly", trim };
        const stages = await compare(crowded, given, three, { threads });
        assert.ok(stages.filter((stage) => stage === "assume").length > 1, stages.join());
      }
    }
    // One model keeps everything, one nothing: nothing is counted for them.
    await compare(crowded, { density: 0.25, quota: "exactly" }, [{}, { density: 1 }, { density: 0 }]);
  });

  it("exact quotas after a survey: no third pass", async () => {
    // So many magnitudes that no sample is sure of one, and each many times over.
    const fine = grains((roll) => (roll(8191) - 4095) / 64);
    const stages = await compare(fine, { density: 0.9, quota: "exactly" }, three, { threads: 2 });
    assert.equal(stages.filter((stage) => stage === "survey").length, 1, stages.join());
    assert.ok(stages.includes("assume"), stages.join());
  });

  it("a norm that follows a threshold, which no guess knows", async () => {
    const grain = grains((roll) => roll(127) - 63);
    for (const quota of ["at-least", "exactly"]) {
      await compare(grain, { density: 0.21, elect: "norm-mass", quota }, three, { threads: 2 });
    }
  });

  it("models that lack tensors, large", async () => {
    const grain = grains((roll) => roll(127) - 63);
    const lacking = [["t0"], [], ["t1", "t2"]];
    const cases: readonly Record<string, ParameterValue>[] = [
      { density: 0.21 },
      { density: 0.3, quota: "exactly" },
      { density: 0.3, elect: "norm-mass", trim: "tensor" },
    ];
    for (const given of cases) {
      await compare(grain, given, three, { threads: 2 }, lacking);
    }
  });

  it("within tensors, guessed and not", async () => {
    const grain = grains((roll) => roll(127) - 63);
    await compare(grain, { density: 0.21, trim: "tensor" }, three, { threads: 2 });
    await compare(grain, { density: 0.21, trim: "tensor", quota: "exactly" }, [{ density: 0.1 }, {}, { weight: -1 }], {
      threads: 1,
    });
  });
});

describe("what nothing but the majority could decide", () => {
  const by = (
    method: Record<string, unknown>,
    columns: readonly (readonly number[])[],
    base = columns.map(() => 0),
  ) => {
    const models = columns[0]!.map((_, model) => columns.map((column, p) => column[model]! + base[p]!));
    const paths = write({ base: [tensor("w", base)], models: models.map((values) => [tensor("w", values)]) });
    return run({ method: "ties", ...method, ...paths }).then((merged) => [...merged.values("w")]);
  };

  it("zeros have the sign that adding nothing gives them", async () => {
    // The first columns vote positive and negative; the last has no changes, and its base is −0.
    const tilted = (sign: number) => [[sign], [sign], [0]];
    for (const merge of ["mean", "sum", "max", "plain-mean", "plain-sum", "plain-median", "plain-magnitude"]) {
      for (const sign of [1, -1]) {
        const values = await by({ parameters: { select: "none", merge } }, tilted(sign), [0, 0, -0]);
        assert.ok(Object.is(values[2], 0), `${merge}, ${sign}`);
      }
    }
  });

  it("a norm too small for its inverse gives no vote, and takes none", async () => {
    const columns = [
      [0, 0.5],
      [0, -0.25],
      [2 ** -90, 0.125],
    ];
    for (const elect of ["norm-mass", "norm-fraction"]) {
      assert.deepEqual(await by({ parameters: { select: "none", elect } }, columns), [
        0.5,
        -0.25,
        Math.fround((0.125 + 2 ** -90) / 2),
      ]);
    }
  });

  it("a norm is that of what the exact quota leaves", async () => {
    const zeros = [0, 0, 0, 0, 0];
    // Two entries are left of each: 4/5 against 16/25. All the ones of the first would make it 4/8.
    const models = [
      [2, 1, 1, 1, 1],
      [-4, 3, 0, 0, 0],
    ];
    const paths = write({ base: [tensor("w", zeros)], models: models.map((values) => [tensor("w", values)]) });
    const merged = await run({
      method: "ties",
      parameters: { density: 0.4, quota: "exactly", elect: "norm-mass" },
      ...paths,
    });
    assert.deepEqual([...merged.values("w")], [2, 2, 0, 0, 0]);
  });

  it("an exact quota never trims an infinity away", async () => {
    const model = [Infinity, 1, -Infinity, 2, Infinity, 3];
    const base = folder.write("quota-base", [tensor("w", [0, 0, 0, 0, 0, 0])]);
    const models = [folder.write("quota-model", [tensor("w", model)])];
    for (const density of [0.2, 0.4, 0.5, 0.7]) {
      const merged = await run({ method: "ties", parameters: { density, quota: "exactly" }, base, models });
      const places = [...merged.values("w")].flatMap((x, at) => (Number.isFinite(x) ? [] : [at]));
      assert.deepEqual(places, [0, 2, 4], `density ${density}`);
    }
  });
});

describe("what is not finite", () => {
  const places = [0, 5, 17, 40];
  const strange = [NaN, Infinity, -Infinity, NaN];
  const size = 48;
  const make = (seed: number, damaged: boolean, dtype: FloatDtype = "BF16") => {
    const values = normals(size, seed, 0.1);
    if (damaged) places.forEach((at, index) => (values[at] = strange[index]!));
    return [tensor("w", values, dtype), tensor("v", normals(9, 10 * seed), dtype)];
  };
  const recipes: readonly RecipeObject[] = [
    { method: "average" },
    { method: "task_arithmetic" },
    { method: "task_arithmetic", dare: { drop: 0.9 } },
    { method: "ties" },
    { method: "ties", parameters: { density: 0.01, merge: "max" } },
    { method: "ties", dialect: "mergekit", parameters: { density: 0.3 } },
    { method: "ties", dialect: "peft", parameters: { density: 0 } },
    { method: "ties", parameters: { select: "norm-share", norm_share: 0.5 } },
    { method: "ties", parameters: { select: "deviations" } },
  ];
  const formats: readonly (readonly [FloatDtype, FloatDtype])[] = [
    ["BF16", "BF16"],
    ["F16", "BF16"],
    ["F32", "F32"],
    ["F32", "F16"],
  ];

  for (const recipe of recipes) {
    it(`${JSON.stringify(recipe)}: stays, is counted, and is blamed on its model`, async () => {
      for (const [format, baseFormat] of formats) {
        const base = folder.write("sound-base", make(1, false, baseFormat));
        const models = [false, true, false].map((damaged, index) =>
          folder.write(`part${index}`, make(2 + index, damaged, format)),
        );
        const merged = await run({ ...recipe, base, models });
        const found = [...merged.values("w")].flatMap((x, at) => (Number.isFinite(x) ? [] : [at]));
        assert.deepEqual(found, places, `${format} on ${baseFormat}`);
        assert.ok(merged.values("v").every(Number.isFinite));
        const { tensors, warnings } = merged.result.result;
        const result = tensors.find(({ name }) => name === "w")!;
        assert.equal(result.nonFinite, 4);
        assert.deepEqual(result.nonFiniteInputs, [0, 4, 0, 0]);
        assert.deepEqual(warnings, ["w: 4 NaN or infinite entries in the output (4 in part1)"]);
        assert.equal(merged.result.provenance.counts.nonFinite, 4);
      }
    });
  }

  it("a damaged base is blamed, and no model", async () => {
    for (const [format, baseFormat] of formats) {
      const base = folder.write("damaged-base", make(1, true, baseFormat));
      const models = [2, 3].map((seed) => folder.write(`sound${seed}`, make(seed, false, format)));
      for (const recipe of [{ method: "task_arithmetic" }, { method: "ties" }]) {
        const { result } = (await run({ ...recipe, base, models })).result;
        assert.deepEqual(
          result.tensors.find(({ name }) => name === "w")!.nonFiniteInputs,
          [0, 0, 4],
          `${format} on ${baseFormat}`,
        );
        assert.deepEqual(result.warnings, ["w: 4 NaN or infinite entries in the output (4 in the base)"]);
      }
    }
  });

  it("a result beyond its format is counted, and no input blamed", async () => {
    const large = (value: number) => [tensor("w", [value, 1, -value, value / 2], "F16")];
    const models = [60_000, 52_000].map((value) => folder.write(`large-${value}`, large(value)));
    const base = folder.write("large-base", [tensor("w", [0, 0, 0, 0], "F16")]);
    for (const recipe of [
      { method: "average", parameters: { normalize: false } },
      { method: "task_arithmetic", parameters: { lambda: 1 } },
      { method: "ties", parameters: { merge: "sum", density: 1 } },
    ]) {
      const merged = await run({ ...recipe, base, models });
      assert.deepEqual([...merged.values("w")], [Infinity, 2, -Infinity, 56_000]);
      const { warnings, tensors } = merged.result.result;
      assert.deepEqual(tensors[0]!.nonFiniteInputs, [0, 0, 0]);
      assert.deepEqual(warnings, [
        "w: 2 NaN or infinite entries in the output (no input; the result exceeds the range of F16)",
      ]);
    }
  });

  it("--strict refuses, names the tensor, and leaves what a run without it can use", async () => {
    const base = folder.write("strict-base", make(1, false));
    const models = [folder.write("strict-model", make(2, true))];
    const out = folder.fresh();
    const recipe = { method: "ties", base, models };
    await assert.rejects(run(recipe, { out, strict: true }), (error) => {
      assert.ok(error instanceof MergewrightError);
      assert.equal(error.code, "values/non-finite");
      assert.equal(error.exitCode, 1);
      assert.equal(error.where.tensor, "w");
      assert.match(error.message, /4 in strict-model/);
      return true;
    });
    assert.ok(!fs.existsSync(out));
    const resumed = await run(recipe, { out });
    assert.ok(resumed.result.result.resumed);
    assert.deepEqual(resumed.prints, (await run(recipe)).prints);
    await run({ ...recipe, exclude: ["w"] }, { strict: true });
  });

  it("copied tensors keep their bytes, whatever they hold", async () => {
    const payloads = {
      name: "w",
      dtype: "F32" as const,
      shape: [3],
      bytes: new Uint8Array(Uint32Array.of(0x7fc12345, 0xff800001, 0x80000000).buffer),
    };
    const base = folder.write("payload-base", [payloads, tensor("v", [1])]);
    const models = [folder.write("payload-model", [payloads, tensor("v", [2])])];
    const merged = await run({ method: "ties", base, models, exclude: ["w"] }, { strict: true });
    assert.deepEqual(merged.tensors.get("w"), payloads);
  });
});
