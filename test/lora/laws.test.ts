/** What holds for every kind of LoRA under every way of merging it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { readEntries } from "../../src/adapters/adapter.js";
import type { Adapter } from "../../src/adapters/adapter.js";
import { loraConfig } from "../../src/adapters/draft.js";
import { coreSpace } from "../../src/lora/core_space.js";
import { align } from "../../src/lora/knots.js";
import { readTerms } from "../../src/lora/work.js";
import { numbersOf, openFiles, peftFolder, tensor } from "../adapters/support.js";
import type { Tensors } from "../adapters/support.js";
import { distance, merge, pathsOf, platform, sumOf, updateOf } from "./support.js";

/** Of one adapter: everything that its kind leaves open. */
interface Spec {
  readonly seed: number;
  readonly ranks: readonly [number, number];
  readonly alpha: number;
  readonly rsLora: boolean;
  /** Modules that it touches; the last one may be missing. */
  readonly both: boolean;
}

type Kind = "linear" | "embedding" | "conv" | "experts" | "fan in fan out" | "bias";
const KINDS: readonly Kind[] = ["linear", "embedding", "conv", "experts", "fan in fan out", "bias"];

const spec: fc.Arbitrary<Spec> = fc.record({
  seed: fc.nat(1e6),
  ranks: fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 })),
  alpha: fc.constantFrom(1, 2, 5, 16),
  rsLora: fc.boolean(),
  both: fc.boolean(),
});
const weight = fc.constantFrom(-1.5, -0.3, 0.25, 0.7, 1, 2);

/** Two modules, "m.q" and "m.k", of 6 x 9 (of experts 3 times). */
function adapterOf(kind: Kind, { seed, ranks, alpha, rsLora, both }: Spec): Promise<Adapter> {
  const paths = both ? ["m.q", "m.k"] : ["m.q"];
  const tensors: Record<string, Tensors[string]> = {};
  for (const [index, path] of paths.entries()) {
    const rank = ranks[index]!;
    const named = (part: string, ...shape: number[]) => tensor(`${seed} ${path} ${part}`, ...shape);
    if (kind === "embedding") {
      tensors[`${path}.lora_embedding_A`] = named("a", rank, 9);
      tensors[`${path}.lora_embedding_B`] = named("b", 6, rank);
    } else {
      const experts = kind === "experts" ? 3 : 1;
      const kernel = kind === "conv" ? [3, 1] : [];
      tensors[`${path}.lora_A.weight`] = named("a", experts * rank, kind === "conv" ? 3 : 9, ...kernel);
      tensors[`${path}.lora_B.weight`] = named("b", 6, rank * experts, ...kernel.map(() => 1));
      if (kind === "bias") tensors[`${path}.lora_B.bias`] = named("bias", 6);
    }
  }
  const shapes = paths.map((path, index) => ({ path, rank: ranks[index]!, alpha }));
  const config = loraConfig(shapes, {
    use_rslora: rsLora,
    fan_in_fan_out: kind === "fan in fan out",
    lora_bias: kind === "bias",
    ...(kind === "experts" && { target_modules: [], target_parameters: paths.map((path) => `${path}.weight`) }),
  });
  return openFiles(peftFolder(config, tensors), `adapter ${seed}`);
}

const adaptersOf = (kind: Kind, specs: readonly Spec[]) => Promise.all(specs.map((one) => adapterOf(kind, one)));
const specs = (count: number) => fc.array(spec, { minLength: count, maxLength: count });

/** Every update of the merged adapter is what `wanted` says. */
async function holds(merged: Adapter, adapters: readonly Adapter[], weights: readonly number[], limit: number) {
  for (const path of pathsOf(adapters)) {
    const wanted = await sumOf(adapters, weights, path);
    const away = distance(await updateOf(merged, path), wanted);
    assert.ok(away < limit, `${path}: ${away}`);
  }
}

/** Rounding of f32 factors, and what cancels between updates of opposite weights. */
const ROUNDING = 2e-6;
const RUNS = { numRuns: 12 };
/** Per way of merging. */
const FEW = { numRuns: 4 };

