/** DPPA from files to files, against sorts of whole tensors in f64. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { inspectArtifact } from "../../src/artifacts/inspect.js";
import { materialize } from "../../src/artifacts/materialize.js";
import { verifyOutput } from "../../src/analyse/verify.js";
import { mergeModels } from "../../src/merge.js";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import { planHash } from "../../src/execute/journal.js";
import { planMerge } from "../../src/merge.js";
import { xxh64 } from "../../src/numbers/checksum.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { filesOf, interruptedAfter, Interrupted, partialOf } from "../faults/support.js";
import { Folder, merge, readTensors, recipeOf, tensor, valuesOf, watched, wrapCrew } from "../laws/support/family.js";
import { normals } from "../laws/support/random.js";
import { rounded } from "./naive.js";
import { floatsOf, open, part, sameFloats, write } from "./support.js";

const folder = new Folder();
after(() => folder.remove());

/** Two stacks of layers; the largest matrix is more than a block. */
const MATRICES: Readonly<Record<string, readonly [number, number]>> = {
  "encoder.layers.0.a.weight": [3, 90_001],
  "encoder.layers.0.b.weight": [40, 50],
  "encoder.layers.1.a.weight": [33, 31],
  "decoder.layers.0.a.weight": [20, 64],
};
const WHOLE: Readonly<Record<string, readonly number[]>> = {
  "embed_tokens.weight": [50, 7],
  "encoder.layers.0.norm.weight": [37],
  "encoder.layers.1.conv.weight": [4, 3, 5],
};
const NAMES = [...Object.keys(MATRICES), ...Object.keys(WHOLE)];

let base: string;
let models: readonly string[];

/** Some entries far out, as Student's t has them; more of them the later the tensor. */
function changes(count: number, seed: number): Float32Array {
  const values = normals(count, seed, 0.02);
  const size = normals(count, seed + 1, 1);
  return values.map((value, p) => (p % 9 === 0 ? 0 : size[p]! > 1.6 ? value * (4 + (seed % 7)) : value));
}

before(() => {
  const shapes = Object.entries({ ...MATRICES, ...WHOLE }) as [string, readonly number[]][];
  const sizes = shapes.map(([, shape]) => shape.reduce((product, side) => product * side, 1));
  const weights = sizes.map((size, index) => normals(size, 900 + index, 0.5));
  base = folder.write(
    "base",
    shapes.map(([name, shape], index) => tensor(name, weights[index]!, "F32", shape)),
  );
  models = ["math", "code"].map((name, model) =>
    folder.write(
      name,
      shapes.map(([key, shape], index) => {
        const own = changes(sizes[index]!, 31 * index + 400 * (model + 1));
        return tensor(
          key,
          weights[index]!.map((value, p) => value + own[p]!),
          "F32",
          shape,
        );
      }),
    ),
  );
});

interface Factors {
  readonly alpha_inner?: number;
  readonly alpha_outer?: number;
  readonly sparsity_inner?: number;
  readonly sparsity_outer?: number;
}

const mean = (values: ArrayLike<number>) => {
  let sum = 0;
  for (let p = 0; p < values.length; p++) sum += Math.abs(values[p]!);
  return sum / values.length;
};
const share = (values: ArrayLike<number>, limit: number) => {
  let above = 0;
  for (let p = 0; p < values.length; p++) if (Math.abs(values[p]!) > limit) above++;
  return above / values.length;
};
const average = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const stretched = (values: readonly number[]) => {
  const most = Math.max(...values.map(Math.abs));
  return values.map((value) => (most === 0 ? 0 : (value * 0.08) / most));
};

