/** What a search varies: one number of a recipe, over some values or between two ends. */

import { MergewrightError } from "../errors.js";
import { readDecimal } from "../recipe/tree.js";

export type Axis = ListAxis | RangeAxis;

export interface ListAxis {
  /** Where the number stands: `parameters.lambda`, `models.mnist.weight`, `models.*.weight`, `lines.beta`. */
  readonly field: string;
  readonly values: readonly number[];
}

/** Any number between two ends, both included. */
export interface RangeAxis {
  readonly field: string;
  readonly from: number;
  readonly to: number;
}

/** More candidates would not be tried in a lifetime of anyone's machine. */
const MOST_CANDIDATES = 100_000;
/** Digits of a number between two ends. */
const DIGITS = 6;

/** @param text `FIELD=` and what `readPart` takes, several with commas between them; or `FIELD=FROM:TO`. */
export function parseAxis(text: string): Axis {
  const sign = text.indexOf("=");
  const field = text.slice(0, sign).trim();
  const written = text.slice(sign + 1).trim();
  const ends = /^([^:,]+):([^:,]+)$/.exec(written);
  const [from, to] = (ends ?? []).slice(1).map((part) => readDecimal(part.trim()));
  const values = ends === null ? valuesOf(written) : undefined;
  if (sign > 0 && field !== "") {
    if (values !== undefined && values.length > 0) return { field, values };
    if (from !== undefined && to !== undefined && from < to) return { field, from, to };
  }
  throw new MergewrightError("what to search over cannot be read", {
    kind: "request",
    code: "usage",
    where: { key: `--over ${text}` },
    expected:
      "FIELD=FROM:TO:STEP, such as parameters.lambda=0.1:1.0:0.1, FIELD=FROM:TO with FROM below TO, or FIELD=A,B,C",
    ...(values?.length === 0 && { found: "no value" }),
  });
}

function valuesOf(written: string): number[] | undefined {
  const parts = written.split(",").map(readPart);
  return parts.every((part) => part !== undefined) ? [...new Set(parts.flat())] : undefined;
}

/** A number, or `FROM:TO:STEP`. */
function readPart(text: string): number[] | undefined {
  const numbers = text.split(":").map((part) => readDecimal(part.trim()));
  const [from, to, step] = numbers;
  if (from === undefined) return undefined;
  if (numbers.length === 1) return [from];
  if (numbers.length !== 3 || to === undefined || step === undefined || !(step > 0)) return undefined;
  // A step that does not quite reach the end by rounding reaches it.
  const count = Math.floor((to - from) / step + 1e-9) + 1;
  if (!(count <= MOST_CANDIDATES)) return undefined;
  return Array.from({ length: Math.max(0, count) }, (_, index) => Number((from + index * step).toPrecision(12)));
}

/** The value at a place between 0 and 1 of an axis. */
export function valueAt(axis: Axis, place: number): number {
  const inside = Math.min(1, Math.max(0, place));
  if ("values" in axis) return axis.values[Math.round(inside * (axis.values.length - 1))]!;
  return Number((axis.from + inside * (axis.to - axis.from)).toPrecision(DIGITS));
}

/** How far apart places of an axis must be to make a difference. */
export function stepOf(axis: Axis): number {
  return "values" in axis ? 1 / Math.max(1, axis.values.length - 1) : 1 / 128;
}

/** Every combination of the axes' values; the last axis varies fastest. @throws usage where there are too many. */
export function gridOf(axes: readonly Axis[]): number[][] {
  const lists = axes.map((axis) => {
    if ("values" in axis) return axis.values;
    throw new MergewrightError("a grid needs steps", {
      kind: "request",
      code: "usage",
      where: { key: `--over ${axis.field}=${axis.from}:${axis.to}` },
      expected: "FIELD=FROM:TO:STEP or FIELD=A,B,C",
      advice: "write a step, or search with --method sobol, coordinate or cma-es",
    });
  });
  const count = lists.reduce((product, values) => product * values.length, 1);
  if (count > MOST_CANDIDATES) {
    throw new MergewrightError("the grid has too many candidates", {
      kind: "request",
      code: "usage",
      where: { key: "--over" },
      expected: `at most ${MOST_CANDIDATES}`,
      found: String(count),
      advice: "take larger steps, search over fewer fields at once, or with another --method",
    });
  }
  return lists.reduce<number[][]>(
    (rows, values) => rows.flatMap((row) => values.map((value) => [...row, value])),
    [[]],
  );
}
