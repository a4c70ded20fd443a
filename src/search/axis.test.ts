import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gridOf, parseAxis, stepOf, valueAt } from "./axis.js";

const valuesOf = (text: string) => {
  const axis = parseAxis(text);
  return "values" in axis ? axis.values : assert.fail("two ends");
};

describe("what a search varies", () => {
  it("ranges with both ends, without rounding noise", () => {
    assert.equal(parseAxis("parameters.lambda=0.1:1.0:0.1").field, "parameters.lambda");
    assert.deepEqual(valuesOf("parameters.lambda=0.1:1.0:0.1"), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]);
    assert.deepEqual(valuesOf("a=1:2:0.4"), [1, 1.4, 1.8]);
    assert.deepEqual(valuesOf("a=-1:-1:5"), [-1]);
    assert.deepEqual(valuesOf("a= 1e-3 : 3e-3 : 1e-3"), [0.001, 0.002, 0.003]);
  });

  it("lists, ranges in them, each value once", () => {
    assert.deepEqual(valuesOf("models.a.weight=0.5,1, 2"), [0.5, 1, 2]);
    assert.deepEqual(valuesOf("a=0,1:1.2:0.1,1"), [0, 1, 1.1, 1.2]);
  });

  it("two ends", () => {
    const axis = parseAxis("a=-0.5:1.5");
    assert.deepEqual(axis, { field: "a", from: -0.5, to: 1.5 });
    assert.deepEqual(
      [0, 1 / 3, 1, 2].map((place) => valueAt(axis, place)),
      [-0.5, 0.166667, 1.5, 1.5],
    );
    assert.throws(() => gridOf([axis]), /a grid needs steps[^]*--method/);
  });

  it("places along a list", () => {
    const axis = parseAxis("a=1,2,4");
    assert.deepEqual(
      [0, 0.2, 0.3, 0.5, 1].map((place) => valueAt(axis, place)),
      [1, 1, 2, 2, 4],
    );
    assert.deepEqual([stepOf(axis), valueAt(parseAxis("a=7"), 0.9), stepOf(parseAxis("a=7"))], [0.5, 7, 1]);
  });

  it("anything else is an error", () => {
    for (const bad of [
      "",
      "a",
      "=1",
      "a=",
      "a=x",
      "a=2:1",
      "a=1:1",
      "a=1:2,3",
      "a=1:2:0",
      "a=1:2:-1",
      "a=2:1:1",
      "a=1:2:1:1",
      "a=0:1:1e-9",
    ]) {
      assert.throws(() => parseAxis(bad), /FIELD=FROM:TO:STEP/, bad);
    }
  });

  it("a grid of all combinations", () => {
    const axes = [
      { field: "a", values: [1, 2] },
      { field: "b", values: [3, 4, 5] },
    ];
    assert.deepEqual(gridOf(axes), [
      [1, 3],
      [1, 4],
      [1, 5],
      [2, 3],
      [2, 4],
      [2, 5],
    ]);
    const values = Array.from({ length: 1000 }, (_, at) => at);
    assert.throws(
      () =>
        gridOf([
          { field: "a", values },
          { field: "b", values },
        ]),
      /too many candidates/,
    );
  });
});
