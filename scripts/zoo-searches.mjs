// Rows of the zoo's reference that are found by a search, or are means over seeds, and its curves, beside ours:
//   node scripts/zoo-searches.mjs            all of them, some ten minutes
//   node scripts/zoo-searches.mjs soup dppa  rows whose name contains a word
//   node scripts/zoo-searches.mjs curves     the TIES paper's analyses
// A count may differ by two images of 600, a mean over seeds by what chance allows. Exit code 1 where one differs by more.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { curves, merge, openEvaluation, search, soup } from "../dist/src/node.js";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const FOLDER = "out/zoo";
const MOST = 2;

/** @param zoo `{ names, taskOf, recipe, reference }`: tasks, a recipe of the zoo's models, reference.json's vision part. */
function searchesOf({ names, taskOf, recipe, reference }) {
  const tasks = { tasks: names.map(taskOf) };
  const counts = (results) => results.map(({ correct }) => correct);
  const onTest = { tasks, split: "test", allowTest: true };
  const only = (name) => ({ ...recipe, models: [`zoo/vision/${name}`] });

  async function dare() {
    const dared = { ...recipe, method: "task_arithmetic", parameters: { lambda: 0.2 }, dare: { drop: 0.9 } };
    const { candidates } = await search(dared, { ...onTest, over: { seed: [0, 1, 2, 3, 4] } });
    const means = names.map((_, at) => candidates.reduce((sum, one) => sum + one.tasks[at].correct, 0) / 5);
    const average = (all) => all.reduce((sum, one) => sum + one, 0) / (6 * all.length);
    const row = reference.rows["dare p=0.9 + task_arithmetic lambda=0.2"];
    const apart = Math.abs(average(means) - row.average);
    // Other random numbers: two means of five differ by 0.63 standard deviations of one merge, usually.
    const most = 3 * Math.sqrt(2 / 5) * row.average_std;
    return {
      counts: means,
      random: true,
      wrong: apart <= most ? [] : [`the mean is ${apart} points from the reference`],
    };
  }

  async function greedy() {
    const found = await soup({ ...recipe, method: "average" }, { tasks, split: "val" });
    const row = reference.rows["greedy soup"];
    const wrong = row.trace.flatMap(([model, , taken], at) => {
      const ours = found.trace[at];
      return ours.model === model && ours.taken === taken
        ? []
        : [`step ${at}: ${ours.model} ${ours.taken}, not ${model} ${taken}`];
    });
    const models = found.soup.map((name) => `zoo/vision/${name}`);
    const { best } = await search({ ...recipe, method: "average", models }, { ...onTest, over: { seed: [0] } });
    return { counts: counts(best.tasks), wrong };
  }

  let amplified = null;
  /** Writes the artifact with the factors that the search finds on validation data, once. */
  async function amplify() {
    const wrong = [];
    const models = [];
    const { details } = reference.rows["dppa single models (final alphas)"];
    for (const name of names) {
      const { best } = await search(
        { ...only(name), method: "dppa" },
        {
          tasks: { tasks: [taskOf(name)] },
          split: "val",
          method: "raise",
          over: {
            "parameters.alpha_inner": Array.from({ length: 13 }, (_, at) => Number((1.8 + at / 10).toFixed(1))),
            "parameters.alpha_outer": [0, ...Array.from({ length: 11 }, (_, at) => Number((1 + at / 10).toFixed(1)))],
          },
        },
      );
      const [inner, outer] = Object.values(best.values);
      const theirs = details[name].alphas_final;
      if (inner !== theirs[0] || outer !== theirs[1]) {
        wrong.push(`${name}: factors ${inner} and ${outer}, the reference's ${theirs.join(" and ")}`);
      }
      models.push({ model: `zoo/vision/${name}`, alpha_inner: inner, alpha_outer: outer });
    }
    rmSync(`${FOLDER}/dppa`, { recursive: true, force: true });
    await merge({ ...recipe, method: "dppa", models }, { out: `${FOLDER}/dppa` });
    return wrong;
  }

  async function dppaAlone() {
    const wrong = await (amplified ??= amplify());
    const evaluation = await openEvaluation({ tasks });
    const all = [];
    for (const name of names) {
      const { tasks: results } = await evaluation.score(`${FOLDER}/dppa#${name}`, { tasks: [name] });
      all.push(...counts(results));
    }
    await evaluation.close();
    // Another factor of as good a score is as good an answer.
    return { counts: all, wrong: [], told: wrong };
  }

  async function dppaMerged(lambda) {
    const told = await (amplified ??= amplify());
    const models = names.map((name) => ({ model: `${FOLDER}/dppa#${name}`, name }));
    const merged = { ...recipe, method: "task_arithmetic", models, parameters: { lambda } };
    const { best } = await search(merged, { ...onTest, over: { seed: [0] } });
    return { counts: counts(best.tasks), wrong: [], told };
  }

  return {
    "dare p=0.9 + task_arithmetic lambda=0.2": dare,
    "greedy soup": greedy,
    "dppa single models (final alphas)": dppaAlone,
    "dppa + task_arithmetic lambda=0.1": () => dppaMerged(0.1),
    "dppa + task_arithmetic lambda=0.2": () => dppaMerged(0.2),
    "dppa + task_arithmetic lambda=0.3": () => dppaMerged(0.3),
  };
}

