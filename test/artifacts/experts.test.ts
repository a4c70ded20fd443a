/** Experts over a shared model: what is stored, what a task's model is made of, and the laws it obeys. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { openAlgebra } from "../../src/algebra/algebra.js";
import { verifyOutput } from "../../src/analyse/verify.js";
import { MergewrightError } from "../../src/errors.js";
import { mergeModels } from "../../src/merge.js";
import { nodePlatform, openModel } from "../../src/platform/node/platform.js";
import { Folder, recipeOf, tensor } from "../laws/support/family.js";
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
