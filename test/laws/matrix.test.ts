/** What methods that are given whole matrices can count on, from files to files. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import { mergeModels } from "../../src/merge.js";
import { methods } from "../../src/methods/catalogue.js";
import type { MatrixMethod } from "../../src/methods/method.js";
import { nodePlatform, openModel, platformWith } from "../../src/platform/node/platform.js";
import { parseRecipe } from "../../src/recipe/native.js";
import { weightsOf } from "../../src/runtime/weights.js";
import { Interrupted, interruptedAfter, partialOf } from "../faults/support.js";
import { fingerprint, Folder, readTensors, tensor, wrapCrew } from "./support/family.js";
import { normals } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

/** theta = theta_0 + tau_1 tau_1^T tau_2 / rows: nothing that could be made entry by entry. */
const cubic: MatrixMethod = {
  name: "cubic",
  title: "A product of three matrices",
  paper: null,
  description: "theta = theta_0 + tau_1 tau_1^T tau_2 / rows",
  base: "required",
  models: { min: 2, max: 2 },
  parameters: {},
  dialects: { own: { meaning: "as it is", values: {} } },
  inputs: "changes",
  grain: "matrix",
  counters: {},
  takes: (_, { shape }) => shape.length === 2,
  otherwise: {
    combine({ count, base, inputs, out }) {
      for (let p = 0; p < count; p++) out[p] = base[p]! + inputs[0]![p]!;
    },
    kernel: () => null,
    bind: () => ({ scalars: {}, columns: {} }),
  },
  async solve(task, _, algebra) {
    const first = await task.model(0);
    const square = algebra.multiply(first, first, { transposeB: true });
    const product = algebra.multiply(square, await task.model(1));
    const base = (await task.base())!;
    const data = base.data.map((value, index) => value + product.data[index]! / base.rows);
    const warnings = task.name === "b" ? ["this one is b"] : [];
    return { merged: { ...base, data }, warnings, figures: { first: [first.data[0]!] } };
  },
};

/** One tensor of several blocks, a small one, a vector. */
const SHAPES: Readonly<Record<string, readonly number[]>> = { a: [270, 973], b: [3, 5], c: [7] };
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const write = (name: string, seed: number, spoil?: (values: Float64Array) => void) =>
  folder.write(
    name,
    Object.entries(SHAPES).map(([key, shape], index) => {
      const values = Float64Array.from(normals(sizeOf(shape), seed + index, 0.1));
      if (key === "b") spoil?.(values);
      return tensor(key, Float32Array.from(values), index === 0 ? "BF16" : "F32", shape);
    }),
  );
const base = write("base", 0);
const models = [write("one", 10), write("two", 20)];

async function run(paths: readonly string[], options: { threads?: number; tile?: number } = {}) {
  const recipe = parseRecipe(JSON.stringify({ method: "cubic", base, models: paths }), {
    methods: [...methods, cubic],
  });
  const out = folder.fresh();
  const tuning = options.tile === undefined ? {} : { tuning: { tileEntries: options.tile } };
  const merged = await mergeModels(recipe, platformWith([cubic]), { out, threads: options.threads ?? 1, ...tuning });
  const checkpoint = await openModel(out);
  const weights = weightsOf(checkpoint);
  const tensors = new Map<string, Float32Array>();
  for (const name of weights.names) tensors.set(name, await weights.tensor(name));
  await checkpoint.close();
  return { merged, tensors };
}

/** Node's platform, which counts matrices that are solved. */
function countingSolved() {
  let count = 0;
  const platform: typeof nodePlatform = {
    ...nodePlatform,
    async createCrew(...args) {
      const crew = await nodePlatform.createCrew(...args);
      return wrapCrew(crew, (stage, progress) => {
        if (stage.job === "solveMatrix") count += stage.blocks.length;
        return crew.run(stage, progress);
      });
    },
  };
  return { platform, solved: () => count };
}

async function read(path: string, name: string): Promise<Float32Array> {
  const checkpoint = await openModel(path);
  const values = await weightsOf(checkpoint).tensor(name);
  await checkpoint.close();
  return values;
}

