import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { Folder, type RecipeObject, tensor, withCrew } from "../../test/laws/support/family.js";
import { bitsOf, dice, normals, patterns, words } from "../../test/laws/support/random.js";
import { normPrefixes, selectRank, sortedMagnitudes } from "../../test/laws/support/selection.js";
import type { Known, Need, Scope, ThresholdNeed, ThresholdValue } from "../methods/method.js";
import { change, widen } from "../numbers/convert.js";
import type { FloatDtype } from "../numbers/dtypes.js";
import { deviationOf, energyOf, momentsOf } from "../numbers/sums.js";
import { BLOCK_ENTRIES } from "./blocks.js";
import type { Crew } from "./crew.js";
import { Gatherer, type Gathered, statisticsBytes } from "./gather.js";
import type { WorkSetup } from "./setup.js";

const folder = new Folder();
after(() => folder.remove());

/** Each model's changes over all tensors one after the other, and how the tensors cut them. */
interface World {
  readonly sizes: readonly number[];
  readonly changes: readonly Float32Array[];
  readonly recipe: RecipeObject;
}

let worlds = 0;

function makeWorld(
  sizes: readonly number[],
  models: readonly Float32Array[],
  base?: Float32Array,
  dtype: FloatDtype = "F32",
): World {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const zeros = base ?? new Float32Array(total);
  const id = worlds++;
  const cut = (values: Float32Array) => {
    let start = 0;
    return sizes.map((size, index) => {
      const part = tensor(`t${String(index).padStart(3, "0")}`, values.subarray(start, (start += size)), dtype);
      return part;
    });
  };
  const paths = [...models, zeros].map((values, index) => {
    assert.equal(values.length, total);
    return folder.write(`world${id}-${index}`, cut(values));
  });
  const basePath = paths.pop();
  const changes = models.map((values) => {
    const out = new Float32Array(total);
    change(values, zeros, out);
    return out;
  });
  return { sizes, changes, recipe: { method: "ties", base: basePath, models: paths } };
}

/** Rounded to what BF16 holds: many equal magnitudes. */
function coarse(values: Float32Array): Float32Array {
  const bits = new Uint32Array(values.slice().buffer);
  return new Float32Array(bits.map((b) => (b + 0x8000) & 0xffff0000).buffer);
}

/** Every exponent, subnormals included. */
function wide(count: number, seed: number): Float32Array {
  const next = words(seed);
  return new Float32Array(Uint32Array.from({ length: count }, () => next() % 0x7f800000).buffer);
}

interface Use {
  gather(scope: Scope, tensors: readonly number[], next: (known: Known) => Need | null): Promise<Gathered>;
  /** Survey passes since the last call. */
  passes(): number;
}

async function withGatherer(
  { recipe, changes, sizes }: World,
  threads: number,
  use: (use: Use) => Promise<void>,
): Promise<void> {
  const models = changes.length;
  const bytes = Math.max(statisticsBytes(models, "model"), statisticsBytes(models, "tensor"));
  await withCrew(recipe, { threads, statisticsBytes: bytes }, async (crew: Crew, setup: WorkSetup) => {
    assert.equal(setup.tensors.length, sizes.length);
    let surveys = 0;
    const counting: Crew = {
      threads: crew.threads,
      memory: crew.memory,
      statistics: crew.statistics,
      close: () => crew.close(),
      run(stage, progress) {
        if (stage.job === "survey") surveys++;
        return crew.run(stage, progress);
      },
    };
    await use({
      gather(scope, tensors, next) {
        return new Gatherer(counting, setup.tensors, { tensors }, models, scope, crew.statistics).gatherExactly(next);
      },
      passes() {
        const passes = surveys;
        surveys = 0;
        return passes;
      },
    });
  });
}

const all = (world: World) => world.sizes.map((_, index) => index);

type Rank = (entries: number) => number | null;