for (const kind of KINDS) {
  describe(`LoRA, ${kind}`, () => {
    it("merged alone with weight 1 is itself, by every method that averages or sums", async () => {
      const ways = [
        { method: "cat" },
        { method: "svd", energy: 1 },
        { method: "task_arithmetic", parameters: ["lambda=1"] },
        { method: "task_arithmetic", parameters: ["lambda=1"], space: "knots" },
        { method: "task_arithmetic", parameters: ["lambda=1"], space: "full" },
        { method: "ties", parameters: ["density=1"] },
        { method: "ties", parameters: ["density=1"], space: "knots" },
        { method: "ties", parameters: ["density=1"], space: "full" },
        { method: "magmax", parameters: ["lambda=1"] },
        { method: "task_arithmetic", parameters: ["lambda=1"], dare: "0" },
        { method: "average" },
      ] as const;
      for (const way of ways) {
        const property = fc.asyncProperty(spec, async (one) => {
          const [adapter] = await adaptersOf(kind, [one]);
          const { adapter: merged } = await merge([adapter!], way);
          await holds(merged, [adapter!], [1], ROUNDING);
        });
        await fc.assert(property, FEW);
      }
    });

    it("sums to Σ w ΔW whatever ranks, alphas, rsLoRA and modules: by cat, svd, and in every space", async () => {
      const ways = [
        { method: "cat" },
        { method: "svd", energy: 1 },
        { method: "task_arithmetic", parameters: ["lambda=1"] },
        { method: "task_arithmetic", parameters: ["lambda=1"], space: "knots" },
        { method: "task_arithmetic", parameters: ["lambda=1"], space: "full", rank: 6 },
      ] as const;
      for (const way of ways) {
        const property = fc.asyncProperty(specs(3), fc.tuple(weight, weight, weight), async (given, weights) => {
          const adapters = await adaptersOf(kind, given);
          const { adapter: merged, report } = await merge(adapters, { ...way, weights });
          await holds(merged, adapters, weights, 3e-5);
          assert.ok(report.error < 1e-5);
        });
        await fc.assert(property, FEW);
      }
    });

    it("is the same for any order of the adapters: summed, averaged, or by ties in every space", async () => {
      const ways = [
        { method: "cat" },
        { method: "svd", rank: 2 },
        { method: "average" },
        { method: "ties", parameters: ["density=1"] },
        { method: "ties", parameters: ["density=1"], space: "knots" },
        { method: "ties", parameters: ["density=1"], space: "full", rank: 6 },
      ] as const;
      for (const way of ways) {
        const property = fc.asyncProperty(specs(2), async (given) => {
          const [a, b] = await adaptersOf(kind, given);
          const there = (await merge([a!, b!], way)).adapter;
          const back = (await merge([b!, a!], way)).adapter;
          for (const path of pathsOf([a!, b!])) {
            const [one, other] = [await updateOf(there, path), await updateOf(back, path)];
            assert.ok(distance(one, other) < 3e-5, `${JSON.stringify(way)} ${path}: ${distance(one, other)}`);
          }
        });
        await fc.assert(property, FEW);
      }
    });

    it("has one singular value by iso_c, the mean of the sum's, in the common subspace as on matrices", async () => {
      const property = fc.asyncProperty(specs(2), async (given) => {
        const adapters = await adaptersOf(kind, given);
        const way = { method: "iso_c", parameters: ["lambda=1"] };
        const core = (await merge(adapters, way)).adapter;
        const full = (await merge(adapters, { ...way, space: "full", rank: 6 })).adapter;
        for (const path of pathsOf(adapters)) {
          const away = distance(await updateOf(core, path), await updateOf(full, path));
          assert.ok(away < 1e-4, `${path}: ${away}`);
        }
      });
      await fc.assert(property, FEW);
    });

    it("is scaled by its weight, in every space", async () => {
      for (const space of ["core", "knots", "full"] as const) {
        const property = fc.asyncProperty(spec, weight, async (one, factor) => {
          const [adapter] = await adaptersOf(kind, [one]);
          const way = { method: "task_arithmetic", parameters: ["lambda=1"], space, weights: [factor] };
          await holds((await merge([adapter!], way)).adapter, [adapter!], [factor], ROUNDING);
        });
        await fc.assert(property, FEW);
      }
    });
  });
}

