/** mergewright search on two tasks of the zoo: found, remembered, refused. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { layoutHeader } from "../../src/formats/safetensors/layout.js";
import { mergewright, outcomeOf, root, scratch } from "./support.js";

const at = scratch(after);
process.env["MERGEWRIGHT_CACHE"] = at("cache");

/** The first images of a task's validation data, as val and test. */
function fewImages(task: string, count: number): string {
  const file = readFileSync(path.join(root, "zoo", "vision", task, "data.safetensors"));
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, start).toString());
  const bytes = (name: string, length: number) =>
    file.subarray(start + header[name].data_offsets[0]).subarray(0, length);
  const names = ["val", "test"];
  const layout = layoutHeader(
    names.flatMap((name) => [
      { name: `${name}.images`, dtype: "U8" as const, shape: [count, 28, 28] },
      { name: `${name}.labels`, dtype: "U8" as const, shape: [count] },
    ]),
  );
  const contents = names.flatMap(() => [bytes("val.images", count * 784), bytes("val.labels", count)]);
  writeFileSync(at(`${task}.safetensors`), Buffer.concat([layout.header, ...contents]));
  return at(`${task}.safetensors`);
}

const recipe = at("recipe.yaml");
const tasks = at("tasks.yaml");
writeFileSync(
  recipe,
  "method: task_arithmetic\nbase: zoo/vision/base\nmodels: [zoo/vision/mnist, zoo/vision/fashion]\nexclude: ['classifier.*']\n",
);
writeFileSync(
  tasks,
  `tasks:\n${["mnist", "fashion"]
    .map(
      (name) =>
        `- {name: ${name}, type: image-classification, data: ${fewImages(name, 40)}, head: zoo/vision/${name}, classes: 10}\n`,
    )
    .join("")}`,
);

const search = (out: string, ...args: readonly string[]) => [
  "search",
  recipe,
  "--tasks",
  tasks,
  "-o",
  at(out),
  ...args,
];