describe("a method of whole matrices", () => {
  it("is given every entry of every model as changes, and its result is written whole", async () => {
    const { tensors, merged } = await run(models);
    assert.ok(sizeOf(SHAPES["a"]!) > BLOCK_ENTRIES);
    for (const name of ["a", "b"]) {
      const [rows, columns] = SHAPES[name] as [number, number];
      const start = await read(base, name);
      const changes: Float64Array[] = [];
      for (const path of models)
        changes.push(Float64Array.from(await read(path, name), (x, p) => Math.fround(x - start[p]!)));
      const [one, two] = changes as [Float64Array, Float64Array];
      const found = tensors.get(name)!;
      for (const [i, j] of [
        [0, 0],
        [rows - 1, columns - 1],
        [rows >> 1, 1],
      ] as const) {
        let sum = 0;
        for (let k = 0; k < rows; k++) {
          let product = 0;
          for (let c = 0; c < columns; c++) product += one[i * columns + c]! * one[k * columns + c]!;
          sum += product * two[k * columns + j]!;
        }
        const expected = start[i * columns + j]! + sum / rows;
        assert.ok(
          Math.abs(found[i * columns + j]! - expected) < 4e-3 * (Math.abs(expected) + 0.1),
          `${name} ${i} ${j}`,
        );
      }
    }
    assert.deepEqual(merged.result.warnings, ["b: this one is b"]);
    assert.deepEqual(
      merged.result.tensors.map(({ figures }) => figures !== null),
      [true, true, false],
    );
  });

  it("leaves the rest to its rule for entries", async () => {
    const start = await read(base, "c");
    const expected = (await read(models[0]!, "c")).map((x, p) => start[p]! + Math.fround(x - start[p]!));
    assert.deepEqual((await run(models)).tensors.get("c"), expected);
  });

  it("gives the same bytes for any tile", async () => {
    const whole = await run(models);
    const tiled = await run(models, { tile: 64 });
    const checksums = ({ merged }: typeof whole) => merged.result.tensors.map(({ checksum }) => checksum);
    assert.deepEqual(checksums(tiled), checksums(whole));
  });

  it("is told of a NaN instead of spreading it", async () => {
    const spoilt = write("spoilt", 30, (values) => (values[4] = NaN));
    await assert.rejects(run([models[0]!, spoilt]), (error) => {
      assert.ok(error instanceof MergewrightError);
      assert.deepEqual([error.code, error.where?.tensor], ["values/non-finite", "b"]);
      return true;
    });
  });

  it("names the tensor on which linear algebra fails", async () => {
    const failing: MatrixMethod = {
      ...cubic,
      name: "failing",
      async solve(_, __, algebra) {
        algebra.qr({ rows: 2, columns: 3, data: new Float64Array(6) });
        throw new RangeError("qr takes a wide matrix");
      },
    };
    const text = JSON.stringify({ method: "failing", base, models });
    const recipe = parseRecipe(text, { methods: [...methods, failing] });
    const merging = mergeModels(recipe, platformWith([failing]), { out: folder.fresh(), threads: 1 });
    await assert.rejects(merging, (error) => {
      assert.ok(error instanceof MergewrightError);
      assert.deepEqual([error.code, error.where.tensor], ["algebra/shape", "a"]);
      assert.match(error.message, /where: +tensor a\n.*2 x 3/s);
      return true;
    });
  });

  for (const name of ["tsv_m", "cubic"]) {
    it(`${name} as an input of another merge gives the bytes of its files and is solved once`, async () => {
      const known = { methods: [...methods, cubic] };
      const inner = { method: name, base, models };
      const make = async (recipe: object, platform = platformWith([cubic]), out = folder.fresh()) => {
        const text = JSON.stringify({ ...recipe, output: { dtype: "float32" } });
        const { plan, provenance } = await mergeModels(parseRecipe(text, known), platform, { out, threads: 1 });
        return { plan, out, warnings: provenance.warnings, prints: fingerprint((await readTensors(out)).values()) };
      };
      const outer = (first: unknown) => ({ method: "average", models: [first, models[0]] });
      const { prints } = await make(outer((await make(inner)).out));
      const nested = outer({ merge: inner });
      const found = await make(nested);
      assert.deepEqual(found.prints, prints);
      assert.match(
        found.plan.warnings.join(),
        new RegExp(`2 matrices of the merge by ${name} among the inputs are solved`),
      );
      assert.equal(
        found.warnings.some((text) => /^b of the merge by cubic .*: this one is b/.test(text)),
        name === "cubic",
      );
      assert.ok(!fs.readdirSync(found.out).some((file) => file.startsWith("inner-")));
      if (name === "cubic") return;
      const out = folder.fresh();
      await assert.rejects(make(nested, interruptedAfter({ blocks: 1 }), out), Interrupted);
      // One matrix as a power failure may leave it.
      const held = fs.readdirSync(partialOf(out)).find((file) => file.startsWith("inner-"))!;
      const file = path.join(partialOf(out), held);
      const bytes = fs.readFileSync(file);
      bytes[8 + Number(bytes.readBigUInt64LE(0))]! ^= 1;
      fs.writeFileSync(file, bytes);
      const { platform, solved } = countingSolved();
      assert.deepEqual((await make(nested, platform, out)).prints, prints);
      assert.equal(solved(), 1);
    });
  }
});
