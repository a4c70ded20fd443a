import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { bootstrap, comparePaired, intervalOf, mcnemar, wilson } from "./intervals.js";
import type { Answers, Windows } from "./outcomes.js";

const near = (value: number, expected: number, within = 5e-5) =>
  assert.ok(Math.abs(value - expected) < within, `${value}`);

describe("intervals", () => {
  it("Wilson's, by known values", () => {
    // Newcombe (1998), table I, method 3.
    for (const [correct, total, low, high] of [
      [81, 263, 0.2553, 0.3662],
      [15, 148, 0.0624, 0.1605],
      [0, 20, 0, 0.1611],
      [1, 29, 0.0061, 0.1718],
      [29, 29, 0.883, 1],
    ] as const) {
      const interval = wilson(correct, total);
      near(interval.low, low, 6e-5);
      near(interval.high, high, 6e-5);
    }
  });

  it("the bootstrap's of a mean is that of the normal distribution, and always the same", () => {
    const values = Array.from({ length: 400 }, (_, at) => Math.sin(at * 12.9898) * 2);
    const mean = values.reduce((a, b) => a + b) / 400;
    const deviation = Math.sqrt(values.reduce((total, value) => total + (value - mean) ** 2, 0) / 400 / 400);
    const meanOf = (picked: Uint32Array) => {
      let total = 0;
      for (const at of picked) total += values[at]!;
      return total / 400;
    };
    const interval = bootstrap(400, meanOf);
    near(interval.low, mean - 1.96 * deviation, deviation / 5);
    near(interval.high, mean + 1.96 * deviation, deviation / 5);
    assert.deepEqual(bootstrap(400, meanOf), interval);
  });
});

describe("McNemar's exact test", () => {
  it("by hand", () => {
    assert.equal(mcnemar(0, 0), 1);
    assert.equal(mcnemar(3, 3), 1);
    near(mcnemar(0, 5), 2 / 32, 1e-12);
    near(mcnemar(1, 9), (2 * (1 + 10)) / 1024, 1e-12);
    near(mcnemar(9, 1), (2 * (1 + 10)) / 1024, 1e-12);
  });

  it("beyond the range of numbers", () => {
    // As the normal distribution says: z = 200 / sqrt(3000) = 3.65.
    near(mcnemar(1400, 1600), 2.8e-4, 3e-5);
  });
});

describe("two models on the same examples", () => {
  const answers = (right: readonly boolean[]): Answers => ({
    kind: "answers",
    metric: "accuracy",
    labels: right.map(() => 1),
    answers: right.map((isRight) => Number(isRight)),
  });

  it("answers: who alone is right", () => {
    const one = answers([...Array<boolean>(90).fill(true), ...Array<boolean>(10).fill(false)]);
    const two = answers([...Array<boolean>(80).fill(true), ...Array<boolean>(18).fill(false), true, true]);
    const comparison = comparePaired(one, two);
    near(comparison.difference, 0.08, 1e-12);
    assert.deepEqual(comparison.only, { this: 10, other: 2 });
    near(comparison.p!, 0.03857, 1e-4);
    const half = 1.96 * Math.sqrt((0.12 - 0.0064) / 100);
    near(comparison.interval!.low, 0.08 - half, 1e-4);
    assert.equal(comparison.better, "this");
    assert.equal(comparePaired(two, one).better, "other");
    assert.equal(comparePaired(one, one).better, null);
  });

  it("windows: lower is better, and the pairing finds a small steady gain", () => {
    const bytes = Array<number>(60).fill(100);
    const nats = bytes.map((_, at) => 100 + 60 * Math.sin(at * 7));
    const windows = (gain: number): Windows => ({
      kind: "windows",
      metric: "bits_per_byte",
      bytes,
      nats: nats.map((value) => value * gain),
      tokens: bytes,
    });
    const comparison = comparePaired(windows(0.99), windows(1));
    assert.equal(comparison.better, "this");
    assert.ok(comparison.interval!.high < 0);
    const alone = intervalOf(windows(0.99))!;
    assert.ok(alone.high > comparison.against, "the numbers by themselves do not tell");
  });

  it("different examples are refused", () => {
    assert.throws(() => comparePaired(answers([true]), answers([true, false])), RangeError);
  });
});
