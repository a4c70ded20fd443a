/** Charts as SVG: text alone, so they can be drawn anywhere and compared byte by byte. */

import { drawBars } from "./bars.js";
import type { Chart } from "./chart.js";
import { drawHeatMap } from "./heat_map.js";
import { drawLines } from "./lines.js";

/**
 * @returns an SVG file, readable on light and dark pages.
 * @throws RangeError for a value that is not finite.
 */
export function drawChart(chart: Chart): string {
  const wrong = numbersOf(chart).find((value) => !Number.isFinite(value));
  if (wrong !== undefined) throw new RangeError(`a chart cannot show ${wrong}`);
  switch (chart.kind) {
    case "lines":
      return drawLines(chart);
    case "bars":
      return drawBars(chart);
    case "heat-map":
      return drawHeatMap(chart);
  }
}

function numbersOf(chart: Chart): number[] {
  if (chart.kind === "heat-map") return chart.values.flat().filter((value) => value !== null);
  if (chart.kind === "bars") return chart.series.flatMap(({ values }) => values.filter((value) => value !== null));
  const points = chart.series.flatMap(({ points: some }) => some);
  const references = (chart.references ?? []).map(({ y }) => y);
  return [...references, ...points.flatMap(({ x, y, low = y, high = y }) => [x, y, low, high])];
}

/** The data of a chart as the file beside its picture. */
export function chartText(chart: Chart): string {
  return `${JSON.stringify(chart, null, 2)}\n`;
}
