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
    { method: "della_linear", dialect, parameters, base: write("base", 0), models },
    { out: folder.fresh() },
  );
  // Adding zero makes of minus zero what the base made of it.
  const values = (name: string) => [...merged.values(name)].map((x) => x + 0);
  return { v: values("v"), w: values("w"), s: values("s") };
}

describe("della_linear", () => {
  it("every entry is dropped or divided by its own probability", async () => {
    const { v } = await run({ density: 0.5, epsilon: 0.25 });
    const kept = V.map((x, p) => Math.fround(x / Math.fround(0.75 - p * 0.125)));
    assert.ok(v.every((x, p) => x === 0 || x === kept[p]));
  });

  it("by hand at density 1: a scaled sum", async () => {
    assert.deepEqual((await run({ density: 1, lambda: 0.5 }, 1)).v, V);
  });
});
