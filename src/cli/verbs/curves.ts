import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { curveKinds, type CurveName, type CurveOptions, type CurveResult, drawCurve } from "../../curves/curves.js";
import { curveTable } from "../../curves/table.js";
import { MergewrightError } from "../../errors.js";
import { parseTasks } from "../../evaluate/read_tasks.js";
import { methods as catalogue } from "../../methods/catalogue.js";
import { defaultStoreFolder, evaluatePlatform, folderStore } from "../../platform/node/evaluate.js";
import { systemError } from "../../platform/node/files.js";
import { mergingInMemory } from "../../platform/node/in_memory.js";
import { loadMethods } from "../../platform/node/own_methods.js";
import { defaultThreads, nodePlatform } from "../../platform/node/platform.js";
import { drawChart } from "../../plots/draw.js";
import { oneOf } from "../../recipe/issues.js";
import { parseAxis } from "../../search/axis.js";
import { readTemplate } from "../../search/field.js";
import { headsOf } from "../heads.js";
import { interruptible } from "../interrupt.js";
import { showMarkdown } from "../markdown.js";
import { openDisplay, stepMeter } from "../progress.js";
import { readFileGiven } from "../request.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { FlagValues, Given, Outcome } from "../verb.js";

/** Kinds that run nothing. */
const WITHOUT_TASKS: ReadonlySet<string> = new Set(["conflict"]);

export async function curves({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const kinds = kindsOf(flags.kind!);
  const out = flags.out!;
  const tasks = tasksOf(flags, kinds);
  const own = await loadMethods(flags.use ?? []);
  const recipes = positionals.map((file) => {
    const template = readTemplate(readFileGiven(file, "recipe"), { file, methods: [...catalogue, ...own] });
    return { name: path.basename(file).replace(/\.ya?ml$/, ""), template };
  });
  const platform = { evaluation: evaluatePlatform, merging: mergingInMemory(own), reading: nodePlatform };
  const results: CurveResult[] = [];
  for (const kind of kinds) {
    const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
    const options: CurveOptions = {
      ...settingsOf(flags),
      threads: flags.threads ?? defaultThreads(),
      ...(flags.backend !== undefined && { backend: flags.backend }),
      heads: headsOf(flags, tasks),
      store: flags.cache === false ? null : folderStore(defaultStoreFolder()),
      progress: ({ name, done, total }) => display.report({ name: `${kind}, ${name}`, done, total }),
    };
    try {
      const result = await interruptible(
        () => drawCurve(kind, recipes, tasks, platform, options),
        () => "models that were scored are kept; run the same command again",
      );
      await write(out, result, positionals);
      results.push(result);
    } finally {
      display.end();
    }
  }
  return { exitCode: 0, json: { out, curves: results }, text: () => describe(results, out, terminal) };
}

function tasksOf({ tasks }: FlagValues, kinds: readonly CurveName[]) {
  if (tasks !== undefined) return parseTasks(readFileGiven(tasks, "tasks file"), tasks);
  if (kinds.every((kind) => WITHOUT_TASKS.has(kind))) return [];
  throw new MergewrightError("--tasks <file> is missing", {
    kind: "request",
    code: "usage",
    where: { key: "mergewright curves" },
    expected: `a tasks file for ${kinds.filter((kind) => !WITHOUT_TASKS.has(kind)).join(", ")}`,
    advice: "docs/tasks.md has the grammar",
  });
}

function settingsOf({ split, values, density, subsets, seed, oracle }: FlagValues): Partial<CurveOptions> {
  return {
    ...(split !== undefined && { split }),
    ...(values !== undefined && { values: valuesOf(values) }),
    ...(density !== undefined && { density }),
    ...(subsets !== undefined && { subsets }),
    ...(seed !== undefined && { seed: seedOf(seed) }),
    ...(oracle !== undefined && { oracle }),
  };
}

function valuesOf(text: string): readonly number[] {
  const axis = parseAxis(`values=${text}`);
  if ("values" in axis) return axis.values;
  throw usage("--values has a wrong value", "--values", "A,B,C or FROM:TO:STEP", text);
}

function kindsOf(given: readonly string[]): CurveName[] {
  const known = Object.keys(curveKinds);
  const unknown = given.find((kind) => !known.includes(kind));
  if (unknown === undefined) return [...new Set(given)] as CurveName[];
  throw usage("there is no such analysis", "--kind", oneOf(known), unknown);
}

function usage(summary: string, key: string, expected: string, found: string): MergewrightError {
  return new MergewrightError(summary, {
    kind: "request",
    code: "usage",
    where: { key },
    expected,
    found: JSON.stringify(found),
  });
}

function seedOf(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw usage("--seed has a wrong value", "--seed", "a whole number from 0 on", text);
}

/** Picture and numbers under the kind's name, each whole or not at all. */
async function write(folder: string, result: CurveResult, recipes: readonly string[]): Promise<void> {
  const { kind, split, chart, numbers } = result;
  const texts = {
    [`${kind}.svg`]: drawChart(chart),
    [`${kind}.json`]: `${JSON.stringify({ kind, split, recipes, numbers, chart }, null, 2)}\n`,
  };
  for (const [name, text] of Object.entries(texts)) {
    const file = path.join(folder, name);
    try {
      mkdirSync(folder, { recursive: true });
      writeFileSync(`${file}.${process.pid}.part`, text);
      renameSync(`${file}.${process.pid}.part`, file);
    } catch (error) {
      throw systemError("write", file, error);
    }
  }
}

function describe(results: readonly CurveResult[], out: string, terminal: Terminal): string {
  const told = results.map((result) => {
    const title = terminal.out.bold(harmless(result.chart.title));
    return [title, showMarkdown(curveTable(result.chart), terminal)].join("\n\n");
  });
  const files = results.map(({ kind }) => harmless(path.join(out, `${kind}.svg`)));
  return [...told, `written: ${files.join(", ")}, and the numbers as .json beside each`].join("\n\n");
}