/** One model's changes over some tensors, with what sorting them says. */
interface Column {
  readonly values: Float32Array;
  /** Of the magnitudes. */
  readonly bits: Uint32Array;
  readonly sorted: Uint32Array;
}

const columns = new WeakMap<World, Map<string, Column[]>>();

function columnsOf(world: World, tensors: readonly number[]): Column[] {
  let known = columns.get(world);
  if (known === undefined) columns.set(world, (known = new Map()));
  let found = known.get(tensors.join());
  if (found === undefined) {
    const starts = world.sizes.map((_, index) => world.sizes.slice(0, index).reduce((sum, size) => sum + size, 0));
    const [first, last] = [tensors[0]!, tensors.at(-1)!];
    assert.equal(last - first + 1, tensors.length);
    found = world.changes.map((changes) => {
      const values = changes.slice(starts[first], starts[last]! + world.sizes[last]!);
      return { values, bits: patterns(values).map((bits) => bits & 0x7fffffff), sorted: sortedMagnitudes(values) };
    });
    known.set(tensors.join(), found);
  }
  return found;
}

/** Which entries a threshold and the quotas keep, entry by entry over the tensors of the group. */
function keptBy(world: World, tensors: readonly number[], { known, quotas }: Gathered, model: number): Uint8Array {
  const { bits } = columnsOf(world, tensors)[model]!;
  const threshold = bitsOf(known.threshold!.thresholds[model]!);
  const mask = new Uint8Array(bits.length);
  let at = 0;
  for (const index of tensors) {
    for (let start = 0; start < world.sizes[index]!; start += BLOCK_ENTRIES) {
      const end = at + Math.min(BLOCK_ENTRIES, world.sizes[index]! - start);
      let left = quotas.get(index)?.[start / BLOCK_ENTRIES]?.[model] ?? Infinity;
      for (; at < end; at++) mask[at] = bits[at]! > threshold || (bits[at] === threshold && left-- > 0) ? 1 : 0;
    }
  }
  return mask;
}

async function checkThreshold(
  world: World,
  use: Use,
  [scope, tensors]: readonly [Scope, readonly number[]],
  ranks: readonly Rank[],
  tied: "keep" | "first",
): Promise<void> {
  const inputs = columnsOf(world, tensors);
  const entries = inputs[0]!.values.length;
  const need: ThresholdNeed = { statistic: "threshold", scope, ranks, ties: tied };
  const gathered = await use.gather(scope, tensors, (known) => (known.threshold === undefined ? need : null));
  const value = gathered.known.threshold!;
  assert.equal(value.entries, entries);
  for (const [model, { bits, sorted }] of inputs.entries()) {
    const rank = ranks[model]!(entries);
    const mask = keptBy(world, tensors, gathered, model);
    if (rank === null || rank === 0) {
      assert.equal(value.thresholds[model], rank === null ? 0 : Infinity);
      assert.equal(value.kept[model], rank === null ? entries : 0);
      assert.ok(!mask.includes(rank === null ? 0 : 1));
      continue;
    }
    const expected = selectRank(sorted, rank);
    assert.equal(bitsOf(value.thresholds[model]!), expected.bits, `threshold of rank ${rank} of model ${model}`);
    assert.equal(value.kept[model], tied === "first" ? rank : expected.atLeast, `kept of model ${model}`);
    let left = tied === "first" ? rank - expected.above : Infinity;
    const keeps = bits.map((magnitude) =>
      magnitude > expected.bits || (magnitude === expected.bits && left-- > 0) ? 1 : 0,
    );
    assert.ok(
      mask.every((kept, at) => kept === keeps[at]),
      `entries kept of model ${model}, rank ${rank}`,
    );
  }
}

const RANKS: readonly Rank[] = [
  (d) => Math.trunc(d * 0.2) + 1,
  () => 1,
  (d) => d,
  (d) => Math.trunc(d * 0.5),
  () => 0,
  () => null,
  (d) => Math.max(1, d - 1),
  () => 2,
  (d) => Math.trunc(d * 0.01) + 1,
];
const turned = (by: number, models: number) =>
  Array.from({ length: models }, (_, i) => RANKS[(i + by) % RANKS.length]!);

