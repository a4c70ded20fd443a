/** A search as a table for people. */

import { valueText } from "../report/evaluation.js";
import { markdownTable, plainText } from "../report/markdown.js";
import { countOf, durationText } from "../report/units.js";
import { isHigherBetter } from "./objective.js";
import type { Candidate, SearchResult } from "./search.js";
import type { SoupResult } from "./soup.js";

/** Candidates shown; --json has all of them. */
const SHOWN = 20;

type Told = Omit<SearchResult, "seed" | "over">;

/** A Markdown table of the candidates, the best first, and below it what the numbers are. */
export function searchTable(result: SearchResult): string {
  const { over, best } = result;
  const fields = over.map(({ field }) => field);
  const chosen = fields.map((field) => `${field}=${best.values[field]!}`).join(", ");
  return tableOf(result, fields, ({ values }) => fields.map((field) => String(values[field]!)), chosen);
}

/** The same of a soup; each row is what was averaged. */
export function soupTable(result: SoupResult): string {
  return tableOf(result, ["models"], ({ values }) => [Object.keys(values).join(" + ")], result.soup.join(" + "));
}

function tableOf(
  { candidates, best, metric, better, objective, split, onTestData, seconds }: Told,
  columns: readonly string[],
  cells: (candidate: Candidate) => readonly string[],
  chosen: string,
): string {
  const sign = isHigherBetter(better, objective) ? -1 : 1;
  const ranked = [...candidates].sort((a, b) => sign * (a.objective - b.objective));
  const isNormalised = objective === "normalised";
  const rows = ranked
    .slice(0, SHOWN)
    .map((candidate) => [
      ...cells(candidate),
      ...(isNormalised ? [candidate.objective.toFixed(4)] : []),
      valueText(metric, candidate.mean),
      ...candidate.tasks.map(({ value }) => valueText(metric, value)),
    ]);
  const known = candidates.filter((candidate) => candidate.known).length;
  const normalised = isNormalised ? `${best.objective.toFixed(4)} of the individual models, ` : "";
  const told = [
    `best: ${chosen}, ${normalised}mean ${metric} ${valueText(metric, best.mean)} on the split ${split}`,
    `${countOf(candidates.length, "candidate")}, ${known} of them in the ledger; ${durationText(seconds)}`,
    ...(ranked.length > SHOWN ? [`the ${SHOWN} best of ${ranked.length} are shown; --json prints all`] : []),
    ...(onTestData ? ["searched on test data: the same data say nothing about how good the result is"] : []),
  ];
  const tasks = best.tasks.map(({ name }) => name);
  const head = [...columns, ...(isNormalised ? ["normalised"] : []), "mean", ...tasks].map(plainText);
  return [markdownTable(head, rows), told.map((line) => `- ${plainText(line)}`).join("\n")].join("\n\n");
}
