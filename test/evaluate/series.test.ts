/** Models one after the other: one network for those built alike, the same scores as one by one. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { evaluateIn, evaluateModel } from "../../src/evaluate/evaluate.js";
import { parseTasks } from "../../src/evaluate/read_tasks.js";
import { EvaluationSeries } from "../../src/evaluate/series.js";
import type { Task } from "../../src/evaluate/task.js";
import { memoryEvaluation, pixelModel, safetensors } from "./support.js";

const pixels = [0, 128, 255, 128, 255, 0, 255, 0, 0];
const data = safetensors({
  "test.images": { dtype: "U8", shape: [3, 1, 3], values: pixels },
  "test.labels": { dtype: "U8", shape: [3], values: [2, 1, 1] },
});
const [task] = parseTasks("tasks: [{name: one, type: image-classification, data: data}]");
const tasksOf = (...names: readonly string[]): Task[] => names.map((name) => ({ ...task!, name }));
const models = {
  a: pixelModel(3),
  b: pixelModel(3, {}, -1),
  // The same weights, but pixels mean something else.
  c: pixelModel(3, { image_size: [1, 3] }),
};
const labels = ["a", "b", "a", "c"];

describe("a series of evaluations", () => {
  it("opens one network for models that are built alike, and scores each as on its own", async () => {
    const { platform, count } = memoryEvaluation(models, { data });
    const series = new EvaluationSeries(platform, { split: "test", threads: 1 });
    const tasks = tasksOf("one", "two");
    const correct = [];
    for (const label of labels) {
      const { tasks: results } = await evaluateIn(series, label, tasks, platform, { split: "test" });
      correct.push(results.map((result) => result.correct));
    }
    assert.equal(count.opened, 2, "both tasks use the models' own head");
    await series.close();
    assert.equal(count.open, 0);
    const alone = [];
    for (const label of labels) {
      const { tasks: results } = await evaluateModel(label, tasks, platform, { threads: 1 });
      alone.push(results.map((result) => result.correct));
    }
    assert.deepEqual(correct, alone);
    assert.notDeepEqual(correct[0], correct[1]);
  });

  it("a network whose weights could not be replaced is not used again", async () => {
    const { platform, count } = memoryEvaluation(models, { data });
    const { openNetwork } = platform;
    let broken = false;
    const series = new EvaluationSeries(
      {
        ...platform,
        async openNetwork(weights, options) {
          const network = await openNetwork(weights, options);
          return { ...network, load: (next) => (broken ? Promise.reject(new Error("torn")) : network.load(next)) };
        },
      },
      { split: "test", threads: 1 },
    );
    const score = async (label: string) =>
      (await evaluateIn(series, label, tasksOf("one"), platform, { split: "test" })).tasks[0]!.correct;
    const first = await score("a");
    broken = true;
    await assert.rejects(score("b"), /torn/);
    broken = false;
    assert.equal(await score("a"), first);
    assert.equal(count.opened, 2);
    await series.close();
    assert.equal(count.open, 0);
  });
});
