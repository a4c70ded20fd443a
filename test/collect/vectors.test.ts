/** Block Fisher of (IA)3 vectors: what is collected, against gradients of folded weights; and what MaTS makes of it. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { openAlgebra } from "../../src/algebra/algebra.js";
import { readEntries } from "../../src/adapters/adapter.js";
import { readSum } from "../../src/collected/sums.js";
import { sumName } from "../../src/collected/statistics.js";
import { evaluate } from "../../src/node.js";
import { openAdapterAt } from "../../src/platform/node/adapters.js";
import { openNetwork } from "../../src/platform/node/network.js";
import { openModel } from "../../src/platform/node/platform.js";
import { openStatistics } from "../../src/platform/node/statistics.js";
import type { WeightSource } from "../../src/runtime/network.js";
import { scaledLinear, vectorName } from "../../src/runtime/operations/scaled.js";
import type { ScaledSide } from "../../src/runtime/operations/scaled.js";
import { weightsOf } from "../../src/runtime/weights.js";
import { mergewright, outcomeOf, root, scratch } from "../cli/support.js";
import { batchOf, fixtureWeights, readFixture } from "../runtime/fixtures.js";
import { largestDifference } from "../runtime/zoo.js";

const at = scratch(after);
const zoo = path.join(root, "zoo", "language");
const BASE = path.join(zoo, "base");
const NAMES = ["french", "python", "c"];
const EXAMPLES = 6;
const adapterOf = (name: string) => path.join(zoo, "ia3", name);
const blockOf = (name: string) => at(`${name}.block.safetensors`);
const tasks = at("tasks.yaml");
const list = NAMES.map((name) => {
  const { train, test } = JSON.parse(readFileSync(path.join(zoo, name, "text.json"), "utf8"));
  const data = at(`${name}.json`);
  writeFileSync(data, JSON.stringify({ train: train.slice(0, 1), test: test.slice(0, 2) }));
  return { name, type: "language-modelling", data, window: 24 };
});
writeFileSync(tasks, JSON.stringify({ tasks: list }));

const collect = (model: string, name: string, out: string, ...more: string[]) =>
  mergewright(
    ...["collect", "block", "--model", model, "--tasks", tasks, "--task", name],
    ...["--examples", String(EXAMPLES), "-o", out, ...more],
  );

before(async () => {
  for (const name of NAMES) {
    const { code, err } = await collect(`${BASE}+${adapterOf(name)}`, name, blockOf(name), "--quiet");
    assert.equal(code, 0, err);
  }
});

/** A vector's gradient from those of the weight that it is folded into, and of the bias. */
function byChain(
  shape: readonly number[],
  along: "rows" | "columns",
  pairs: readonly { readonly gradient: Float32Array; readonly before: Float32Array }[],
): Float64Array {
  const [rows, columns] = shape as [number, number];
  const [{ gradient, before }, bias] = pairs as [(typeof pairs)[0], (typeof pairs)[0] | undefined];
  const sums = new Float64Array(along === "rows" ? rows : columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const p = row * columns + column;
      sums[along === "rows" ? row : column]! += gradient[p]! * before[p]!;
    }
  }
  if (bias !== undefined) for (let p = 0; p < sums.length; p++) sums[p]! += bias.gradient[p]! * bias.before[p]!;
  return sums;
}

