/** Pruning from files to files equals its definition on whole vectors, whatever the tiles, threads, formats and methods. */

import assert from "node:assert/strict";
import fs from "node:fs";
import { after, describe, it } from "node:test";
import * as fc from "fast-check";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import type { Tuning } from "../../src/execute/setup.js";
import { addMagnitudes, dropRanked, L1_LANES, rankLine, rowRanks } from "../../src/kernels/prune/definition.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { chanceBytes, dropChanges, streamKey } from "../../src/numbers/random.js";
import { pruners } from "../../src/pruners/catalogue.js";
import { bandRanks } from "../../src/pruners/pruner.js";
import { layerPartitionOf } from "../../src/models/families.js";
import type { BandCut, Cut } from "../../src/methods/method.js";
import { Folder, merge, tensor, valuesOf } from "./support/family.js";
import type { RecipeObject, TestTensor } from "./support/family.js";
import { dice, patterns } from "./support/random.js";

const { fround } = Math;
const folder = new Folder();
after(() => folder.remove());

type Values = Readonly<Record<string, number | string>>;

interface Member {
  readonly name: string;
  readonly tensors: readonly TestTensor[];
  /** Its own values of the pruner's parameters. */
  readonly own: Values;
}

/** Which entries of a band's scope survive: sorted, the lower index being the larger of equal magnitudes. */
function bandMask(cut: BandCut, changes: readonly Float32Array[]): boolean[] {
  const magnitudes = changes.flatMap((part) => [...patterns(part)].map((bits) => bits & 0x7fff_ffff));
  const order = magnitudes.map((_, p) => p).sort((a, b) => magnitudes[b]! - magnitudes[a]! || a - b);
  const { above, within } = bandRanks(cut, magnitudes.length);
  const kept = magnitudes.map(() => false);
  for (const p of order.slice(above, above + within)) kept[p] = true;
  return kept;
}

function l1(values: Float32Array): number {
  let total = 0;
  for (let start = 0; start < values.length; start += BLOCK_ENTRIES) {
    const sums = new Float64Array(L1_LANES);
    addMagnitudes(values.subarray(start, start + BLOCK_ENTRIES), 0, sums);
    total += sums.reduce((sum, lane) => sum + lane, 0);
  }
  return total;
}

/** A model's pruned changes by the definitions alone. */
function pruned(by: string, given: Values, base: readonly TestTensor[], { name, tensors, own }: Member, seed: number) {
  const pruner = pruners.find((one) => one.name === by)!;
  const defaults = Object.entries(pruner.parameters).map(([key, { default: value }]) => [key, value]);
  const values = { ...Object.fromEntries(defaults), ...given, ...own };
  const changes = tensors.map((one, index) => {
    const origin = valuesOf(base[index]!);
    return valuesOf(one).map((x, p) => x - origin[p]!);
  });
  const cuts = tensors.map(({ shape }) => pruner.cut(values, shape));
  const masks = new Map<number, boolean[]>();
  const banded = [...cuts.keys()].filter((index) => cuts[index]?.kind === "band");
  const placeOf = (index: number) => layerPartitionOf(tensors[index]!.name);
  const groups =
    values.scope === "model"
      ? [banded]
      : values.scope === "layer"
        ? [...new Set(banded.map(placeOf))].map((layer) => banded.filter((index) => placeOf(index) === layer))
        : banded.map((index) => [index]);
  for (const group of groups) {
    if (group.length === 0) continue;
    const mask = bandMask(
      cuts[group[0]!] as BandCut,
      group.map((index) => changes[index]!),
    );
    for (const index of group) masks.set(index, mask.splice(0, changes[index]!.length));
  }
  return changes.map((raw, index) => {
    const cut = cuts[index] ?? null;
    if (cut === null) return raw;
    const key = streamKey(seed, name, tensors[index]!.name);
    const apply = (scale: number) => applyCut(cut, raw, masks.get(index), key, tensors[index]!.shape, scale);
    if (cut.rescale !== "norm")
      return apply(cut.kind === "chance" && cut.rescale === "inverse" ? fround(1 / cut.density) : 1);
    const [before, left] = [l1(raw), l1(apply(1))];
    return apply(before < 1e-7 || left < 1e-7 ? 1 : fround(before / left));
  });
}

