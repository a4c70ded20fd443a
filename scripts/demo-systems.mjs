// The second half of `npm run demo -- --all`: one-model merges beside what keeps something of every task (EMR, Twin-Merging,
// SMILE) and the individual models, by what each stores and how well it does; and how accuracy grows with the rank.
import { rmSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import Table from "cli-table3";
import { storageChart, storedBytes } from "../dist/src/curves/storage.js";
import { drawChart } from "../dist/src/node.js";

const BACKBONE = 1_198_592;
const EXCLUDED = ["--exclude", "classifier.*", "--heads", "separate"];
const TWIN_DENSITIES = [0.05, 0.1, 0.2];
const SMILE_RANKS = [8, 32];

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * @param {object} given `mergewright`: runs the program, gives its JSON; `rows`: `{ name, values }` of the models that were
 * scored, the mean last; `names`: of the tasks; `tasksFile`; `style`: of tables.
 */
export async function compareSystems({ mergewright, rows, names, tasksFile, style }) {
  const tell = (text) => process.stderr.isTTY && process.stderr.write(`\r\u001b[K${text}`);
  const build = (name, method, tasks, ...flags) => {
    const out = `out/demo/${name}`;
    tell(`building ${name}`);
    rmSync(out, { recursive: true, force: true });
    const models = tasks.map((task) => `zoo/vision/${task}`);
    mergewright("merge", "--method", method, "--base", "zoo/vision/base", ...models, ...flags, ...EXCLUDED, "-o", out);
    return out;
  };
  const score = async (name, artifact, routing) => {
    tell(`scoring ${name}, ${routing}`);
    // So that what was told is drawn before this thread waits.
    await pause(0);
    const report = routing === "oracle" ? [] : ["--report", `out/demo/routing-${name}`];
    const { tasks } = mergewright("eval", artifact, "--tasks", tasksFile, "--routing", routing, ...report);
    return tasks.map(({ value }) => value);
  };
  const storedBy = (artifact) => storedBytes(mergewright("inspect", artifact), 2 * BACKBONE);
  const one = 2 * BACKBONE;

  const systems = rows
    .filter(({ name }) => name !== "base")
    .map(({ name, values }) => ({
      name: name === "individual" ? "individual models" : name,
      stored: name === "individual" ? names.length * one : one,
      chosen: name === "individual" ? "task is known" : "one model",
      values: values.slice(0, names.length),
    }));
  const emr = build("emr", "emr", names);
  systems.push({
    ...{ name: "EMR", stored: storedBy(emr), chosen: "task is known" },
    values: await score("emr", emr, "oracle"),
  });
  const curves = [
    { name: "Twin-Merging, task is known", points: [] },
    { name: "SMILE, per token", points: [] },
  ];
  for (const density of TWIN_DENSITIES) {
    const twin = build(`twin-${density}`, "twin", names, "-p", "lambda=0.2", "-p", `density=${density}`);
    const stored = storedBy(twin);
    const values = await score(`twin-${density}`, twin, "oracle");
    curves[0].points.push({ x: stored / 1e6, y: mean(values), density });
    if (density !== 0.1) continue;
    systems.push({ name: "Twin-Merging", stored, chosen: "task is known", values });
    tell("training the router");
    const how = ["--split", "train", "--router", "logistic", "--examples", "200"];
    mergewright("collect", "router", twin, "--tasks", tasksFile, ...how);
    for (const routing of ["soft", "top1"]) {
      const chosen = `router, ${routing}`;
      systems.push({ name: "Twin-Merging", stored, chosen, values: await score(`twin-${routing}`, twin, routing) });
    }
  }
  for (const rank of SMILE_RANKS) {
    const smile = build(`smile-${rank}`, "smile", names, "-p", "gate_rank=16", "-p", `rank=${rank}`);
    const stored = storedBy(smile);
    const values = await score(`smile-${rank}`, smile, "tokens");
    curves[1].points.push({ x: stored / 1e6, y: mean(values), rank });
    if (rank === 32) systems.push({ name: "SMILE", stored, chosen: "gates, per token", values });
  }
  const apart = await gatesApart({ mergewright, build, tell, style });
  tell("");
  return `${await write(systems, curves, { names, one, style })}\n\n${apart}`;
}

/** Of two tasks that look unlike each other: layers whose gates are sure, beside those that are not. */
async function gatesApart({ mergewright, build, tell, style }) {
  const pair = ["mnist", "fashion"];
  const artifact = build("smile-pair", "smile", pair);
  tell("scoring smile-pair, tokens");
  await pause(0);
  writeFileSync("out/demo/pair.yaml", `tasks:\n${pair.map(taskLine).join("")}`);
  const report = mergewright(
    "eval",
    artifact,
    "--tasks",
    "out/demo/pair.yaml",
    "--report",
    "out/demo/routing-smile-pair",
  );
  const table = new Table({ head: ["layer", ...pair.flatMap((name) => [`${name}: entropy`, "own expert"])], style });
  const rows = report.routed[0].layers.map(({ layer }, at) => ({
    layer: layer.replace("vit.encoder.layer.", ""),
    of: report.routed.map(({ name, layers }) => ({ ...layers[at], own: layers[at].shares[pair.indexOf(name)] })),
  }));
  const sure = rows.toSorted((a, b) => mean(a.of.map((x) => x.entropy)) - mean(b.of.map((x) => x.entropy)));
  for (const { layer, of } of [...sure.slice(0, 3), ...sure.slice(-2)]) {
    table.push([layer, ...of.flatMap(({ entropy, own }) => [entropy.toFixed(3), percent(own)])]);
  }
  const scores = report.tasks.map(({ name, value }) => `${name} ${percent(value)}`).join(", ");
  return `SMILE of mnist and fashion alone (${scores}): its surest and its least sure gates. Entropy 1 is a uniform choice.
${table.toString()}`;
}

const taskLine = (name) =>
  `  - {name: ${name}, type: image-classification, data: zoo/vision/${name}/data.safetensors, head: zoo/vision/${name}}\n`;

async function write(systems, curves, { names, one, style }) {
  const table = new Table({ head: ["system", "how", "stored", "of one model", ...names, "mean"], style });
  for (const { name, stored, chosen, values } of systems) {
    const scores = [...values, mean(values)].map((value) => (100 * value).toFixed(1));
    table.push([name, chosen, megabytes(stored), `${(stored / one).toFixed(2)} x`, ...scores]);
  }
  const parts = systems.map(({ name, chosen, stored, values }) => {
    return `${name} (${chosen}) ${megabytes(stored)}, ${percent(mean(values))}`;
  });
  const chart = storageChart(
    [
      ...curves.map(({ name, points }) => ({ name, points: points.map(({ x, y }) => ({ stored: 1e6 * x, mean: y })) })),
      ...systems
        .filter(({ name, chosen }) => name === "EMR" || chosen.startsWith("router"))
        .map(({ name, chosen, stored, values }) => ({
          name: `${name}, ${chosen}`,
          points: [{ stored, mean: mean(values) }],
        })),
    ],
    {
      description: `Mean accuracy on ${names.length} tasks of 600 test images, heads not counted: ${parts.join("; ")}.`,
      references: systems
        .filter(({ name }) => name === "individual models" || name === "average")
        .map(({ name, stored, values }) => ({ name: `${name}, ${megabytes(stored)}`, y: mean(values) })),
    },
  );
  writeFileSync("out/demo/systems.svg", await drawChart(chart));
  writeFileSync("out/demo/systems.json", `${JSON.stringify({ tasks: names, systems, curves, chart }, null, 2)}\n`);
  return table.toString();
}
