import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { BarChart, Chart, HeatMap, LineChart } from "./chart.js";
import { chartText, drawChart } from "./draw.js";

const lines: LineChart = {
  kind: "lines",
  title: "Accuracy <& lambda>\u0000\ud800",
  description: 'how "far" to go',
  x: { label: "lambda" },
  y: { label: "accuracy", form: "percent", from: 0, to: 1 },
  series: [
    {
      name: "ties",
      points: [
        { x: 0, y: 0.5, low: 0.4, high: 0.6 },
        { x: 1, y: 0.75, low: 0.7, high: 0.8 },
      ],
    },
    { name: "average", points: [{ x: 0.5, y: 0.25 }] },
  ],
  references: [{ name: "individual", y: 0.9 }],
};
const bars: BarChart = {
  kind: "bars",
  title: "bars",
  description: "",
  y: { label: "accuracy", from: 0, to: 1 },
  groups: ["mnist", "latin"],
  series: [
    { name: "a", values: [0.5, 1] },
    { name: "b", values: [0.25, null] },
  ],
};
const heat: HeatMap = {
  kind: "heat-map",
  title: "heat",
  description: "",
  rows: ["r"],
  columns: ["c", "d", "e"],
  rowLabel: "rows",
  columnLabel: "columns",
  values: [[0, null, 2]],
};

/** Elements of a name with their attributes and what is in them; anything malformed is an error. */
function elements(svg: string, name?: string) {
  const found: { name: string; attributes: Record<string, string>; text: string }[] = [];
  const open: number[] = [];
  const token = /<(\/?)([a-z]+)((?: [\w:-]+="[^"<]*")*)(\/?)>|([^<]+)/gy;
  for (let at = 0; at < svg.length; at = token.lastIndex) {
    token.lastIndex = at;
    const match = token.exec(svg);
    assert.ok(match !== null, `not XML at ${svg.slice(at, at + 40)}`);
    const [, closing, tag, attributes = "", alone, text] = match;
    if (text !== undefined) {
      assert.doesNotMatch(text, /&(?!amp;|lt;|gt;|quot;)/);
      for (const index of open) found[index]!.text += text;
    } else if (closing) assert.equal(found[open.pop()!]!.name, tag);
    else {
      const pairs = [...attributes.matchAll(/ ([\w:-]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!] as const);
      found.push({ name: tag!, attributes: Object.fromEntries(pairs), text: "" });
      if (!alone) open.push(found.length - 1);
    }
  }
  assert.deepEqual(open, []);
  return found.filter((one) => name === undefined || one.name === name);
}

const numbers = (text: string) => [...text.matchAll(/-?[\d.]+/g)].map(([number]) => Number(number));

describe("charts as SVG", () => {
  it("are well-formed, named and described for those who do not see them, the same bytes each time", () => {
    for (const chart of [lines, bars, heat] satisfies Chart[]) {
      const svg = drawChart(chart);
      assert.equal(drawChart(structuredClone(chart)), svg);
      const [root, title] = elements(svg);
      assert.equal(root!.name, "svg");
      assert.equal(root!.attributes["aria-labelledby"], "title description");
      assert.equal(title!.attributes["id"], "title");
      assert.match(svg, /prefers-color-scheme: dark/);
      assert.doesNotMatch(svg, /NaN|undefined|Infinity|\d\.\d{3}/);
    }
    assert.match(drawChart(lines), /Accuracy &lt;&amp; lambda&gt;\ufffd\ufffd<[^]*how &quot;far&quot; to go/);
  });

  it("lines: points at their places, a band where all points have one, lines to compare with", () => {
    const svg = drawChart(lines);
    const paths = elements(svg, "path").map(({ attributes }) => attributes);
    const line = numbers(paths.find(({ class: c, transform }) => c === "s-0" && transform === undefined)!["d"]!);
    const [x0, y0, x1, y1] = line as [number, number, number, number];
    const reference = elements(svg, "line").filter(({ attributes }) => "stroke-dasharray" in attributes);
    assert.equal(reference.length, 2, "in the legend and in the chart");
    const y90 = Number(reference[1]!.attributes["y1"]);
    // 0.5, 0.75 and 0.9 on one scale.
    assert.ok(Math.abs((y0 - y1) / 0.25 - (y1 - y90) / 0.15) < 0.2);
    const lone = paths.findLast(({ class: c, transform }) => c === "f-1" && transform !== undefined)!;
    assert.ok(Math.abs(numbers(lone["transform"]!)[0]! - (x0 + x1) / 2) < 0.02);
    assert.equal(paths.filter(({ "fill-opacity": opacity }) => opacity !== undefined).length, 1);
    assert.ok(elements(svg, "title").some(({ text }) => text === "ties: 1, 75.00 %"));
    assert.ok(elements(svg, "text").some(({ text }) => text === "80%"));
  });

  it("bars: as high as their values, with a gap where there is none", () => {
    const drawn = elements(drawChart(bars), "rect").filter(({ text }) => text !== "");
    assert.deepEqual(
      drawn.map(({ text }) => text),
      ["mnist, a: 0.5", "mnist, b: 0.25", "latin, a: 1"],
    );
    const heights = drawn.map(({ attributes }) => Number(attributes["height"]));
    assert.ok(Math.abs(heights[0]! - 2 * heights[1]!) < 0.02 && Math.abs(heights[2]! - 2 * heights[0]!) < 0.02);
  });

  it("heat maps: a colour and a number per cell", () => {
    const svg = drawChart(heat);
    const cells = elements(svg, "rect").filter(({ text }) => text !== "");
    assert.deepEqual(
      cells.map(({ text }) => text),
      ["r, c: 0", "r, e: 2"],
    );
    assert.deepEqual(
      cells.map(({ attributes }) => attributes["fill"]),
      ["rgb(242, 240, 230)", "rgb(28, 44, 99)"],
    );
  });

  it("equal values, one value, none: still a picture", () => {
    const flat = { ...lines, y: { label: "y" }, series: [{ name: "a", points: [{ x: 1, y: 3 }] }], references: [] };
    elements(drawChart(flat));
    elements(drawChart({ ...bars, y: { label: "y" }, series: [{ name: "a", values: [0, null] }] }));
    elements(drawChart({ ...heat, values: [[1, 1, 1]] }));
  });

  it("what is not finite is an error", () => {
    assert.throws(() => drawChart({ ...heat, values: [[0, 1, Number.NaN]] }), /cannot show NaN/);
    assert.throws(() => drawChart({ ...bars, series: [{ name: "a", values: [Infinity, 1] }] }), /Infinity/);
  });

  it("data beside the picture hold all of it", () => assert.deepEqual(JSON.parse(chartText(lines)), lines));
});