function applyCut(
  cut: Cut,
  raw: Float32Array,
  mask: readonly boolean[] | undefined,
  key: ReturnType<typeof streamKey>,
  shape: readonly number[],
  scale: number,
): Float32Array {
  const out = raw.slice();
  if (cut.kind === "chance") dropChanges(out, 0, key, 1 - cut.density, scale);
  else if (cut.kind === "band") for (let p = 0; p < out.length; p++) out[p] = mask![p]! ? out[p]! * scale : 0;
  else if (cut.kind === "rank") {
    const row = shape.length < 2 ? out.length : out.length / shape[0]!;
    const bytes = new Uint8Array(out.length);
    chanceBytes(key, 0, bytes);
    for (let start = 0; start < out.length; start += row) {
      const part = out.subarray(start, start + row);
      const ranks = rowRanks(part.slice());
      const inverse = cut.rescale === "inverse";
      dropRanked(
        part,
        { bytes: bytes.subarray(start, start + row), key, firstEntry: start },
        ranks,
        rankLine(cut.lowest, cut.highest, row),
        inverse,
        scale,
      );
    }
  }
  return out;
}

const half: Values = { density: 0.5 };
const nothing: Values = {};
const SHAPES: readonly (readonly number[])[] = [[5, 7], [64], [1], [3, 2, 4], [9, 1], [2, 40], [33]];

/** Multiples of a power of two, so that magnitudes are often equal; in `coarse` ones nearly always. */
function draw(seed: number, coarse: boolean, dtype: FloatDtype, shapes = SHAPES): TestTensor[] {
  const roll = dice(seed);
  return shapes.map((shape, index) => {
    const size = shape.reduce((product, axis) => product * axis, 1);
    const grain = coarse ? 4 : 4096;
    const values = Float32Array.from({ length: size }, () => (roll(2 * grain + 1) - grain) / (16 * grain));
    return tensor(`layers.${index % 2}.t${index}`, values, dtype, shape);
  });
}

async function check(
  { by, given, members, base }: { by: string; given: Values; members: readonly Member[]; base: readonly TestTensor[] },
  tuning: Tuning = {},
  seed = 7,
): Promise<RecipeObject> {
  const paths = members.map(({ name, tensors }) => folder.write(name, tensors));
  const recipe = {
    method: "task_arithmetic",
    parameters: { lambda: 1 },
    base: folder.write("base", base),
    models: members.map(({ name, own }, index) => {
      return { model: paths[index]!, name, ...(Object.keys(own).length > 0 && { prune: own }) };
    }),
    prune: { by, ...given },
    seed,
    output: { dtype: "float32" },
  };
  const merged = await merge(recipe, { out: folder.fresh(), tuning });
  const all = members.map((member) => pruned(by, given, base, member, seed));
  for (const [index, { name }] of base.entries()) {
    const origin = valuesOf(base[index]!);
    const expected = origin.map((x, p) => x + all.reduce((sum, one) => fround(sum + one[index]![p]!), 0));
    const found = merged.values(name);
    const at = found.findIndex((x, p) => x !== expected[p]);
    assert.equal(at, -1, `${name}[${at}]: ${found[at]}, not ${expected[at]}; ${JSON.stringify({ by, given, tuning })}`);
  }
  return recipe;
}

const anyValues = fc.constantFrom(...pruners.map(({ name }) => name)).chain((by) =>
  fc
    .record({
      density: by === "rank" ? fc.constantFrom(0, 0.3, 0.5, 0.75, 1) : fc.constantFrom(0, 0.05, 0.3, 0.5, 0.9, 1),
      rescale: fc.constantFrom("none", "inverse", "norm"),
      vectors: fc.constantFrom("prune", "prune", "keep"),
      ...(by === "outliers" && { gamma: fc.constantFrom(0, 0.01, 0.1, 0.5, 1) }),
      ...(by === "rank" && { epsilon: fc.constantFrom(0, 0.1, 0.25) }),
      ...((by === "outliers" || by === "magnitude") && { scope: fc.constantFrom("tensor", "layer", "model") }),
    })
    .map((given) => ({ by, given: given as unknown as Values })),
);

