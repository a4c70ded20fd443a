/** An evaluation as a table for people. */

import type { Evaluation, TaskResult } from "../evaluate/evaluate.js";
import type { Interval } from "../evaluate/intervals.js";
import { markdownTable, plainText } from "./markdown.js";
import { countText, durationText, numberText } from "./units.js";

/** A Markdown table, with a line for the mean, and what is worth telling below. */
export function evaluationTable({ tasks, mean, metric, against, notes, split, seconds }: Evaluation): string {
  const compared = against !== null;
  const head = ["task", "metric", "value", "95 % interval", "of", ...(compared ? COMPARED : [])];
  const rows = tasks.map((task) => [
    plainText(task.name),
    plainText(nameOf(task.metric)),
    valueText(task.metric, task.value),
    task.interval === null ? "" : intervalText(task.metric, task.interval),
    sizeText(task),
    ...(compared ? comparedCells(task) : []),
  ]);
  if (mean !== null && metric !== null && tasks.length > 1) {
    const others = tasks.map(({ comparison }) => comparison?.against ?? 0);
    const other = others.reduce((total, value) => total + value, 0) / others.length;
    const cells = compared ? [valueText(metric, other), differenceText(metric, mean - other), "", ""] : [];
    rows.push(["mean", plainText(nameOf(metric)), valueText(metric, mean), "", "", ...cells]);
  }
  const known = tasks.filter(({ cached }) => cached).length;
  const told = [
    `split ${split}; ${durationText(seconds)}${known === 0 ? "" : `; ${known} of ${tasks.length} tasks known from before`}`,
    ...(compared ? [`compared with ${against}: better by the paired test at the 5 % level`] : []),
    ...notes,
  ];
  return [markdownTable(head, rows), told.map((line) => `- ${plainText(line)}`).join("\n")].join("\n\n");
}

const COMPARED = ["other", "difference", "95 % interval", "better"];

function comparedCells({ metric, comparison }: TaskResult): string[] {
  if (comparison === null) return ["", "", "", ""];
  const { against, difference, interval, better, p } = comparison;
  const verdict = better === null ? "undecided" : `${better} model`;
  return [
    valueText(metric, against),
    differenceText(metric, difference),
    interval === null ? "" : intervalText(metric, interval),
    p === null ? verdict : `${verdict}, p = ${p < 1e-4 ? "< 0.0001" : p.toFixed(4)}`.replace("= <", "<"),
  ];
}

const NAMES: Readonly<Record<string, string>> = { bits_per_byte: "bits per byte" };

function nameOf(metric: string): string {
  return NAMES[metric] ?? metric;
}

/** Shares in percent. */
export function valueText(metric: string, value: number): string {
  if (metric === "accuracy" || metric === "exact_match") return `${(100 * value).toFixed(2)} %`;
  return metric === "bits_per_byte" ? value.toFixed(4) : numberText(value);
}

function differenceText(metric: string, value: number): string {
  return `${value > 0 ? "+" : ""}${valueText(metric, value)}`;
}

function intervalText(metric: string, { low, high }: Interval): string {
  return `${valueText(metric, low).replace(" %", "")} to ${valueText(metric, high)}`;
}

function sizeText({ correct, total, perplexity, type }: TaskResult): string {
  if (correct !== null) return `${countText(correct)} of ${countText(total)}`;
  if (perplexity === null) return type === "command" ? "a command" : countText(total);
  return `${countText(total)} tokens, perplexity ${numberText(perplexity)}`;
}
