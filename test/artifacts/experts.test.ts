/** Experts over a shared model: what is stored, what a task's model is made of, and the laws it obeys. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { openAlgebra } from "../../src/algebra/algebra.js";
import { verifyOutput } from "../../src/analyse/verify.js";
import { inspectArtifact } from "../../src/artifacts/inspect.js";
import { MergewrightError } from "../../src/errors.js";
import { routerBytes } from "../../src/experts/router_file.js";
import { verifyResult } from "../../src/experts/verify.js";
import { mergeModels, planMerge } from "../../src/merge.js";
import { planReport } from "../../src/report/plan_report.js";
import { nodePlatform, openModel } from "../../src/platform/node/platform.js";
import { Folder, readTensors, recipeOf, tensor, valuesOf } from "../laws/support/family.js";
import { normals } from "../laws/support/random.js";
import { floatsOf, open, part, write } from "./support.js";

const folder = new Folder();
after(() => folder.remove());

const SHAPES: Readonly<Record<string, readonly number[]>> = {
  "embed.weight": [24, 16],
  "layers.0.up.weight": [32, 16],
  "layers.0.up.bias": [32],
  "layers.1.down.weight": [16, 32],
  "layers.1.norm.weight": [16],
  "layers.1.same.weight": [16, 16],
  head: [5],
};
const sizeOf = (shape: readonly number[]) => shape.reduce((product, side) => product * side, 1);
let base: string;
let models: string[];

before(() => {
  const make = (name: string, seed: number, strength: number) =>
    folder.write(
      name,
      Object.entries(SHAPES).map(([key, shape], index) => {
        const values = normals(sizeOf(shape), index + 1, 0.5);
        const moved = key.includes("same") ? 0 : strength;
        const changes = normals(sizeOf(shape), 50 * seed + index, moved);
        return tensor(
          key,
          values.map((value, p) => value + (moved === 0 ? 0 : changes[p]!)),
          "F32",
          shape,
        );
      }),
    );
  base = make("base", 0, 0);
  models = [make("one", 1, 0.1), make("two", 2, 0.1)];
  for (const place of [base, ...models]) fs.writeFileSync(path.join(place, "config.json"), "{}");
});

type Extra = Parameters<typeof recipeOf>[0];

async function build(extra: Extra): Promise<string> {
  const out = folder.fresh();
  await mergeModels(recipeOf({ base, models, exclude: ["head"], heads: "separate", ...extra }), nodePlatform, {
    out,
    threads: 1,
  });
  return out;
}

async function modelOf(artifact: string, task: string, weights?: Record<string, number>) {
  const out = folder.fresh();
  await write(artifact, { task, out, ...(weights && { weights }) });
  return floatsOf(out);
}

function farthest(a: Float32Array, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  return a.reduce((most, value, p) => Math.max(most, Math.abs(value - b[p]!)), 0);
}

/** Entries are below 3; a few roundings of f32. */
const ROUNDING = 2e-6;

