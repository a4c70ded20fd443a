import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { evaluateModel } from "../../evaluate/evaluate.js";
import type { Evaluation } from "../../evaluate/evaluate.js";
import { parseTasks } from "../../evaluate/read_tasks.js";
import { defaultStoreFolder, evaluatePlatform, folderStore } from "../../platform/node/evaluate.js";
import { systemError } from "../../platform/node/files.js";
import { defaultThreads } from "../../platform/node/platform.js";
import { evaluationTable } from "../../report/evaluation.js";
import { headsOf } from "../heads.js";
import { interruptible } from "../interrupt.js";
import { showMarkdown } from "../markdown.js";
import { openDisplay, stepMeter } from "../progress.js";
import { readFileGiven } from "../request.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verbs.js";

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
          ...(flags.backend !== undefined && { backend: flags.backend }),
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