describe("mergewright search", () => {
  it("finds what evaluating each merge finds, and writes a recipe that merges", async () => {
    const { json } = await outcomeOf(...search("best.yaml", "--over", "parameters.lambda=0.1:0.7:0.3"));
    assert.deepEqual(
      json.candidates.map((candidate: { values: object }) => candidate.values),
      [{ "parameters.lambda": 0.1 }, { "parameters.lambda": 0.4 }, { "parameters.lambda": 0.7 }],
    );
    assert.deepEqual([json.split, json.onTestData, json.metric], ["val", false, "accuracy"]);
    const means = json.candidates.map(({ mean }: { mean: number }) => mean);
    assert.equal(json.best.mean, Math.max(...means));
    assert.ok(means[0] < json.best.mean, "lambda matters");
    const text = readFileSync(at("best.yaml"), "utf8");
    assert.match(
      text,
      /^# Found by mergewright search \(grid\): the best of 3 on the split val, accuracy 0\.\d+, with parameters\.lambda=0\.[47]\./,
    );
    await outcomeOf("merge", at("best.yaml"), "-o", at("merged"));
    const written = await outcomeOf("eval", at("merged"), "--tasks", tasks, "--split", "val", "--no-cache");
    assert.equal(written.json.mean, json.best.mean);
    assert.deepEqual(
      written.json.tasks.map(({ correct }: { correct: number }) => correct),
      json.best.tasks.map(({ correct }: { correct: number }) => correct),
    );
  });

  it("goes on where a ledger ends, even in the middle of a line", async () => {
    const over = ["--over", "parameters.lambda=0.1,0.4", "--no-cache"];
    const first = await outcomeOf(...search("again.yaml", ...over));
    const ledger = readFileSync(first.json.ledger, "utf8");
    assert.equal(ledger.trimEnd().split("\n").length, 2);
    writeFileSync(first.json.ledger, ledger.slice(0, ledger.indexOf("\n") + 20));
    const second = await outcomeOf(...search("again.yaml", ...over));
    assert.deepEqual(
      second.json.candidates.map(({ known }: { known: boolean }) => known),
      [true, false],
    );
    const third = await outcomeOf(...search("again.yaml", ...over));
    assert.ok(third.json.candidates.every(({ known }: { known: boolean }) => known));
    assert.deepEqual(third.json.best.mean, first.json.best.mean);
    const other = await outcomeOf(
      ...search("again.yaml", "--over", "parameters.lambda=0.4", "--split", "test", "--allow-test"),
    );
    assert.equal(other.json.candidates[0].known, false, "another split is another search");
  });

  it("refuses test data unless forced, and then says so everywhere", async () => {
    const over = ["--over", "parameters.lambda=0.4", "--split", "test"];
    const refused = await mergewright(...search("test.yaml", ...over));
    assert.equal(refused.code, 2);
    assert.match(refused.err, /a search on test data is refused[^]*--allow-test/);
    assert.equal(existsSync(at("test.yaml")), false);
    const { code, out } = await mergewright(...search("test.yaml", ...over, "--allow-test"));
    assert.equal(code, 0);
    assert.match(out, /searched on test data/);
    assert.match(readFileSync(at("test.yaml"), "utf8"), /^# Searched on test data/m);
  });

  it("a field that does not exist, a value that it cannot hold, a file that is a person's", async () => {
    const field = await mergewright(...search("x.yaml", "--over", "parameters.lamda=0.1:1:0.1"));
    assert.equal(field.code, 2);
    assert.match(field.err, /unknown parameter "lamda"[^]*write lambda/);
    const none = await mergewright(...search("x.yaml"));
    assert.match(none.err, /--over <field=values> is missing/);
    const both = await mergewright(...search("x.yaml", "--over", "parameters.lambda=1", "--soup", "greedy"));
    assert.match(both.err, /--soup and --over/);
    const range = await mergewright(...search("x.yaml", "--over", "parameters.lambda=1:0.1"));
    assert.match(range.err, /FROM below TO/);
    const grid = await mergewright(...search("x.yaml", "--over", "parameters.lambda=0.1:1"));
    assert.match(grid.err, /a grid needs steps/);
    const method = await mergewright(...search("x.yaml", "--over", "seed=1", "--method", "cma"));
    assert.match(method.err, /--method has a wrong value[^]*cma-es/);
    const end = ["--over", "prune.density=0.5:1.5", "--method", "sobol"];
    assert.match((await mergewright(...search("x.yaml", ...end))).err, /--over prune\.density=/);
    const split = await mergewright(...search("x.yaml", "--over", "parameters.lambda=1", "--split", "none"));
    assert.match(split.err, /none\.images/);
    writeFileSync(at("mine.yaml"), "method: average\n");
    const mine = await mergewright(...search("mine.yaml", "--over", "parameters.lambda=0.4"));
    assert.match(mine.err, /a file that no search wrote/);
  });

  it("every model's number by CMA-ES, normalised by the models' own scores, on a budget", async () => {
    const over = [
      "--over",
      "models.*.weight=0:1.5",
      "--method",
      "cma-es",
      "--budget",
      "5",
      "--objective",
      "normalised",
    ];
    const { json } = await outcomeOf(...search("cma.yaml", ...over));
    assert.equal(json.candidates.length, 5);
    assert.deepEqual(Object.keys(json.best.values), ["models.mnist.weight", "models.fashion.weight"]);
    const own = json.individual.map(({ value }: { value: number }) => value);
    for (const { objective, tasks: scores } of json.candidates) {
      const shares = scores.map(({ value }: { value: number }, at: number) => value / own[at]);
      assert.ok(Math.abs(objective - (shares[0] + shares[1]) / 2) < 1e-12);
    }
    assert.equal(
      json.best.objective,
      Math.max(...json.candidates.map(({ objective }: { objective: number }) => objective)),
    );
    assert.match(
      readFileSync(at("cma.yaml"), "utf8"),
      /^# Found by mergewright search \(cma-es\)[^]*^# \d\S* of mnist/m,
    );
  });

  it("a greedy soup: sorted, each once, only what is strictly better", async () => {
    const { json } = await outcomeOf(...search("soup.yaml", "--soup", "greedy"));
    const alone = json.candidates.slice(0, 2);
    const [best, other] = alone[1].mean > alone[0].mean ? ["fashion", "mnist"] : ["mnist", "fashion"];
    assert.deepEqual(json.trace[0], { model: best, soup: [best], taken: true });
    const both = json.candidates[2].mean;
    const better = both > Math.max(alone[0].mean, alone[1].mean);
    assert.deepEqual(json.trace[1], { model: other, soup: [best, other], taken: better });
    assert.deepEqual(json.soup, better ? [best, other] : [best]);
    const written = readFileSync(at("soup.yaml"), "utf8");
    assert.match(written, /^# Found by mergewright search \(greedy-soup\)[^]*^method: average$/m);
    await outcomeOf("plan", at("soup.yaml"));
  });

  it("a method that writes an artifact: each task is scored with its own model", async () => {
    const amplify = at("dppa.yaml");
    writeFileSync(
      amplify,
      "method: dppa\nbase: zoo/vision/base\nmodels: [zoo/vision/mnist, zoo/vision/fashion]\nexclude: ['classifier.*']\n",
    );
    const { json } = await outcomeOf(
      ...["search", amplify, "--tasks", tasks, "-o", at("amplified.yaml"), "--method", "raise"],
      ...["--over", "parameters.alpha_inner=0,1.8", "--over", "parameters.alpha_outer=0"],
    );
    const [first, second] = json.candidates;
    assert.deepEqual(first.values, { "parameters.alpha_inner": 0, "parameters.alpha_outer": 0 });
    assert.ok(second.mean > first.mean, "with nothing kept there is only the base");
    assert.ok(json.best.mean > 0.8);
  });
});