describe("Twin-Merging's experts", () => {
  it("are the truncated SVD of the difference to the shared model, added to it", async () => {
    const lambda = 0.3;
    const artifact = await build({ method: "twin", parameters: { lambda, density: 0.25 } });
    const [origin, ...tuned] = [await floatsOf(base), ...(await Promise.all(models.map(floatsOf)))];
    const made = await modelOf(artifact, "two");
    for (const [name, shape] of Object.entries(SHAPES)) {
      if (name === "head") continue;
      const start = origin.get(name)!;
      const shared = start.map(
        (value, p) => value + lambda * tuned.reduce((sum, model) => sum + model.get(name)![p]! - value, 0),
      );
      const change = tuned[1]!.get(name)!.map((value, p) => value - shared[p]!);
      const [rows = 0, columns = 0] = shape;
      const rank = Math.trunc(0.25 * Math.min(rows, columns));
      const { u, s, vt } =
        shape.length === 2 ? openAlgebra().svd({ rows, columns, data: change }) : { u: null, s: null, vt: null };
      const expected = shared.map((value, p) => {
        if (u === null) return value + change[p]!;
        let sum = 0;
        for (let k = 0; k < rank; k++) {
          sum += u.data[Math.floor(p / columns) * u.columns + k]! * s[k]! * vt.data[k * columns + (p % columns)]!;
        }
        return value + sum;
      });
      assert.ok(farthest(made.get(name)!, expected) < ROUNDING, name);
    }
    assert.deepEqual(made.get("head"), tuned[1]!.get("head"), "the head is the task's own");
  });

  it("give the model itself back at full rank, at all of the energy and at density 1", async () => {
    const tuned = await floatsOf(models[0]!);
    for (const parameters of [
      { density: 1 },
      { compress: "energy", energy: 1 },
      { compress: "magnitude", density: 1 },
      { compress: "bernoulli", density: 1 },
    ]) {
      const made = await modelOf(await build({ method: "twin", parameters }), "one");
      for (const [name, values] of tuned) assert.ok(farthest(made.get(name)!, values) < ROUNDING, name);
    }
  });

  it("add up by weight: half of both is half of each difference", async () => {
    const artifact = await build({ method: "twin", parameters: { density: 0.2 } });
    const [one, two] = [await modelOf(artifact, "one"), await modelOf(artifact, "two")];
    const both = await modelOf(artifact, "one", { one: 0.7, two: 0.3 });
    const shared = await part(artifact, "models/shared");
    for (const name of shared.keys()) {
      const expected = one.get(name)!.map((value, p) => 0.7 * value + 0.3 * two.get(name)![p]!);
      assert.ok(farthest(both.get(name)!, expected) < ROUNDING, name);
    }
    assert.deepEqual(both.get("head"), one.get("head"));
  });

  it("are taken from any shared model, such as a merge written in its place", async () => {
    const merge = { method: "ties", base, models, parameters: { density: 0.5, lambda: 1 }, exclude: ["head"] };
    const written = folder.fresh();
    await mergeModels(recipeOf(merge), nodePlatform, { out: written, threads: 1 });
    const artifact = await build({ method: "twin", parameters: { shared: { merge } } });
    const [expected, found] = [await floatsOf(written), await floatsOf(path.join(artifact, "models/shared"))];
    for (const [name, values] of found) assert.ok(farthest(values, expected.get(name)!) < ROUNDING, name);
  });

  it("keep the largest entries, the first of equals, or draw them by seed", async () => {
    const artifact = await build({ method: "twin", parameters: { compress: "magnitude", density: 0.25 } });
    const entries = sizeOf(SHAPES["layers.0.up.weight"]!);
    const stored = (await part(artifact, "vectors/one")).get("layers.0.up.weight")!;
    assert.deepEqual(stored.shape, [entries / 4]);
    const drawn = async (seed: number) =>
      (
        await part(
          await build({ method: "twin", seed, parameters: { compress: "bernoulli", density: 0.5 } }),
          "masks/one",
        )
      ).get("layers.0.up.weight")!.bytes;
    assert.deepEqual(await drawn(3), await drawn(3));
    assert.notDeepEqual(await drawn(3), await drawn(4));
  });

  it("continue where a killed run stopped, to the same bytes", async () => {
    const recipe = recipeOf({ method: "twin", base, models, exclude: ["head"], heads: "separate" });
    const whole = folder.fresh();
    await mergeModels(recipe, nodePlatform, { out: whole, threads: 1 });
    const out = folder.fresh();
    let records = 0;
    const platform = {
      ...nodePlatform,
      openWorkspace: (...args: Parameters<typeof nodePlatform.openWorkspace>) => {
        const workspace = nodePlatform.openWorkspace(...args);
        const record = (lines: readonly string[]) => {
          workspace.record(lines);
          if (++records === 12) throw new Error("killed");
        };
        return { ...workspace, record };
      },
    };
    await assert.rejects(mergeModels(recipe, platform, { out, threads: 1 }), /killed/);
    const { result } = await mergeModels(recipe, nodePlatform, { out, threads: 1 });
    assert.ok(result.resumed);
    for (const file of ["artifact.json", "left/one/model.safetensors", "models/shared/model.safetensors"]) {
      assert.ok(fs.readFileSync(path.join(out, file)).equals(fs.readFileSync(path.join(whole, file))), file);
    }
    assert.ok(!fs.existsSync(path.join(out, "made-experts")));
  });
});

