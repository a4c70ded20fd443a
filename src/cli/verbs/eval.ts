import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { MergewrightError } from "../../errors.js";
import { evaluateModel } from "../../evaluate/evaluate.js";
import type { Evaluation } from "../../evaluate/evaluate.js";
import { parseTasks } from "../../evaluate/read_tasks.js";
import type { Task } from "../../evaluate/task.js";
import { defaultStoreFolder, evaluatePlatform, folderStore } from "../../platform/node/evaluate.js";
import { systemError } from "../../platform/node/files.js";
import { defaultThreads } from "../../platform/node/platform.js";
import { nearest, oneOf } from "../../recipe/issues.js";
import { evaluationTable } from "../../report/evaluation.js";
import { interruptible } from "../interrupt.js";
import { showMarkdown } from "../markdown.js";
import { openDisplay, stepMeter } from "../progress.js";
import { readFileGiven } from "../request.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { FlagValues, Given, Outcome } from "../verbs.js";

export async function evaluate({ positionals, flags, terminal }: Given): Promise<Outcome> {
  const file = flags.tasks!;
  const tasks = parseTasks(readFileGiven(file, "tasks file"), file);
  const heads = headsOf(flags, tasks);
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  try {
    const evaluation = await interruptible(
      () =>
        evaluateModel(positionals[0]!, tasks, evaluatePlatform, {
          threads: flags.threads ?? defaultThreads(),
          heads,
          store: flags.cache === false ? null : folderStore(defaultStoreFolder()),
          progress: ({ task, done, total }) => display.report({ name: `scoring ${task}`, done, total }),
          ...(flags.split !== undefined && { split: flags.split }),
          ...(flags.against !== undefined && { against: flags.against }),
        }),
      () => "tasks that were scored are kept; run the same command again",
    );
    if (flags.report !== undefined) writeReport(flags.report, evaluation);
    return { exitCode: 0, json: evaluation, text: () => describe(evaluation, terminal) };
  } finally {
    display.end();
  }
}

/** `TASK=MODEL`, or a folder in which models are called as the tasks are; the later flag wins. */
function headsOf({ headFrom = [] }: FlagValues, tasks: readonly Task[]): Record<string, string> {
  const heads: Record<string, string> = {};
  for (const text of headFrom) {
    const sign = text.indexOf("=");
    const named = sign > 0 ? tasks.find(({ name }) => name === text.slice(0, sign)) : undefined;
    if (named !== undefined) heads[named.name] = text.slice(sign + 1);
    else Object.assign(heads, headsIn(text, tasks));
  }
  return heads;
}

function headsIn(folder: string, tasks: readonly Task[]): Record<string, string> {
  const found = tasks.flatMap(({ name }) => {
    const head = path.join(folder, name);
    return existsSync(head) ? [[name, head] as const] : [];
  });
  if (found.length > 0) return Object.fromEntries(found);
  const names = tasks.map(({ name }) => name);
  const close = folder.includes("=") ? nearest(folder.slice(0, folder.indexOf("=")), names) : undefined;
  throw new MergewrightError("--head-from names no head of any task", {
    kind: "request",
    code: "usage",
    where: { key: `--head-from ${folder}` },
    expected: `TASK=MODEL, or a folder that holds ${oneOf(names)}`,
    ...(close !== undefined && { advice: `write ${close}=MODEL` }),
  });
}

function writeReport(folder: string, evaluation: Evaluation): void {
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, "evaluation.json"), `${JSON.stringify(evaluation, null, 2)}\n`);
    writeFileSync(path.join(folder, "evaluation.md"), `# ${title(evaluation)}\n\n${evaluationTable(evaluation)}\n`);
  } catch (error) {
    throw systemError("write", folder, error);
  }
}

function describe(evaluation: Evaluation, terminal: Terminal): string {
  return `${terminal.out.bold(harmless(title(evaluation)))}\n\n${showMarkdown(evaluationTable(evaluation), terminal)}`;
}

function title({ model, against }: Evaluation): string {
  return against === null ? `Scores of ${model}` : `Scores of ${model}, beside ${against}`;
}
