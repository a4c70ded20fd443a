import { scaleBand, scaleLinear } from "d3-scale";
import type { BarChart } from "./chart.js";
import { type Frame, label, legend, valueTold, xLine, yAxis } from "./frame.js";
import { element, escapeText, textWidth } from "./svg.js";
import { picture, seriesFill } from "./theme.js";

const PLOT_HEIGHT = 320;
/** A bar is about as wide as this. */
const BAR = 13;
const [NARROWEST, WIDEST] = [640, 1280];

export function drawBars(chart: BarChart): string {
  const { groups, series } = chart;
  const bars = groups.length * (series.length + 1.5);
  const width = Math.min(WIDEST, Math.max(NARROWEST, 100 + bars * BAR));
  const head = legend(
    series.map(({ name }) => name),
    width,
    (index, x, y) => element("rect", { x: x - 6, y: y - 6, width: 12, height: 12, rx: 2, ...seriesFill(index) }),
  );
  const frame: Frame = { left: 76, right: width - 20, top: head.bottom, bottom: head.bottom + PLOT_HEIGHT };
  const values = series.flatMap((one) => one.values.filter((value) => value !== null));
  const { from = Math.min(0, ...values), to = Math.max(0, ...values) } = chart.y;
  const y = scaleLinear([from, to === from ? from + 1 : to], [frame.bottom, frame.top + 6]);
  if (chart.y.to === undefined) y.nice(6);
  const group = scaleBand(
    groups.map((_, index) => index),
    [frame.left, frame.right],
  )
    .paddingInner(0.18)
    .paddingOuter(0.1);
  const inner = scaleBand(
    series.map((_, index) => index),
    [0, group.bandwidth()],
  );
  const zero = y(Math.max(from, Math.min(0, to)));
  const drawn = groups.flatMap((name, at) =>
    series.flatMap((one, index) => {
      const value = one.values[at] ?? null;
      if (value === null) return [];
      const [top, bottom] = [Math.min(zero, y(value)), Math.max(zero, y(value))];
      const told = `${name}, ${one.name}: ${valueTold(value, chart.y.form)}`;
      const place = { x: group(at)! + inner(index)!, y: top, width: inner.bandwidth() * 0.9, height: bottom - top };
      return element("rect", { ...place, ...seriesFill(index) }, [element("title", {}, [escapeText(told)])]);
    }),
  );
  const turned = groups.some((name) => textWidth(name, 12) > group.step()) ? -35 : undefined;
  const names = groups.map((name, at) => {
    const x = group(at)! + group.bandwidth() / 2;
    return turned === undefined
      ? label(name, { x, y: frame.bottom + 18 }, "text")
      : label(name, { x: x + 4, y: frame.bottom + 16, anchor: "end", turned }, "text");
  });
  const room = turned === undefined ? 34 : 24 + 0.6 * Math.max(...groups.map((name) => textWidth(name, 12)));
  const content = [...head.drawn, ...yAxis(y, chart.y, frame), ...drawn, xLine(frame), ...names];
  return picture(chart, { width, height: frame.bottom + room }, content, escapeText);
}
