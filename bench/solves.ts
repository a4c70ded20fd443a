/** Systems of RegMean and MaTS of a layer's size, to be timed on any thread. */
import type { Algebra, Matrix, Matrix64 } from "../src/algebra/algebra.js";
import { algebraTask } from "../src/algebra/crew.js";
import { mats } from "../src/methods/mats.js";
import type { MatrixTask, ParameterValue, Settings } from "../src/methods/method.js";
import { regmean } from "../src/methods/regmean.js";

export const MODELS = 2;
export const STEPS = 10;

export interface Solve {
  readonly method: "regmean" | "mats";
  readonly inputs: number;
  readonly outputs: number;
  /** Of multiplications and additions. */
  readonly operations: number;
}

/** By what is printed. @param isFull the largest layer, too. */
export function solves(isFull: boolean): Map<string, Solve> {
  const shapes = [[2048, 256], [2048, 2048], ...(isFull ? [[5632, 2048]] : [])] as [number, number][];
  return new Map(
    shapes.flatMap(([inputs, outputs]): [string, Solve][] => {
      const applied = 2 * inputs * outputs * (inputs + outputs) * MODELS;
      const size = `${inputs} inputs, ${outputs} outputs`;
      const operations = inputs ** 3 / 3 + 2 * inputs ** 2 * outputs * (MODELS + 1);
      return [
        [`RegMean, ${size}`, { method: "regmean", inputs, outputs, operations }],
        [`MaTS, ${size}, ${STEPS} steps`, { method: "mats", inputs, outputs, operations: applied * (STEPS + 2) }],
      ];
    }),
  );
}

/** Positive definite without a product of its own: smooth, with ones added to its diagonal. */
function positive(size: number): Matrix64 {
  const data = Float64Array.from({ length: size * size }, (_, at) => {
    const [row, column] = [Math.floor(at / size), at % size];
    return Math.exp(-(((row - column) / 8) ** 2)) + (row === column ? 1 : 0);
  });
  return { rows: size, columns: size, data };
}

/** When solving began and ended, in milliseconds since the epoch; what is solved is made before. */
export interface Span {
  readonly began: number;
  readonly ended: number;
}

export const solveTask = algebraTask(
  import.meta.url,
  "solveTask",
  async (algebra: Algebra, { method, inputs, outputs }: Solve): Promise<Span> => {
    const solver = method === "mats" ? mats : regmean;
    const weight: Matrix = {
      ...{ rows: outputs, columns: inputs },
      data: Float32Array.from({ length: inputs * outputs }, (_, index) => Math.sin(index)),
    };
    const sums = { input: positive(inputs), output: positive(outputs) };
    const task: MatrixTask = {
      ...{ name: "bench", shape: [outputs, inputs], models: MODELS, transposed: false },
      base: () => Promise.resolve(weight),
      model: () => Promise.resolve(weight),
      statistic: (_, role) => Promise.resolve({ sum: sums[role as keyof typeof sums], count: 1 }),
    };
    const values: Record<string, ParameterValue> = Object.fromEntries(
      Object.entries(solver.parameters).map(([name, { default: value }]) => [name, value]),
    );
    const own = { ...values, iterations: STEPS, tolerance: 0, init: "zero" };
    const settings: Settings = { global: own, models: Array.from({ length: MODELS }, () => own) };
    const began = performance.timeOrigin + performance.now();
    await solver.solve(task, settings, algebra);
    return { began, ended: performance.timeOrigin + performance.now() };
  },
);