describe("SMILE's experts", () => {
  it("of full rank are the fine-tuned layers over the base, and leave alone what no model changes", async () => {
    const artifact = await build({ method: "smile", parameters: { gate_rank: 4, rank: 16 } });
    const [made, tuned, origin] = [await modelOf(artifact, "two"), await floatsOf(models[1]!), await floatsOf(base)];
    for (const name of ["layers.0.up.weight", "layers.0.up.bias", "layers.1.down.weight"]) {
      assert.ok(farthest(made.get(name)!, tuned.get(name)!) < ROUNDING, name);
    }
    for (const name of ["embed.weight", "layers.1.norm.weight", "layers.1.same.weight"]) {
      assert.deepEqual(made.get(name), origin.get(name), name);
    }
    const gates = await part(artifact, "gates/one");
    assert.deepEqual(gates.get("layers.1.down.weight")!.shape, [4, 32]);
    assert.ok(!gates.has("layers.1.same.weight"));
    assert.ok((await verifyOutput(artifact, nodePlatform, { threads: 1 })).ok);
  });

  it("are whole differences with rank 0", async () => {
    const artifact = await build({ method: "smile", parameters: { gate_rank: 4, rank: 0 } });
    const [made, tuned] = [await modelOf(artifact, "one"), await floatsOf(models[0]!)];
    assert.ok(farthest(made.get("layers.0.up.weight")!, tuned.get("layers.0.up.weight")!) < ROUNDING);
  });

  it("refuse ranks that a matrix does not have, naming it", async () => {
    for (const parameters of [
      { rank: 17, gate_rank: 4 },
      { gate_rank: 20, rank: 2 },
    ]) {
      await assert.rejects(build({ method: "smile", parameters }), (error: unknown) => {
        assert.ok(error instanceof MergewrightError);
        assert.equal(error.code, "recipe/out-of-range");
        assert.match(error.message, /layers\.0\.up\.weight[^]*at most 16/);
        return true;
      });
    }
  });

  it("of a model that is the base are empty, and it is said", async () => {
    const out = folder.fresh();
    const recipe = recipeOf({
      method: "smile",
      base,
      models: [models[0]!, base],
      parameters: { gate_rank: 2, rank: 2 },
    });
    const { provenance } = await mergeModels(recipe, nodePlatform, { out, threads: 1 });
    assert.match(provenance.warnings.join("\n"), /base is the base itself/);
    const [made, origin] = [await modelOf(out, "base"), await floatsOf(base)];
    for (const [name, values] of origin) assert.deepEqual(made.get(name), values, name);
  });
});

describe("an expert of a model like the base", () => {
  it("is told of where its files are others, and adds nothing", async () => {
    const twin = path.join(folder.fresh(), "like-base");
    fs.cpSync(base, twin, { recursive: true });
    const out = folder.fresh();
    const recipe = { method: "smile", base, models: [models[0]!, twin], parameters: { gate_rank: 2, rank: 2 } };
    const { provenance } = await mergeModels(recipeOf(recipe), nodePlatform, { out, threads: 1 });
    assert.match(provenance.warnings.join("\n"), /like-base is what the tasks share; its expert adds nothing/);
    const [made, origin] = [await modelOf(out, "like-base"), await floatsOf(base)];
    for (const [name, values] of origin) assert.deepEqual(made.get(name), values, name);
  });
});

describe("experts of LoRA fine-tunes", () => {
  const LANGUAGE = "zoo/language/base";
  const errorsAt = async (rank: number) => {
    const out = folder.fresh();
    const model = { model: `${LANGUAGE}+zoo/language/lora/french`, name: "french" };
    const parameters = { gate_rank: 1, rank };
    const recipe = { method: "smile", base: LANGUAGE, models: [model], parameters, output: { dtype: "float32" } };
    const { experts } = await mergeModels(recipeOf(recipe), nodePlatform, { out, threads: 2 });
    return new Map(experts!.map(({ tensor: name, error }) => [name, error]));
  };

  it("are the best approximation of scaling B A, not a product of A's and B's own", async () => {
    const [whole, half] = [await errorsAt(8), await errorsAt(3)];
    const place = folder.fresh();
    fs.mkdirSync(place);
    fs.copyFileSync("zoo/language/lora/french/adapter_model.safetensors", path.join(place, "model.safetensors"));
    const factors = await readTensors(place);
    const algebra = openAlgebra();
    let checked = 0;
    for (const layer of ["layers.0.self_attn.q_proj", "layers.2.self_attn.k_proj", "layers.5.mlp.down_proj"]) {
      const get = (which: string) => {
        const { shape, ...rest } = factors.get(`base_model.model.model.${layer}.lora_${which}.weight`)!;
        const [rows = 0, columns = 0] = shape;
        return { rows, columns, data: Float64Array.from(valuesOf({ shape, ...rest })) };
      };
      const { s } = algebra.svd(algebra.multiply64(get("B"), get("A")));
      const total = s.reduce((sum, value) => sum + value * value, 0);
      const rest = s.subarray(3).reduce((sum, value) => sum + value * value, 0);
      const name = `model.${layer}.weight`;
      assert.ok(whole.get(name)! < 1e-4, `${name}: ${whole.get(name)} at the adapter's own rank`);
      assert.ok(Math.abs(half.get(name)! - Math.sqrt(rest / total)) < 1e-3, `${name}: ${half.get(name)} at rank 3`);
      checked++;
    }
    assert.equal(checked, 3);
  });
});

