/** A method that prunes is its merger with `prune:`, to the byte; and goes on where it was interrupted. */

import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { BLOCK_ENTRIES } from "../../src/execute/blocks.js";
import { Folder, merge, recipeOf, tensor } from "./support/family.js";
import { dice } from "./support/random.js";

const folder = new Folder();
after(() => folder.remove());

const SHAPES = [[513, 600], [BLOCK_ENTRIES + 3], [5]];

const model = (name: string, seed: number) => {
  const roll = dice(seed);
  return folder.write(
    name,
    SHAPES.map((shape, index) => {
      const size = shape.reduce((product, axis) => product * axis, 1);
      return tensor(
        `t${index}`,
        Float32Array.from({ length: size }, () => (roll(65) - 32) / 256),
        "BF16",
        shape,
      );
    }),
  );
};
const paths = { base: model("base", 1), models: [2, 3, 4].map((seed) => model(`m${seed}`, seed)), seed: 5 };

const PAIRS = {
  dare_linear: {
    named: { density: 0.3 },
    native: { method: "task_arithmetic", parameters: { lambda: 1 }, prune: { by: "random", density: 0.3 } },
  },
  dare_ties: {
    named: { density: 0.3, top: 0.1 },
    native: { method: "ties", parameters: { density: 0.1 }, prune: { by: "random", density: 0.3 } },
  },
  breadcrumbs: {
    named: { density: 0.3, gamma: 0.05 },
    native: {
      method: "task_arithmetic",
      parameters: { lambda: 0.3 },
      prune: { by: "outliers", density: 0.3, gamma: 0.05 },
    },
  },
  breadcrumbs_ties: {
    named: { density: 0.3, gamma: 0.05, scope: "model" },
    native: {
      method: "ties",
      parameters: { select: "none" },
      prune: { by: "outliers", density: 0.3, gamma: 0.05, scope: "model" },
    },
  },
  della: {
    named: { density: 0.4, epsilon: 0.2 },
    native: { method: "ties", parameters: { select: "none" }, prune: { by: "rank", density: 0.4, epsilon: 0.2 } },
  },
  della_linear: {
    named: { density: 0.4, rescale: "norm" },
    native: {
      method: "task_arithmetic",
      parameters: { lambda: 1 },
      prune: { by: "rank", density: 0.4, rescale: "norm" },
    },
  },
};

describe("methods that prune", () => {
  for (const [method, { named, native }] of Object.entries(PAIRS)) {
    it(`${method} is its merger with prune`, async () => {
      const one = await merge({ method, parameters: named, ...paths }, { out: folder.fresh() });
      const other = await merge({ ...native, ...paths }, { out: folder.fresh(), threads: 2 });
      assert.deepEqual(one.prints, other.prints);
      assert.deepEqual(one.result.result.counters, other.result.result.counters);
    });

    it(`${method}: density 1 in mergekit's dialect prunes nothing`, async () => {
      const one = await merge({ method, dialect: "mergekit", ...paths }, { out: folder.fresh() });
      const ofTies = { select: "none", trim: "tensor", zero_sign: "positive" };
      const linear = method.endsWith("_linear") || method === "breadcrumbs";
      const sums = method === "della" ? "mean" : "sum";
      const plain = linear
        ? { method: "task_arithmetic", parameters: { lambda: 1 } }
        : { method: "ties", parameters: { ...ofTies, merge: sums } };
      const other = await merge({ ...plain, ...paths }, { out: folder.fresh() });
      assert.deepEqual(one.prints, other.prints);
    });
  }

  it("do not take another pruning on top", async () => {
    await assert.rejects(
      merge({ method: "dare_linear", ...paths, prune: { by: "magnitude", density: 0.5 } }, { out: folder.fresh() }),
      /dare_linear prunes by itself/,
    );
  });

  it("ties scales what its trim leaves to the old norm, as pruning by magnitude does", async () => {
    const shared = { zero_sign: "positive", merge: "sum" };
    const one = await merge(
      {
        ...{ method: "ties", ...paths },
        parameters: { ...shared, trim: "tensor", quota: "exactly-nonzero", density: 0.2, rescale: "norm" },
      },
      { out: folder.fresh() },
    );
    const other = await merge(
      {
        ...{ method: "ties", ...paths },
        parameters: { ...shared, select: "none" },
        prune: { by: "magnitude", density: 0.2, rescale: "norm" },
      },
      { out: folder.fresh() },
    );
    assert.deepEqual(one.prints, other.prints);
    await assert.rejects(
      merge({ method: "ties", ...paths, parameters: { rescale: "norm" } }, { out: folder.fresh() }),
      /exact count/,
    );
  });

  it("differ between tensors in whether they trim", async () => {
    const some = { method: "ties", dialect: "mergekit", compat: "mergekit", ...paths };
    for (const rescale of [
      { value: "none", patterns: { t0: "norm" } },
      { value: "norm", patterns: { t0: "none" } },
    ]) {
      const merged = await merge({ ...some, parameters: { density: 0.2, rescale } }, { out: folder.fresh() });
      for (const name of ["t0", "t1", "t2"]) {
        const rule = name === "t0" ? rescale.patterns.t0 : rescale.value;
        const whole = await merge({ ...some, parameters: { density: 0.2, rescale: rule } }, { out: folder.fresh() });
        assert.deepEqual(merged.tensors.get(name), whole.tensors.get(name), `${name}, ${rule}`);
      }
    }
  });

  it("say what mergekit does otherwise", () => {
    const quirk = (method: string, parameters: object, shape: number[]) => {
      const recipe = recipeOf({ method, ...paths, parameters });
      const values = Object.fromEntries(Object.entries(recipe.parameters).map(([name, { value }]) => [name, value]));
      const settings = { global: values, models: [values] } as never;
      return recipe.method.quirk?.(settings, { name: "w", shape }) ?? null;
    };
    assert.equal(quirk("dare_ties", { density: 1 }, [4, 4]), null);
    assert.match(quirk("dare_ties", { density: 0.5 }, [4, 4])!, /other entries/);
    assert.match(quirk("della", { density: 0.5 }, [4, 1])!, /single entry/);
    assert.match(quirk("della_linear", { density: 0.5 }, [4, 2, 3])!, /second axis/);
    assert.equal(quirk("breadcrumbs", { density: 0.5 }, [4, 4]), null);
  });
});
