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
    { method: "breadcrumbs_ties", dialect, parameters, base: write("base", 0), models },
    { out: folder.fresh() },
  );
  // Adding zero makes of minus zero what the base made of it.
  const values = (name: string) => [...merged.values(name)].map((x) => x + 0);
  return { v: values("v"), w: values("w"), s: values("s") };
}

describe("breadcrumbs_ties", () => {
  it("by hand: masks, then the mean of what agrees", async () => {
    // The second model is the first turned round and halved: what both keep cancels no sign of the first.
    const { v, w } = await run({ density: 0.4, gamma: 0.2 }, -0.5);
    assert.deepEqual(v, [0, -4, 3, 0, 0]);
    assert.deepEqual(w, [0, 0, -20, 10, 0]);
  });

  it("by hand: in mergekit's dialect what agrees is summed", async () => {
    const { v } = await run({ density: 0.4, gamma: 0.2 }, 0.5, "mergekit");
    assert.deepEqual(v, [0, -6, 4.5, 0, 0]);
  });
});
