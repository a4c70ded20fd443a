import type { Chart, NumberForm } from "../plots/chart.js";
import { valueTold } from "../plots/frame.js";
import { markdownTable, plainText } from "../report/markdown.js";

/** A chart's numbers as a Markdown table. */
export function curveTable(chart: Chart): string {
  if (chart.kind === "heat-map") {
    const rows = chart.rows.map((name, at) => [
      plainText(name),
      ...chart.values[at]!.map((value) => cell(value, chart.form)),
    ]);
    return markdownTable(["", ...chart.columns].map(plainText), rows);
  }
  const names = chart.series.map(({ name }) => plainText(name));
  if (chart.kind === "bars") {
    const rows = chart.groups.map((group, at) => [
      plainText(group),
      ...chart.series.map(({ values }) => cell(values[at] ?? null, chart.y.form)),
    ]);
    return markdownTable(["", ...names], rows);
  }
  const places = [...new Set(chart.series.flatMap(({ points }) => points.map(({ x }) => x)))].toSorted((a, b) => a - b);
  const rows = places.map((x) => [
    cell(x, chart.x.form),
    ...chart.series.map(({ points }) => cell(points.find((point) => point.x === x)?.y ?? null, chart.y.form)),
  ]);
  return markdownTable([plainText(chart.x.label), ...names], rows);
}

function cell(value: number | null, form: NumberForm | undefined): string {
  return value === null ? "" : valueTold(value, form);
}