describe("pruning from files equals its definition", () => {
  it("any pruner and values, small", async () => {
    const property = fc.asyncProperty(
      anyValues,
      fc.nat(),
      fc.boolean(),
      fc.constantFrom<FloatDtype>("F32", "BF16", "F16"),
      fc.constantFrom(8, 16, 64),
      fc.boolean(),
      async ({ by, given }, seed, coarse, dtype, tileEntries, own) => {
        const members = [1, 2].map((model) => ({
          name: `m${model}`,
          tensors: draw(seed + model, coarse, dtype),
          own: own && model === 2 ? half : nothing,
        }));
        await check(
          { by, given, members, base: draw(seed, coarse, dtype) },
          { tileEntries, chunkEntries: tileEntries * 2 },
        );
      },
    );
    await fc.assert(property, { numRuns: 120 });
  });

  const LARGE = [[3001, 101], [BLOCK_ENTRIES + 11], [7]];
  for (const by of ["random", "magnitude", "outliers", "rank"]) {
    for (const rescale of ["none", "norm"]) {
      it(`${by}, rescale ${rescale}, over many blocks, for any threads and tiles`, async () => {
        const given: Values = { density: 0.4, rescale, ...(by === "outliers" && { gamma: 0.02 }) };
        const base = draw(1, true, "BF16", LARGE);
        const members = [2, 3].map((seed) => ({
          name: `m${seed}`,
          tensors: draw(seed, seed === 2, "BF16", LARGE),
          own: {},
        }));
        const recipe = await check({ by, given, members, base });
        const once = await merge(recipe, { out: folder.fresh() });
        for (const options of [{ threads: 2 }, { threads: 3, tileEntries: 1000, chunkEntries: 3000 }]) {
          const { threads, ...tuning } = options;
          const again = await merge(recipe, { out: folder.fresh(), threads, tuning });
          assert.deepEqual(again.prints, once.prints);
        }
      });
    }
  }

  it("ranks over layers and the whole change with equal magnitudes on both ends of the band", async () => {
    const base = draw(1, true, "BF16", LARGE);
    const members = [2, 3].map((seed) => ({ name: `m${seed}`, tensors: draw(seed, true, "BF16", LARGE), own: {} }));
    for (const rescale of ["none", "norm"]) {
      for (const scope of ["model", "layer"]) {
        await check({ by: "outliers", given: { density: 0.4, gamma: 0.1, scope, rescale }, members, base });
      }
    }
  });
});

describe("rows that are no whole number of eights", () => {
  it("are counted once, however long", async () => {
    for (const shape of [
      [8, 33_143],
      [3001, 101],
      [7, 3],
    ]) {
      const models = [2, 3].map((seed) => folder.write(`odd-${seed}`, draw(seed, true, "F32", [shape])));
      const recipe = { method: "ties", base: folder.write("odd", draw(1, true, "F32", [shape])), models };
      const options = { ...recipe, parameters: { select: "none" }, prune: { by: "rank", density: 0.4 } };
      const once = await merge(options, { out: folder.fresh() });
      const { conflicts, positive, negative, cancelled } = once.result.result.counters;
      const again = await merge(options, { out: folder.fresh(), tuning: { tileEntries: 1000, chunkEntries: 3000 } });
      assert.deepEqual(again.prints, once.prints);
      assert.deepEqual(again.result.result.counters, { conflicts, positive, negative, cancelled });
    }
  });
});

describe("exact counts", () => {
  it("magnitude and outliers keep exactly their share, of equal entries too", async () => {
    const zeros = folder.write("zeros", [tensor("w", new Float32Array(1000))]);
    const ones = folder.write("ones", [tensor("w", new Float32Array(1000).fill(1))]);
    for (const [prune, first, last] of [
      [{ by: "magnitude", density: 0.1234 }, 0, 123],
      [{ by: "magnitude", density: 0.0001 }, 0, 1],
      [{ by: "outliers", density: 0.1234, gamma: 0.0999 }, 99, 222],
      [{ by: "outliers", density: 0.95, gamma: 0.5 }, 50, 1000],
      [{ by: "outliers", density: 0.0001, gamma: 0.5 }, 0, 0],
    ] as const) {
      const recipe = { method: "task_arithmetic", parameters: { lambda: 1 }, base: zeros, models: [ones], prune };
      const merged = await merge(recipe, { out: folder.fresh() });
      const expected = Array.from({ length: 1000 }, (_, p) => (p >= first && p < last ? 1 : 0));
      assert.deepEqual([...merged.values("w")], expected, JSON.stringify(prune));
    }
  });

  it("rank keeps each rank with its probability", async () => {
    const [rows, row] = [4000, 10];
    const ramp = Float32Array.from({ length: rows * row }, (_, p) => (p % row) + 1);
    const base = folder.write("flat", [tensor("w", new Float32Array(rows * row), "F32", [rows, row])]);
    const model = folder.write("ramp", [tensor("w", ramp, "F32", [rows, row])]);
    const recipe = { method: "task_arithmetic", parameters: { lambda: 1 }, base, models: [model], seed: 3 };
    const merged = await merge(
      { ...recipe, prune: { by: "rank", density: 0.5, epsilon: 0.3 } },
      { out: folder.fresh() },
    );
    const values = merged.values("w");
    for (let rank = 0; rank < row; rank++) {
      const probability = 0.2 + (0.6 * rank) / (row - 1);
      const column = values.filter((_, p) => p % row === rank);
      const kept = column.filter((x) => x !== 0);
      const sigma = Math.sqrt(rows * probability * (1 - probability));
      assert.ok(Math.abs(kept.length - rows * probability) < 5 * sigma, `rank ${rank}: ${kept.length} of ${rows}`);
      // Divided by the probability, so the mean stays.
      assert.ok(kept.every((x) => Math.abs(x - (rank + 1) / probability) < 1e-5 * x));
    }
  });

  it("norm gives each tensor its old L1 norm", async () => {
    const base = draw(1, false, "F32");
    const model = draw(2, false, "F32");
    const paths = { base: folder.write("norm-base", base), models: [folder.write("norm-model", model)] };
    for (const prune of [
      { by: "random", density: 0.3 },
      { by: "outliers", density: 0.6, gamma: 0.1 },
      { by: "rank", density: 0.5 },
    ]) {
      const recipe = {
        method: "task_arithmetic",
        parameters: { lambda: 1 },
        ...paths,
        prune: { ...prune, rescale: "norm" },
      };
      const merged = await merge(recipe, { out: folder.fresh() });
      for (const [index, { name }] of base.entries()) {
        const origin = valuesOf(base[index]!);
        const old = l1(valuesOf(model[index]!).map((x, p) => x - origin[p]!));
        const now = l1(merged.values(name).map((x, p) => x - origin[p]!));
        assert.ok(now === 0 || Math.abs(now / old - 1) < 1e-4, `${name}: ${now}, not ${old}`);
      }
    }
  });
});

