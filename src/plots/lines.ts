import { type ScaleLinear, scaleLinear } from "d3-scale";
import {
  area,
  line,
  symbol,
  symbolCircle,
  symbolCross,
  symbolDiamond,
  symbolSquare,
  symbolStar,
  symbolTriangle,
} from "d3-shape";
import type { ChartAxis, LineChart, LinePoint, LineSeries } from "./chart.js";
import { type Frame, label, legend, tickText, valueTold, xLine, yAxis } from "./frame.js";
import { type Attributes, element, escapeText, pixels, rounded } from "./svg.js";
import { axisLine, gridLine, picture, seriesFill, seriesStroke, strongFill, strongStroke } from "./theme.js";

const [WIDTH, PLOT_HEIGHT] = [760, 340];
const MARKS = [symbolCircle, symbolSquare, symbolTriangle, symbolDiamond, symbolCross, symbolStar];
const MARK_AREA = 46;

export function drawLines(chart: LineChart): string {
  const { series, references = [] } = chart;
  const names = [...series.map(({ name }) => name), ...references.map(({ name }) => name)];
  const head = legend(names, WIDTH, (index, x, y) =>
    index < series.length
      ? legendMark(series[index]!, index, x, y)
      : referenceLine(index - series.length, x - 10, x + 10, y),
  );
  const frame: Frame = { left: 76, right: WIDTH - 24, top: head.bottom, bottom: head.bottom + PLOT_HEIGHT };
  const points = series.flatMap((one) => one.points);
  const x = scaleOf(
    chart.x,
    points.map((point) => point.x),
    [frame.left + 12, frame.right - 12],
    false,
  );
  const heights = points.flatMap(({ y, low = y, high = y }) => [y, low, high]);
  const y = scaleOf(chart.y, [...heights, ...references.map((one) => one.y)], [frame.bottom, frame.top + 6], true);
  const content = [
    ...head.drawn,
    ...yAxis(y, chart.y, frame),
    ...xAxis(x, chart.x, frame),
    ...references.map((one, index) => referenceLine(index, frame.left, frame.right, y(one.y))),
    ...series.flatMap((one, index) => drawSeries(one, index, x, y, chart)),
  ];
  return picture(chart, { width: WIDTH, height: frame.bottom + 56 }, content, escapeText);
}

function scaleOf(
  { from, to }: ChartAxis,
  values: readonly number[],
  range: [number, number],
  round: boolean,
): ScaleLinear<number, number> {
  const [least, most] = [from ?? Math.min(...values), to ?? Math.max(...values)];
  // A line of one height still has a place in the middle.
  const spread = least === most ? Math.abs(least) || 1 : 0;
  const scale = scaleLinear([least - spread / 2, most + spread / 2], range);
  return round && (from === undefined || to === undefined) ? scale.nice(6) : scale;
}

function xAxis(scale: ScaleLinear<number, number>, axis: ChartAxis, frame: Frame): string[] {
  const write = tickText(scale, axis.form);
  return [
    ...scale.ticks(8).flatMap((value) => {
      const x = scale(value);
      return [
        element("line", { x1: x, x2: x, y1: frame.top, y2: frame.bottom, ...gridLine }),
        label(write(value), { x, y: frame.bottom + 18 }),
      ];
    }),
    xLine(frame),
    label(axis.label, { x: (frame.left + frame.right) / 2, y: frame.bottom + 40 }, "text"),
  ];
}

function drawSeries(
  one: LineSeries,
  index: number,
  x: ScaleLinear<number, number>,
  y: ScaleLinear<number, number>,
  chart: LineChart,
): string[] {
  const { name, points } = one;
  const path = line<LinePoint>(
    (point) => x(point.x),
    (point) => y(point.y),
  )([...points])!;
  return [
    ...band(one, index, x, y),
    element("path", { d: rounded(path), "stroke-linejoin": "round", ...strokeOf(one, index) }),
    ...points.map((point) => {
      const told = `${name}: ${valueTold(point.x, chart.x.form)}, ${valueTold(point.y, chart.y.form)}`;
      return mark(fillOf(one, index), index, x(point.x), y(point.y), told);
    }),
  ];
}

function band(
  one: LineSeries,
  index: number,
  x: ScaleLinear<number, number>,
  y: ScaleLinear<number, number>,
): string[] {
  const { points } = one;
  if (!points.every(({ low, high }) => low !== undefined && high !== undefined)) return [];
  const path = area<LinePoint>(
    (point) => x(point.x),
    (point) => y(point.low!),
    (point) => y(point.high!),
  )([...points])!;
  return [element("path", { d: rounded(path), "fill-opacity": "0.16", ...fillOf(one, index) })];
}

function mark(fill: Attributes, index: number, x: number, y: number, told: string): string {
  const path = symbol(MARKS[index % MARKS.length], MARK_AREA)()!;
  const place = `translate(${pixels(x)} ${pixels(y)})`;
  return element("path", { d: rounded(path), transform: place, ...fill }, [element("title", {}, [escapeText(told)])]);
}

const fillOf = ({ strong }: LineSeries, index: number) => (strong ? strongFill : seriesFill(index));
const strokeOf = ({ strong }: LineSeries, index: number) =>
  strong ? { "stroke-width": 3, ...strongStroke } : { "stroke-width": 2, ...seriesStroke(index) };

function legendMark(one: LineSeries, index: number, x: number, y: number): string {
  const path = symbol(MARKS[index % MARKS.length], MARK_AREA)()!;
  return [
    element("line", { x1: x - 10, x2: x + 10, y1: y, y2: y, ...strokeOf(one, index) }),
    element("path", { d: rounded(path), transform: `translate(${pixels(x)} ${pixels(y)})`, ...fillOf(one, index) }),
  ].join("");
}

const DASHES = ["6 4", "2 3", "10 3 2 3"];

function referenceLine(index: number, left: number, right: number, y: number): string {
  const dash = DASHES[index % DASHES.length]!;
  return element("line", {
    x1: left,
    x2: right,
    y1: y,
    y2: y,
    "stroke-width": "1.5",
    "stroke-dasharray": dash,
    ...axisLine,
  });
}
