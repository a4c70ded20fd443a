import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { Folder, merge, tensor } from "../../test/laws/support/family.js";

const V = [5, -4, 3, -2, 1];
const W = [-1, 40, -20, 10, 10];
const folder = new Folder();
after(() => folder.remove());

const write = (name: string, by: number) =>
  folder.write(
    name,
    [V, W, [1]].map((values, index) =>
      tensor(
        "vws"[index]!,
        values.map((x) => by * x),
      ),
    ),
  );

/** One model with these changes from zeros and, where `second` is given, another with so many times them. */
async function run(parameters: object, second: number | null = null, dialect = "paper") {
  const models = [write("one", 1), ...(second === null ? [] : [write("two", second)])];
  const merged = await merge(
    { method: "dare_linear", dialect, parameters, base: write("base", 0), models },
    { out: folder.fresh() },
  );
  // Adding zero makes of minus zero what the base made of it.
  const values = (name: string) => [...merged.values(name)].map((x) => x + 0);
  return { v: values("v"), w: values("w"), s: values("s") };
}

describe("dare_linear", () => {
  it("every entry is dropped or divided by the density", async () => {
    const { v, w } = await run({ density: 0.5, lambda: 1 });
    assert.ok(v.every((x, p) => x === 0 || x === 2 * V[p]!));
    assert.ok(w.every((x, p) => x === 0 || x === 2 * W[p]!));
  });

  it("in mergekit's dialect every tensor keeps its L1 norm", async () => {
    const { v } = await run({ density: 0.5 }, null, "mergekit");
    const norm = v.reduce((sum, x) => sum + Math.abs(x), 0);
    assert.ok(norm === 0 || Math.abs(norm - 15) < 1e-5);
  });

  it("density 0 leaves the base, density 1 is task arithmetic", async () => {
    assert.deepEqual((await run({ density: 0, lambda: 1 })).v, [0, 0, 0, 0, 0]);
    assert.deepEqual((await run({ density: 1, lambda: 0.5 })).v, [2.5, -2, 1.5, -1, 0.5]);
  });
});