describe("what experts cost", () => {
  const numbersOf = (place: string) =>
    fs
      .readdirSync(place, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".safetensors") && !name.startsWith("heads") && !name.startsWith("models"))
      .map((name) => path.join(place, path.dirname(name)));

  it("of smile is the paper's count, and the singular values, which lie beside the vectors", async () => {
    const [gate, rank, tasks] = [4, 3, 2];
    const artifact = await build({ method: "smile", parameters: { gate_rank: gate, rank } });
    const { upscaling } = await inspectArtifact(artifact, nodePlatform);
    // n (k_gate d_in + k (d_in + d_out) + d_out), of up [32, 16] with its bias and down [16, 32]; `same` is left alone.
    const paper = tasks * (gate * (16 + 32) + rank * 2 * (16 + 32) + 32);
    const { experts, gates, shared, ratio } = upscaling!.parameters;
    assert.equal(experts + gates, paper + tasks * 2 * rank);
    assert.equal(
      shared,
      Object.entries(SHAPES).reduce((sum, [name, shape]) => sum + (name === "head" ? 0 : sizeOf(shape)), 0),
    );
    assert.equal(ratio, (shared + experts + gates) / shared);
    let stored = 0;
    for (const place of numbersOf(artifact))
      for (const values of (await floatsOf(place)).values()) stored += values.length;
    assert.equal(stored, experts + gates, "as many as lie in the folder");
    // A token: the shared layers, all gates, one expert.
    const [way] = upscaling!.ways;
    assert.deepEqual(upscaling!.perToken, { shared: 2 * 16 * 32 + 16 * 16, gates: tasks * gate * (16 + 32) });
    assert.deepEqual([way!.routing, way!.experts], ["tokens", rank * 2 * (16 + 32)]);
  });

  it("of twin counts what a router looks at, and what is summed once per choice", async () => {
    const artifact = await build({ method: "twin", parameters: { density: 0.25 } });
    const { perToken, ways } = (await inspectArtifact(artifact, nodePlatform)).upscaling!;
    const shared = 2 * 16 * 32 + 16 * 16;
    assert.deepEqual(perToken, { shared, gates: 0 });
    // `same` is what the tasks share, too.
    const one = 4 * (16 + 32) * 2;
    // The table of embeddings is multiplied out; bias and norm are added.
    const choice = 4 * 24 * 16 + 32 + 16;
    assert.deepEqual(
      ways.map(({ routing, experts, ratio, perChoice }) => [routing, experts, ratio, perChoice]),
      [
        ["soft", 2 * one, (2 * shared + 2 * one) / shared, 2 * choice],
        ["top1", one, (2 * shared + one) / shared, choice],
        ["oracle", one, (shared + one) / shared, choice],
      ],
    );
  });

  it("is in the plan before anything is read, with the time and memory of the decompositions", async () => {
    const recipe = recipeOf({
      method: "smile",
      base,
      models,
      exclude: ["head"],
      parameters: { gate_rank: 4, rank: 3 },
    });
    const report = (threads: number) =>
      planMerge(recipe, nodePlatform).then((plan) => planReport(recipe, plan, threads).experts!);
    const [one, two] = [await report(1), await report(2)];
    // `same` is not known to be the same yet.
    assert.equal(one.making.matrices, 6);
    assert.equal(one.making.operations, two.making.operations);
    assert.equal(one.making.seconds, 2 * two.making.seconds);
    assert.equal(2 * one.making.bytes, two.making.bytes);
    assert.equal(one.upscaling.perToken.shared, 2 * 16 * 32 + 16 * 16);
  });
});

