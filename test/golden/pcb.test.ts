/** The golden vectors of PCB-Merging, from files to files. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { Folder, merge, tensor } from "../laws/support/family.js";

type Rows = readonly (readonly number[])[];

interface Variant {
  readonly clipped?: Rows;
  readonly scale: Rows;
  readonly merged_lambda1: readonly number[];
}

const golden = JSON.parse(readFileSync(new URL("../../../test/golden/methods.json", import.meta.url), "utf8")).pcb as {
  readonly tau: Rows;
  readonly ratio: number;
  readonly clip_q: number;
  readonly variants: Readonly<Record<string, Variant>>;
  readonly paper_formula: Variant;
};

const folder = new Folder();
after(() => folder.remove());

/** A model's vector runs over two tensors. */
const split = (row: readonly number[]) => [tensor("a", row.slice(0, 7)), tensor("b", row.slice(7))];
const base = folder.write("base", split(golden.tau[0]!.map(() => 0)));
const models = golden.tau.map((row, index) => folder.write(`row${index}`, split(row)));

async function mergeWith(variant: string, lambdas: readonly number[]): Promise<number[]> {
  const recipe = {
    method: "pcb",
    parameters: { variant, ratio: golden.ratio, clip: golden.clip_q },
    base,
    models: models.map((model, index) => ({ model, lambda: lambdas[index]! })),
  };
  const merged = await merge(recipe, { out: folder.fresh() });
  return [...merged.values("a"), ...merged.values("b")];
}

function close(found: readonly number[], expected: readonly number[], what: string): void {
  assert.equal(found.length, expected.length);
  for (const [p, value] of expected.entries()) {
    assert.ok(Math.abs(found[p]! - value) <= 1e-6 + 1e-5 * Math.abs(value), `${what}[${p}]: ${found[p]}, not ${value}`);
  }
}

const variants = { ...golden.variants, paper: golden.paper_formula };

describe("golden pcb", () => {
  assert.deepEqual(Object.keys(variants).sort(), ["es", "paper", "readme", "vision"]);
  for (const [name, { scale, clipped = golden.tau, merged_lambda1: merged }] of Object.entries(variants)) {
    it(name, async () => {
      close(await mergeWith(name, [1, 1, 1]), merged, "merged");
    });

    it(`${name}: each model's share`, async () => {
      for (const model of golden.tau.keys()) {
        // A lambda of 1 for this model alone leaves its clipped change times its share of the scores.
        const alone = await mergeWith(
          name,
          golden.tau.map((_, i) => (i === model ? 1 : 0)),
        );
        const expected = scale[model]!.map((own, p) => {
          const sum = scale.reduce((total, row) => total + row[p]!, 0);
          return sum === 0 ? 0 : (own / sum) * clipped[model]![p]!;
        });
        close(alone, expected, `model ${model}`);
      }
    });
  }
});
