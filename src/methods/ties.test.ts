import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { combine } from "../../test/laws/support/combine.js";
import { Folder, merge, tensor } from "../../test/laws/support/family.js";
import { normals } from "../../test/laws/support/random.js";
import { normPrefixes, sortedMagnitudes } from "../../test/laws/support/selection.js";
import { settingsOf } from "../../test/laws/support/twin.js";
import type { Known, ParameterValue } from "./method.js";
import { ties } from "./ties.js";

const folder = new Folder();
after(() => folder.remove());

/** Columns of three models' changes. */
const COLUMNS = [
  [3, -1, -1],
  [1, 2, -4],
  [2, -2, 0],
  [0, 0, 0],
  [-1, -2, -3],
  [3, -2, -3],
];
const MODELS = [0, 1, 2].map((model) => COLUMNS.map((column) => column[model]!));
const ORACLE = [-1, 1, 0, 1, 1, -1];
/** Squared norms of the three: 24, 17 and 35. */
const ENERGY = MODELS.map((values) => values.reduce((sum, x) => sum + x * x, 0));

/** Elected by hand, where a zero sum elects the positive sign. Column 2 and 3 have zero sums; an oracle's zero is negative. */
const ELECTED = {
  mass: "+-++--",
  // 9/24 − 1/17 − 1/35; 1/24 + 4/17 − 16/35; 4/24 − 4/17; 0; …; 9/24 − 4/17 − 9/35.
  "norm-mass": "+--+--",
  // 9/24 is the largest; 16/35; 4/17; none; 9/35 of the three; 9/24.
  "norm-fraction": "+--+-+",
  count: "-+++--",
  oracle: "-+-++-",
  none: "oooooo",
} as const;

/** What each merge makes of each column, by the sign elected. */
const RESULTS: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>> = {
  mean: { "+": [3, 1.5, 2, 0, 0, 3], "-": [-1, -4, -2, 0, -2, -2.5], o: [1 / 3, -1 / 3, 0, 0, -2, -2 / 3] },
  sum: { "+": [3, 3, 2, 0, 0, 3], "-": [-2, -4, -2, 0, -6, -5], o: [1, -1, 0, 0, -6, -2] },
  max: { "+": [3, 2, 2, 0, 0, 3], "-": [-1, -4, -2, 0, -3, -3], o: [3, -4, 2, 0, -3, 3] },
  "plain-mean": {
    "+": [1 / 3, 1 / 3, 0, 0, 2, 2 / 3],
    "-": [-1 / 3, -1 / 3, 0, 0, -2, -2 / 3],
    o: [1 / 3, -1 / 3, 0, 0, -2, -2 / 3],
  },
  "plain-sum": { "+": [1, 1, 0, 0, 6, 2], "-": [-1, -1, 0, 0, -6, -2], o: [1, -1, 0, 0, -6, -2] },
  "plain-median": { "+": [1, 1, 0, 0, 2, 2], "-": [-1, -1, 0, 0, -2, -2], o: [-1, 1, 0, 0, -2, -2] },
  "plain-magnitude": { "+": [3, 4, 2, 0, 3, 3], "-": [-3, -4, -2, 0, -3, -3], o: [3, -4, 2, 0, -3, 3] },
};

let written = 0;

/** Each row of values as a checkpoint of one tensor; the base's entries and the rows' changes to them. */
function write(base: readonly number[], changes: readonly (readonly number[])[]) {
  const id = written++;
  return {
    base: folder.write(`base${id}`, [tensor("w", base)]),
    models: changes.map((row, index) =>
      folder.write(`m${id}-${index}`, [
        tensor(
          "w",
          row.map((x, p) => x + base[p]!),
        ),
      ]),
    ),
  };
}

const same = (found: ArrayLike<number>, expected: readonly number[], what: string) =>
  // Adding zero makes of minus zero what the base made of it.
  assert.deepEqual(
    [...Array.from(found, (x) => x + 0)],
    expected.map((x) => Math.fround(x) + 0),
    what,
  );

