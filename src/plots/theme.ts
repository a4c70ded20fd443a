/**
 * Colours and letters of all pictures. Attributes hold those for light surroundings, so that programs without style
 * sheets draw the picture too; a style sheet replaces them in dark ones. The picture has a ground of its own, so it can be
 * read on any page.
 */

import { type Attributes, element } from "./svg.js";

const INK = { ground: ["#ffffff", "#16191d"], text: ["#22262b", "#e4e7eb"], faint: ["#5f6872", "#9aa4af"] } as const;
const STRONG = ["#22262b", "#e4e7eb"] as const;
const GRID = ["#e3e6ea", "#2d333b"] as const;

/** Told apart by people who see no red or no green too; light, dark. */
const SERIES = [
  ["#0072b2", "#56b4e9"],
  ["#d55e00", "#ff8f4c"],
  ["#009e73", "#35d0a2"],
  ["#b0488f", "#ec9ccb"],
  ["#b8860b", "#f2c14e"],
  ["#5a4fa3", "#a9a1f0"],
  ["#7a7f87", "#b4bac2"],
  ["#8c3b2a", "#d98b7b"],
] as const;

/** Colours repeat where there are more series; then marks differ. */
export const COLOURS = SERIES.length;

const FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif";

type Ink = keyof typeof INK;

export const ink = (name: Ink): Attributes => ({ class: `f-${name}`, fill: INK[name][0] });
export const gridLine: Attributes = { class: "s-grid", stroke: GRID[0] };
export const axisLine: Attributes = { class: "s-faint", stroke: INK.faint[0] };
export const seriesFill = (index: number): Attributes => ({
  class: `f-${index % COLOURS}`,
  fill: SERIES[index % COLOURS]![0],
});
export const seriesStroke = (index: number): Attributes => ({
  class: `s-${index % COLOURS}`,
  stroke: SERIES[index % COLOURS]![0],
  fill: "none",
});
export const strongFill: Attributes = { class: "f-strong", fill: STRONG[0] };
export const strongStroke: Attributes = { class: "s-strong", stroke: STRONG[0], fill: "none" };

function darkRules(): string {
  const inks = Object.entries(INK).map(([name, [, dark]]) => `.f-${name}{fill:${dark}}`);
  const strokes = [
    `.f-strong{fill:${STRONG[1]}}.s-strong{stroke:${STRONG[1]}}`,
    `.s-grid{stroke:${GRID[1]}}`,
    `.s-faint{stroke:${INK.faint[1]}}`,
  ];
  const series = SERIES.map(([, dark], index) => `.f-${index}{fill:${dark}}.s-${index}{stroke:${dark}}`);
  return [...inks, ...strokes, ...series].join("");
}

/** The whole picture: ground, name and description for screen readers, content. */
export function picture(
  { title, description }: { readonly title: string; readonly description: string },
  size: { readonly width: number; readonly height: number },
  content: readonly string[],
  text: (text: string) => string,
): string {
  const { width, height } = size;
  const head = [
    element("title", { id: "title" }, [text(title)]),
    element("desc", { id: "description" }, [text(description)]),
    element("style", {}, [`@media (prefers-color-scheme: dark){${darkRules()}}`]),
    element("rect", { width, height, rx: 8, ...ink("ground") }),
    element("text", { x: 20, y: 30, "font-size": 16, "font-weight": 600, ...ink("text") }, [text(title)]),
  ];
  return `${element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      viewBox: `0 0 ${Math.round(width)} ${Math.round(height)}`,
      width,
      height,
      role: "img",
      "aria-labelledby": "title description",
      "font-family": FONT,
    },
    ["", ...head, ...content].map((part) => `${part}\n`),
  )}\n`;
}