describe("(IA)3", () => {
  const config = { peft_type: "IA3", target_modules: ["k", "down"], feedforward_modules: ["down"] };
  const vectors = (seed: number) =>
    peftFolder(config, { "m.k.ia3_l": tensor(`${seed} k`, 6, 1), "m.down.ia3_l": tensor(`${seed} d`, 1, 9) });
  const open = (seed: number) => openFiles(vectors(seed), `ia3 ${seed}`);
  const read = async (adapter: Adapter) => {
    const all: Float32Array[] = [];
    for (const [, { scale, path }] of adapter.ia3) all.push(await readEntries(adapter, scale, path));
    return all;
  };
  const seeds = fc.nat(1e6);

  it("merged alone is itself, and scaled by its weight as a change from ones", async () => {
    for (const method of ["average", "ties", "magmax", "task_arithmetic"]) {
      const parameters = method === "ties" ? ["density=1"] : method === "average" ? [] : ["lambda=1"];
      const property = fc.asyncProperty(seeds, async (seed) => {
        const adapter = await open(seed);
        const { adapter: merged } = await merge([adapter], { method, parameters });
        assert.ok(distance(await read(merged), await read(adapter)) < ROUNDING, method);
      });
      await fc.assert(property, FEW);
    }
    const scaled = fc.asyncProperty(seeds, weight, async (seed, factor) => {
      const adapter = await open(seed);
      const way = { method: "task_arithmetic", parameters: ["lambda=1"], weights: [factor] };
      const wanted = (await read(adapter)).map((values) => values.map((value) => 1 + factor * (value - 1)));
      assert.ok(distance(await read((await merge([adapter], way)).adapter), wanted) < ROUNDING);
    });
    await fc.assert(scaled, RUNS);
  });

  it("sums to 1 + Σ w (l − 1), in any order", async () => {
    const property = fc.asyncProperty(seeds, seeds, weight, weight, async (one, two, v, w) => {
      const [a, b] = [await open(one), await open(two)];
      const way = { method: "task_arithmetic", parameters: ["lambda=1"] };
      const there = await read((await merge([a, b], { ...way, weights: [v, w] })).adapter);
      const back = await read((await merge([b, a], { ...way, weights: [w, v] })).adapter);
      const [ofA, ofB] = [await read(a), await read(b)];
      const wanted = ofA.map((values, at) => values.map((value, i) => 1 + v * (value - 1) + w * (ofB[at]![i]! - 1)));
      assert.ok(distance(there, wanted) < 1e-5 && distance(back, there) < 1e-5);
    });
    await fc.assert(property, RUNS);
  });
});