describe("ties: every election with every merge", () => {
  const zeros = COLUMNS.map(() => 0);
  const paths = write(zeros, MODELS);
  const oracle = folder.write("oracle", [tensor("w", ORACLE)]);

  for (const [elect, signs] of Object.entries(ELECTED)) {
    it(elect, async () => {
      for (const [name, results] of Object.entries(RESULTS)) {
        const expected = [...signs].map((sign, p) => results[sign]![p]!);
        const given = { elect, merge: name, select: "none", zero_sign: "positive" };
        const known: Known = { energy: { energy: ENERGY } };
        const own = MODELS.map(() => ({}));
        same(combine(ties, zeros, MODELS, given, own, { known, extra: { oracle: ORACLE } }), expected, name);
        const parameters = { ...given, ...(elect === "oracle" && { oracle }) };
        const merged = await merge({ method: "ties", ...paths, parameters }, { out: folder.fresh() });
        same(merged.values("w"), expected, `${name}, from files`);
      }
    });
  }

  it("a zero sum elects the negative sign, or the majority of all columns", async () => {
    // Signs of the sums: + − 0 0 − −, so the majority is negative.
    for (const zero_sign of ["negative", "majority"]) {
      const merged = await merge(
        { method: "ties", ...paths, parameters: { select: "none", zero_sign } },
        { out: folder.fresh() },
      );
      same(merged.values("w"), [3, -4, -2, 0, -2, -2.5], zero_sign);
    }
    const turned = write(
      zeros,
      MODELS.map((values) => values.map((x) => -x)),
    );
    const merged = await merge({ method: "ties", ...turned, parameters: { select: "none" } }, { out: folder.fresh() });
    same(merged.values("w"), [-3, 4, 2, 0, 2, 2.5], "majority");
  });

  it("counts the columns in which both signs meet", async () => {
    const merged = await merge({ method: "ties", ...paths, parameters: { select: "none" } }, { out: folder.fresh() });
    assert.equal(merged.result.result.counters.conflicts, 4);
  });

  it("an oracle is asked for exactly where it elects", () => {
    const check = (given: Readonly<Record<string, ParameterValue>>) => ties.check!(settingsOf(ties, given, [{}]));
    assert.match(check({ elect: "oracle" })!, /needs the parameter oracle/);
    assert.match(check({ oracle: "./x" })!, /only with elect: oracle/);
    assert.equal(check({ elect: "oracle", oracle: "./x" }), null);
    assert.equal(check({}), null);
  });
});

