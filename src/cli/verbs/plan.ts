import { planMerge } from "../../merge.js";
import { defaultThreads, nodePlatform } from "../../platform/node/platform.js";
import { planReport } from "../../report/plan_report.js";
import type { ActionTotal, InputReport, PlanReport } from "../../report/plan_report.js";
import { countOf, countText, sizeText } from "../../report/units.js";
import { readRequest } from "../request.js";
import { facts, table, warningList } from "../table.js";
import { harmless } from "../terminal.js";
import type { Terminal } from "../terminal.js";
import { makingFacts, upscalingFacts } from "../upscaling.js";
import type { Given, Outcome } from "../verb.js";

/** Tensors and files listed without --all. */
const MOST_ROWS = 20;

export async function plan(given: Given): Promise<Outcome> {
  const { recipe } = await readRequest(given);
  const { flags, terminal } = given;
  const made = await planMerge(recipe, nodePlatform);
  const report = planReport(recipe, made, flags.threads ?? defaultThreads());
  return { exitCode: 0, json: report, text: () => describe(report, flags.all ?? false, terminal) };
}

function describe(report: PlanReport, all: boolean, terminal: Terminal): string {
  const heading = (text: string) => terminal.out.bold(text);
  return [
    facts(summaryOf(report), terminal),
    actionTable(report, terminal),
    ...tensorTable(report, all, terminal),
    fileTable(report, all, terminal),
    ...warningList(report.warnings, terminal),
    ...differenceList(report.differences, terminal),
    `${heading("recipe")}\n${harmless(report.recipe.trimEnd())}`,
  ].join("\n\n");
}

function differenceList(differences: readonly string[], terminal: Terminal): string[] {
  if (differences.length === 0) return [];
  const lines = differences.map((line) => `  - ${harmless(line)}`);
  return [[terminal.out.bold("where mergekit 0.1.5 differs"), ...lines].join("\n")];
}

function summaryOf(report: PlanReport): (readonly [string, string])[] {
  const { method, dialect, inputs, readBytes, outputBytes, passes, threads, peakMemoryBytes, experts } = report;
  return [
    ["method", `${method}/${dialect}`],
    ...inputRows(inputs, report, ""),
    ["reads", `${sizeText(readBytes)} in ${passes === 1 ? "1 pass" : `${passes} passes`}`],
    ["writes", sizeText(outputBytes)],
    ...(experts === null ? [] : [...upscalingFacts(experts.upscaling), ...makingFacts(experts.making)]),
    ["memory", `about ${sizeText(peakMemoryBytes)} with ${countOf(threads, "thread")}`],
    ["plan", report.plan],
  ];
}

/** Inputs, and below a merge its own. */
function inputRows(inputs: readonly InputReport[], report: PlanReport, indent: string): [string, string][] {
  return inputs.flatMap(({ role, name, model, merge: key }): [string, string][] => {
    const row: [string, string] = [`${indent}${role === "extra" ? name : role}`, model];
    const merge = report.merges.find((candidate) => candidate.key === key);
    if (merge === undefined) return [row];
    row[1] = `${merge.method}/${merge.dialect}, not written${name === model ? "" : `, called ${name}`}`;
    return [row, ...inputRows(merge.inputs, report, `${indent}  `)];
  });
}

function actionTable({ actions: { merge, copy, mask, expert, skip } }: PlanReport, terminal: Terminal): string {
  const right = { align: "right" } as const;
  return table(
    [{ head: "action" }, { head: "tensors", ...right }, { head: "entries", ...right }, { head: "size", ...right }],
    [
      actionRow("merge", merge),
      actionRow("copy", copy),
      ...(mask.tensors === 0 ? [] : [["mask", countText(mask.tensors), "", sizeText(mask.bytes)]]),
      ...(expert.tensors === 0 ? [] : [actionRow("expert", expert)]),
      ["skip", countText(skip.tensors), "", ""],
    ],
    terminal,
  );
}

function actionRow(name: string, { tensors, entries, bytes }: ActionTotal): string[] {
  return [name, countText(tensors), countText(entries), sizeText(bytes)];
}

/** Every tensor with `all`; otherwise those of which there is something to say. */
function tensorTable({ tensors, skipped }: PlanReport, all: boolean, terminal: Terminal): string[] {
  const rows = [
    ...tensors
      .filter(({ reason }) => all || reason !== "")
      .map(({ name, action, reason, dtype, shape }) => [name, `${dtype} [${shape.join(", ")}]`, action, reason]),
    ...skipped.map(({ model, name, reason }) => [name, "", "skip", `of ${model}: ${reason}`]),
  ];
  if (rows.length === 0) return [];
  const columns = [{ head: "tensor" }, { head: "format" }, { head: "action" }, { head: "reason" }];
  const shown = all ? rows : rows.slice(0, MOST_ROWS);
  const more = rows.length - shown.length;
  return [
    `${table(columns, shown, terminal)}${more === 0 ? "" : `\nand ${countText(more)} more; --all lists every tensor`}`,
  ];
}

function fileTable({ files, sideFiles }: PlanReport, all: boolean, terminal: Terminal): string {
  const weights = files.map(({ file, bytes }) => [file, sizeText(bytes), ""]);
  const others = sideFiles.map(({ file, from }) => [file, "", from === null ? "written anew" : `from ${from}`]);
  const rows = [...weights, ...others];
  const shown = all ? rows : rows.slice(0, MOST_ROWS);
  const more = rows.length - shown.length;
  const columns = [{ head: "file" }, { head: "size", align: "right" as const }, { head: "origin" }];
  return `${table(columns, shown, terminal)}${more === 0 ? "" : `\nand ${countText(more)} more; --all lists every file`}`;
}
