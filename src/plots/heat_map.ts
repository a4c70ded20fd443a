import { scaleLinear } from "d3-scale";
import type { HeatMap } from "./chart.js";
import { label, valueTold } from "./frame.js";
import { element, escapeText, textWidth } from "./svg.js";
import { ink, picture } from "./theme.js";

const CELL_HEIGHT = 30;
const [NARROWEST_CELL, WIDEST_CELL] = [44, 92];
/** From little to much; even steps of lightness, told apart without hue. */
const COLOURS = ["#f2f0e6", "#a9d5c0", "#4fa3b5", "#2b6aa0", "#1c2c63"];
/** From this share of the scale on, dark letters cannot be read. */
const DARK_FROM = 0.5;

export function drawHeatMap(chart: HeatMap): string {
  const { rows, columns, values, form } = chart;
  const known = values.flat().filter((value) => value !== null);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const share = (value: number) => (most === least ? 0 : (value - least) / (most - least));
  const colour = scaleLinear(
    COLOURS.map((_, index) => index / (COLOURS.length - 1)),
    COLOURS,
  );
  const written = (value: number) => (form === "percent" ? (100 * value).toFixed(1) : valueTold(value));
  const widest = Math.max(
    ...columns.map((name) => textWidth(name, 12)),
    ...known.map((v) => textWidth(written(v), 12)),
  );
  const cell = Math.min(WIDEST_CELL, Math.max(NARROWEST_CELL, widest + 14));
  const left = 56 + Math.max(...rows.map((name) => textWidth(name, 12)));
  const [top, right] = [78, left + cell * columns.length];
  const bottom = top + CELL_HEIGHT * rows.length;
  const cells = rows.flatMap((row, r) =>
    columns.flatMap((column, c) => {
      const value = values[r]![c] ?? null;
      if (value === null) return [];
      const place = { x: left + c * cell, y: top + r * CELL_HEIGHT, width: cell - 1, height: CELL_HEIGHT - 1 };
      const told = `${row}, ${column}: ${valueTold(value, form)}`;
      const letters = share(value) >= DARK_FROM ? "#ffffff" : "#22262b";
      const at = { x: place.x + cell / 2, y: place.y + 19, "text-anchor": "middle", "font-size": 12, fill: letters };
      return [
        element("rect", { ...place, fill: colour(share(value)) }, [element("title", {}, [escapeText(told)])]),
        element("text", at, [escapeText(written(value))]),
      ];
    }),
  );
  const unit = form === "percent" ? " (cells: %)" : "";
  const content = [
    element("text", { x: (left + right) / 2, y: 52, "text-anchor": "middle", "font-size": 12, ...ink("text") }, [
      escapeText(`${chart.columnLabel}${unit}`),
    ]),
    ...columns.map((name, c) => label(name, { x: left + (c + 0.5) * cell, y: top - 8 })),
    ...rows.map((name, r) => label(name, { x: left - 8, y: top + r * CELL_HEIGHT + 19, anchor: "end" })),
    label(chart.rowLabel, { x: 20, y: (top + bottom) / 2, turned: -90 }, "text"),
    ...cells,
  ];
  const width = Math.max(right + 20, 40 + textWidth(chart.title, 16));
  return picture(chart, { width, height: bottom + 20 }, content, escapeText);
}
