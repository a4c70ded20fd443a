import { compareModels } from "../../analyse/compare.js";
import type { Comparison, ConflictFigures } from "../../analyse/compare.js";
import { nodePlatform } from "../../platform/node/platform.js";
import { countOf, countText, numberText, percentText } from "../../report/units.js";
import { whileReading } from "../reading.js";
import { facts, table, warningList } from "../table.js";
import type { Column } from "../table.js";
import type { Terminal } from "../terminal.js";
import type { Given, Outcome } from "../verb.js";

const RIGHT = { align: "right" } as const;

export async function compare(given: Given): Promise<Outcome> {
  const { positionals, flags, terminal } = given;
  const { base, density, exclude } = flags;
  const comparison = await whileReading(given, (options) =>
    compareModels(base!, positionals, nodePlatform, {
      ...options,
      ...(density !== undefined && { density }),
      ...(exclude !== undefined && { exclude }),
    }),
  );
  return { exitCode: 0, json: comparison, text: () => describe(comparison, terminal) };
}

function describe(comparison: Comparison, terminal: Terminal): string {
  const { base, tensors, entries, leftOut, skipped, density, models, warnings } = comparison;
  const summary: [string, string][] = [
    ["base", base],
    ["compared", `${countOf(tensors.length, "tensor")}, ${countOf(entries, "parameter")}`],
    ["left out", `${countOf(leftOut.length, "tensor")} of the base, ${countText(skipped.length)} of the models`],
    ["trim", `the largest ${percentText(density)} of each change`],
  ];
  return [
    facts(summary, terminal),
    changeTable(comparison, terminal),
    ...(models.length < 2 ? [] : [cosineTable(comparison, terminal), conflictTable(comparison, terminal)]),
    ...warningList(warnings, terminal),
  ].join("\n\n");
}

function changeTable({ models }: Comparison, terminal: Terminal): string {
  const numbers = ["norm of change", "unchanged", "largest", "threshold", "kept", "energy kept"];
  const columns: Column[] = [{ head: "model" }, ...numbers.map((head) => ({ head, ...RIGHT }))];
  const rows = models.map(({ name, norm, zeroShare, largest, threshold, kept, keptEnergy }) => [
    name,
    numberText(norm),
    percentText(zeroShare),
    numberText(largest),
    numberText(threshold),
    countText(kept),
    Number.isNaN(keptEnergy) ? "" : percentText(keptEnergy),
  ]);
  return table(columns, rows, terminal);
}

/** Columns by number, so that many models fit side by side. */
function cosineTable({ models, cosine }: Comparison, terminal: Terminal): string {
  const columns: Column[] = [{ head: "cosine" }, ...models.map((_, index) => ({ head: String(index + 1), ...RIGHT }))];
  const rows = models.map(({ name }, index) => [
    `${index + 1} ${name}`,
    ...cosine[index]!.map((value) => (Number.isNaN(value) ? "none" : value.toFixed(3))),
  ]);
  return table(columns, rows, terminal);
}

function conflictTable({ signs }: Comparison, terminal: Terminal): string {
  const heads = ["conflicts", "of all", "of shared", "trimmed", "of all", "of shared"];
  const columns: Column[] = [{ head: "models" }, ...heads.map((head) => ({ head, ...RIGHT }))];
  const rows = signs.map(({ models, untrimmed, trimmed }) => [
    `first ${models}`,
    ...conflictCells(untrimmed),
    ...conflictCells(trimmed),
  ]);
  return table(columns, rows, terminal);
}

function conflictCells({ conflicts, share, shareOfShared }: ConflictFigures): string[] {
  return [countText(conflicts), percentText(share), percentText(shareOfShared)];
}
