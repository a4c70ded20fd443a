/** A search as a table for people. */

import { valueText } from "../report/evaluation.js";
import { markdownTable, plainText } from "../report/markdown.js";
import { countOf, durationText } from "../report/units.js";
import type { SearchResult } from "./search.js";

/** Candidates shown; --json has all of them. */
const SHOWN = 20;

/** A Markdown table of the candidates, the best first, and below it what the numbers are. */
export function searchTable({
  candidates,
  best,
  over,
  metric,
  better,
  split,
  onTestData,
  seconds,
}: SearchResult): string {
  const fields = over.map(({ field }) => field);
  const tasks = best.tasks.map(({ name }) => name);
  const sign = better === "higher" ? -1 : 1;
  const ranked = [...candidates].sort((a, b) => sign * (a.mean - b.mean));
  const rows = ranked
    .slice(0, SHOWN)
    .map(({ values, mean, tasks: scores }) => [
      ...fields.map((field) => String(values[field]!)),
      valueText(metric, mean),
      ...scores.map(({ value }) => valueText(metric, value)),
    ]);
  const known = candidates.filter((candidate) => candidate.known).length;
  const chosen = fields.map((field) => `${field}=${best.values[field]!}`).join(", ");
  const told = [
    `best: ${chosen}, mean ${metric} ${valueText(metric, best.mean)} on the split ${split}`,
    `${countOf(candidates.length, "candidate")}, ${known} of them in the ledger; ${durationText(seconds)}`,
    ...(ranked.length > SHOWN ? [`the ${SHOWN} best of ${ranked.length} are shown; --json prints all`] : []),
    ...(onTestData ? ["searched on test data: the same data say nothing about how good the result is"] : []),
  ];
  const head = [...fields, "mean", ...tasks].map(plainText);
  return [markdownTable(head, rows), told.map((line) => `- ${plainText(line)}`).join("\n")].join("\n\n");
}