describe("pruning and the rest", () => {
  const base = [tensor("w", new Float32Array(300_000)), tensor("v", new Float32Array(500))];
  const model = (seed: number) => {
    const roll = dice(seed);
    return base.map(({ name, shape }) =>
      tensor(
        name,
        Float32Array.from({ length: shape[0]! }, () => (roll(33) - 16) / 64),
        "BF16",
      ),
    );
  };
  const paths = {
    base: folder.write(
      "rest-base",
      base.map((one) => tensor(one.name, valuesOf(one), "BF16")),
    ),
    models: [1, 2, 3].map((seed) => folder.write(`rest-${seed}`, model(seed))),
  };

  it("a method's own trimming sees pruned changes, whole or per tensor", async () => {
    for (const trim of ["model", "tensor"]) {
      for (const prune of [
        { by: "magnitude", density: 0.3 },
        { by: "outliers", density: 0.5, gamma: 0.05, scope: "model", rescale: "norm" },
      ]) {
        const recipe = { method: "ties", parameters: { trim, density: 0.2, quota: "exactly" }, ...paths, prune };
        const once = await merge(recipe, { out: folder.fresh() });
        const again = await merge(recipe, { out: folder.fresh(), threads: 2, tuning: { tileEntries: 1024 } });
        assert.deepEqual(again.prints, once.prints);
      }
    }
    // What magnitude leaves is what a trim of the same share leaves.
    const trimmed = { trim: "tensor", quota: "exactly-nonzero", density: 0.3, zero_sign: "positive" };
    const plain = await merge({ method: "ties", parameters: trimmed, ...paths }, { out: folder.fresh() });
    const cut = await merge(
      {
        ...{ method: "ties", parameters: { ...trimmed, select: "none" }, ...paths },
        prune: { by: "magnitude", density: 0.3 },
      },
      { out: folder.fresh() },
    );
    assert.deepEqual(cut.prints, plain.prints);
  });

  it("tied tensors stay equal under random masks", async () => {
    const tie = (path: string, values: Float32Array) => {
      const made = folder.write(path, [
        tensor("model.embed_tokens.weight", values, "F32", [values.length / 4, 4]),
        tensor("lm_head.weight", values, "F32", [values.length / 4, 4]),
      ]);
      fs.writeFileSync(`${made}/config.json`, JSON.stringify({ model_type: "llama", tie_word_embeddings: true }));
      return made;
    };
    const tied = {
      base: tie("tied-base", new Float32Array(400)),
      models: [
        tie(
          "tied-model",
          Float32Array.from({ length: 400 }, (_, p) => p + 1),
        ),
      ],
    };
    for (const prune of [
      { by: "random", density: 0.5, rescale: "norm" },
      { by: "rank", density: 0.5 },
      { by: "outliers", density: 0.5 },
    ]) {
      const merged = await merge({ method: "task_arithmetic", ...tied, prune }, { out: folder.fresh() });
      assert.deepEqual(merged.values("lm_head.weight"), merged.values("model.embed_tokens.weight"));
    }
  });

  it("says what cannot be", async () => {
    const recipe = { method: "task_arithmetic", ...paths };
    const refuse = (prune: object, told: RegExp) =>
      assert.rejects(merge({ ...recipe, prune }, { out: folder.fresh() }), told);
    await refuse({ by: "rank", density: 0.9, epsilon: 0.2 }, /choose epsilon at most 0.1/);
    await refuse({ by: "magnitude", density: { value: 0.5, patterns: { v: 0.2 } }, scope: "model" }, /scope: tensor/);
  });
});
