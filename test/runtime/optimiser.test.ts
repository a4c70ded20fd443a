/** Adam and AdamW against PyTorch 2.15 in float64: four steps on sum(p³) + s/10 · sum(p²), rate 0.05. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Adam, type AdamOptions } from "../../src/runtime/optimiser.js";
import { largestDifference } from "./zoo.js";

const START = [0.5, -1, 2];

function run(options: AdamOptions, steps: number, adam?: Adam, from?: Float64Array, first = 0): [Float64Array, Adam] {
  const parameters = from ?? Float64Array.from(START);
  const optimiser = adam ?? new Adam([parameters], options);
  for (let s = first; s < first + steps; s++) {
    optimiser.step([parameters.map((p) => 3 * p * p + 0.2 * s * p)]);
  }
  return [parameters, optimiser];
}

describe("Adam", () => {
  it("moves as PyTorch's does", () => {
    const [one] = run({ rate: 0.05 }, 1);
    assert.ok(largestDifference(one, [0.4500000006666667, -1.0499999998333334, 1.9500000000416666]) < 1e-14);
    const [four] = run({ rate: 0.05 }, 4);
    assert.ok(largestDifference(four, [0.3012862466508312, -1.2002905736660483, 1.8002143720437758]) < 1e-14);
  });

  it("decays as PyTorch's AdamW does", () => {
    const [four] = run({ rate: 0.05, decay: 0.1 }, 4);
    assert.ok(largestDifference(four, [0.293062588441617, -1.1788584105015552, 1.7621451081724857]) < 1e-14);
  });

  it("goes on from a state as if it had never stopped", () => {
    const [whole] = run({ rate: 0.05 }, 4);
    const [half, before] = run({ rate: 0.05 }, 2);
    const { steps, moments } = before.state;
    const copied = {
      steps,
      moments: moments.map(({ first, second }) => ({ first: first.slice(), second: second.slice() })),
    };
    const [rest] = run({ rate: 0.05 }, 2, new Adam([half], { rate: 0.05 }, copied), half, 2);
    assert.deepEqual(rest, whole);
    assert.throws(() => new Adam([new Float64Array(2)], { rate: 0.05 }, copied), RangeError);
  });

  it("keeps f32 parameters in f32, and arrays without a gradient as they are", () => {
    const [moved, still] = [Float32Array.from(START), Float32Array.of(7)];
    const adam = new Adam([moved, still], { rate: 0.05, decay: 0.5 });
    adam.step([moved.map((p) => 3 * p * p), null]);
    assert.ok(adam.state.moments[0]!.first instanceof Float32Array);
    // The first step is the rate against the gradient's sign, whatever its size; decay takes 2.5 % before.
    assert.ok(largestDifference(moved, [0.4375, -1.025, 1.9]) < 1e-6);
    assert.deepEqual(still, Float32Array.of(7));
    adam.rate = 0;
    const before = moved.slice();
    adam.step([moved.map((p) => p), null]);
    assert.deepEqual(moved, before);
  });
});