/** Densities of one partition by the steps of the paper's released code. */
function densitiesOf(deltas: ReadonlyMap<string, Float32Array>, sparsity: number): Map<string, number> {
  const layerOf = (name: string) => name.split(".").slice(0, 3).join(".");
  const names = Object.keys(MATRICES);
  const layers = [...new Set(names.map(layerOf))];
  const layerScores = layers.map((layer) => {
    const all = names.filter((name) => layerOf(name) === layer).flatMap((name) => [...deltas.get(name)!]);
    return 100 * share(all, 3 * mean(all));
  });
  const layerDensities = stretched(layerScores.map((score) => score - average(layerScores)));
  const scores = names.map((name) => 100 * share(deltas.get(name)!, 5 * mean(deltas.get(name)!)));
  const relative = scores.map((score) => score / average(scores));
  const sizes = names.map((name) => deltas.get(name)!.length);
  const centre =
    relative.reduce((sum, score, i) => sum + score * sizes[i]!, 0) / sizes.reduce((sum, size) => sum + size, 0);
  const own = stretched(relative.map((score) => score - centre));
  return new Map(
    names.map((name, i) => [name, own[i]! + layerDensities[layers.indexOf(layerOf(name))]! + 1 - sparsity]),
  );
}

/** Δ with a partition's prune applied. A density below 0, at which the released code reads past the end, keeps nothing. */
function pruned(delta: Float32Array, density: number): Float32Array {
  const sorted = delta.map(Math.abs).sort();
  const limit = sorted[Math.trunc(delta.length * (1 - Math.min(density, 1 - Number.EPSILON)))] ?? Infinity;
  return delta.map((value) => (Math.abs(value) <= limit ? 0 : value));
}

async function expectedOf(
  model: string,
  { alpha_inner = 1.8, alpha_outer = 1, sparsity_inner = 0.9, sparsity_outer = 0.8 }: Factors,
): Promise<Map<string, Float32Array>> {
  const [weights, tuned] = [await floatsOf(base), await floatsOf(model)];
  const deltas = new Map(
    NAMES.map((name) => [name, tuned.get(name)!.map((value, p) => Math.fround(value - weights.get(name)![p]!))]),
  );
  const inner = densitiesOf(deltas, sparsity_inner);
  const outer = densitiesOf(deltas, sparsity_outer);
  return new Map(
    NAMES.map((name) => {
      const delta = deltas.get(name)!;
      const isPruned = Object.hasOwn(MATRICES, name);
      const [a, b] = isPruned ? [pruned(delta, inner.get(name)!), pruned(delta, outer.get(name)!)] : [delta, delta];
      const amplified = delta.map((_, p) => {
        const [x, y] = [Math.fround(alpha_inner) * a[p]!, Math.fround(alpha_outer) * b[p]!];
        return Math.abs(x) >= Math.abs(y) ? x : y;
      });
      return [name, amplified];
    }),
  );
}

async function make(parameters: Factors = {}, options: object = {}, output: object = {}): Promise<string> {
  const out = folder.fresh();
  const recipe = recipeOf({ method: "dppa", base, models, parameters, output });
  await mergeModels(recipe, nodePlatform, { out, threads: 1, ...options });
  return out;
}

/** Node's platform, which counts blocks by job. */
function counting() {
  const blocks = new Map<string, number>();
  const platform: typeof nodePlatform = {
    ...nodePlatform,
    async createCrew(...args) {
      const crew = await nodePlatform.createCrew(...args);
      return wrapCrew(crew, (stage, progress) => {
        blocks.set(stage.job, (blocks.get(stage.job) ?? 0) + stage.blocks.length);
        return crew.run(stage, progress);
      });
    },
  };
  return { platform, blocks };
}