describe("thresholds over a whole model, against a sort", () => {
  const sizes = [3, BLOCK_ENTRIES + 1, 1, 60_001, BLOCK_ENTRIES, 7];
  const total = sizes.reduce((sum, size) => sum + size, 0);

  const concentrated = normals(total, 5, 1e-4);
  concentrated.set(normals(BLOCK_ENTRIES, 6, 1), total - BLOCK_ENTRIES - 7);
  const models = {
    "normal numbers": normals(total, 1, 0.01),
    "numbers of BF16": coarse(normals(total, 2, 0.01)),
    zeros: new Float32Array(total),
    "one magnitude": normals(total, 3).map((x) => (x < 0 ? -0.25 : 0.25)),
    "rising numbers": Float32Array.from({ length: total }, (_, i) => i / total),
    "falling numbers": Float32Array.from({ length: total }, (_, i) => -(total - i) / total),
    "large entries in one tensor": concentrated,
    "every exponent": wide(total, 4),
    "nine in ten zero": normals(total, 7).map((x, i) => (i % 10 === 3 ? x : -0)),
  };
  const world = makeWorld(sizes, Object.values(models));

  for (const threads of [1, 2]) {
    it(`${Object.keys(models).join("; ")}: ${threads} thread${threads > 1 ? "s" : ""}`, async () => {
      await withGatherer(world, threads, async (use) => {
        for (const turn of threads === 1 ? [0, 3] : [6]) {
          await checkThreshold(world, use, ["model", all(world)], turned(turn, world.changes.length), "keep");
        }
        await checkThreshold(world, use, ["model", all(world)], turned(threads, world.changes.length), "first");
      });
    });
  }

  it("one pass is enough for ordinary numbers", async () => {
    const ordinary: World = makeWorld(sizes, [
      models["normal numbers"],
      models["numbers of BF16"],
      models["rising numbers"],
    ]);
    await withGatherer(ordinary, 2, async (use) => {
      for (const density of [0.02, 0.4]) {
        const ranks = ordinary.changes.map(() => (d: number) => Math.trunc(d * density) + 1);
        await checkThreshold(ordinary, use, ["model", all(ordinary)], ranks, "keep");
        assert.equal(use.passes(), 1, `density ${density}`);
      }
    });
  });
});

describe("thresholds where the sample misleads", () => {
  // Of every 1200 entries the sample reads the first 512.
  const total = 1_228_800;
  const roll = dice(9);
  const hidden = (large: (at: number) => number, small: (at: number) => number) =>
    Float32Array.from({ length: total }, (_, at) => (at % 1200 < 512 ? small(at) : large(at)));
  const world = makeWorld(
    [total - 2, 2],
    [
      hidden(
        () => 1 + roll(1000),
        () => 1e-3 * (1 + roll(1000)),
      ),
      hidden(
        () => 1e-30 * (1 + roll(1000)),
        () => 1 + roll(1000),
      ),
      hidden(
        (at) => (at % 3 === 0 ? 2 ** -149 : 3e38),
        () => 1,
      ),
      hidden(
        (at) => at + 1,
        () => 0,
      ),
    ],
  );

  for (const threads of [1, 2]) {
    it(`more passes find it: ${threads} thread${threads > 1 ? "s" : ""}`, async () => {
      await withGatherer(world, threads, async (use) => {
        for (const density of threads === 1 ? [0.0001, 0.5] : [0.2]) {
          const ranks = world.changes.map(() => (d: number) => Math.trunc(d * density) + 1);
          await checkThreshold(world, use, ["model", all(world)], ranks, density > 0.4 ? "first" : "keep");
          const passes = use.passes();
          assert.ok(passes > 1 && passes <= 4, `${passes} passes at density ${density}`);
        }
      });
    });
  }
});

