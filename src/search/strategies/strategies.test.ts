import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Axis, valueAt } from "../axis.js";
import { sobolPoints } from "./sobol.js";
import { strategies, type StrategyName } from "./strategies.js";

const range = (field: string, from: number, to: number): Axis => ({ field, from, to });
const list = (...values: readonly number[]): Axis => ({ field: "a", values });

/** Runs a strategy on a function of the axes' values, at most so many times. */
function run(
  name: StrategyName,
  axes: readonly Axis[],
  score: (values: readonly number[]) => number,
  budget = 1000,
  seed = 0,
) {
  const tried: { values: number[]; score: number }[] = [];
  const walk = strategies[name]({ axes, seed });
  for (let step = walk.next(); !step.done && tried.length < budget; ) {
    const values = axes.map((axis, at) => valueAt(axis, step.value![at]!));
    tried.push({ values, score: score(values) });
    step = walk.next(tried.at(-1)!.score);
  }
  return { tried, best: tried.reduce((best, one) => (one.score > best.score ? one : best)) };
}

const bowl =
  (...middle: readonly number[]) =>
  (values: readonly number[]) =>
    -values.reduce((sum, value, at) => sum + (value - middle[at]!) ** 2, 0);

describe("strategies", () => {
  it("grid: all combinations, once", () => {
    const { tried } = run("grid", [list(1, 2), list(5, 6, 9)], () => 0);
    assert.deepEqual(
      tried.map(({ values }) => values),
      [
        [1, 5],
        [1, 6],
        [1, 9],
        [2, 5],
        [2, 6],
        [2, 9],
      ],
    );
  });

  it("sobol: the published points", () => {
    const points = sobolPoints(3);
    const first = Array.from({ length: 7 }, () => (points.next().value as number[]).map((word) => word / 2 ** 32));
    assert.deepEqual(first, [
      [0.5, 0.5, 0.5],
      [0.75, 0.25, 0.25],
      [0.25, 0.75, 0.75],
      [0.375, 0.375, 0.625],
      [0.875, 0.875, 0.125],
      [0.625, 0.125, 0.875],
      [0.125, 0.625, 0.375],
    ]);
  });

  it("sobol: of 2^m points each interval of 2^-m has one, in every dimension, shifted or not", () => {
    for (const seed of [0, 7]) {
      const axes = Array.from({ length: 21 }, (_, at) => range(`a${at}`, 0, 1));
      const walk = strategies.sobol({ axes, seed });
      const points = Array.from({ length: 255 }, (_, at) => (at === 0 ? walk.next() : walk.next(0)).value as number[]);
      for (const at of axes.keys()) {
        const places = new Set(points.map((point) => Math.floor(point[at]! * 256)));
        assert.equal(places.size, 255, `axis ${at}, seed ${seed}`);
      }
    }
    assert.throws(
      () =>
        run(
          "sobol",
          Array.from({ length: 22 }, () => range("a", 0, 1)),
          () => 0,
        ),
      /at most 21/,
    );
  });

  it("coordinate: climbs to the best value of every axis, and looks at few", () => {
    const values = Array.from({ length: 41 }, (_, at) => at);
    const { tried, best } = run("coordinate", [list(...values), list(...values)], bowl(33, 4));
    assert.deepEqual(best.values, [33, 4]);
    assert.ok(tried.length < 60, String(tried.length));
    const real = run("coordinate", [range("a", -1, 1)], bowl(0.3)).best.values[0]!;
    assert.ok(Math.abs(real - 0.3) < 0.02, String(real));
  });

  it("coordinate: a plateau ends it", () =>
    assert.ok(run("coordinate", [range("a", 0, 1)], () => 1).tried.length < 20));

  it("cma-es: finds the bottom of a turned, stretched bowl, the same way for the same seed", () => {
    const axes = Array.from({ length: 5 }, (_, at) => range(`a${at}`, -2, 2));
    const stretched = (values: readonly number[]) => {
      const turned = values.map((value, at) => value + (values[(at + 1) % 5]! - 0.5) * 0.8);
      return -turned.reduce((sum, value, at) => sum + 10 ** at * (value - 0.5) ** 2, 0);
    };
    const { best, tried } = run("cma-es", axes, stretched, 2000);
    assert.ok(best.score > -1e-3, String(best.score));
    assert.deepEqual(run("cma-es", axes, stretched, 50).tried, tried.slice(0, 50));
    assert.notDeepEqual(run("cma-es", axes, stretched, 50, 1).tried, tried.slice(0, 50));
    const random = run("sobol", axes, stretched, 2000).best.score;
    assert.ok(best.score > random / 100, `${best.score} against ${random} of evenly spread points`);
  });

  it("cma-es: one axis, a best value on the wall, nothing to gain: it stays inside and ends", () => {
    const wall = run("cma-es", [range("a", 0.8, 1.3)], bowl(2), 200);
    assert.ok(Math.abs(wall.best.values[0]! - 1.3) < 1e-3);
    assert.ok(wall.tried.every(({ values: [value] }) => value! >= 0.8 && value! <= 1.3));
  });

  it("raise: as the released search of DPPA goes", () => {
    const inner = list(1.8, 1.9, 2, 2.1);
    const outer = list(0, 1, 1.1, 1.2);
    // mnist's trials in the reference: images right of 500.
    const right: Record<string, number> = { "1.8 0": 487, "1.9 0": 491, "2 0": 491, "1.9 1": 495, "1.9 1.1": 495 };
    const { tried, best } = run("raise", [inner, outer], (values) => right[values.join(" ")]!);
    assert.deepEqual(
      tried.map(({ values }) => values.join(" ")),
      Object.keys(right),
    );
    assert.deepEqual(best.values, [1.9, 1]);
  });
});
