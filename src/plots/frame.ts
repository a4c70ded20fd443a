/** What charts have in common: the legend, the numbers beside the y axis, the labels. */

import type { ScaleLinear } from "d3-scale";
import type { ChartAxis, NumberForm } from "./chart.js";
import { element, escapeText, textWidth } from "./svg.js";
import { axisLine, gridLine, ink } from "./theme.js";

/** Where values are drawn, in pixels. */
export interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

const LEGEND_TOP = 52;
const LEGEND_LINE = 20;
const LEGEND_TEXT = 12;

/** @param mark draws a series' mark around a place. */
export function legend(
  names: readonly string[],
  width: number,
  mark: (index: number, x: number, y: number) => string,
): { readonly drawn: string[]; readonly bottom: number } {
  const drawn: string[] = [];
  let [x, y] = [20, LEGEND_TOP];
  for (const [index, name] of names.entries()) {
    const needed = 28 + textWidth(name, LEGEND_TEXT) + 14;
    if (x > 20 && x + needed > width - 10) [x, y] = [20, y + LEGEND_LINE];
    drawn.push(mark(index, x + 9, y));
    drawn.push(element("text", { x: x + 24, y: y + 4, "font-size": LEGEND_TEXT, ...ink("text") }, [escapeText(name)]));
    x += needed;
  }
  return { drawn, bottom: names.length === 0 ? LEGEND_TOP - 10 : y + 14 };
}

type Anchor = "start" | "middle" | "end";

export function label(
  text: string,
  { x, y, anchor = "middle", turned }: { x: number; y: number; anchor?: Anchor; turned?: number },
  strength: "text" | "faint" = "faint",
): string {
  const transform = turned === undefined ? undefined : `rotate(${turned} ${Math.round(x)} ${Math.round(y)})`;
  return element("text", { x, y, "text-anchor": anchor, "font-size": 12, transform, ...ink(strength) }, [
    escapeText(text),
  ]);
}

/** Grid lines, numbers and label of the y axis. */
export function yAxis(scale: ScaleLinear<number, number>, axis: ChartAxis, frame: Frame): string[] {
  const { left, right, top, bottom } = frame;
  const write = tickText(scale, axis.form);
  return [
    ...scale.ticks(6).flatMap((value) => {
      const y = scale(value);
      return [
        element("line", { x1: left, x2: right, y1: y, y2: y, ...gridLine }),
        label(write(value), { x: left - 8, y: y + 4, anchor: "end" }),
      ];
    }),
    label(axis.label, { x: 20, y: (top + bottom) / 2, turned: -90 }, "text"),
  ];
}

export function xLine({ left, right, bottom }: Frame): string {
  return element("line", { x1: left, x2: right, y1: bottom, y2: bottom, ...axisLine });
}

export function tickText(scale: ScaleLinear<number, number>, form: NumberForm = "number"): (value: number) => string {
  return form === "percent" ? scale.tickFormat(6, "%") : scale.tickFormat(6);
}

/** A value as a reader is told it. */
export function valueTold(value: number, form: NumberForm = "number"): string {
  return form === "percent" ? `${(100 * value).toFixed(2)} %` : String(Number(value.toPrecision(5)));
}
