/** The methods that mix, on the zoo's language models, from the command line to the files. */

import assert from "node:assert/strict";
import path from "node:path";
import { after, describe, it } from "node:test";
import { findMethod } from "../../src/methods/catalogue.js";
import type { MixtureMethod, ParameterValue } from "../../src/methods/method.js";
import { readTensors, valuesOf } from "../laws/support/family.js";
import { mixTensor } from "../laws/support/mix.js";
import { mergewright, root, scratch } from "./support.js";

const at = scratch(after);
const zoo = (name: string) => `zoo/language/${name}`;
const TENSORS = ["model.layers.1.mlp.down_proj.weight", "model.layers.2.self_attn.k_proj.weight", "model.norm.weight"];

interface Wish {
  readonly method: string;
  readonly base: boolean;
  readonly models: readonly string[];
  readonly given: Readonly<Record<string, ParameterValue>>;
}

const both = ["french", "german"];
const wishes: readonly Wish[] = [
  { method: "slerp", base: false, models: both, given: { t: 0.3 } },
  { method: "slerp", base: true, models: ["french"], given: { t: 0.75 } },
  { method: "nuslerp", base: true, models: both, given: {} },
  { method: "nuslerp", base: true, models: both, given: { nuslerp_flatten: false } },
  { method: "nuslerp", base: false, models: both, given: { nuslerp_flatten: false, nuslerp_row_wise: true } },
  { method: "multislerp", base: true, models: both, given: {} },
  { method: "karcher", base: false, models: ["base", ...both], given: {} },
  { method: "model_stock", base: true, models: both, given: {} },
  { method: "model_stock", base: true, models: both, given: { filter_wise: true } },
  { method: "geometric_median", base: false, models: ["base", ...both], given: {} },
];

describe("on language models", () => {
  const stored = new Map(["base", ...both].map((name) => [name, readTensors(path.join(root, zoo(name)))] as const));
  const entries = async (name: string, tensor: string) => valuesOf((await stored.get(name)!).get(tensor)!);

  for (const [index, { method, base, models, given }] of wishes.entries()) {
    it(`${method} ${JSON.stringify(given)} of ${models.join(", ")}${base ? " with a base" : ""}`, async () => {
      const out = at(`out-${index}`);
      const flags = Object.entries(given).flatMap(([key, value]) => ["-p", `${key}=${String(value)}`]);
      const from = base ? ["--base", zoo("base")] : [];
      const ended = await mergewright("merge", "--method", method, ...from, ...models.map(zoo), ...flags, "-o", out);
      assert.equal(ended.code, 0, ended.err);
      const merged = await readTensors(out);
      assert.equal(merged.size, (await stored.get("base")!).size);
      for (const tensor of TENSORS) {
        const found = merged.get(tensor)!;
        const wanted = mixTensor(findMethod(method) as MixtureMethod, found.shape, {
          base: base ? await entries("base", tensor) : null,
          inputs: await Promise.all(models.map((name) => entries(name, tensor))),
          given,
        });
        // Half a unit of BF16, and what f32 in the middle adds.
        const values = valuesOf(found);
        const wrong = wanted.findIndex((x, p) => Math.abs(x - values[p]!) > Math.abs(x) * 2 ** -8 * 1.001 + 1e-9);
        assert.equal(wrong, -1, `${tensor}[${wrong}]: ${values[wrong]}, not ${wanted[wrong]}`);
      }
    });
  }
});