/** The TIES paper's analyses beside the reference's curves. @returns images apart at most; infinity for a wrong count. */
async function curvesApart({ names, taskOf, recipe, reference: { curves: theirs } }, tell) {
  mkdirSync(FOLDER, { recursive: true });
  const file = `${FOLDER}/ties.yaml`;
  writeFileSync(file, stringify({ ...recipe, method: "ties" }));
  const densities = Object.keys(theirs.redundancy).map((percent) => Number(percent) / 100);
  const tasks = { tasks: names.map(taskOf) };
  const { numbers } = await curves("redundancy", [file], { tasks, values: densities });
  let worst = 0;
  for (const [percent, { correct }] of Object.entries(theirs.redundancy)) {
    const at = densities.indexOf(Number(percent) / 100);
    const ours = numbers.models.map(({ points }) => points[at].correct);
    const apart = Math.max(...ours.map((count, index) => Math.abs(count - correct[index])));
    worst = Math.max(worst, apart);
    tell(`redundancy, ${percent} % kept`, ours, correct, apart);
  }
  const { numbers: conflicts } = await curves("conflict", [file], { tasks });
  for (const [models, { conflicting }] of Object.entries(theirs.sign_conflict_top20)) {
    const ours = conflicts.signs[Number(models) - 2].trimmed.conflicts;
    if (ours !== conflicting) worst = Infinity;
    tell(`sign conflicts of ${models} models`, [ours], [conflicting], Math.abs(ours - conflicting));
  }
  const cosines = conflicts.cosine.flatMap((row, i) =>
    row.map((one, j) => Math.abs(one - theirs.pairwise_cosine[i][j])),
  );
  tell("cosines, largest difference", [Math.max(...cosines).toExponential(1)], ["below 1e-5"], 0);
  if (!(Math.max(...cosines) < 1e-5)) worst = Infinity;
  return worst;
}

const reference = JSON.parse(readFileSync("zoo/reference.json", "utf8")).vision;
const zoo = {
  names: reference.tasks,
  taskOf: (name) => ({
    name,
    type: "image-classification",
    data: `zoo/vision/${name}/data.safetensors`,
    head: `zoo/vision/${name}`,
  }),
  recipe: {
    base: "zoo/vision/base",
    models: reference.tasks.map((name) => `zoo/vision/${name}`),
    exclude: ["classifier.*"],
    output: { dtype: "float32" },
  },
  reference,
};
const tell = (row, ours, theirs, far) =>
  process.stdout.write(
    `${row}\n  ours      ${ours.join(" ")}\n  reference ${theirs.join(" ")}\n  ${far} apart at most\n`,
  );

const words = process.argv.slice(2);
const isAsked = (row) => words.length === 0 || words.some((word) => row.includes(word));
let worst = 0;
let wrong = 0;
let asked = 0;
for (const [row, find] of Object.entries(searchesOf(zoo))) {
  if (!isAsked(row)) continue;
  asked++;
  const found = await find();
  const theirs = reference.rows[row].correct;
  const far = Math.max(...found.counts.map((count, at) => Math.abs(count - theirs[at])));
  if (!found.random) worst = Math.max(worst, far);
  wrong += found.wrong.length;
  tell(row, found.counts, theirs, found.random ? `at random, ${far.toFixed(1)}` : far);
  for (const line of [...found.wrong, ...(found.told ?? [])]) process.stdout.write(`  ${line}\n`);
}
if (isAsked("curves")) {
  asked++;
  worst = Math.max(worst, await curvesApart(zoo, tell));
}
process.stdout.write(`${worst} of 600 images apart at most\n`);
process.exitCode = asked === 0 || worst > MOST || wrong > 0 ? 1 : 0;