async function checkTasks(out: string, factors: Factors): Promise<void> {
  const weights = await floatsOf(base);
  const artifact = await open(out);
  for (const model of models) {
    const task = path.basename(model);
    const expected = await expectedOf(model, factors);
    const made = folder.fresh();
    await write(out, { task, out: made });
    const found = await readTensors(made);
    const masks = await part(out, `masks/${task}`);
    const vectors = await part(out, `vectors/${task}`);
    for (const name of NAMES) {
      const amplified = expected.get(name)!;
      const values = weights.get(name)!.map((value, p) => value + amplified[p]!);
      assert.ok(sameFloats(valuesOf(found.get(name)!), values), `${task}: ${name}`);
      const { bytes } = await artifact.readTensor(task, name);
      assert.ok(Buffer.from(bytes).equals(found.get(name)!.bytes), name);
      if (!Object.hasOwn(MATRICES, name)) {
        assert.ok(!masks.has(name));
        continue;
      }
      const kept = amplified.filter((value) => value !== 0);
      assert.ok(sameFloats(valuesOf(vectors.get(name)!), kept), `${task}: packed ${name}`);
    }
  }
  await artifact.close();
}

describe("dppa", () => {
  for (const factors of [
    {},
    { alpha_inner: 1.8, alpha_outer: 0 },
    { alpha_inner: 0, alpha_outer: 1.25 },
    { alpha_inner: 0.5, alpha_outer: -1.5 },
    { sparsity_inner: 0.97, sparsity_outer: 0.5 },
  ]) {
    it(`keeps and amplifies what the paper's steps keep: ${JSON.stringify(factors)}`, async () => {
      await checkTasks(await make(factors, { threads: 2 }), factors);
    });
  }

  it("drops everything but what stays whole where both factors are zero", async () => {
    const out = await make({ alpha_inner: 0, alpha_outer: 0 });
    const { tasks } = await inspectArtifact(out, nodePlatform);
    assert.deepEqual(
      tasks.map(({ kept }) => kept),
      [0, 0],
    );
    const made = folder.fresh();
    await write(out, { task: "math", out: made });
    assert.deepEqual(await floatsOf(made), await floatsOf(base));
    assert.ok((await verifyOutput(out, nodePlatform, { threads: 1 })).ok);
  });

  it("is the same for any threads, tiles and shards", async () => {
    const one = await make();
    const parts = ["vectors", "masks", "starts"].flatMap((name) => [`${name}/math`, `${name}/code`]);
    const contents = (out: string) => Promise.all(parts.map((name) => part(out, name)));
    const expected = await contents(one);
    for (const out of [
      await make({}, { threads: 3 }),
      await make({}, { threads: 2, tuning: { tileEntries: 1000, chunkEntries: 4000 } }),
      await make({}, {}, { shard_size: "100kB" }),
    ]) {
      assert.deepEqual(await contents(out), expected);
      assert.ok((await verifyOutput(out, nodePlatform, { threads: 1, inputs: true })).ok);
    }
  });

  it("stores a bit per entry, what is kept, and eight bytes per block", async () => {
    const out = await make();
    const { tasks } = await inspectArtifact(out, nodePlatform);
    const dataOf = (name: string) => {
      const bytes = fs.readFileSync(path.join(out, name, "model.safetensors"));
      return bytes.length - 8 - Number(bytes.readBigUInt64LE(0));
    };
    const sizes = Object.values(MATRICES).map(([rows, columns]) => rows * columns);
    const whole = Object.values(WHOLE).reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
    for (const { name, kept, entries, density } of tasks) {
      assert.equal(
        entries,
        sizes.reduce((sum, size) => sum + size, 0),
      );
      assert.ok(density > 0.1 && density < 0.3, `${density}`);
      assert.equal(dataOf(`vectors/${name}`), 4 * (kept + whole));
      assert.equal(
        dataOf(`masks/${name}`),
        sizes.reduce((sum, size) => sum + Math.ceil(size / 8), 0),
      );
      assert.equal(dataOf(`starts/${name}`), 8 * sizes.reduce((sum, size) => sum + Math.ceil(size / 262_144), 0));
    }
  });

  it("rounds once, to the format of the output", async () => {
    const out = await make({}, {}, { dtype: "bfloat16" });
    const expected = await expectedOf(models[0]!, {});
    const vectors = await part(out, "vectors/math");
    for (const name of NAMES) {
      const { dtype } = vectors.get(name)!;
      const kept = expected.get(name)!.filter((value) => value !== 0 || !Object.hasOwn(MATRICES, name));
      assert.equal(dtype, "BF16");
      assert.ok(sameFloats(valuesOf(vectors.get(name)!), rounded(kept, "BF16")), name);
    }
  });

  it("is planned with the sizes that are expected, and knows its own result again", async () => {
    const recipe = recipeOf({ method: "dppa", base, models });
    const plan = await planMerge(recipe, nodePlatform);
    const out = folder.fresh();
    const { provenance } = await mergeModels(recipe, nodePlatform, { out, threads: 1 });
    assert.equal(provenance.plan, planHash(plan));
    const planned = plan.files.reduce((sum, { size }) => sum + size, 0);
    const written = provenance.outputs.reduce((sum, { bytes }) => sum + bytes, 0);
    assert.ok(Math.abs(written / planned - 1) < 0.2, `${planned} bytes planned, ${written} written`);
  });

  it("continues an interrupted run to the same bytes", async () => {
    const whole = await make();
    for (const stages of [1, 2, 5, 9, 13, 15, 17]) {
      const out = folder.fresh();
      const recipe = recipeOf({ method: "dppa", base, models });
      const stopped = mergeModels(recipe, interruptedAfter({ stages }), { out, threads: 1 });
      await assert.rejects(stopped, Interrupted, `${stages} stages`);
      await mergeModels(recipe, nodePlatform, { out, threads: 2 });
      assert.deepEqual(filesOf(out), filesOf(whole), `${stages} stages`);
    }
  });

  it("packs no block twice that lies in the files, however often it is interrupted", async () => {
    const whole = await make();
    const sizes = Object.values(MATRICES).map(([rows, columns]) => rows * columns);
    const all = 2 * sizes.reduce((sum, size) => sum + Math.ceil(size / BLOCK_ENTRIES), 0);
    const recipe = recipeOf({ method: "dppa", base, models });
    // Vectors that stay whole are written first: one block each.
    const before = 2 * Object.keys(WHOLE).length;
    for (const done of [1, 4]) {
      const out = folder.fresh();
      const stopped = () => interruptedAfter({ blocks: before + done });
      await assert.rejects(mergeModels(recipe, stopped(), { out, threads: 1 }), Interrupted);
      const partial = partialOf(out);
      const spoilt = done === 4;
      if (spoilt) {
        const file = path.join(partial, "masks/math/model.safetensors");
        const bytes = fs.readFileSync(file);
        bytes[8 + Number(bytes.readBigUInt64LE(0))]! ^= 1;
        fs.writeFileSync(file, bytes);
      }
      const { platform, blocks } = counting();
      await mergeModels(recipe, platform, { out, threads: 2 });
      assert.deepEqual(filesOf(out), filesOf(whole), `${done} blocks`);
      assert.equal(blocks.get("pack"), all - done + (spoilt ? 1 : 0));
      assert.deepEqual(
        [blocks.get("combine"), blocks.get("exceed"), blocks.get("magnitudes")],
        [0, undefined, undefined],
      );
    }
  });

  it("is the input of any method on task vectors", async () => {
    const out = await make();
    const made = await Promise.all(
      ["math", "code"].map(async (task) => {
        const place = folder.fresh();
        await write(out, { task, out: place });
        return place;
      }),
    );
    for (const [method, parameters] of [
      ["ties", { density: 0.15 }],
      ["task_arithmetic", { lambda: 1 }],
    ] as const) {
      const recipe = { method, parameters, base };
      const options = { out: folder.fresh(), threads: 2, tuning: { tileEntries: 1024, chunkEntries: 2048 } };
      const found = await merge({ ...recipe, models: [`${out}#math`, `${out}#code`] }, options);
      const expected = await merge({ ...recipe, models: made }, { out: folder.fresh() });
      assert.deepEqual(found.prints, expected.prints);
    }
  });

  it("of one model is the input of a merge without being written", async () => {
    const factors = { sparsity_inner: 0.95, alpha_outer: -1.5 };
    const inner = (model: string) => ({ merge: { method: "dppa", base, models: [model], parameters: factors } });
    const artifact = await make(factors);
    const recipe = { method: "ties", parameters: { density: 0.15 }, base };
    const expected = await merge(
      { ...recipe, models: [`${artifact}#math`, `${artifact}#code`] },
      { out: folder.fresh() },
    );
    const nested = { ...recipe, models: models.map(inner) };
    const tuning = { tileEntries: 1024, chunkEntries: 2048 };
    const found = await merge(nested, { out: folder.fresh(), threads: 2, tuning });
    assert.deepEqual(found.prints, expected.prints);
    const out = folder.fresh();
    await assert.rejects(merge(nested, { out }, interruptedAfter({ blocks: 1 })), Interrupted);
    const { platform, stages } = watched();
    assert.deepEqual((await merge(nested, { out }, platform)).prints, expected.prints);
    assert.ok(!stages.includes("magnitudes") && !stages.includes("exceed"));
    const two = { merge: { method: "dppa", base, models, parameters: factors } };
    await assert.rejects(planMerge(recipeOf({ ...recipe, models: [two] }), nodePlatform), {
      code: "recipe/unsupported",
      message: /holds a model for each task; write it, and name one of them as the model: ARTIFACT#TASK/,
    });
  });

  it("names the model and the tensor whose mean does not exist, and refuses to be pruned twice", async () => {
    const tensors = await readTensors(models[0]!);
    new Float32Array(tensors.get("encoder.layers.1.a.weight")!.bytes.buffer)[5] = Number.NaN;
    const broken = folder.write("broken", [...tensors.values()]);
    const recipe = { method: "dppa", base, models: [broken, models[1]!] };
    await assert.rejects(mergeModels(recipeOf(recipe), nodePlatform, { out: folder.fresh(), threads: 1 }), {
      code: "values/non-finite",
      message: /encoder\.layers\.1\.a\.weight[^]*broken/,
    });
    const twice = recipeOf({ method: "dppa", base, models, dare: { drop: 0.5 } });
    await assert.rejects(planMerge(twice, nodePlatform), { code: "recipe/unsupported", message: /pruned twice/ });
  });

  it("finds starts, masks and values that do not fit together", async () => {
    const out = await make();
    for (const [name, code] of [
      ["starts/math", "artifact/damaged"],
      ["masks/math", "artifact/damaged"],
      ["vectors/math", "artifact/damaged"],
    ] as const) {
      const copy = folder.fresh();
      fs.cpSync(out, copy, { recursive: true });
      const file = path.join(copy, name, "model.safetensors");
      const bytes = fs.readFileSync(file);
      bytes[bytes.length - 8]! ^= 0x40;
      fs.writeFileSync(file, bytes);
      const made = materialize(copy, nodePlatform, { task: "math", out: folder.fresh(), threads: 1 });
      await assert.rejects(made, { code });
      // Someone who also puts the checksum right is told where reading would leave the vector.
      if (name !== "starts/math") continue;
      const record = path.join(copy, "mergewright.json");
      const last = [...(await part(copy, name)).values()].at(-1)!;
      const text = JSON.parse(fs.readFileSync(record, "utf8")) as { checksums: Record<string, string> };
      const digest = new Uint8Array(8);
      new DataView(digest.buffer).setBigUint64(0, BigInt(`0x${xxh64(last.bytes)}`), true);
      text.checksums[`${name}/${last.name}`] = xxh64(digest);
      fs.writeFileSync(record, JSON.stringify(text));
      const forged = materialize(copy, nodePlatform, { task: "math", out: folder.fresh(), threads: 1 });
      await assert.rejects(forged, { code: "artifact/damaged", message: /fewer than the mask/ });
    }
  });
});
