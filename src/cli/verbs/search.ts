import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { MergewrightError } from "../../errors.js";
import { parseTasks } from "../../evaluate/read_tasks.js";
import { methods as catalogue } from "../../methods/catalogue.js";
import { defaultStoreFolder, evaluatePlatform, folderStore } from "../../platform/node/evaluate.js";
import { systemError } from "../../platform/node/files.js";
import { mergingInMemory } from "../../platform/node/in_memory.js";
import { loadMethods } from "../../platform/node/own_methods.js";
import { defaultThreads } from "../../platform/node/platform.js";
import { parseAxis } from "../../search/axis.js";
import { readTemplate } from "../../search/field.js";
import type { LedgerFile } from "../../search/ledger.js";
import { searchRecipe } from "../../search/search.js";
import type { SearchResult } from "../../search/search.js";
import { searchTable } from "../../search/table.js";
import { headsOf } from "../heads.js";
import { interruptible } from "../interrupt.js";
import { showMarkdown } from "../markdown.js";
import { shellWord } from "../output.js";
import { openDisplay, stepMeter } from "../progress.js";
import { readFileGiven } from "../request.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verbs.js";

/** The first words of every file that a search writes, by which it knows its own. */
const MARK = "# Found by mergewright search";

export async function search({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const file = positionals[0]!;
  const out = flags.out!;
  refuseForeign(out);
  const own = await loadMethods(flags.use ?? []);
  const template = readTemplate(readFileGiven(file, "recipe"), { file, methods: [...catalogue, ...own] });
  const over = flags.over!.map(parseAxis);
  const tasks = parseTasks(readFileGiven(flags.tasks!, "tasks file"), flags.tasks);
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  const ledger = flags.ledger ?? `${out}.ledger.jsonl`;
  try {
    const result = await interruptible(
      () =>
        searchRecipe(
          template,
          over,
          tasks,
          { evaluation: evaluatePlatform, merging: mergingInMemory(own) },
          {
            threads: flags.threads ?? defaultThreads(),
            heads: headsOf(flags, tasks),
            store: flags.cache === false ? null : folderStore(defaultStoreFolder()),
            allowTest: flags.allowTest ?? false,
            ledger: ledgerFile(ledger),
            ...(flags.split !== undefined && { split: flags.split }),
            progress: ({ candidate, task, done, total }) =>
              display.report({ name: `candidate ${candidate} of ${total}, ${task}`, done, total }),
          },
        ),
      () => "candidates that were scored are in the ledger; run the same command again",
    );
    write(out, `${heading(result)}\n${result.recipe}`);
    return { exitCode: 0, json: { ...result, out, ledger }, text: () => describe(result, out, terminal) };
  } finally {
    display.end();
  }
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

function write(file: string, text: string): void {
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
  } catch (error) {
    throw systemError("write", file, error);
  }
}

/** What the file says about its own making. */
function heading({ best, split, metric, onTestData, candidates }: SearchResult): string {
  const values = Object.entries(best.values).map(([field, value]) => `${field}=${value}`);
  return [
    `${MARK}: the best of ${candidates.length} on the split ${split}, ${metric} ${best.mean}, with ${values.join(", ")}.`,
    ...(onTestData ? ["# Searched on test data: the same data say nothing about how good it is."] : []),
  ].join("\n");
}

function describe(result: SearchResult, out: string, terminal: Terminal): string {
  return [
    showMarkdown(searchTable(result), terminal),
    `next: mergewright merge ${harmless(shellWord(out))} -o merged`,
  ].join("\n\n");
}