describe("the common subspace", () => {
  it("loses nothing: U M_t Vᵀ is s_t B_t A_t; nor does the alignment of KnOTS: U S V_t", async () => {
    const property = fc.asyncProperty(specs(3), async (given) => {
      const adapters = await adaptersOf("linear", given);
      const parts = adapters.map((adapter, source) => {
        const module = adapter.lora.get("m.q")!;
        return { source, module, scale: module.scaling };
      });
      const [terms] = await readTerms({
        sources: adapters.map(({ label, source }) => ({ label, source })),
        parts,
      });
      const { algebra } = platform;
      const { left, right, cores } = coreSpace(algebra, terms!);
      const { basis, parts: aligned } = align(algebra, terms!);
      for (const [index, adapter] of adapters.entries()) {
        const wanted = await updateOf(adapter, "m.q");
        const half = left === null ? cores[index]! : algebra.multiply64(left, cores[index]!);
        const whole = right === null ? half : algebra.multiply64(half, right, { transposeB: true });
        assert.ok(distance([whole.data], wanted) < 1e-12);
        assert.ok(distance([algebra.multiply(basis, aligned[index]!).data], wanted) < ROUNDING);
      }
    });
    await fc.assert(property, RUNS);
  });

  it("depends on the updates alone, not on how they are factored", async () => {
    const [plain] = await adaptersOf("linear", [{ seed: 7, ranks: [3, 2], alpha: 2, rsLora: false, both: true }]);
    const [other] = await adaptersOf("linear", [{ seed: 8, ranks: [2, 2], alpha: 1, rsLora: false, both: true }]);
    const twisted = await merge([plain!], { method: "svd", energy: 1 });
    const way = { method: "ties", parameters: ["density=0.5"] };
    const one = (await merge([plain!, other!], way)).adapter;
    const two = (await merge([twisted.adapter, other!], way)).adapter;
    for (const path of pathsOf([plain!])) {
      assert.ok(distance(await updateOf(one, path), await updateOf(two, path)) < 1e-5);
    }
  });

  it("has no directions of its own for an adapter that is there twice", async () => {
    const twin = { seed: 3, ranks: [2, 2], alpha: 2, rsLora: false, both: false } as const;
    const [a, b] = await adaptersOf("linear", [twin, twin]);
    const { report } = await merge([a!, b!], { method: "ties", parameters: ["density=1"] });
    assert.deepEqual(
      report.modules.map(({ rank }) => rank),
      [2],
    );
  });
});

describe("a rank or an energy", () => {
  it("cuts to the best of that rank and tells the error that it makes", async () => {
    const property = fc.asyncProperty(specs(2), fc.integer({ min: 1, max: 4 }), async (given, rank) => {
      const adapters = await adaptersOf("linear", given);
      const { adapter: merged, report } = await merge(adapters, { method: "svd", rank, weights: [0.5, 0.8] });
      for (const [index, path] of pathsOf(adapters).entries()) {
        const away = distance(await updateOf(merged, path), await sumOf(adapters, [0.5, 0.8], path));
        assert.ok(Math.abs(away - report.modules[index]!.error) < ROUNDING);
        assert.ok(report.modules[index]!.rank <= rank);
      }
    });
    await fc.assert(property, RUNS);
  });

  it("keeps at least the energy asked for, with the smallest rank that does", async () => {
    const given = [1, 2].map((seed): Spec => ({ seed, ranks: [4, 4], alpha: 4, rsLora: false, both: true }));
    const adapters = await adaptersOf("linear", given);
    const { report } = await merge(adapters, { method: "svd", energy: 0.9 });
    for (const { error, rank, module } of report.modules) {
      assert.ok(1 - error ** 2 >= 0.9);
      const less = await merge(adapters, { method: "svd", rank: rank - 1 });
      assert.ok(1 - less.report.modules.find((one) => one.module === module)!.error ** 2 < 0.9);
    }
  });

  it("writes ranks that differ into the config, which reads back", async () => {
    const given = [1, 2].map((seed): Spec => ({ seed, ranks: [seed, 4], alpha: 4, rsLora: true, both: true }));
    const { adapter, draft } = await merge(await adaptersOf("linear", given));
    assert.deepEqual(
      [...adapter.lora.values()].map(({ path, rank, scaling }) => [path, rank, scaling]),
      [
        ["m.k", 8, 1],
        ["m.q", 3, 1],
      ],
    );
    assert.equal(draft.config["use_rslora"], false);
  });
});

describe("a bias of lora_bias", () => {
  it("is summed with its adapter's scaling", async () => {
    const given = [1, 2].map((seed): Spec => ({ seed, ranks: [2, 2], alpha: 6, rsLora: false, both: false }));
    const adapters = await adaptersOf("bias", given);
    const { draft } = await merge(adapters, { weights: [0.5, -1] });
    const written = draft.tensors.find(({ key }) => key.endsWith("m.q.lora_B.bias"))!;
    const found = new Float32Array(written.bytes.slice().buffer);
    const [one, two] = [1, 2].map((seed) => numbersOf(`${seed} m.q bias`, 6));
    for (const [i, value] of found.entries()) assert.ok(Math.abs(value - (1.5 * one![i]! - 3 * two![i]!)) < 1e-6);
  });
});
