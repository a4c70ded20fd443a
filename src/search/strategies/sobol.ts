/**
 * Sobol's sequence (I. M. Sobol', 1967) with the direction numbers of S. Joe and F. Y. Kuo, "Constructing Sobol sequences
 * with better two-dimensional projections", SIAM J. Sci. Comput. 30, 2008: points that fill the unit cube evenly, however
 * many are taken. A seed other than 0 shifts all points by one random vector, digit by digit.
 */

import { MergewrightError } from "../../errors.js";
import { randomWord, streamKey } from "../../numbers/random.js";
import type { Strategy } from "./strategy.js";

const BITS = 32;

/** Per dimension from the second on: coefficients of its polynomial as bits, and its first odd numbers. */
const DIRECTIONS: readonly (readonly [coefficients: number, first: readonly number[]])[] = [
  [0, [1]],
  [1, [1, 3]],
  [1, [1, 3, 1]],
  [2, [1, 1, 1]],
  [1, [1, 1, 3, 3]],
  [4, [1, 3, 5, 13]],
  [2, [1, 1, 5, 5, 17]],
  [4, [1, 1, 5, 5, 5]],
  [7, [1, 1, 7, 11, 19]],
  [11, [1, 1, 5, 1, 1]],
  [13, [1, 1, 1, 3, 11]],
  [14, [1, 3, 5, 5, 31]],
  [1, [1, 3, 3, 9, 7, 49]],
  [13, [1, 1, 1, 15, 21, 21]],
  [16, [1, 3, 1, 13, 27, 49]],
  [19, [1, 1, 1, 15, 7, 5]],
  [22, [1, 3, 1, 15, 13, 25]],
  [25, [1, 1, 5, 5, 19, 61]],
  [1, [1, 3, 7, 11, 23, 15, 103]],
  [4, [1, 3, 7, 13, 13, 15, 69]],
];

export const MOST_SOBOL_AXES = DIRECTIONS.length + 1;

export const sobol: Strategy = function* ({ axes, seed }) {
  if (axes.length > MOST_SOBOL_AXES) {
    throw new MergewrightError("too many fields for Sobol's sequence", {
      kind: "request",
      code: "usage",
      where: { key: "--over" },
      expected: `at most ${MOST_SOBOL_AXES}`,
      found: String(axes.length),
      advice: "search over fewer fields, or with --method cma-es",
    });
  }
  const key = streamKey(seed, "sobol", "");
  const shift = axes.map((_, axis) => (seed === 0 ? 0 : randomWord(key, axis)));
  for (const point of sobolPoints(axes.length)) {
    yield point.map((word, axis) => ((word ^ shift[axis]!) >>> 0) / 2 ** BITS);
  }
};

/** Points as 32-bit fractions, without the first, which is the origin. */
export function* sobolPoints(dimensions: number): Generator<readonly number[], void> {
  const directions = Array.from({ length: dimensions }, (_, dimension) => directionsOf(dimension));
  const point = new Uint32Array(dimensions);
  for (let index = 0; index < 2 ** BITS - 1; index++) {
    // Gray code: one direction number changes a point into the next.
    const bit = 31 - Math.clz32(~index & (index + 1));
    for (let dimension = 0; dimension < dimensions; dimension++) {
      point[dimension] = point[dimension]! ^ directions[dimension]![bit]!;
    }
    yield [...point];
  }
}

function directionsOf(dimension: number): Uint32Array {
  const numbers = new Uint32Array(BITS);
  if (dimension === 0) return numbers.map((_, bit) => 2 ** (BITS - 1 - bit));
  const [coefficients, first] = DIRECTIONS[dimension - 1]!;
  const degree = first.length;
  for (let bit = 0; bit < BITS; bit++) {
    if (bit < degree) {
      numbers[bit] = first[bit]! * 2 ** (BITS - 1 - bit);
      continue;
    }
    let value = numbers[bit - degree]! ^ (numbers[bit - degree]! >>> degree);
    for (let term = 1; term < degree; term++) {
      if ((coefficients >>> (degree - 1 - term)) & 1) value ^= numbers[bit - term]!;
    }
    numbers[bit] = value;
  }
  return numbers;
}
