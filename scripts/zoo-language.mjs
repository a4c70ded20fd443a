// Bits per byte of the language zoo beside those of the reference implementation (zoo/reference.json), row by row:
//   node scripts/zoo-language.mjs                       the rows that the models in zoo/language make
//   node scripts/zoo-language.mjs --zoo FOLDER          every row, from a folder with all six specialists
//   node scripts/zoo-language.mjs --zoo FOLDER ties     rows whose name contains a word
// Merges are made in float32 as the reference's are. A value may differ by 0.002. Exit code 1 where one differs by more.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { evaluate, search } from "../dist/src/node.js";

const { values: options, positionals: words } = parseArgs({
  allowPositionals: true,
  options: { zoo: { type: "string" } },
});
const zoo = path.resolve(options.zoo ?? fileURLToPath(new URL("../zoo/language", import.meta.url)));
process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const { domains, rows } = JSON.parse(readFileSync("zoo/reference.json", "utf8")).language;
const MOST = 0.002;

const modelOf = (name) => path.join(zoo, name);
const has = (name) => existsSync(path.join(modelOf(name), "config.json"));
const texts = domains.filter((domain) => existsSync(path.join(modelOf(domain), "text.json")));
const taskOf = (domain) => ({
  name: domain,
  type: "language-modelling",
  data: path.join(modelOf(domain), "text.json"),
});
const tasks = { tasks: texts.map(taskOf) };

/** What a row's name says, as a recipe of the six specialists; null for a single model. */
function recipeOf(row) {
  const number = (key) => Number(new RegExp(`\\b${key}=([\\d.]+)`).exec(row)?.[1]);
  if (row === "average") return { method: "average" };
  if (row.startsWith("task_arithmetic ")) {
    return { method: "task_arithmetic", parameters: { lambda: number("lambda") } };
  }
  if (row.startsWith("ties ")) {
    return { method: "ties", parameters: { density: number("k") / 100, lambda: number("lambda") } };
  }
  return null;
}

const valuesOf = (results) => Object.fromEntries(results.map(({ name, value }) => [name, value]));

async function bitsOf(row) {
  if (row === "individual") {
    const all = {};
    for (const domain of texts) {
      const { tasks: results } = await evaluate(modelOf(domain), { tasks: { tasks: [taskOf(domain)] } });
      Object.assign(all, valuesOf(results));
    }
    return all;
  }
  const recipe = recipeOf(row);
  if (recipe === null) return valuesOf((await evaluate(modelOf(row), { tasks })).tasks);
  const whole = { ...recipe, base: modelOf("base"), models: domains.map(modelOf), output: { dtype: "float32" } };
  // The reference's numbers are of the test texts; nothing is chosen here.
  const { best } = await search(whole, { tasks, over: { seed: [0] }, split: "test", allowTest: true });
  return valuesOf(best.tasks);
}

/** The models that a row is made of. */
const needsOf = (row) => (row === "individual" || recipeOf(row) !== null ? ["base", ...domains] : [row]);
const named = Object.keys(rows).filter((row) => words.length === 0 || words.some((word) => row.includes(word)));
const asked = named.filter((row) => needsOf(row).every(has));
let worst = 0;
for (const row of asked) {
  const ours = await bitsOf(row);
  const theirs = rows[row].bits_per_byte;
  const far = Math.max(...texts.map((domain) => Math.abs(ours[domain] - theirs[domain])));
  worst = Math.max(worst, far);
  const list = (bits) => texts.map((domain) => bits[domain].toFixed(4)).join(" ");
  process.stdout.write(
    `${row}\n  ours      ${list(ours)}\n  reference ${list(theirs)}\n  ${far.toFixed(5)} apart at most\n`,
  );
}
const left = named.filter((row) => !asked.includes(row));
if (left.length > 0) process.stdout.write(`not made, for want of models here: ${left.join(", ")}\n`);
process.stdout.write(`${asked.length} rows on ${texts.join(", ")}: ${worst.toFixed(5)} bits per byte apart at most\n`);
process.exitCode = asked.length === 0 || worst > MOST ? 1 : 0;