describe("thresholds within tensors, against a sort", () => {
  const sizes = [1, 2, 9, 4096, BLOCK_ENTRIES - 1, BLOCK_ENTRIES, BLOCK_ENTRIES + 1];
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const world = makeWorld(sizes, [coarse(normals(total, 11, 0.02)), wide(total, 12), normals(total, 13, 1e-3)]);

  for (const threads of [1, 2]) {
    it(`${threads} thread${threads > 1 ? "s" : ""}`, async () => {
      await withGatherer(world, threads, async (use) => {
        for (const index of sizes.keys()) {
          for (const tied of ["keep", "first"] as const) {
            await checkThreshold(world, use, ["tensor", [index]], turned(index, 3), tied);
            await checkThreshold(world, use, ["tensor", [index]], turned(index + 3, 3), tied);
          }
        }
      });
    });
  }
});

describe("quotas of equal magnitudes", () => {
  const sizes = [3 * BLOCK_ENTRIES + 17];
  const base = coarse(normals(sizes[0]!, 30, 0.05));
  const models = [1, 2].map((seed) => coarse(normals(sizes[0]!, 30 + seed, 0.01).map((x, i) => x + base[i]!)));
  const world = makeWorld(sizes, models, base, "BF16");

  it("of a tensor follow from the passes that find the threshold, guessed or not", async () => {
    await withGatherer(world, 2, async (use) => {
      for (let step = 1; step < 12; step++) {
        const ranks = models.map(() => (d: number) => Math.trunc((d * step) / 12) + 1);
        await checkThreshold(world, use, ["tensor", [0]], ranks, "keep");
        const passes = use.passes();
        await checkThreshold(world, use, ["tensor", [0]], ranks, "first");
        assert.equal(use.passes(), passes, `rank ${step} of 12`);
      }
    });
  });
});

describe("formats", () => {
  for (const dtype of ["BF16", "F16", "F64"] as const) {
    it(`${dtype}: the changes are those of the rounded entries`, async () => {
      const sizes = [300_001, 5];
      const round = (values: Float32Array) => {
        const { bytes } = tensor("", values, dtype);
        const out = new Float32Array(values.length);
        widen(dtype, bytes, out);
        return out;
      };
      const base = round(normals(300_006, 20, 0.05));
      const models = [1, 2].map((seed) => {
        const moved = normals(300_006, 20 + seed, 0.001);
        return round(moved.map((x, i) => x + base[i]!));
      });
      const world = makeWorld(sizes, models, base, dtype);
      await withGatherer(world, 1, async (use) => {
        for (const turn of [0, 3, 6]) {
          await checkThreshold(world, use, ["model", [0, 1]], turned(turn, 2), "keep");
          await checkThreshold(world, use, ["model", [0, 1]], turned(turn, 2), "first");
        }
      });
    });
  }

  it("NaN and infinities are the largest magnitudes and always survive", async () => {
    const values = normals(300_001, 30);
    const strange = values.slice();
    for (const [at, value] of [NaN, Infinity, -Infinity, NaN, Infinity].entries()) strange[at * 60_000 + 1] = value;
    const world = makeWorld([300_000, 1], [values, strange]);
    await withGatherer(world, 1, async (use) => {
      for (const rank of [1, 3, 5, 6, 60_000]) {
        const need: Need = { statistic: "threshold", scope: "model", ranks: [() => rank, () => rank], ties: "keep" };
        const { known } = await use.gather("model", [0, 1], (k) => (k.threshold === undefined ? need : null));
        const { bits } = selectRank(columnsOf(world, [0, 1])[1]!.sorted, rank);
        assert.equal(bitsOf(known.threshold!.thresholds[1]!), Math.min(bits, 0x7f800000));
      }
    });
  });
});

