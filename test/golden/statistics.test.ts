/** Fisher, RegMean and MaTS against golden vectors, and what they are where everything is equal. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { openAlgebra } from "../../src/algebra/algebra.js";
import type { Matrix, Matrix64 } from "../../src/algebra/algebra.js";
import { fisher } from "../../src/methods/fisher.js";
import { mats } from "../../src/methods/mats.js";
import type { MatrixMethod, MatrixTask, ParameterValue } from "../../src/methods/method.js";
import { regmean } from "../../src/methods/regmean.js";
import { settingsOf } from "../laws/support/twin.js";

type Rows = readonly (readonly number[])[];
interface Golden {
  readonly fisher: {
    readonly [name in "theta" | "F"]: Rows;
  } & { readonly [name in "plain" | "mergelm_norm_eps1e-6" | "matena_norm_favor_target"]: readonly number[] };
  readonly regmean: { readonly [name in "W_out_in" | "G"]: readonly Rows[] } & {
    readonly [name in "alpha_1.0" | "alpha_0.9"]: Rows;
  };
  readonly mats_kfac: { readonly B: readonly Rows[] } & {
    readonly [name in "exact_W_out_in" | "cg_2_iters_from_average" | "cg_20_iters_from_average"]: Rows;
  };
}
const file = new URL("../../../test/golden/methods.json", import.meta.url);
const golden = JSON.parse(readFileSync(file, "utf8")) as Golden;
const algebra = openAlgebra();

const matrix = (rows: Rows): Matrix => ({
  ...{ rows: rows.length, columns: rows[0]!.length },
  data: Float32Array.from(rows.flat()),
});
const sum = (rows: Rows, count: number): Matrix64 => ({
  ...{ rows: rows.length, columns: rows[0]!.length },
  data: Float64Array.from(rows.flat(), (value) => value * count),
});

function near(found: ArrayLike<number>, expected: readonly number[], relative: number): void {
  assert.equal(found.length, expected.length);
  for (const [index, value] of expected.entries()) {
    assert.ok(Math.abs(found[index]! - value) <= relative * Math.abs(value) + 1e-6, `${found[index]} for ${value}`);
  }
}

interface Case {
  readonly weights: readonly Rows[];
  readonly inputs: readonly Rows[];
  readonly outputs?: readonly Rows[];
  readonly transposed?: boolean;
  readonly base?: Rows;
}

/** Counts differ from model to model, as they do in files. */
function solve(method: MatrixMethod, values: Readonly<Record<string, ParameterValue>>, of: Case) {
  const { weights, inputs, outputs, transposed = false, base } = of;
  const task: MatrixTask = {
    ...{ name: "w", shape: [weights[0]!.length, weights[0]![0]!.length], models: weights.length, transposed },
    base: () => Promise.resolve(base === undefined ? null : matrix(base)),
    model: (index) => Promise.resolve(matrix(weights[index]!)),
    statistic(index, role) {
      const found = role === "input" ? inputs[index] : outputs?.[index];
      const count = 3 + index;
      return Promise.resolve(found === undefined ? null : { sum: sum(found, count), count });
    },
  };
  const own = weights.map(() => ({}));
  return method.solve(task, settingsOf(method, values, own), algebra);
}

const flipped = (rows: Rows): Rows => rows[0]!.map((_, column) => rows.map((row) => row[column]!));

describe("Fisher", () => {
  const { theta, F } = golden.fisher;
  const merge = (
    values: Readonly<Record<string, ParameterValue>>,
    sums: Rows = F,
    weights: readonly number[] = [1, 1],
  ) => {
    const counts = [4, 8];
    const norms = sums.map((row) => Math.hypot(...row));
    const settings = settingsOf(
      fisher,
      values,
      weights.map((weight) => ({ weight })),
    );
    const args = fisher.bind(settings, { collected: { counts, norms, tensorNorms: norms } });
    const streams = sums.map((row, index) => Float32Array.from(row, (value) => value * counts[index]!));
    const out = new Float32Array(3);
    const counters = { unseen: 0 };
    const inputs = theta.map((row) => Float32Array.from(row));
    const extra = Object.fromEntries(streams.map((stream, index) => [`statistics.${index}`, stream]));
    fisher.combine({ count: 3, base: new Float32Array(3), inputs, extra, out, counters }, args);
    return { out, counters };
  };

  it("has the golden values of every dialect", () => {
    const plain = merge({ floor: 0, normalize: "none" });
    near([plain.out[0]!, plain.out[2]!], golden.fisher.plain, 1e-5);
    near(merge(fisher.dialects["mergelm"]!.values).out, golden.fisher["mergelm_norm_eps1e-6"], 1e-5);
    near(merge(fisher.dialects["matena"]!.values).out, golden.fisher["matena_norm_favor_target"], 1e-5);
  });

  it("averages by weight where no model knows an entry, and counts that", () => {
    const { out, counters } = merge({ floor: 0, normalize: "none" }, F, [1, 3]);
    assert.ok(Math.abs(out[1]! - (theta[0]![1]! + 3 * theta[1]![1]!) / 4) < 1e-6);
    assert.equal(counters.unseen, 1);
  });

  it("is the average for equal Fishers", () => {
    for (const { values } of Object.values(fisher.dialects)) {
      if (values["floor_scope"] === "target") continue;
      const { out } = merge(values, [F[1]!, F[1]!]);
      near(
        out,
        theta[0]!.map((value, index) => (value + theta[1]![index]!) / 2),
        1e-6,
      );
    }
  });
});

