import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  algebra,
  assertNear,
  lowRankChange,
  randomChange,
  solve,
  sumOf,
  zeros,
} from "../../test/laws/support/whole.js";
import { isoC } from "./iso_c.js";

describe("iso_c", () => {
  it("makes the singular values 3 and 1 both 2", async () => {
    const change = { rows: 2, columns: 2, data: new Float64Array([0, 3, -1, 0]) };
    assertNear((await solve(isoC, [change])).change, { ...change, data: new Float64Array([0, 2, -2, 0]) });
  });

  it("keeps the singular vectors of the sum, and the sum of its singular values", async () => {
    const changes = [1, 2, 3].map((seed) => randomChange(9, 14, seed));
    const { change, figures } = await solve(isoC, changes);
    const { s } = algebra.svd(sumOf(changes));
    const mean = s.reduce((sum, value) => sum + value, 0) / 9;
    for (const value of algebra.svd(change).s) assert.ok(Math.abs(value - mean) < 1e-5 * mean);
    // With the same vectors, A B^T is U (S s) U^T: symmetric, with eigenvalues s_i s.
    const product = algebra.multiply64(sumOf(changes), change, { transposeB: true });
    const { values } = algebra.eigenSymmetric(product);
    for (const [index, value] of values.entries()) assert.ok(Math.abs(value - s[index]! * mean) < 1e-4 * s[0]! * mean);
    assert.deepEqual(figures["rank"], [9]);
  });

  it("of a low rank keeps that rank: rank one stays as it is", async () => {
    const one = lowRankChange(8, 6, 1, 5);
    assertNear((await solve(isoC, [one])).change, one);
    const { figures } = await solve(isoC, [lowRankChange(20, 20, 3, 6)]);
    assert.deepEqual(figures["rank"], [3]);
  });

  it("scales with lambda, and leaves the base where nothing changed", async () => {
    const change = randomChange(5, 5, 8);
    const half = (await solve(isoC, [change], { lambda: 0.5 })).change;
    const whole = (await solve(isoC, [change])).change;
    assertNear(half, { ...whole, data: whole.data.map((value) => value / 2) });
    assert.deepEqual((await solve(isoC, [zeros(3, 4), zeros(3, 4)])).change, zeros(3, 4));
  });
});
