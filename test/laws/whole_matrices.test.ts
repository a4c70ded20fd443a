/** The data-free methods of whole matrices, from files to files. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { Folder, merge, tensor } from "./support/family.js";
import { normals } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

const SHAPES: Readonly<Record<string, readonly number[]>> = {
  weight: [24, 18],
  embeddings: [30, 18],
  bias: [18],
  patches: [4, 1, 3, 3],
};
const values = (name: string, seed: number): Float32Array =>
  normals(
    SHAPES[name]!.reduce((a, b) => a * b, 1),
    seed,
    0.1,
  );
const write = (label: string, seed: number) =>
  folder.write(
    label,
    Object.keys(SHAPES).map((name, index) => tensor(name, values(name, seed + index), "F32", SHAPES[name])),
  );
const base = write("base", 0);
const models = [write("one", 10), write("two", 20), write("three", 30)];

for (const method of ["iso_c", "tsv_m", "wudi", "swudi"]) {
  describe(method, () => {
    const recipe = (parameters: object) => ({ method, base, models, parameters, output: { dtype: "float32" } });
    const run = (parameters: object, threads = 1) => merge(recipe(parameters), { out: folder.fresh(), threads });

    it("makes matrices, and all else by lambda times the mean of the changes", async () => {
      const merged = await run({ lambda: 0.5, whole: { patterns: { embeddings: false, "*": true } } });
      for (const [index, name] of Object.keys(SHAPES).entries()) {
        const start = values(name, index);
        const mean = start.map((value, at) => {
          const changes = [10, 20, 30].map((seed) => values(name, seed + index)[at]! - value);
          return value + (0.5 * (changes[0]! + changes[1]! + changes[2]!)) / 3;
        });
        const apart = Math.max(...merged.values(name).map((value, at) => Math.abs(value - mean[at]!)));
        if (name === "weight") assert.ok(apart > 1e-3, `${name}: ${apart}`);
        else assert.ok(apart < 1e-6, `${name}: ${apart}`);
      }
    });

    it("gives the same bytes for any number of threads", async () => {
      const [one, three] = [await run({}), await run({}, 3)];
      assert.deepEqual(one.prints, three.prints);
    });
  });
}
