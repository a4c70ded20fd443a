import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  algebra,
  assertNear,
  lowRankChange,
  randomChange,
  solve,
  sumOf,
  turned,
  zeros,
} from "../../test/laws/support/whole.js";
import { tsvM } from "./tsv_m.js";

describe("tsv_m", () => {
  it("of one model is that model", async () => {
    for (const [rows, columns] of [
      [6, 11],
      [11, 6],
    ] as const) {
      const change = randomChange(rows, columns, 3);
      assertNear((await solve(tsvM, [change])).change, change);
    }
  });

  it("of changes in directions at right angles is their sum", async () => {
    const first = zeros(8, 6);
    const second = zeros(8, 6);
    first.data.set([3, 1], 0);
    second.data.set([0, 0, 0, 2, 5], 4 * 6);
    assertNear((await solve(tsvM, [first, second])).change, sumOf([first, second]));
  });

  it("counts identical changes once, up to the triples that it keeps of each", async () => {
    const change = lowRankChange(12, 12, 4, 7);
    const { change: merged, figures } = await solve(tsvM, [change, change, change]);
    assertNear(merged, change);
    assert.deepEqual(figures["triples"], [4, 4, 4]);
  });

  it("keeps a share of the smaller side of each, at least one triple", async () => {
    const changes = [1, 2, 3, 4].map((seed) => randomChange(10, 20, seed));
    assert.deepEqual((await solve(tsvM, changes)).figures["triples"], [2, 2, 2, 2]);
    const thin = [1, 2, 3].map((seed) => randomChange(2, 9, seed));
    assert.deepEqual((await solve(tsvM, thin)).figures["triples"], [1, 1, 1]);
  });

  it("has the kept singular values, as far as their directions do not meet", async () => {
    const changes = [5, 6].map((seed) => lowRankChange(40, 50, 3, seed));
    const { change } = await solve(tsvM, changes);
    const kept = changes.flatMap((one) => [...algebra.svd(one).s.subarray(0, 3)]).sort((a, b) => b - a);
    const { s } = algebra.svd(change);
    for (const [index, value] of kept.entries()) assert.ok(Math.abs(s[index]! - value) < 1e-5 * kept[0]!);
    assert.ok(s[6]! < 1e-5 * s[0]!);
  });

  it("turns with the matrices", async () => {
    const changes = [8, 9].map((seed) => randomChange(7, 13, seed));
    assertNear((await solve(tsvM, changes.map(turned))).change, turned((await solve(tsvM, changes)).change), 1e-5);
  });

  it("leaves a model that is the base out, and the base where all are", async () => {
    const change = lowRankChange(9, 9, 2, 4);
    assertNear((await solve(tsvM, [zeros(9, 9), change])).change, change);
    assert.deepEqual((await solve(tsvM, [zeros(3, 2)])).change, zeros(3, 2));
  });
});
