/** `collect block`, `fisher`, `gram`, `kfac` and `importance`: sums over a task's examples, into a file. */
import { existsSync, rmSync } from "node:fs";
import { collectStatistics } from "../../../collect/collect.js";
import { readPartitioning } from "../../../collect/partitioning.js";
import { examplesOf } from "../../../collected/statistics.js";
import { MergewrightError } from "../../../errors.js";
import { parseTasks } from "../../../evaluate/read_tasks.js";
import type { Task } from "../../../evaluate/task.js";
import type { StatisticsKind } from "../../../methods/method.js";
import { defaultThreads } from "../../../platform/node/platform.js";
import { collectPlatform, readEarlier, unfinished, writeStatistics } from "../../../platform/node/statistics.js";
import { oneOf } from "../../../recipe/issues.js";
import { interruptible } from "../../interrupt.js";
import { openDisplay, stepMeter } from "../../progress.js";
import { readFileGiven } from "../../request.js";
import { harmless } from "../../terminal.js";
import type { FlagValues, Given, Outcome, Run } from "../../verb.js";

/** Milliseconds between two savings of unfinished sums. */
const KEEP_EVERY = 10_000;

export const collectBlock: Run = (given) => collectKind("block", given);
export const collectFisher: Run = (given) => collectKind("fisher", given);
export const collectGram: Run = (given) => collectKind("gram", given);
export const collectKfac: Run = (given) => collectKind("kfac", given);
export const collectImportance: Run = (given) => collectKind("importance", given);

async function collectKind(kind: StatisticsKind, { positionals, flags, terminal }: Given): Promise<Outcome> {
  const model = onlyModel(kind, positionals, flags);
  const place = needed(flags.out, kind, "-o, --out <file>");
  const file = needed(flags.tasks, kind, "--tasks <file>");
  const task = taskOf(parseTasks(readFileGiven(file, "tasks file"), file), flags.task, file);
  if (existsSync(place) && flags.force !== true) throw taken(place);
  if (flags.force === true) rmSync(unfinished(place), { force: true });
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  let kept = performance.now();
  const started = performance.now();
  try {
    const request = {
      ...{ kind, model, task, split: flags.split ?? "train", first: flags.first ?? 0, examples: flags.examples ?? 256 },
      ...{ dialect: flags.dialect ?? null, seed: Number(flags.seed ?? 0), batch: flags.batch ?? 32 },
      ...(flags.base !== undefined && { base: flags.base }),
      ...(flags.per !== undefined && { per: readPartitioning(flags.per) }),
    };
    const { info, sums, notes } = await interruptible(
      () =>
        collectStatistics(request, collectPlatform, {
          threads: flags.threads ?? defaultThreads(),
          progress: (done, total) => display.report({ name: `collecting ${kind} of ${task.name}`, done, total }),
          resume: (whole) => readEarlier(place, whole),
          async keep(soFar, held) {
            if (performance.now() - kept < KEEP_EVERY) return;
            await writeStatistics(unfinished(place), soFar, held);
            kept = performance.now();
          },
        }),
      () => "what was collected so far is kept; run the same command again",
    );
    await writeStatistics(place, info, sums);
    rmSync(unfinished(place), { force: true });
    const seconds = (performance.now() - started) / 1000;
    return {
      exitCode: 0,
      json: { file: place, ...info, examples: examplesOf(info), notes, seconds },
      text: () =>
        [
          `${terminal.out.bold(harmless(place))}: ${kind} (${info.dialect}) of ${harmless(info.model.name)} ` +
            `from ${examplesOf(info)} examples of ${harmless(task.name)}, ${request.split}`,
          ...notes.map((note) => `note: ${harmless(note)}`),
        ].join("\n"),
    };
  } finally {
    display.end();
  }
}

function onlyModel(kind: string, positionals: readonly string[], { model = [] }: FlagValues): string {
  const all = [...positionals, ...model];
  if (all.length === 1) return all[0]!;
  throw new MergewrightError(`collect ${kind} is of one model`, {
    kind: "request",
    code: "usage",
    where: { key: `mergewright collect ${kind}` },
    expected: "--model MODEL",
    found: all.length === 0 ? "none" : all.join(", "),
  });
}

function needed(value: string | undefined, kind: string, flag: string): string {
  if (value !== undefined) return value;
  throw new MergewrightError(`${flag} is missing`, {
    kind: "request",
    code: "usage",
    where: { key: `mergewright collect ${kind}` },
    advice: "mergewright collect --help shows examples",
  });
}

function taskOf(tasks: readonly Task[], name: string | undefined, file: string): Task {
  const found = name === undefined && tasks.length === 1 ? tasks[0] : tasks.find((task) => task.name === name);
  if (found !== undefined) return found;
  throw new MergewrightError(name === undefined ? "which task to collect from is not said" : "there is no such task", {
    kind: "request",
    code: "usage",
    where: { file, key: "--task" },
    expected: oneOf(tasks.map((task) => task.name)),
    ...(name !== undefined && { found: name }),
  });
}

function taken(place: string): MergewrightError {
  return new MergewrightError("the file is there already", {
    kind: "request",
    code: "output/exists",
    where: { file: place },
    advice: "give --force to replace it, or name another with -o",
  });
}
