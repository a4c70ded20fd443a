import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { evaluateModel } from "../../evaluate/evaluate.js";
import type { Evaluation } from "../../evaluate/evaluate.js";
import type { Task } from "../../evaluate/task.js";
import { evaluateArtifact } from "../../experts/evaluate.js";
import type { ArtifactEvaluation } from "../../experts/evaluate.js";
import { routingCharts } from "../../experts/routing_charts.js";
import { drawChart } from "../../plots/draw.js";
import { parseTasks } from "../../evaluate/read_tasks.js";
import { defaultStoreFolder, evaluatePlatform, folderStore } from "../../platform/node/evaluate.js";
import { systemError } from "../../platform/node/files.js";
import { defaultThreads, namesArtifact, nodePlatform } from "../../platform/node/platform.js";
import { evaluationTable } from "../../report/evaluation.js";
import { numberText, percentText } from "../../report/units.js";
import { headsOf } from "../heads.js";
import { interruptible } from "../interrupt.js";
import { showMarkdown } from "../markdown.js";
import { openDisplay, stepMeter } from "../progress.js";
import { readFileGiven } from "../request.js";
import { table } from "../table.js";
import type { Column } from "../table.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

export async function evaluate(given: Given): Promise<Outcome> {
  const { positionals, flags, terminal } = given;
  const file = flags.tasks!;
  const tasks = parseTasks(readFileGiven(file, "tasks file"), file);
  const heads = headsOf(flags, tasks);
  if (flags.routing !== undefined || namesArtifact(positionals[0]!)) return evaluateRouted(given, tasks, heads);
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

/** An artifact as a whole: every task with the experts that its inputs find. */
async function evaluateRouted(
  { positionals, flags, terminal }: Given,
  tasks: readonly Task[],
  heads: Readonly<Record<string, string>>,
): Promise<Outcome> {
  const display = await openDisplay(terminal, flags.quiet ?? false, stepMeter());
  try {
    const evaluation = await evaluateArtifact(
      positionals[0]!,
      tasks,
      { ...nodePlatform, ...evaluatePlatform },
      {
        threads: flags.threads ?? defaultThreads(),
        heads,
        progress: ({ task, done, total }) => display.report({ name: `scoring ${task}`, done, total }),
        ...(flags.split !== undefined && { split: flags.split }),
        ...(flags.routing !== undefined && { routing: flags.routing }),
      },
    );
    if (flags.report !== undefined) {
      writeReport(flags.report, evaluation);
      writeRouting(flags.report, evaluation);
    }
    return {
      exitCode: 0,
      json: evaluation,
      text: () => [describe(evaluation, terminal), describeRouting(evaluation, terminal)].join("\n\n"),
    };
  } finally {
    display.end();
  }
}

function describeRouting({ routing, routed }: ArtifactEvaluation, terminal: Terminal): string {
  const how = `${terminal.out.bold("Routing")}: ${routing}`;
  if (routed === null) return how;
  const right = { align: "right" } as const;
  const columns: Column[] = [{ head: "inputs of" }, { head: "entropy", ...right }, { head: "right expert", ...right }];
  const rows = routed.map((one) => [
    one.name,
    numberText(one.entropy),
    one.right === null ? "" : percentText(one.right),
  ]);
  return [how, table(columns, rows, terminal), "an entropy of 1 is a uniform choice, of 0 a sure one"].join("\n\n");
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

/** Pictures of the shares, and all numbers. */
function writeRouting(folder: string, evaluation: ArtifactEvaluation): void {
  const charts = routingCharts(evaluation);
  if (charts === null) return;
  const { routing, experts, routed } = evaluation;
  try {
    writeFileSync(path.join(folder, "routing.svg"), drawChart(charts.shares));
    if (charts.layers !== null) writeFileSync(path.join(folder, "routing-layers.svg"), drawChart(charts.layers));
    const content = { routing, experts, routed, charts };
    writeFileSync(path.join(folder, "routing.json"), `${JSON.stringify(content, null, 2)}\n`);
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