describe("RegMean", () => {
  const { W_out_in: weights, G: inputs } = golden.regmean;

  it("has the golden values", async () => {
    for (const [alpha, expected] of [
      [1, golden.regmean["alpha_1.0"]],
      [0.9, golden.regmean["alpha_0.9"]],
    ] as const) {
      const { merged, figures } = await solve(regmean, { alpha }, { weights, inputs });
      near(merged.data, expected.flat(), 1e-5);
      assert.deepEqual(figures!["ridge"], [0]);
    }
  });

  it("is the same for weights stored the other way round", async () => {
    const { merged } = await solve(regmean, { alpha: 1 }, { weights: weights.map(flipped), inputs, transposed: true });
    near(merged.data, flipped(golden.regmean["alpha_1.0"]).flat(), 1e-5);
  });

  it("is the average for identity matrices", async () => {
    const identity = [
      [1, 0],
      [0, 1],
    ];
    const { merged } = await solve(regmean, {}, { weights, inputs: weights.map(() => identity) });
    near(
      merged.data,
      weights[0]!.flat().map((value, index) => (value + weights[1]!.flat()[index]!) / 2),
      1e-6,
    );
  });

  it("takes a ridge for a singular sum, and says so", async () => {
    const one = [
      [1, 1],
      [1, 1],
    ];
    const same = [weights[0]!, weights[0]!];
    const { merged, warnings, figures } = await solve(regmean, { alpha: 1 }, { weights: same, inputs: [one, one] });
    assert.match(warnings!.join(""), /singular/);
    assert.ok(figures!["ridge"]![0]! > 0);
    assert.ok(merged.data.every(Number.isFinite));
  });
});

describe("MaTS", () => {
  const { W_out_in: weights, G: inputs } = golden.regmean;
  const { B: outputs } = golden.mats_kfac;
  const of = { weights, inputs, outputs };
  const from = { alpha: 1, init: "average" };

  it("has the golden values after 2 and 20 steps", async () => {
    for (const [iterations, expected] of [
      [2, golden.mats_kfac.cg_2_iters_from_average],
      [20, golden.mats_kfac.cg_20_iters_from_average],
    ] as const) {
      const { merged, figures } = await solve(mats, { ...from, iterations }, of);
      near(merged.data, expected.flat(), 3e-4);
      assert.ok(figures!["residuals"]!.length <= iterations + 1);
    }
  });

  it("at convergence is the direct solution", async () => {
    const { merged } = await solve(mats, { ...from, iterations: 500, tolerance: 1e-7 }, of);
    near(merged.data, golden.mats_kfac.exact_W_out_in.flat(), 2e-3);
  });

  it("with RegMean's objective is RegMean", async () => {
    const values = { objective: "regmean", init: "zero", alpha: 0.9, iterations: 50, tolerance: 1e-7 };
    const { merged } = await solve(mats, values, { weights, inputs });
    near(merged.data, golden.regmean["alpha_0.9"].flat(), 1e-3);
  });

  it("takes no step where it begins at the solution, and begins at the base where asked", async () => {
    const same = [weights[0]!, weights[0]!];
    const { merged, figures } = await solve(mats, from, { ...of, weights: same });
    near(merged.data, weights[0]!.flat(), 1e-6);
    assert.equal(figures!["residuals"]!.length, 1);
    const zero = await solve(mats, { init: "base", iterations: 0 }, { ...of, base: weights[1]! });
    near(zero.merged.data, weights[1]!.flat(), 1e-7);
    const ta = await solve(mats, { iterations: 0 }, { ...of, base: weights[1]! });
    near(
      ta.merged.data,
      weights[1]!.flat().map((b, index) => b + 0.3 * (weights[0]!.flat()[index]! - b)),
      1e-6,
    );
    await assert.rejects(solve(mats, {}, of), /there is none/);
  });

  it("averages a layer without output gradients, and says so", async () => {
    const { warnings } = await solve(mats, from, { weights, inputs });
    assert.match(warnings!.join(""), /averaged/);
  });
});
