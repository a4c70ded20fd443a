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
    { method: "della", dialect, parameters, base: write("base", 0), models },
    { out: folder.fresh() },
  );
  // Adding zero makes of minus zero what the base made of it.
  const values = (name: string) => [...merged.values(name)].map((x) => x + 0);
  return { v: values("v"), w: values("w"), s: values("s") };
}

describe("della", () => {
  it("every entry is dropped or divided by its own probability", async () => {
    const { v } = await run({ density: 0.5, epsilon: 0.25 });
    // Ranks 4 to 0 of five, from probability 0.75 down to 0.25.
    const kept = V.map((x, p) => Math.fround(x / Math.fround(0.75 - p * 0.125)));
    assert.ok(v.every((x, p) => x === 0 || x === kept[p]));
  });

  it("a single entry is kept with probability density", async () => {
    const { s } = await run({ density: 0.5, epsilon: 0.25 });
    assert.ok(s[0] === 0 || s[0] === 2);
  });

  it("by hand at density 1: the mean of what agrees, and in mergekit's dialect the same", async () => {
    for (const dialect of ["paper", "mergekit"]) {
      assert.deepEqual((await run({ density: 1 }, 0.5, dialect)).v, [3.75, -3, 2.25, -1.5, 0.75]);
    }
  });

  it("refuses probabilities outside 0 to 1", async () => {
    await assert.rejects(run({ density: 0.9, epsilon: 0.2 }), /choose epsilon at most 0.1/);
  });
});