describe("a linear layer beside a vector of (IA)3", () => {
  for (const [name, layer, side] of [
    ["bert", "bert.encoder.layer.0.attention.self.key", "outputs"],
    ["bert", "bert.encoder.layer.1.output.dense", "inputs"],
    ["gpt2", "transformer.h.1.attn.c_attn", "outputs"],
    ["gpt2", "transformer.h.0.mlp.c_proj", "inputs"],
  ] as const) {
    it(`is the layer that it is folded into, forward and backward: ${name}, ${side}`, async () => {
      const fixture = readFixture(name);
      const stored = await fixtureWeights(name, fixture);
      const plain = await openNetwork(stored, { threads: 1 });
      const { inputs, outputs, weight, shape, transposed } = plain.layers.find((one) => one.name === layer)!;
      await plain.close();
      const size = side === "outputs" ? outputs : inputs;
      const vector = Float32Array.from({ length: size }, (_, index) => 1 + Math.sin(index) / 2);
      const along = (side === "outputs") === transposed ? "columns" : "rows";
      const before = await stored.tensor(weight);
      const bias = await stored.tensor(`${layer}.bias`);
      const folded: WeightSource = {
        ...stored,
        tensor: async (tensor) => {
          if (tensor === weight) {
            return before.map((value, p) => {
              return value * vector[along === "rows" ? Math.floor(p / shape[1]!) : p % shape[1]!]!;
            });
          }
          const isScaled = tensor === `${layer}.bias` && side === "outputs";
          return isScaled ? bias.map((value, p) => value * vector[p]!) : stored.tensor(tensor);
        },
      };
      const beside: WeightSource = {
        ...stored,
        names: [...stored.names, vectorName(layer)],
        shape: (tensor) => (tensor === vectorName(layer) ? [size] : stored.shape(tensor)),
        tensor: (tensor) => (tensor === vectorName(layer) ? Promise.resolve(vector) : stored.tensor(tensor)),
      };
      const one = await openNetwork(folded, { threads: 1 });
      const linear = scaledLinear(new Map<string, ScaledSide>([[layer, side]]));
      const other = await openNetwork(beside, { threads: 1, linear });
      const batch = batchOf(fixture.inputs);
      const [expected, found] = [await one.logits(batch), await other.logits(batch)];
      assert.ok(largestDifference(found.values, expected.values) < 2e-6);
      const goal = {
        kind: "cross-entropy",
        targets: Int32Array.from({ length: found.rows }, (_, row) => row % found.classes),
      } as const;
      const ours = (await other.gradients(batch, goal, [vectorName(layer)])).parameters.get(vectorName(layer))!;
      const theirs = (await one.gradients(batch, goal)).parameters;
      const pairs = [{ gradient: theirs.get(weight)!, before }];
      if (side === "outputs") pairs.push({ gradient: theirs.get(`${layer}.bias`)!, before: bias });
      const chain = byChain(shape, along, pairs);
      const most = chain.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      assert.ok(largestDifference(ours, chain) < 2e-5 * most, `${largestDifference(ours, chain)} of ${most}`);
      await one.close();
      await other.close();
    });
  }
});

/** The vectors of an adapter by module. */
async function vectorsOf(label: string): Promise<Map<string, Float32Array>> {
  const adapter = await openAdapterAt(label);
  const found = new Map<string, Float32Array>();
  for (const { path: module, scale } of adapter.ia3.values()) found.set(module, await readEntries(adapter, scale));
  await adapter.close();
  return found;
}

const recipe = (parameters: object, statistics = NAMES.map(blockOf)) => {
  const models = NAMES.map((name, index) => ({ model: adapterOf(name), statistics: statistics[index] }));
  writeFileSync(at("recipe.yaml"), JSON.stringify({ method: "mats/ia3", models, parameters }));
  return at("recipe.yaml");
};

describe("mergewright collect block", () => {
  it("sums g g^T over examples, g the gradient by a vector", async () => {
    const { info, file } = await openStatistics(blockOf("french"));
    assert.deepEqual([info.kind, info.count, Object.keys(info.layers).length], ["block", EXAMPLES, 18]);
    const model = await openModel(`${BASE}+${adapterOf("french")}`);
    const base = await openModel(BASE);
    const network = await openNetwork(weightsOf(model), { threads: 1 });
    const modules = [
      ["model.layers.1.self_attn.v_proj", "rows"],
      ["model.layers.4.mlp.down_proj", "columns"],
    ] as const;
    const sums = new Map(modules.map(([module]) => [module, null as Float64Array | null]));
    for await (const { batch, goal } of windows()) {
      const { parameters } = await network.gradients(batch, goal);
      for (const [module, along] of modules) {
        const weight = `${module}.weight`;
        const before = await weightsOf(base).tensor(weight);
        const g = byChain(base.tensors.get(weight)!.shape, along, [{ gradient: parameters.get(weight)!, before }]);
        const sum = sums.get(module) ?? new Float64Array(g.length ** 2);
        for (const [i, left] of g.entries())
          for (const [j, right] of g.entries()) sum[i * g.length + j]! += left * right;
        sums.set(module, sum);
      }
    }
    for (const [module, expected] of sums) {
      const found = await readSum(file, sumName(module, "block"));
      const most = expected!.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      assert.ok(largestDifference(found, expected!) < 1e-4 * most, module);
    }
    for (const one of [network, model, base, file]) await one.close();
  });

  it("wants a base with one (IA)3 adapter", async () => {
    for (const model of [BASE, `${BASE}+${path.join(zoo, "lora/french")}`, `${BASE}+0.5*${adapterOf("french")}`]) {
      const { code, err } = await collect(model, "french", at("never.safetensors"));
      assert.equal(code, 2);
      assert.match(err, /\(IA\)3 vectors beside their base[^]*BASE\+ADAPTER/, model);
    }
  });
});

