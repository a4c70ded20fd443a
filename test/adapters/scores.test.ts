/** Adapters of the zoo, scored over their base without being written, beside PEFT's own forward pass. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { evaluate } from "../../src/node.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const zoo = path.join(root, "zoo", "language");
const scores = JSON.parse(readFileSync(path.join(root, "test", "adapters", "scores.json"), "utf8")) as Readonly<
  Record<string, number>
>;

describe("a base with an adapter has the bits per byte of PEFT's unmerged adapter:", () => {
  for (const [name, expected] of Object.entries(scores)) {
    it(name, async () => {
      const [, domain] = name.split("/") as [string, string];
      const data = path.join(zoo, domain, "text.json");
      const tasks = { tasks: [{ name: domain, type: "language-modelling", data }] };
      const model = `${path.join(zoo, "base")}+${path.join(zoo, name)}`;
      const { tasks: results } = await evaluate(model, { tasks });
      assert.ok(Math.abs(results[0]!.value - expected) < 2e-4, `${results[0]!.value} and ${expected}`);
    });
  }
});