describe("ties: dialects by hand", () => {
  // A base that shows what is added to it; ten entries, so that 0.2 keeps three of each model and 0.3 exactly three.
  const base = [100, 100, 100, 100, 100, 100, 100, 100, 100, 100];
  const changes = [
    [9, 8, 7, 1, 1, 1, 1, 1, 1, 1],
    [-9, 8, 1, 1, 7, 1, 1, 1, 1, 1],
    [2, -4, 7, 1, 7, 1, -9, 1, 1, 1],
  ];
  const run = async (
    dialect: string,
    parameters: Readonly<Record<string, ParameterValue>>,
    weights: readonly number[] = [1, 1, 1],
  ) => {
    const { base: path, models } = write(base, changes);
    const weighted = models.map((model, index) => ({ model, weight: weights[index]! }));
    const merged = await merge(
      { method: "ties", dialect, base: path, models: weighted, parameters },
      { out: folder.fresh() },
    );
    return [...merged.values("w")].map((x, p) => Math.round((x - base[p]!) * 1000) / 1000);
  };

  it("paper: trunc(10 × 0.2) + 1 entries, disjoint mean, lambda 1", async () => {
    // Kept: 9 8 7; −9 8 7; 7 7 −9. Column 0 cancels; the signs of the sums are + + + − elsewhere: positive.
    assert.deepEqual(await run("paper", {}), [9, 8, 7, 0, 7, 0, -9, 0, 0, 0]);
  });

  it("vision-sum: the sum of the agreeing entries, lambda 0.3", async () => {
    assert.deepEqual(await run("vision-sum", {}), [2.7, 4.8, 4.2, 0, 4.2, 0, -2.7, 0, 0, 0]);
  });

  it("mergekit: density 1 and a zero sum that is positive; divided by the agreeing weights", async () => {
    // Column 0: 9 − 9 + 2 > 0; column 1: 8 + 8 − 4; column 6: 1 + 1 − 9.
    assert.deepEqual(await run("mergekit", {}), [5.5, 8, 5, 1, 5, 1, -9, 1, 1, 1]);
    // Exactly 3: column 0 cancels, which is positive. Equal magnitudes go by index.
    assert.deepEqual(await run("mergekit", { density: 0.3 }), [9, 8, 7, 0, 7, 0, -9, 0, 0, 0]);
    // Exactly 1, though trunc(10 × 0.05) is 0: of 9 and −9, and −9 of the last.
    assert.deepEqual(await run("mergekit", { density: 0.05 }), [9, 0, 0, 0, 0, 0, -9, 0, 0, 0]);
    assert.deepEqual(await run("mergekit", { density: 0 }), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Weighted: column 0 elects by 9 − 18 + 1 < 0: −18 / 2; column 1: 8 + 16 over 1 + 2; column 2: (7 + 2 + 3.5) / 3.5.
    const weighted = await run("mergekit", {}, [1, 2, 0.5]);
    assert.deepEqual(weighted.slice(0, 3), [-9, 8, 3.571]);
  });

  it("peft: the vote is unweighted, the divisor is the number of agreeing models", async () => {
    // Column 0: 9 − 9 + 2 > 0, so 9 × 1 and 2 × 0.5 over 2; column 1: (8 + 16) / 2; column 2: (7 + 2 + 3.5) / 3.
    const weighted = await run("peft", { density: 1 }, [1, 2, 0.5]);
    assert.deepEqual(weighted.slice(0, 3), [5, 12, 4.167]);
    // Exactly trunc(10 × 0.2) = 2 of each, lowest index first: 9 8; −9 8; of 7 7 −9 the −9 and the first 7.
    assert.deepEqual(await run("peft", {}), [9, 8, 7, 0, 0, 0, -9, 0, 0, 0]);
    assert.deepEqual(await run("peft", { density: 0.05 }), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it("a negative weight flips a model's vote, except where votes are unweighted", async () => {
    const flipped = await run("mergekit", {}, [1, 1, -1]);
    // Column 0: 9 − 9 − 2 < 0: (−9 − 2) / (1 − 1), and a divisor of zero divides by one; column 1: (8 + 8 + 4) / 1.
    assert.deepEqual(flipped.slice(0, 2), [-11, 20]);
    const unweighted = await run("peft", { density: 1 }, [1, 1, -1]);
    // As PEFT does it, who agrees is decided by what voted. Column 0: 9 − 9 + 2 > 0: (9 − 2) / 2; column 1: (8 + 8) / 2.
    assert.deepEqual(unweighted.slice(0, 2), [3.5, 8]);
  });
});

describe("ties: selections against brute force", () => {
  const shapes: Readonly<Record<string, Float32Array>> = {
    "normal numbers": normals(1001, 1, 0.02),
    "numbers off centre": normals(1000, 2, 0.02).map((x) => x + 0.01),
    "repeated numbers": normals(999, 3).map((x) => Math.round(x * 4) / 4),
    "one number": Float32Array.of(0.5),
    zeros: new Float32Array(17),
    "equal numbers": new Float32Array(64).fill(-0.25),
  };
  const kept = async (values: Float32Array, parameters: Readonly<Record<string, ParameterValue>>) => {
    const paths = write(
      [...values].map(() => 0),
      [[...values]],
    );
    const settings = { ...parameters, elect: "none", merge: "sum" };
    const merged = await merge({ method: "ties", ...paths, parameters: settings }, { out: folder.fresh() });
    return [...merged.values("w")];
  };

  for (const [name, values] of Object.entries(shapes)) {
    it(`deviations, ${name}`, async () => {
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
      const deviation = values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1));
      for (const factor of [0, 0.5, 1, 2.5]) {
        const found = await kept(values, { select: "deviations", deviations: factor });
        for (const [p, x] of values.entries()) {
          const margin = Math.abs(x - mean) - factor * deviation;
          // Within rounding of the distance either answer is right.
          if (Math.abs(margin) < 1e-8 && !(margin === 0 && deviation === 0)) continue;
          assert.ok(found[p] === (margin > 0 ? x : 0), `factor ${factor}, entry ${p}`);
        }
      }
    });

    it(`norm share, ${name}`, async () => {
      const sorted = sortedMagnitudes(values);
      const shares = [0, 0.25, 0.5, 0.875, 1];
      for (const [index, prefix] of normPrefixes(sorted, shares).entries()) {
        const found = await kept(values, { select: "norm-share", norm_share: shares[index]! });
        const smallest =
          prefix === null
            ? Infinity
            : Math.abs([...values].sort((a, b) => Math.abs(b) - Math.abs(a))[prefix.kept - 1]!);
        const expected = shares[index] === 1 ? [...values] : [...values].map((x) => (Math.abs(x) >= smallest ? x : 0));
        same(found, expected, `share ${shares[index]}`);
      }
    });
  }
});

describe("ties: what is not finite", () => {
  const columns = [
    [NaN, 1, -2],
    [1, NaN, 2],
    [-1, -2, NaN],
    [Infinity, 1, -1],
    [1, -Infinity, 2],
    [Infinity, -Infinity, 1],
    [1, 2, 3],
  ];
  const models = [0, 1, 2].map((model) => columns.map((column) => column[model]!));
  const known: Known = {
    threshold: { thresholds: [Infinity, 1.5, 0], kept: [], entries: 7 },
    energy: { energy: [NaN, NaN, NaN] },
  };

  for (const elect of Object.keys(ELECTED)) {
    for (const name of Object.keys(RESULTS)) {
      it(`NaN reaches the result: ${elect}, ${name}`, () => {
        const own = models.map(() => ({}));
        const zeros = columns.map(() => 0);
        const extra = { oracle: [1, 1, 1, -1, -1, 1, 1] };
        const out = combine(ties, zeros, models, { elect, merge: name, density: 0.5 }, own, { known, extra });
        for (const p of [0, 1, 2]) assert.ok(Number.isNaN(out[p]), `column ${p}: ${out[p]}`);
        assert.ok(Number.isFinite(out[6]), `a finite column: ${out[6]}`);
      });
    }
  }

  it("an infinity wins an election by mass", () => {
    for (const name of ["mean", "sum", "max"]) {
      const out = combine(
        ties,
        columns.map(() => 0),
        models,
        { merge: name, density: 0.5 },
        models.map(() => ({})),
        { known },
      );
      assert.deepEqual([out[3], out[4]], [Infinity, -Infinity], name);
      assert.ok(!Number.isFinite(out[5]), name);
    }
  });
});
