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
    { method: "dare_ties", dialect, parameters, base: write("base", 0), models },
    { out: folder.fresh() },
  );
  // Adding zero makes of minus zero what the base made of it.
  const values = (name: string) => [...merged.values(name)].map((x) => x + 0);
  return { v: values("v"), w: values("w"), s: values("s") };
}

describe("dare_ties", () => {
  it("by hand at density 1: TIES with its own trim, or without", async () => {
    // trunc(10 · 0.2) + 1 = 3 of the ten entries, and what equals the last one.
    const { v, w } = await run({ density: 1 });
    assert.deepEqual(v, [0, 0, 0, 0, 0]);
    assert.deepEqual(w, [0, 40, -20, 10, 10]);
    assert.deepEqual((await run({ density: 1, top: 1 })).v, V);
  });

  it("by hand: a sum of what agrees in mergekit's dialect", async () => {
    assert.deepEqual((await run({}, -0.5, "mergekit")).v, V);
    assert.deepEqual((await run({}, 0.5, "mergekit")).v, [7.5, -6, 4.5, -3, 1.5]);
  });

  it("every entry is dropped or divided by the density", async () => {
    const { v } = await run({ density: 0.5, top: 1 });
    assert.ok(v.every((x, p) => x === 0 || x === 2 * V[p]!));
  });
});
