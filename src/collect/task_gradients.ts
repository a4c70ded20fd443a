/** One step's gradients over all tasks: each is run on a batch of its own, at weights that lie in memory. */
import { MergewrightError } from "../errors.js";
import type { WeightSource } from "../runtime/network.js";
import { examplesOf, type Order, type TaskInputs } from "./task_inputs.js";

export interface TaskGradients {
  /** The mean loss of each task's batch, in nats. */
  readonly losses: readonly number[];
  /** Per name the gradient of the sum of the losses; zeros for what no task's network uses. */
  readonly sums: readonly Float32Array[];
}

export interface StepPlan {
  readonly names: readonly string[];
  readonly weights: WeightSource;
  readonly order: Order;
  readonly loss: "entropy" | "cross-entropy";
}

/**
 * @param sizes entries of each name's tensor.
 * @throws NotFinite where a loss is.
 */
export async function taskGradients(
  step: number,
  tasks: readonly TaskInputs[],
  sizes: readonly number[],
  { names, weights, order, loss: kind }: StepPlan,
): Promise<TaskGradients> {
  const sums = sizes.map((size) => new Float32Array(size));
  const losses: number[] = [];
  for (const task of tasks) {
    const { network } = task;
    await network.load(weights);
    const { batch, targets } = await task.batch(examplesOf(step, task, order));
    const used = names.filter((name) => network.parameters.includes(name));
    const { loss, parameters } = await network.gradients(
      batch,
      kind === "entropy" ? { kind } : { kind, targets },
      used,
    );
    if (!Number.isFinite(loss)) throw new NotFinite(`the loss of ${task.name}`, loss);
    losses.push(loss);
    for (const [index, name] of names.entries()) {
      const gradient = parameters.get(name);
      if (gradient !== undefined) add(sums[index]!, gradient);
    }
  }
  return { losses, sums };
}

/** What was not finite; the run that meets it says what is kept. */
export class NotFinite extends Error {
  readonly what: string;
  readonly found: number;

  constructor(what: string, found: number) {
    super(`${what} is not finite`);
    this.what = what;
    this.found = found;
  }
}

/** @param kept steps of the state that is kept, whose losses are all finite; 0: none is. */
export function notFiniteError({ what, found }: NotFinite, step: number, kept: number): MergewrightError {
  const advice =
    step === 0
      ? "look for NaN or infinity in the models: mergewright inspect MODEL --norms"
      : kept === 0
        ? "take a smaller --rate: no step before it is worth keeping"
        : `what was learnt while losses were finite is kept: the same command with --steps ${kept} writes it; ` +
          "a smaller --rate, with --force, may go further";
  return new MergewrightError(`${what} is not finite at step ${step}`, {
    kind: "request",
    code: "collect/not-finite",
    found: String(found),
    advice,
  });
}

function add(sums: Float32Array, values: Float32Array): void {
  for (let p = 0; p < sums.length; p++) sums[p]! += values[p]!;
}
