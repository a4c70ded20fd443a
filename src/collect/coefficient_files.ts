/** The files of a run that learns coefficients: its table, its state for a restart, its curves. */

import { MergewrightError } from "../errors.js";
import { TABLE_KIND, type TableModel } from "../plan/coefficients.js";
import type { LineChart } from "../plots/chart.js";
import { arraysFile, readArrays } from "./arrays.js";
import type { LearnerState } from "./learner.js";

/** What happened, step by step. */
export interface History {
  /** Each task's mean entropy in nats before the step. */
  readonly losses: (readonly number[])[];
  /** Each model's coefficient after the step, its mean over tensors. */
  readonly means: (readonly number[])[];
}

export interface TableFacts {
  readonly base: TableModel;
  readonly models: readonly TableModel[];
  readonly parameters: Readonly<Record<string, unknown>>;
  /** For people. */
  readonly told: Readonly<Record<string, string>>;
}

export function tableFile(
  coefficients: ReadonlyMap<string, Float32Array>,
  { base, models, parameters, told }: TableFacts,
): Uint8Array {
  const arrays = [...coefficients].map(([name, values]) => ({ name, shape: [values.length], values }));
  return arraysFile(arrays, {
    kind: TABLE_KIND,
    base: JSON.stringify(base),
    models: JSON.stringify(models),
    parameters: JSON.stringify(parameters),
    ...told,
  });
}

/** The metadata's `kind` of a state, which no merge takes for a table. */
const STATE_KIND = "mergewright.coefficients.state";

/** @param key of everything that the run depends on but its length. */
export function stateFile(key: string, { raw, adam }: LearnerState, { losses, means }: History): Uint8Array {
  const [{ first, second } = { first: raw, second: raw }] = adam.moments;
  const flat = (rows: readonly (readonly number[])[]) => Float64Array.from(rows.flat());
  const vector = (name: string, values: Float32Array | Float64Array) => ({ name, shape: [values.length], values });
  return arraysFile(
    [
      vector("raw", raw),
      vector("first", first),
      vector("second", second),
      vector("losses", flat(losses)),
      vector("means", flat(means)),
    ],
    { kind: STATE_KIND, key, steps: String(adam.steps), rows: String(losses.length) },
  );
}

/**
 * @returns `null` where there is no state.
 * @throws output/stale-partial for one of another run, or no state at all.
 */
export function readState(bytes: Uint8Array | null, key: string): { learner: LearnerState; history: History } | null {
  if (bytes === null) return null;
  const { metadata, arrays } = readArrays(bytes, "the state of an earlier run");
  if (metadata["kind"] !== STATE_KIND || metadata["key"] !== key) {
    throw new MergewrightError("a run with other models, data or options was left unfinished here", {
      kind: "request",
      code: "output/stale-partial",
      advice: "finish it with its own command, choose another -o, or start over with --force",
    });
  }
  const array = (name: string) => arrays.get(name) as Float64Array;
  const rows = Number(metadata["rows"]);
  const cut = (values: Float64Array) => {
    const width = rows === 0 ? 0 : values.length / rows;
    return Array.from({ length: rows }, (_, row) => [...values.subarray(row * width, (row + 1) * width)]);
  };
  const moments = [{ first: array("first"), second: array("second") }];
  return {
    learner: { raw: array("raw"), adam: { steps: Number(metadata["steps"]), moments } },
    history: { losses: cut(array("losses")), means: cut(array("means")) },
  };
}

/** Loss and coefficients over the steps, as charts. */
export function curvesOf(
  { losses, means }: History,
  {
    tasks,
    models,
    split,
  }: { readonly tasks: readonly string[]; readonly models: readonly string[]; readonly split: string },
): readonly [loss: LineChart, coefficients: LineChart] {
  const x = { label: "step" };
  const line = (name: string, rows: readonly (readonly number[])[], column: number, from: number) => ({
    name,
    points: rows.map((row, step) => ({ x: step + from, y: row[column]! })),
  });
  const total = losses.map((row) => [row.reduce((sum, loss) => sum + loss, 0) / row.length]);
  return [
    {
      kind: "lines",
      title: "Entropy of the merged model's predictions",
      description: `Mean entropy of every task's batch before each step, on the split ${split}; what is minimised is the sum over tasks.`,
      x,
      y: { label: "nats" },
      series: [
        { ...line("mean of tasks", total, 0, 0), strong: true },
        ...tasks.map((name, task) => line(name, losses, task, 0)),
      ],
    },
    {
      kind: "lines",
      title: "Coefficients",
      description: "Each model's coefficient after each step, the mean over tensors.",
      x,
      y: { label: "coefficient" },
      series: models.map((name, model) => line(name, means, model, 1)),
    },
  ];
}