describe("models that lack tensors", () => {
  // Base and models, tensor by tensor; together more than a block, though no model has as much.
  const sizes = { a: 150_000, b: 140_000, c: 100 };
  const has = [["a", "c"], ["b", "c"], ["a", "b", "c"], ["c"]];
  const parts = has.map((names, model) =>
    Object.fromEntries(names.map((name, i) => [name, coarse(normals(sizes[name as "a"], 100 + 10 * model + i))])),
  );
  const write = (name: string, values: Record<string, Float32Array>) =>
    folder.write(
      name,
      Object.entries(values).map(([key, entries]) => tensor(key, entries)),
    );
  const base = Object.fromEntries(Object.entries(sizes).map(([name, size]) => [name, new Float32Array(size)]));
  const recipeFor = (chosen: readonly number[]): RecipeObject => ({
    method: "ties",
    base: write("lacking-base", base),
    models: chosen.map((model) => write(`lacking-${model}`, parts[model]!)),
    missing: "skip",
  });
  const gatherFor = async (
    chosen: readonly number[],
    scope: Scope,
    tensors: readonly number[],
    next: (known: Known) => Need | null,
  ) => {
    let gathered: Gathered | null = null;
    const bytes = statisticsBytes(chosen.length, scope);
    await withCrew(recipeFor(chosen), { threads: 1, statisticsBytes: bytes }, async (crew, setup) => {
      const gatherer = new Gatherer(crew, setup.tensors, { tensors }, chosen.length, scope, crew.statistics);
      gathered = await gatherer.gather(next);
    });
    return gathered!;
  };
  const joined = (model: number) => Float32Array.from(Object.values(parts[model]!).flatMap((values) => [...values]));

  for (const chosen of [
    [0, 1],
    [0, 1, 2, 3],
  ]) {
    it(`thresholds of models ${chosen.join(", ")}`, async () => {
      for (const tied of ["keep", "first"] as const) {
        const ranks = chosen.map(() => (entries: number) => Math.trunc(entries * 0.3) + 1);
        const need: Need = { statistic: "threshold", scope: "model", ranks, ties: tied };
        const { known } = await gatherFor(chosen, "model", [0, 1, 2], (k) => (k.threshold === undefined ? need : null));
        for (const [index, model] of chosen.entries()) {
          const sorted = sortedMagnitudes(joined(model));
          const rank = Math.trunc(sorted.length * 0.3) + 1;
          const { bits, atLeast } = selectRank(sorted, rank);
          assert.equal(bitsOf(known.threshold!.thresholds[index]!), bits, `model ${model}`);
          assert.equal(known.threshold!.kept[index], tied === "keep" ? atLeast : rank);
        }
      }
    });
  }

  it("norm share of a tensor that only some models have", async () => {
    const need: Need = { statistic: "norm-share", scope: "tensor", shares: [0.5, 0.5, 0.5, 0.5] };
    const next = (k: Known) => (k["norm-share"] === undefined ? need : null);
    const { known } = await gatherFor([0, 1, 2, 3], "tensor", [0], next);
    for (const model of [0, 2]) {
      const [prefix] = normPrefixes(sortedMagnitudes(parts[model]!.a!), [0.5]);
      assert.equal(bitsOf(known["norm-share"]!.thresholds[model]!), prefix!.bits);
    }
    assert.deepEqual([known["norm-share"]!.kept[1], known["norm-share"]!.kept[3]], [0, 0]);
  });

  it("a model whose only tensor the sample passes over", async () => {
    const models: readonly Record<string, Float32Array>[] = [
      { big: normals(3_000_000, 70) },
      { small: normals(9, 71) },
    ];
    const zero = { big: new Float32Array(3_000_000), tail: new Float32Array(700), small: new Float32Array(9) };
    const recipe = {
      method: "ties",
      base: write("passed-base", zero),
      models: models.map((m, i) => write(`passed-${i}`, m)),
      missing: "skip",
    };
    await withCrew(recipe, { threads: 1, statisticsBytes: statisticsBytes(2, "model") }, async (crew, setup) => {
      const tensors = setup.tensors.flatMap(({ inputs, base }, index) =>
        base !== null && inputs.length > 0 ? [index] : [],
      );
      const gatherer = new Gatherer(crew, setup.tensors, { tensors }, 2, "model", crew.statistics);
      const need: Need = { statistic: "threshold", scope: "model", ranks: [() => 9, () => 4], ties: "keep" };
      const { known } = await gatherer.gather((k) => (k.threshold === undefined ? need : null));
      for (const [model, rank] of [9, 4].entries()) {
        const { bits } = selectRank(sortedMagnitudes(Object.values(models[model]!)[0]!), rank);
        assert.equal(bitsOf(known.threshold!.thresholds[model]!), bits);
      }
    });
  });
});