/** The first windows of the french training texts, as the task cuts them. */
async function* windows() {
  const { prepare } = await import("../../src/evaluate/scorers.js");
  const { parseTasks } = await import("../../src/evaluate/read_tasks.js");
  const { evaluatePlatform } = await import("../../src/platform/node/evaluate.js");
  const [task] = parseTasks(JSON.stringify({ tasks: list }), "tasks");
  const model = await openModel(BASE);
  const { labelled } = await prepare(task!, { model, head: null, split: "train", platform: evaluatePlatform });
  for (let example = 0; example < EXAMPLES; example++) {
    const { batch, targets } = await labelled!.batch([example]);
    const weights = Float32Array.from(targets, (target) => (target < 0 ? 0 : 1));
    yield { batch, goal: { kind: "cross-entropy", targets, weights } as const };
  }
  await model.close();
}

describe("MaTS over (IA)3 adapters", () => {
  it("gives what a direct solve does, where it is let go on", async () => {
    const alpha = 0.2;
    const { json } = await outcomeOf(
      ...["adapter", "merge", recipe({ alpha, iterations: 2000, tolerance: 1e-7 }), "-o", at("solved")],
    );
    assert.equal(json.space, "blocks");
    const merged = await vectorsOf(at("solved"));
    const inputs = await Promise.all(NAMES.map((name) => vectorsOf(adapterOf(name))));
    const files = await Promise.all(NAMES.map((name) => openStatistics(blockOf(name))));
    const algebra = openAlgebra();
    let furthest = 0;
    for (const module of ["model.layers.0.self_attn.k_proj", "model.layers.3.mlp.down_proj"]) {
      const found = merged.get(module)!;
      const size = found.length;
      const left = new Float64Array(size * size);
      const right = new Float64Array(size);
      for (const [model, { file }] of files.entries()) {
        const block = await readSum(file, sumName(module, "block"));
        const own = inputs[model]!.get(module)!;
        for (let i = 0; i < size; i++) {
          for (let j = 0; j < size; j++) {
            const value = (block[i * size + j]! * (i === j ? 1 : alpha)) / EXAMPLES;
            left[i * size + j]! += value;
            right[i]! += value * own[j]!;
          }
        }
      }
      const lower = algebra.cholesky({ rows: size, columns: size, data: left })!;
      const direct = algebra.solveCholesky(lower, { rows: size, columns: 1, data: right }).data;
      assert.ok(largestDifference(found, direct) < 2e-5, `${module}: ${largestDifference(found, direct)}`);
      furthest = Math.max(furthest, ...inputs.map((vectors) => largestDifference(vectors.get(module)!, direct)));
    }
    assert.ok(furthest > 0.01, "the models are further from each other than the solve is from exact");
    for (const { file } of files) await file.close();
  });

  it("is an adapter that runs and scores; equal adapters stay what they are", async () => {
    await outcomeOf("adapter", "merge", recipe({}), "-o", at("ten"));
    const own = { tasks: [{ ...list[0]!, window: 128 }] } as const;
    const { tasks: results } = await evaluate(`${BASE}+${at("ten")}`, { tasks: own });
    const { tasks: before } = await evaluate(BASE, { tasks: own });
    assert.ok(results[0]!.value < before[0]!.value, `${results[0]!.value} and ${before[0]!.value} of the base`);
    const models = [{ model: adapterOf("french"), statistics: blockOf("french") }];
    writeFileSync(at("one.yaml"), JSON.stringify({ method: "mats/ia3", models, parameters: { init_lambda: 1 } }));
    await outcomeOf("adapter", "merge", at("one.yaml"), "-o", at("one"));
    const expected = await vectorsOf(adapterOf("french"));
    for (const [module, values] of await vectorsOf(at("one"))) {
      assert.ok(largestDifference(values, expected.get(module)!) < 1e-6, module);
    }
  });

  it("needs each adapter's own blocks, and says which commands collect them", async () => {
    const refused = async (file: string, ...patterns: readonly RegExp[]) => {
      const { code, err } = await mergewright("adapter", "merge", file, "-o", at("never"));
      assert.equal(code, 2);
      for (const pattern of patterns) assert.match(err, pattern);
    };
    const models = NAMES.map(adapterOf);
    writeFileSync(at("bare.yaml"), JSON.stringify({ method: "mats/ia3", models }));
    await refused(at("bare.yaml"), /mergewright collect block --model BASE\+\S+python --tasks/, /-o c\.block/);
    await refused(
      recipe({}, ["french", "c", "python"].map(blockOf)),
      /of another adapter[^]*python \(\w{16}\)[^]*c \(\w{16}\)/,
    );
    await refused(recipe({ objective: "kfac" }), /by their blocks[^]*mats\/ia3/);
    const whole = ["french", "german"].map((name) => path.join(zoo, name));
    writeFileSync(at("whole.yaml"), JSON.stringify({ method: "mats/ia3", base: BASE, models: whole }));
    const { code, err } = await mergewright("plan", at("whole.yaml"));
    assert.equal(code, 2);
    assert.match(err, /known of \(IA\)3 vectors alone[^]*objective: kfac/);
  });
});
