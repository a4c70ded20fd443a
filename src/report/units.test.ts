import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { countOf, countText, durationText, numberText, percentText, sizeText } from "./units.js";

describe("units", () => {
  it("write sizes with two digits or more, never as a thousand of a unit", () => {
    const sizes = [0, 999, 1000, 2_578_266, 9_949_999, 9_950_000, 999_499, 999_500, 13e9, 2.5e15, 5e18];
    assert.deepEqual(sizes.map(sizeText), [
      "0 B",
      "999 B",
      "1.0 kB",
      "2.6 MB",
      "9.9 MB",
      "10 MB",
      "999 kB",
      "1.0 MB",
      "13 GB",
      "2.5 PB",
      "5000 PB",
    ]);
  });

  it("separate thousands", () => {
    assert.deepEqual([0, 999, 1000, 1198592].map(countText), ["0", "999", "1,000", "1,198,592"]);
    assert.deepEqual([countOf(1, "tensor"), countOf(1000, "tensor")], ["1 tensor", "1,000 tensors"]);
  });

  it("do not show a small share as nothing", () => {
    assert.deepEqual([0, 1e-9, 0.001, 0.2009, 1].map(percentText), ["0.0 %", "< 0.1 %", "0.1 %", "20.1 %", "100.0 %"]);
  });

  it("write times so that no part reaches the next unit", () => {
    const times = [0.494, 9.999, 12.34, 59.96, 245.4, 3599.6, 7620];
    assert.deepEqual(times.map(durationText), [
      "0.49 s",
      "10.00 s",
      "12.3 s",
      "1 min 00 s",
      "4 min 05 s",
      "1 h 00 min",
      "2 h 07 min",
    ]);
  });

  it("write numbers with four digits, and what is no number in words", () => {
    const numbers = [0, 0.007385123, 12.345, 1.2e-7, -3, Number.NaN, Number.POSITIVE_INFINITY];
    assert.deepEqual(numbers.map(numberText), ["0", "0.007385", "12.35", "1.2e-7", "-3", "NaN", "infinite"]);
  });
});
