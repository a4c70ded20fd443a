// The main job on real input: eight fine-tunes of one ViT become one backbone, three ways; each result is written as a
// Hugging Face folder, read back, verified, and scored on the eight tasks beside the base and the fine-tunes themselves.
// With --all also beside EMR, Twin-Merging and SMILE, by what each stores.
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { parse } from "yaml";
import { drawChart, openEvaluation } from "../dist/src/node.js";

const root = fileURLToPath(new URL("..", import.meta.url));
process.chdir(root);
const recipes = ["vision-average", "vision-task-arithmetic", "vision-ties"];

function mergewright(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bin/mergewright.js", ...args, "--json"], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) {
    process.stderr.write(stderr);
    process.exit(status ?? 3);
  }
  return JSON.parse(stdout);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

process.stdout.write("Merging eight vision fine-tunes into one backbone, three ways.\n\n");
const table = new Table({
  head: ["method", "trimmed away", "signs disagree", "seconds", "read + written", "speed", "peak memory", "verified"],
  style: process.stdout.isTTY ? {} : { head: [], border: [] },
});
for (const name of recipes) {
  const out = `out/demo/${name}`;
  rmSync(`${root}/${out}`, { recursive: true, force: true });
  const report = mergewright("merge", `examples/${name}.yaml`, "-o", out);
  const check = mergewright("verify", out);
  const kept = report.models.map((model) => model.kept?.share).filter((share) => share !== undefined);
  const keptShare = kept.reduce((sum, share) => sum + share, 0) / kept.length;
  const { seconds, readBytes, writtenBytes, peakMemoryBytes } = report.cost;
  const bytes = readBytes + writtenBytes;
  table.push([
    `${report.method}/${report.dialect}`,
    kept.length > 0 ? percent(1 - keptShare) : "nothing",
    report.counters.conflicts === undefined ? "not asked" : `${percent(report.counters.conflicts.share)} of entries`,
    seconds.toFixed(2),
    megabytes(bytes),
    `${megabytes(bytes / seconds)}/s`,
    megabytes(peakMemoryBytes),
    check.ok ? `${check.tensors} tensors` : "FAILED",
  ]);
}
process.stdout.write(`${table.toString()}

Accuracy on 600 test images of each task, with the task's own head (some ten seconds a row; known ones are remembered):

`);

const tasksFile = "examples/vision-tasks.yaml";
const { tasks } = parse(readFileSync(`${root}/${tasksFile}`, "utf8"));
const scores = new Table({
  head: ["model", ...tasks.map(({ name }) => name), "mean"],
  style: process.stdout.isTTY ? {} : { head: [], border: [] },
});

const names = tasks.map(({ name }) => name);
const models = [
  ["base", "zoo/vision/base"],
  ...recipes.map((name) => [name.replace("vision-", "").replace("-", " "), `out/demo/${name}`]),
];
const steps = (models.length + 1) * names.length;
const started = performance.now();
let done = 0;

/** One line that changes, in a terminal. */
function tell(model, task) {
  if (!process.stderr.isTTY) return;
  const left = Math.ceil(((performance.now() - started) / 1000 / Math.max(done, 1)) * (steps - done));
  process.stderr.write(`\r\u001b[K${model}, ${task}${done > 0 ? `, ${left} s left` : ""}`);
}

const evaluation = await openEvaluation({ tasks: tasksFile, cache: "out/demo/evaluations" });
/** A model's score on some tasks, one after the other. */
async function score(name, modelOf) {
  const values = [];
  for (const task of tasks) {
    tell(name, task.name);
    values.push((await evaluation.score(modelOf(task), { tasks: [task.name] })).tasks[0].value);
    done++;
  }
  return { name, values: [...values, values.reduce((sum, value) => sum + value, 0) / values.length] };
}
const rows = [];
for (const [name, model] of models) rows.push(await score(name, () => model));
rows.push(await score("individual", (task) => task.head));
await evaluation.close();
if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
for (const { name, values } of rows) scores.push([name, ...values.map((value) => (100 * value).toFixed(2))]);

const chart = {
  kind: "bars",
  title: "Eight fine-tunes of one ViT, merged into one backbone",
  description: `Accuracy on 600 test images of each task: ${rows
    .map(({ name, values }) => `${name} ${percent(values.at(-1))}`)
    .join(", ")} in the mean.`,
  y: { label: "accuracy", form: "percent", from: 0, to: 1 },
  groups: [...names, "mean"],
  series: rows,
};
const picture = "out/demo/accuracy.svg";
writeFileSync(picture, await drawChart(chart));
writeFileSync(picture.replace(".svg", ".json"), `${JSON.stringify(chart, null, 2)}\n`);
process.stdout.write(`${scores.toString()}

Written to out/demo/: each a Hugging Face folder with config, weights, model card and provenance, and each task's own head
under heads/. The table as a picture: ${picture}. Look further:

  node bin/mergewright.js compare --base zoo/vision/base zoo/vision/mnist zoo/vision/fashion zoo/vision/latin --exclude 'classifier.*'
  node bin/mergewright.js inspect out/demo/vision-ties --norms
  node bin/mergewright.js methods ties
`);
if (process.argv.includes("--all")) {
  process.stdout.write("\nWhat keeps something of every task, beside one model and all of them (some minutes):\n\n");
  const { compareSystems } = await import("./demo-systems.mjs");
  const style = process.stdout.isTTY ? {} : { head: [], border: [] };
  process.stdout.write(`${await compareSystems({ mergewright, rows, names, tasksFile, style })}

Accuracy by storage for several ranks: out/demo/systems.svg, the numbers in systems.json beside it; which inputs found which
expert: out/demo/routing-*/routing.svg.
`);
}
