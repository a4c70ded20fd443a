import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gramFrom } from "../../test/laws/support/mix.js";
import { alongArc } from "./arc.js";
import { cosine, norm, normOfSum, pairIndex, product, productOfSums, squaredDistance } from "./gram.js";

const gram = gramFrom([
  [3, 4, 0],
  [0, 0, 2],
  [3, 4, 2],
]);

describe("inner products", () => {
  it("every pair has its place, row by row", () => {
    const pairs = [];
    for (let i = 0; i < 4; i++) for (let j = i; j < 4; j++) pairs.push(pairIndex(4, i, j), pairIndex(4, j, i));
    assert.deepEqual(
      pairs,
      Array.from({ length: 20 }, (_, at) => Math.floor(at / 2)),
    );
  });

  it("give lengths, angles and distances", () => {
    assert.equal(product(gram, 2, 0), 25);
    assert.equal(norm(gram, 0), 5);
    assert.equal(cosine(gram, 0, 1), 0);
    assert.ok(Math.abs(cosine(gram, 0, 2) - 5 / Math.sqrt(29)) < 1e-15);
    assert.equal(squaredDistance(gram, 0, 1), 29);
    assert.equal(cosine(gramFrom([[0], [1]]), 0, 1), 0);
  });

  it("give those of weighted sums", () => {
    // (3, 4, 4) and (6, 8, 2)
    assert.equal(productOfSums(gram, [1, 2, 0], [1, 0, 1]), 18 + 32 + 8);
    assert.equal(normOfSum(gram, [1, 1, -1]), 0);
    assert.equal(normOfSum(gram, [0, 1, 1]), Math.sqrt(25 + 16));
  });
});

describe("along the arc", () => {
  const rule = { linearAbove: 1, zero: "line" };

  it("by hand: a third of a right angle", () => {
    const [a, b] = alongArc(gram, 0, 1, 1 / 3, rule);
    assert.ok(Math.abs(a - Math.sqrt(3) / 2) < 1e-12 && Math.abs(b - 0.5) < 1e-12);
  });

  it("the ends are the ends", () => {
    assert.deepEqual(alongArc(gram, 0, 2, 0, rule), [1, 0]);
    assert.deepEqual(alongArc(gram, 0, 2, 1, rule), [0, 1]);
  });

  it("a straight line where vectors are parallel, opposite, or beyond the switch", () => {
    for (const other of [
      [2, 4],
      [-1, -2],
    ]) {
      assert.deepEqual(alongArc(gramFrom([[1, 2], other]), 0, 1, 0.25, rule), [0.75, 0.25]);
    }
    const near = gramFrom([
      [1, 0],
      [1, 0.1],
    ]);
    assert.notDeepEqual(alongArc(near, 0, 1, 0.25, rule), [0.75, 0.25]);
    assert.deepEqual(alongArc(near, 0, 1, 0.25, { ...rule, linearAbove: 0.9 }), [0.75, 0.25]);
  });

  it("a vector of zeros: the line, or a quarter turn", () => {
    const zero = gramFrom([
      [0, 0],
      [1, 1],
    ]);
    assert.deepEqual(alongArc(zero, 0, 1, 0.5, rule), [0.5, 0.5]);
    const [, b] = alongArc(zero, 0, 1, 0.5, { ...rule, zero: "quarter" });
    assert.ok(Math.abs(b - Math.SQRT1_2) < 1e-15);
  });
});