describe("norm share, moments and energy", () => {
  const sizes = [20_000, 1, BLOCK_ENTRIES];
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const world = makeWorld(sizes, [
    normals(total, 51, 0.01),
    coarse(normals(total, 52)),
    wide(total, 53),
    new Float32Array(total),
    new Float32Array(total).fill(-0.5),
  ]);

  it("the smallest prefix that reaches the share, the crossing entry included", async () => {
    const sorted = columnsOf(world, all(world)).map((column) => column.sorted);
    const shares = [0, 0.125, 0.5, 0.9, 0.9375, 1];
    const prefixes = sorted.map((magnitudes) => normPrefixes(magnitudes, shares));
    for (const threads of [1, 2]) {
      await withGatherer(world, threads, async (use) => {
        for (const [index, share] of shares.entries()) {
          if (threads === 2 && index % 3 !== 1) continue;
          const need: Need = { statistic: "norm-share", scope: "model", shares: sorted.map(() => share) };
          const { known } = await use.gather("model", all(world), (k) => (k["norm-share"] === undefined ? need : null));
          const value: ThresholdValue = known["norm-share"]!;
          for (const [model, magnitudes] of sorted.entries()) {
            const prefix = prefixes[model]![index]!;
            const threshold = share === 1 ? 0 : prefix === null ? Infinity : prefix.bits;
            const bits = value.thresholds[model]!;
            if (prefix === null || share === 1) assert.equal(bits, threshold);
            else assert.equal(bitsOf(bits), threshold, `share ${share} of model ${model}`);
            // Every entry equal to the crossing one survives.
            const kept = share === 1 ? total : prefix === null ? 0 : selectRank(magnitudes, prefix.kept).atLeast;
            assert.equal(value.kept[model], kept, `kept, share ${share} of model ${model}`);
          }
        }
      });
    }
  });

  it("moments and energies do not depend on threads, and are those of the changes", async () => {
    const found: Known[] = [];
    const trim = world.changes.map((_, model) => ({
      centre: model === 0 ? 0.001 : 0,
      threshold: model === 1 ? 0.5 : 0.005,
    }));
    for (const threads of [1, 2]) {
      await withGatherer(world, threads, async (use) => {
        const { known } = await use.gather("model", all(world), (k) => {
          if (k.moments === undefined) return { statistic: "moments", scope: "model" };
          return k.energy === undefined ? { statistic: "energy", scope: "model", trim } : null;
        });
        found.push(known);
      });
    }
    assert.deepEqual(found[0], found[1]);
    for (const [model, values] of world.changes.entries()) {
      const expected = momentsOf(values);
      const { moments, energy } = found[0]!;
      near(moments!.mean[model]!, expected.mean);
      near(moments!.deviation[model]!, deviationOf(expected));
      const { centre, threshold } = trim[model]!;
      const kept = values.map((x) => (Math.abs(Math.fround(x - Math.fround(centre))) < threshold ? 0 : x));
      near(energy!.energy[model]!, energyOf(momentsOf(kept)));
    }
  });
});

function near(found: number, expected: number): void {
  assert.ok(Math.abs(found - expected) <= 1e-9 * Math.abs(expected), `${found}, not ${expected}`);
}
