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
    { method: "breadcrumbs", dialect, parameters, base: write("base", 0), models },
    { out: folder.fresh() },
  );
  // Adding zero makes of minus zero what the base made of it.
  const values = (name: string) => [...merged.values(name)].map((x) => x + 0);
  return { v: values("v"), w: values("w"), s: values("s") };
}

describe("breadcrumbs", () => {
  it("by hand: of five the largest is dropped and the next two are kept, in each tensor", async () => {
    const { v, w } = await run({ density: 0.4, gamma: 0.2, lambda: 0.5 });
    assert.deepEqual(v, [0, -2, 1.5, 0, 0]);
    assert.deepEqual(w, [0, 0, -10, 5, 0]);
  });

  it("over the whole change of ten: two dropped, four kept", async () => {
    const { v, w } = await run({ density: 0.4, gamma: 0.2, lambda: 0.5, scope: "model" });
    assert.deepEqual(v, [2.5, -2, 0, 0, 0]);
    assert.deepEqual(w, [0, 0, 0, 5, 5]);
  });

  it("a gamma that leaves too little gives way to the density", async () => {
    const { v } = await run({ density: 0.8, gamma: 0.9, lambda: 1 });
    assert.deepEqual(v, [0, -4, 3, -2, 1]);
  });
});
