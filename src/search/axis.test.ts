import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gridOf, parseAxis } from "./axis.js";

describe("what a search varies", () => {
  it("ranges with both ends, without rounding noise", () => {
    const { field, values } = parseAxis("parameters.lambda=0.1:1.0:0.1");
    assert.equal(field, "parameters.lambda");
    assert.deepEqual(values, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]);
    assert.deepEqual(parseAxis("a=1:2:0.4").values, [1, 1.4, 1.8]);
    assert.deepEqual(parseAxis("a=-1:-1:5").values, [-1]);
    assert.deepEqual(parseAxis("a= 1e-3 : 3e-3 : 1e-3").values, [0.001, 0.002, 0.003]);
  });

  it("lists", () => assert.deepEqual(parseAxis("models.a.weight=0.5,1, 2").values, [0.5, 1, 2]));

  it("anything else is an error", () => {
    for (const bad of [
      "",
      "a",
      "=1",
      "a=",
      "a=x",
      "a=1:2",
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
