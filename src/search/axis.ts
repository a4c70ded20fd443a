/** What a search varies: one number of a recipe, over some values. */

import { MergewrightError } from "../errors.js";
import { readDecimal } from "../recipe/tree.js";

export interface Axis {
  /** Where the number stands: `parameters.lambda`, `models.mnist.weight`, `lines.beta`. */
  readonly field: string;
  readonly values: readonly number[];
}

/** More candidates would not be tried in a lifetime of anyone's machine. */
const MOST_CANDIDATES = 100_000;

/** @param text `FIELD=FROM:TO:STEP` (both ends included) or `FIELD=A,B,C`. */
export function parseAxis(text: string): Axis {
  const sign = text.indexOf("=");
  const field = text.slice(0, sign).trim();
  const written = text.slice(sign + 1).trim();
  const values = written.includes(":") ? rangeOf(written) : listOf(written);
  if (sign > 0 && field !== "" && values !== undefined && values.length > 0) return { field, values };
  throw new MergewrightError("what to search over cannot be read", {
    kind: "request",
    code: "usage",
    where: { key: `--over ${text}` },
    expected: "FIELD=FROM:TO:STEP, such as parameters.lambda=0.1:1.0:0.1, or FIELD=A,B,C",
    ...(values?.length === 0 && { found: "no value" }),
  });
}

function rangeOf(written: string): number[] | undefined {
  const [from, to, step, ...more] = written.split(":").map((part) => readDecimal(part.trim()));
  if (from === undefined || to === undefined || step === undefined || more.length > 0 || !(step > 0)) return undefined;
  // A step that does not quite reach the end by rounding reaches it.
  const count = Math.floor((to - from) / step + 1e-9) + 1;
  if (!(count <= MOST_CANDIDATES)) return undefined;
  return Array.from({ length: Math.max(0, count) }, (_, index) => Number((from + index * step).toPrecision(12)));
}

function listOf(written: string): number[] | undefined {
  const values = written.split(",").map((part) => readDecimal(part.trim()));
  return values.every((value) => value !== undefined) ? values : undefined;
}

/** Every combination of the axes' values; the last axis varies fastest. @throws usage where there are too many. */
export function gridOf(axes: readonly Axis[]): number[][] {
  const count = axes.reduce((product, { values }) => product * values.length, 1);
  if (count > MOST_CANDIDATES) {
    throw new MergewrightError("the grid has too many candidates", {
      kind: "request",
      code: "usage",
      where: { key: "--over" },
      expected: `at most ${MOST_CANDIDATES}`,
      found: String(count),
      advice: "take larger steps, or search over fewer fields at once",
    });
  }
  return axes.reduce<number[][]>(
    (rows, { values }) => rows.flatMap((row) => values.map((value) => [...row, value])),
    [[]],
  );
}
