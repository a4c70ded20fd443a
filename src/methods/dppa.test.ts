import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import { dppa, layerDensities, linearDensities } from "./dppa.js";
import type { OutlierCounts } from "./method.js";

const golden = JSON.parse(readFileSync(new URL("../../../test/golden/methods.json", import.meta.url), "utf8")).dppa as {
  readonly sparsity: number;
  readonly lambda: number;
  readonly m: number;
  readonly layers: readonly (readonly (readonly (readonly number[])[])[])[];
  readonly layer_density: readonly number[];
  readonly linear_density: readonly number[];
};

const meanMagnitude = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length;
const countAbove = (values: readonly number[], limit: number) =>
  values.filter((value) => Math.abs(value) > limit).length;

function outliersOf(layers: typeof golden.layers): OutlierCounts[] {
  return layers.flatMap((matrices, layer) => {
    const limit = 3 * meanMagnitude(matrices.flat(2));
    return matrices.map((matrix) => {
      const values = matrix.flat();
      return {
        entries: values.length,
        layer: String(layer),
        aboveLayer: countAbove(values, limit),
        above: countAbove(values, golden.m * meanMagnitude(values)),
      };
    });
  });
}

function tensor(layer: string, entries: number, aboveLayer: number, above: number): OutlierCounts {
  return { layer, entries, aboveLayer, above };
}

describe("dppa", () => {
  it("agrees with the golden densities of layers and matrices", () => {
    const tensors = outliersOf(golden.layers);
    const layers = layerDensities(tensors, golden.sparsity, golden.lambda);
    for (const [layer, expected] of golden.layer_density.entries())
      assert.ok(Math.abs(layers.get(String(layer))! - expected) <= 1e-8);
    const settings = settingsOf(
      dppa,
      { sparsity_outer: golden.sparsity, spread: golden.lambda, outlier: golden.m },
      [],
    );
    const [, outer] = dppa.packing!.densities(settings, tensors);
    assert.equal(outer!.length, golden.linear_density.length);
    for (const [index, expected] of golden.linear_density.entries())
      assert.ok(Math.abs(outer![index]! - expected) <= 1e-8, `${outer![index]}, not ${expected}`);
  });

  it("adds nothing where all scores are equal, or there are no outliers", () => {
    const equal = [tensor("a", 100, 3, 2), tensor("b", 100, 3, 2)];
    assert.deepEqual([...layerDensities(equal, 0.75, 0.08).values()], [0.25, 0.25]);
    assert.deepEqual(linearDensities(equal, 0.08), [0, 0]);
    const none = [tensor("a", 100, 0, 0), tensor("b", 300, 0, 0)];
    assert.deepEqual([...layerDensities(none, 0.75, 0.08).values()], [0.25, 0.25]);
    assert.deepEqual(linearDensities(none, 0.08), [0, 0]);
  });

  it("clamps densities to [0, 1)", () => {
    const uneven = [tensor("a", 100, 0, 0), tensor("b", 100, 50, 50)];
    const { densities } = dppa.packing!;
    const of = (inner: number, outer: number) =>
      densities(settingsOf(dppa, { sparsity_inner: inner, sparsity_outer: outer, spread: 0.3 }, []), uneven);
    assert.deepEqual(of(0.9, 0.9)[0]![0], 0);
    const [, most] = of(0.9, 0.1);
    assert.ok(most![1]! < 1 && most![1]! > 0.999);
  });

  it("prunes the magnitude at index trunc(n (1 - density)) and all that are not above it", () => {
    const { rank } = dppa.packing!;
    // Ascending 1, 2, …, 10: index 8 is 9, the second largest.
    assert.equal(rank(10, 0.2), 2);
    assert.equal(rank(10, 0.25), 3);
    assert.equal(rank(10, 0), 0);
    assert.equal(rank(10, 1 - Number.EPSILON), 10);
  });

  it("by hand: partitions and their factors, ties pruned", () => {
    const changes = [5, -4, 3, -2, 1, 0];
    const zeros = changes.map(() => 0);
    const of = (given: Record<string, number>) =>
      combine(dppa, zeros, [changes], given, [given], {
        known: { threshold: { thresholds: [3, 1], kept: [], entries: 6 } },
      });
    assert.deepEqual(of({ alpha_inner: 2, alpha_outer: 1 }), [10, -8, 3, -2, 0, 0]);
    assert.deepEqual(of({ alpha_inner: 1, alpha_outer: -3 }), [-15, 12, -9, 6, 0, 0]);
    assert.deepEqual(of({ alpha_inner: 2, alpha_outer: 0 }), [10, -8, 0, 0, 0, 0]);
    assert.deepEqual(of({ alpha_inner: 0, alpha_outer: 2 }), [10, -8, 6, -4, 0, 0]);
  });

  it("keeps a tensor whole without thresholds, by the larger factor", () => {
    assert.deepEqual(
      combine(dppa, [0, 0, 0], [[1, 0, -2]], { alpha_inner: 1.5 }, [{ alpha_inner: 1.5 }]),
      [1.5, 0, -3],
    );
  });

  it("stores what exceeds the lower threshold of the partitions that have a factor", () => {
    const { bind, limit } = dppa.packing!;
    const of = (alpha_inner: number, alpha_outer: number) =>
      limit(bind(settingsOf(dppa, {}, [{ alpha_inner, alpha_outer }]), [3, 2]));
    assert.deepEqual([of(2, 1), of(2, 0), of(0, 1), of(0, 0)], [2, 3, 2, null]);
    assert.equal(limit(bind(settingsOf(dppa, {}, [{}]), null)), -1);
  });

  it("refuses partitions that are the wrong way round", () => {
    assert.match(dppa.check!(settingsOf(dppa, { sparsity_inner: 0.5 }, []))!, /swap them/);
    assert.equal(dppa.check!(settingsOf(dppa, {}, [])), null);
  });
});
