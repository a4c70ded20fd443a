/** `evaluate` and `search` as a library, on real checkpoints of the zoo. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { evaluate, search } from "../../src/node.js";
import { root, scratch } from "../cli/support.js";

const at = scratch(after);
before(() => process.chdir(root));

const reference = JSON.parse(readFileSync(path.join(root, "zoo", "reference.json"), "utf8"));
const names: readonly string[] = reference.vision.tasks;
const image = (name: string) => ({
  name,
  type: "image-classification",
  data: `zoo/vision/${name}/data.safetensors`,
  head: `zoo/vision/${name}`,
});

describe("the library", () => {
  it("counts a merge of eight models, made in memory, as the reference does", async () => {
    const { onTestData, best } = await search(
      {
        method: "ties",
        base: "zoo/vision/base",
        models: names.map((name) => `zoo/vision/${name}`),
        exclude: ["classifier.*"],
        parameters: { density: 0.2 },
        output: { dtype: "float32" },
      },
      {
        tasks: { tasks: [image("hebrew"), image("latin")] },
        over: { "parameters.lambda": [1] },
        split: "test",
        allowTest: true,
      },
    );
    assert.equal(onTestData, true);
    for (const { name, correct } of best.tasks) {
      const expected = reference.vision.rows["ties k=20 lambda=1.0"].correct[names.indexOf(name)];
      assert.ok(Math.abs(correct! - expected) <= 2, `${name}: ${correct} beside ${expected}`);
    }
  });

  it("keeps outcomes where it is told to, and nowhere else", async () => {
    const tasks = { tasks: [image("hebrew")] };
    const options = { tasks, cache: at("cache"), threads: 1, split: "val" };
    const first = await evaluate("zoo/vision/hebrew", options);
    const second = await evaluate("zoo/vision/hebrew", { ...options, threads: 2 });
    assert.deepEqual([first.tasks[0]!.cached, second.tasks[0]!.cached], [false, true]);
    // Of the zoo's README.
    assert.ok(Math.abs(first.tasks[0]!.correct! - 427) <= 2);
    assert.equal(second.tasks[0]!.correct, first.tasks[0]!.correct);
  });
});
