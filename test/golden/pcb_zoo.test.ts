/** PCB-Merging of the zoo's eight vision models, held to the merged vectors of an independent computation. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { Folder, merge, readTensors, valuesOf } from "../laws/support/family.js";

interface Row {
  readonly hyper?: {
    readonly variant: string;
    readonly r: number;
    readonly lambda: number;
    readonly clip_quantile: number;
  };
  readonly merged_vector?: Readonly<Record<"l2" | "l1" | "sum" | "nonzero" | "max_abs", number>>;
}

const zoo = fileURLToPath(new URL("../../../zoo", import.meta.url));
const reference = JSON.parse(readFileSync(path.join(zoo, "reference.json"), "utf8")) as {
  readonly vision: { readonly rows: Readonly<Record<string, Row>> };
};
const at = (name: string) => path.join(zoo, "vision", name);
const models = ["cyrillic", "fashion", "georgian", "greek", "hebrew", "hiragana", "latin", "mnist"].map(at);

const folder = new Folder();
after(() => folder.remove());

const rows = Object.entries(reference.vision.rows).filter(
  ([name, { merged_vector: vector }]) => name.startsWith("pcb") && name.includes("r=0.1 ") && vector !== undefined,
);

describe("pcb of the zoo", () => {
  assert.equal(rows.length, 3);
  for (const [name, { hyper, merged_vector: vector }] of rows) {
    it(name, async () => {
      const { variant, r: ratio, lambda, clip_quantile: clip } = hyper!;
      const recipe = {
        method: "pcb",
        parameters: { variant, ratio, clip, lambda },
        exclude: ["classifier.*"],
        heads: "separate",
        base: at("base"),
        models,
        output: { dtype: "float32" },
      };
      const merged = await merge(recipe, { out: folder.fresh(), threads: 2 });
      const base = await readTensors(at("base"));
      const found = { l2: 0, l1: 0, sum: 0, nonzero: 0, max_abs: 0 };
      for (const [tensor, { dtype }] of merged.tensors) {
        if (tensor.startsWith("classifier") || dtype !== "F32") continue;
        const start = valuesOf(base.get(tensor)!);
        for (const [p, x] of merged.values(tensor).entries()) {
          const change = x - start[p]!;
          found.l2 += change * change;
          found.l1 += Math.abs(change);
          found.sum += change;
          found.nonzero += change === 0 ? 0 : 1;
          found.max_abs = Math.max(found.max_abs, Math.abs(change));
        }
      }
      found.l2 = Math.sqrt(found.l2);
      assert.equal(found.nonzero, vector!.nonzero);
      for (const key of ["l2", "l1", "max_abs"] as const) {
        assert.ok(Math.abs(found[key] / vector![key] - 1) < 1e-8, `${key}: ${found[key]}, not ${vector![key]}`);
      }
      // What is left of sums that cancel.
      assert.ok(Math.abs(found.sum - vector!.sum) < 1e-8 * vector!.l1, `sum: ${found.sum}, not ${vector!.sum}`);
    });
  }
});
