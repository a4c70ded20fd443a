/** What a search and an analysis tell while they merge, which can take longer than scoring. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, describe, it } from "node:test";
import { curves, search } from "../../src/node.js";
import { Stages } from "../../src/search/stages.js";
import { root, scratch } from "../cli/support.js";

process.chdir(root);
const at = scratch(after);

const recipe = {
  method: "ties",
  base: "zoo/vision/base",
  models: [
    { name: "hebrew", model: "zoo/vision/hebrew" },
    { name: "fashion", model: "zoo/vision/fashion" },
  ],
  exclude: ["classifier.*"],
};
const task = (name: string) => ({
  ...{ name, type: "image-classification", head: `zoo/vision/${name}` },
  data: `zoo/vision/${name}/data.safetensors`,
});

describe("progress", () => {
  it("of a search: ticks while a candidate is merged, never falls, and ends with all candidates", async () => {
    const told: { candidate: number; task: string; done: number; total: number }[] = [];
    await search(recipe, {
      over: { "parameters.lambda": [0.3, 0.6] },
      tasks: { tasks: [task("hebrew")] },
      progress: (progress) => told.push(progress),
    });
    for (const candidate of [1, 2]) {
      const merging = told.filter((one) => one.candidate === candidate && one.task === "merging");
      assert.ok(new Set(merging.map(({ done }) => done)).size >= 3, `candidate ${candidate}`);
    }
    const first = told.find(({ task: name }) => name === "merging")!;
    assert.deepEqual([first.done, first.total], [0, 2]);
    for (const [index, { done, task: name }] of told.entries()) {
      assert.ok(index === 0 || done >= told[index - 1]!.done, `${name} ${done}`);
    }
    assert.equal(told.at(-1)!.done, 2);
  });

  it("of curves: of models that are compared, and of sets that are merged", async () => {
    const told: { name: string; done: number; total: number }[] = [];
    const options = { progress: (progress: (typeof told)[number]) => told.push(progress) };
    const file = at("pair.yaml");
    writeFileSync(file, JSON.stringify(recipe));
    await curves("conflict", [file], { ...options, tasks: { tasks: [task("hebrew")] } });
    assert.ok(told.length >= 3 && told.every(({ name, total }) => name === "comparing" && total === 1));
    assert.equal(told.at(-1)!.done, 1);
    told.length = 0;
    await curves("tasks", [file], { ...options, tasks: { tasks: [task("hebrew"), task("fashion")] } });
    const merging = told.filter(({ name }) => name === "merging").map(({ done }) => done);
    assert.ok(new Set(merging).size >= 3 && merging.every((done) => done >= 2 && done < 4), String(merging));
    assert.equal(told[0]!.total, 4);
  });

  it("parts are as long as those of the candidates before", async () => {
    const stages = new Stages();
    const wait = (ms: number) => new Promise((resolve) => void setTimeout(resolve, ms));
    const times: number[] = [];
    const shares = async () => {
      const told: number[] = [];
      times.push(performance.now());
      await stages.run(
        3,
        (_, share) => told.push(share),
        async (progress) => {
          progress({ phase: "statistics", doneBytes: 5, totalBytes: 10 });
          progress({ phase: "merge", doneBytes: 5, totalBytes: 20 });
          await wait(80);
          times.push(performance.now());
        },
        async (_, tell) => {
          await wait(20);
          tell("task", 0);
          tell("task", 1);
          times.push(performance.now());
        },
      );
      return told;
    };
    // The first merge counts as one of four steps; half of it is done, also when there turns out to be more.
    assert.deepEqual(await shares(), [0, 0.125, 0.125, 0.25, 1]);
    const [begun, merged, scored] = times as [number, number, number];
    const [, half, , whole] = await shares();
    assert.ok(Math.abs(whole! - (merged - begun) / (scored - begun)) < 0.05, String(whole));
    assert.equal(half, whole! / 2);
  });
});
