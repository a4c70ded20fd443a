import { describe, it } from "node:test";
import type { Matrix64 } from "../algebra/algebra.js";
import {
  algebra,
  assertNear,
  lowRankChange,
  normOf,
  randomChange,
  solve,
  sumOf,
  turned,
  zeros,
} from "../../test/laws/support/whole.js";
import { swudi } from "./swudi.js";
import { wudi } from "./wudi.js";

const exact = { solve: "exact" };
const combined = (a: Matrix64, b: Matrix64, by: number): Matrix64 => ({
  ...a,
  data: a.data.map((value, at) => value + by * b.data[at]!),
});

/** C and R of the changes, by their formulas. */
function systemOf(changes: readonly Matrix64[]): { c: Matrix64; r: Matrix64 } {
  const grams = changes.map((change) => {
    const gram = algebra.multiply64(change, change, { transposeA: true });
    return { ...gram, data: gram.data.map((value) => value / normOf(change) ** 2) };
  });
  return { c: sumOf(grams), r: sumOf(changes.map((change, at) => algebra.multiply64(change, grams[at]!))) };
}

const changes = [1, 2, 3].map((seed) => randomChange(12, 9, seed));

describe("wudi", () => {
  it("exactly solved fulfils D C = R", async () => {
    const { c, r } = systemOf(changes);
    assertNear(algebra.multiply64((await solve(wudi, changes, exact)).change, c), r);
  });

  it("steps as the iteration does", async () => {
    const { c, r } = systemOf(changes);
    const rate = 1 / algebra.eigenSymmetric(c).values[0]!;
    let d = sumOf(changes);
    for (const steps of [1, 2, 3, 4, 5]) {
      d = combined(d, combined(r, algebra.multiply64(d, c), -1), rate);
      assertNear((await solve(wudi, changes, { solve: "landweber", steps })).change, d);
    }
  });

  it("comes to the minimiser with many steps, or without a ridge", async () => {
    const { change } = await solve(wudi, changes, exact);
    assertNear((await solve(wudi, changes, { solve: "landweber", steps: 100_000 })).change, change, 1e-5);
    assertNear((await solve(wudi, changes, { solve: "tikhonov", mu: 0 })).change, change);
  });

  it("with a ridge fulfils D (C + mu I) = R", async () => {
    const { c, r } = systemOf(changes);
    for (let k = 0; k < 9; k++) c.data[k * 9 + k] = c.data[k * 9 + k]! + 0.1;
    assertNear(algebra.multiply64((await solve(wudi, changes, { solve: "tikhonov", mu: 0.1 })).change, c), r);
  });

  it("of equal changes is that change, also of one that is less than full rank", async () => {
    for (const change of [changes[0]!, lowRankChange(7, 9, 2, 6)]) {
      assertNear((await solve(wudi, [change, change], exact)).change, change);
    }
  });

  it("of changes that share no input direction is their sum", async () => {
    const [first, second] = [zeros(4, 6), zeros(4, 6)];
    first.data.set([1, 2, 3], 0);
    first.data.set([-1, 1, 4], 12);
    second.data.set([5, 6], 4);
    for (const how of [exact, { solve: "landweber", steps: 7 }]) {
      assertNear((await solve(wudi, [first, second], how)).change, sumOf([first, second]));
    }
  });

  it("transposed treats rows as inputs, and a model that is the base takes no part", async () => {
    const { change } = await solve(wudi, changes, exact);
    assertNear((await solve(wudi, changes.map(turned), { ...exact, transposed: true })).change, turned(change));
    assertNear((await solve(wudi, [...changes, zeros(12, 9)], exact)).change, change);
    assertNear((await solve(wudi, [zeros(2, 3)])).change, zeros(2, 3));
  });
});

describe("swudi", () => {
  it("of one change is that change", async () => {
    for (const stop of ["adaptive", "timed"])
      assertNear((await solve(swudi, [changes[0]!], { stop })).change, changes[0]!);
  });

  it("without time, or without eigenvalues, is the sum", async () => {
    const stop = "timed";
    assertNear((await solve(swudi, changes, { stop, time: 0 })).change, sumOf(changes));
    assertNear((await solve(swudi, changes, { stop, share: 0 })).change, sumOf(changes));
  });

  it("with all eigenvalues and all time is the minimiser", async () => {
    const { change } = await solve(wudi, changes, exact);
    assertNear((await solve(swudi, changes, { stop: "timed", share: 1, time: 1e7 })).change, change);
  });

  it("follows the gradient: many small steps of the flow", async () => {
    const { c, r } = systemOf(changes);
    let d = sumOf(changes);
    const rate = 1e-3;
    for (let step = 0; step < 2000; step++) d = combined(d, combined(r, algebra.multiply64(d, c), -1), rate);
    assertNear((await solve(swudi, changes, { stop: "timed", share: 1, time: 2 })).change, d, 1e-3);
  });

  it("adaptively takes the K leading directions, the sum in the others", async () => {
    const { c, r } = systemOf(changes);
    const { values, vectors } = algebra.eigenSymmetric(c);
    const roots = values.reduce((sum, value) => sum + Math.sqrt(value), 0);
    const count = Math.ceil(roots ** 2 / values.reduce((sum, value) => sum + value, 0));
    const { change } = await solve(swudi, changes);
    const along = (matrix: Matrix64, k: number): Matrix64 =>
      algebra.multiply64(matrix, { rows: 9, columns: 1, data: vectors.data.filter((_, at) => at % 9 === k) });
    for (let k = 0; k < 9; k++) {
      const fromR = along(r, k);
      const expected =
        k < count ? { ...fromR, data: fromR.data.map((value) => value / values[k]!) } : along(sumOf(changes), k);
      assertNear(along(change, k), expected, 1e-5);
    }
  });
});