describe("verify, of an artifact of experts", () => {
  const verified = (place: string) => verifyResult(place, nodePlatform, { threads: 1 });
  const failed = async (place: string) => {
    const { ok, checks } = await verified(place);
    assert.equal(ok, false);
    return new Map(checks.filter((check) => !check.ok).map(({ name, problems }) => [name, problems.join("\n")]));
  };
  const changed = (artifact: string, file: string, change: (bytes: Buffer) => Uint8Array): string => {
    const copy = folder.fresh();
    fs.cpSync(artifact, copy, { recursive: true });
    fs.writeFileSync(path.join(copy, file), change(fs.readFileSync(path.join(copy, file))));
    return copy;
  };
  const flipped = (bytes: Buffer) => {
    bytes[bytes.length - 3]! ^= 1;
    return bytes;
  };

  it("looks at manifest, experts, gates and router", async () => {
    const smile = await build({ method: "smile", parameters: { gate_rank: 4, rank: 3 } });
    const { ok, checks } = await verified(smile);
    assert.ok(ok);
    assert.deepEqual(
      checks.slice(-3).map(({ name }) => name),
      ["manifest", "experts", "gates"],
    );
    const gates = "gates/two/model.safetensors";
    assert.match((await failed(changed(smile, gates, flipped))).get("checksums")!, /gates\/two\/layers/);
    const short = await failed(changed(smile, gates, (bytes) => bytes.subarray(0, bytes.length - 8)));
    assert.match(short.get("gates")!, /gates\/two[^]*ends before its data/);
    const other = changed(smile, gates, () => fs.readFileSync(path.join(smile, "right/two/model.safetensors")));
    assert.match((await failed(other)).get("gates")!, /shape \[3, 16\], of another task \[4,16\]/);
    const list = changed(smile, "experts.json", (bytes) => Buffer.from(String(bytes).replace('"rank":3', '"rank":4')));
    assert.match((await failed(list)).get("experts")!, /not as it was written/);
    const version = changed(smile, "artifact.json", (bytes) =>
      Buffer.from(String(bytes).replace('"version": 2', '"version": 7')),
    );
    assert.match((await failed(version)).get("manifest")!, /version 1 or 2, found version 7/);
  });

  it("takes a router that is whole and fits, and no other", async () => {
    const twin = await build({ method: "twin" });
    assert.ok((await verified(twin)).checks.some(({ name, detail }) => name === "router" && /none yet/.test(detail)));
    const opened = await open(twin);
    const record = {
      kind: "logistic" as const,
      shared: opened.manifest.base.fingerprint,
      tasks: ["one", "two"],
      seed: 0,
      scores: [],
    };
    await opened.close();
    const layer = (weight: Float32Array) => ({ inputs: 3, outputs: 2, weight, bias: new Float32Array(2) });
    const router = (weight: Float32Array, own: Partial<typeof record> = {}) => {
      const scale = new Float32Array(3).fill(1);
      return Buffer.from(
        routerBytes(
          { kind: "logistic", mean: new Float32Array(3), scale, layers: [layer(weight)] },
          { ...record, ...own },
        ),
      );
    };
    const weight = normals(6, 1, 1);
    fs.mkdirSync(path.join(twin, "router"));
    const file = "router/model.safetensors";
    fs.writeFileSync(path.join(twin, file), router(weight));
    assert.ok((await verified(twin)).ok);
    for (const [bytes, said] of [
      [flipped(router(weight)), /not as it was written/],
      [router(weight).subarray(0, -4), /tensor data|bytes/],
      [
        router(Float32Array.from([1, 2, Number.NaN, 4, 5, 6])),
        /finite numbers, found NaN at entry 2 of layers\.0\.weight/,
      ],
      [router(weight, { tasks: ["one"] }), /other tasks/],
      [router(weight, { shared: "0123456789abcdef" }), /another shared model/],
      [
        Buffer.from(router(weight).toString("latin1").replace('version\\":1', 'version\\":9'), "latin1"),
        /version 1, found version 9/,
      ],
    ] as const) {
      assert.match((await failed(changed(twin, file, () => bytes))).get("router")!, said);
    }
  });
});

describe("a damaged artifact of experts", () => {
  it("is refused before anything is written, whichever part it is", async () => {
    const artifact = await build({ method: "twin" });
    for (const file of ["models/shared", "left/one", "values/one", "right/one", "vectors/one"]) {
      const copy = folder.fresh();
      fs.cpSync(artifact, copy, { recursive: true });
      const weights = path.join(copy, file, "model.safetensors");
      const bytes = fs.readFileSync(weights);
      bytes[bytes.length - 3]! ^= 1;
      fs.writeFileSync(weights, bytes);
      await assert.rejects(write(copy, { task: "one", out: folder.fresh() }), { code: "artifact/damaged" }, file);
      fs.truncateSync(weights, bytes.length - 8);
      await assert.rejects(write(copy, { task: "one", out: folder.fresh() }), MergewrightError, file);
    }
  });

  it("is read as a model of another merge where it is whole", async () => {
    const artifact = await build({ method: "twin", parameters: { density: 1 } });
    const model = await openModel(`${artifact}#two`);
    try {
      assert.ok(model.tensors.has("layers.0.up.weight"));
    } finally {
      await model.close();
    }
    assert.deepEqual((await open(artifact)).tasks, ["one", "two"]);
  });
});
