import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { MergewrightError } from "../../errors.js";
import { parseTasks } from "../../evaluate/read_tasks.js";
import { methods as catalogue } from "../../methods/catalogue.js";
import { defaultStoreFolder, evaluatePlatform, folderStore } from "../../platform/node/evaluate.js";
import { systemError } from "../../platform/node/files.js";
import { mergingInMemory } from "../../platform/node/in_memory.js";
import { loadMethods } from "../../platform/node/own_methods.js";
import { defaultThreads } from "../../platform/node/platform.js";
import { type Axis, parseAxis } from "../../search/axis.js";
import { readTemplate } from "../../search/field.js";
import type { LedgerFile } from "../../search/ledger.js";
import type { Objective } from "../../search/objective.js";
import { searchRecipe } from "../../search/search.js";
import type { SearchOptions, SearchResult } from "../../search/search.js";
import { greedySoup } from "../../search/soup.js";
import type { SoupResult } from "../../search/soup.js";
import type { StrategyName } from "../../search/strategies/strategies.js";
import { searchTable, soupTable } from "../../search/table.js";
import { headsOf } from "../heads.js";
import { interruptible } from "../interrupt.js";
import { showMarkdown } from "../markdown.js";
import { shellWord } from "../output.js";
import { openDisplay, stepMeter } from "../progress.js";
import { readFileGiven } from "../request.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { FlagValues, Given, Outcome } from "../verb.js";

/** The first words of every file that a search writes, by which it knows its own. */
const MARK = "# Found by mergewright search";

export async function search({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const file = positionals[0]!;
  const out = flags.out!;
  refuseForeign(out);
  const asked = askedOf(flags);
  const own = await loadMethods(flags.use ?? []);
  const template = readTemplate(readFileGiven(file, "recipe"), { file, methods: [...catalogue, ...own] });
  const tasks = parseTasks(readFileGiven(flags.tasks!, "tasks file"), flags.tasks);
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  const ledger = flags.ledger ?? `${out}.ledger.jsonl`;
  const platform = { evaluation: evaluatePlatform, merging: mergingInMemory(own) };
  const options: SearchOptions = {
    threads: flags.threads ?? defaultThreads(),
    heads: headsOf(flags, tasks),
    store: flags.cache === false ? null : folderStore(defaultStoreFolder()),
    allowTest: flags.allowTest ?? false,
    ledger: ledgerFile(ledger),
    ...(flags.backend !== undefined && { backend: flags.backend }),
    ...(flags.split !== undefined && { split: flags.split }),
    ...(flags.objective !== undefined && { objective: flags.objective as Objective }),
    progress: ({ candidate, task, done, total }) =>
      display.report({ name: `candidate ${candidate} of ${Math.ceil(total)}, ${task}`, done, total }),
  };
  try {
    const result = await interruptible<SearchResult | SoupResult>(
      () =>
        asked === "soup"
          ? greedySoup(template, AVERAGE, tasks, platform, options)
          : searchRecipe(template, asked.over, tasks, platform, { ...options, ...asked }),
      () => "candidates that were scored are in the ledger; run the same command again",
    );
    writeFinished(out, `${heading(result)}\n${result.recipe}`);
    return { exitCode: 0, json: { ...result, out, ledger }, text: () => describe(result, out, terminal) };
  } finally {
    display.end();
  }
}

/** The method whose merge a soup is. */
const AVERAGE = "average";

interface Asked extends Pick<SearchOptions, "method" | "budget" | "seed"> {
  readonly over: readonly Axis[];
}

/** Either a soup or something to vary. */
function askedOf({ over = [], soup, method, budget, seed }: FlagValues): "soup" | Asked {
  const others = Object.entries({ over: over[0], method, budget, seed }).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`],
  );
  if (soup !== undefined) {
    if (others.length === 0) return "soup";
    throw usage(`--soup and ${others.join(", ")}`, "one of the two: a soup tries models, a search numbers");
  }
  if (over.length === 0)
    throw usage("--over <field=values> is missing", "a number of the recipe and its values, or --soup");
  const number = seed === undefined ? undefined : Number(seed);
  if (number !== undefined && !(Number.isSafeInteger(number) && /^\d+$/.test(seed!))) {
    throw usage(`--seed ${seed!}`, "a whole number from 0 on");
  }
  return {
    over: over.map(parseAxis),
    ...(method !== undefined && { method: method as StrategyName }),
    ...(budget !== undefined && { budget }),
    ...(number !== undefined && { seed: number }),
  };
}

function usage(found: string, expected: string): MergewrightError {
  return new MergewrightError("it is not clear what to search over", {
    kind: "request",
    code: "usage",
    where: { key: "mergewright search" },
    expected,
    found,
    advice: "mergewright search --help shows examples",
  });
}

/** A recipe of a person's must not be lost to a mistyped -o. */
function refuseForeign(out: string): void {
  const before = readIfThere(out);
  if (before === null || before.startsWith(MARK)) return;
  throw new MergewrightError("the output is a file that no search wrote", {
    kind: "request",
    code: "output/exists",
    where: { file: out },
    advice: "choose another -o, or remove the file yourself",
  });
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw systemError("read", file, error);
  }
}

function ledgerFile(file: string): LedgerFile {
  return {
    read: () => readIfThere(file) ?? "",
    append(line) {
      try {
        mkdirSync(path.dirname(file), { recursive: true });
        appendFileSync(file, line);
      } catch (error) {
        throw systemError("write", file, error);
      }
    },
  };
}

/** Whole or not at all. */
function writeFinished(file: string, text: string): void {
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    const part = `${file}.${process.pid}.part`;
    writeFileSync(part, text);
    renameSync(part, file);
  } catch (error) {
    throw systemError("write", file, error);
  }
}

/** What the file says about its own making. */
function heading(result: SearchResult | SoupResult): string {
  const { best, split, metric, onTestData, candidates, objective, method, individual } = result;
  const chosen =
    "soup" in result
      ? `the average of ${result.soup.join(", ")}`
      : Object.entries(best.values)
          .map(([field, value]) => `${field}=${value}`)
          .join(", ");
  const seed = "seed" in result && result.seed !== 0 ? `, seed ${result.seed}` : "";
  return [
    `${MARK} (${method}${seed}): the best of ${candidates.length} on the split ${split}, ${metric} ${best.mean}, with ${chosen}.`,
    ...(objective === "normalised"
      ? [`# ${best.objective} of ${individual!.map(({ name, value }) => `${name} ${value}`).join(", ")}, in the mean.`]
      : []),
    ...(onTestData ? ["# Searched on test data: the same data say nothing about how good it is."] : []),
  ].join("\n");
}

function describe(result: SearchResult | SoupResult, out: string, terminal: Terminal): string {
  return [
    showMarkdown("soup" in result ? soupTable(result) : searchTable(result), terminal),
    `next: mergewright merge ${harmless(shellWord(out))} -o merged`,
  ].join("\n\n");
}
