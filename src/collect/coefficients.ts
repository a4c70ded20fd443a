/**
 * AdaMerging: coefficients for every tensor (or layer, or model) and task that minimise the entropy of the merged model's
 * predictions. One step makes the merged weights, runs every task forward and backward on a batch of its inputs, and takes
 * the inner products of the gradients with what is weighed; nothing else of the gradients is needed.
 */
import { MergewrightError } from "../errors.js";
import { sha256 } from "../evaluate/fingerprint.js";
import type { EvaluatePlatform } from "../evaluate/platform.js";
import type { Split, Task } from "../evaluate/task.js";
import { openInputs } from "../inputs.js";
import { Layers, isBeforeLayers } from "../models/layers.js";
import { tableModelOf, weighedUnder, type TableModel } from "../plan/coefficients.js";
import type { OpenInputs } from "../plan/types.js";
import type { Recipe } from "../recipe/recipe.js";
import { stringifyRecipe } from "../recipe/write.js";
import type { Team } from "../runtime/team.js";
import { VERSION } from "../version.js";
import { CoefficientLearner } from "./learner.js";
import { readState, stateFile, tableFile, type History } from "./coefficient_files.js";
import { NotFinite, notFiniteError, type StepPlan, taskGradients } from "./task_gradients.js";
import { openTasks, type OpenTasks, type Order, type TaskInputs } from "./task_inputs.js";
import {
  checkWeighing,
  mergedWeights,
  productsWith,
  readWeighed,
  weigh,
  type WeighedTensor,
  type WeighingRecipe,
} from "./weighed.js";

/** What shares a coefficient per model: one tensor, all of one layer, or everything. */
export type Sharing = "tensor" | "layer" | "model";

export interface CollectPlatform {
  readonly evaluation: EvaluatePlatform;
  readonly openTeam: (threads: number) => Team;
}

/** A file that a run keeps for the case that it is ended, and finds when it is started again; the caller removes it. */
export interface KeptState {
  read(): Uint8Array | null;
  write(bytes: Uint8Array): void;
}

export interface CoefficientOptions {
  readonly threads: number;
  /** Default 300. */
  readonly steps?: number;
  /** Examples of every task in one step. Default 16. */
  readonly batch?: number;
  /** Adam's step size. Default 0.001. */
  readonly rate?: number;
  /** Default: [0, 1]; `null`: coefficients are used as they are. */
  readonly clamp?: readonly [least: number, most: number] | null;
  /** Default: tensor, the paper's "layer-wise"; model is its "task-wise". */
  readonly per?: Sharing;
  /** Default: val. Labels are never looked at. */
  readonly split?: Split;
  /** Shuffles the examples anew in every round; default `null`: in the data's order, without random numbers. */
  readonly shuffle?: { readonly seed: number } | null;
  readonly heads?: Readonly<Record<string, string>>;
  readonly state?: KeptState | null;
  /** Seconds between two writings of the state. Default 5. */
  readonly keepEvery?: number;
  readonly progress?: (progress: { readonly name: string; readonly done: number; readonly total: number }) => void;
}

export interface CoefficientResult {
  readonly split: Split;
  readonly steps: number;
  /** Steps that an earlier run had made. */
  readonly resumedAt: number;
  /** By tensor, one coefficient per model in recipe order, f32. */
  readonly coefficients: ReadonlyMap<string, Float32Array>;
  /** The merged weights of the last step, f32: what a merge with the table gives. */
  readonly merged: ReadonlyMap<string, Float32Array>;
  readonly models: readonly string[];
  readonly tasks: readonly string[];
  /** Mean over tensors, by model. */
  readonly means: readonly number[];
  readonly history: History;
  /** The table as a file. */
  readonly table: Uint8Array;
  readonly notes: readonly string[];
  readonly seconds: number;
}

export async function learnCoefficients(
  recipe: Recipe,
  tasks: readonly Task[],
  platform: CollectPlatform,
  options: CoefficientOptions,
): Promise<CoefficientResult> {
  const started = performance.now();
  checkWeighing(recipe);
  const inputs = await openInputs(recipe, platform.evaluation.openModel);
  const team = platform.openTeam(options.threads);
  let opened: OpenTasks | null = null;
  try {
    const { split = "val", heads } = options;
    const tensors = await readWeighed(recipe, inputs);
    const weights = mergedWeights(inputs.base!, tensors);
    const how = { split, labels: "unused" as const, ...(heads !== undefined && { heads }) };
    opened = await openTasks(tasks, inputs.base!, weights, team, platform.evaluation, how);
    const models = await modelsOf(recipe, inputs);
    const run = await Run.open(recipe, models, tensors, opened.tasks, weights, options);
    const resumedAt = run.steps;
    await run.learn();
    const result = run.result();
    return {
      ...result,
      split,
      resumedAt,
      models: recipe.models.map(({ name }) => name),
      tasks: tasks.map(({ name }) => name),
      notes: opened.notes,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await opened?.close();
    await team.close();
    await inputs.close();
  }
}

interface Models {
  readonly base: TableModel;
  readonly models: readonly TableModel[];
}

async function modelsOf(recipe: Recipe, { base, models }: OpenInputs): Promise<Models> {
  const found = [];
  for (const [index, model] of models.entries()) found.push(await tableModelOf(model, recipe.models[index]!.name));
  return { base: await tableModelOf(base!, base!.name), models: found };
}

class Run {
  readonly #recipe: WeighingRecipe;
  readonly #models: Models;
  readonly #tensors: readonly WeighedTensor[];
  readonly #tasks: readonly TaskInputs[];
  readonly #weights: ReturnType<typeof mergedWeights>;
  readonly #options: CoefficientOptions;
  readonly #order: Order;
  readonly #total: number;
  readonly #key: string;
  readonly #learner: CoefficientLearner;
  readonly #history: History;

  private constructor(
    recipe: WeighingRecipe,
    models: Models,
    tensors: readonly WeighedTensor[],
    tasks: readonly TaskInputs[],
    weights: ReturnType<typeof mergedWeights>,
    options: CoefficientOptions,
    key: string,
  ) {
    const { steps = 300, batch = 16, rate = 0.001, clamp = [0, 1], per = "tensor", shuffle = null, state } = options;
    this.#recipe = recipe;
    this.#models = models;
    this.#tensors = tensors;
    this.#tasks = tasks;
    this.#weights = weights;
    this.#options = options;
    this.#order = { batch, seed: shuffle?.seed ?? null };
    this.#total = steps;
    this.#key = key;
    const groupOf = groupsOf(tensors, per);
    const kept = readState(state?.read() ?? null, key);
    if (kept !== null && kept.history.losses.length > steps) throw tooFar(kept.history.losses.length, steps);
    const start = kept?.learner ?? startOf(tensors, groupOf);
    this.#learner = new CoefficientLearner(groupOf, recipe.models.length, start, { rate, clamp });
    this.#history = kept?.history ?? { losses: [], means: [] };
  }

  static async open(
    recipe: WeighingRecipe,
    models: Models,
    tensors: readonly WeighedTensor[],
    tasks: readonly TaskInputs[],
    weights: ReturnType<typeof mergedWeights>,
    options: CoefficientOptions,
  ): Promise<Run> {
    const { batch = 16, rate = 0.001, clamp = [0, 1], per = "tensor", split = "val", shuffle = null } = options;
    const what = { batch, rate, clamp, per, split, shuffle, version: VERSION };
    const data = tasks.map(({ name, content }) => [name, content]);
    const key = await sha256(JSON.stringify([stringifyRecipe(recipe), models, data, what]));
    return new Run(recipe, models, tensors, tasks, weights, options, key);
  }

  get steps(): number {
    return this.#history.losses.length;
  }

  async learn(): Promise<void> {
    const { state = null, progress, keepEvery = 5 } = this.#options;
    let kept = performance.now();
    // The state before a step is good once the step has found its losses and gradients finite.
    let good: Uint8Array | null = null;
    let goodSteps = 0;
    const names = this.#tensors.map(({ name }) => name);
    const plan: StepPlan = { names, weights: this.#weights, order: this.#order, loss: "entropy" };
    while (this.steps < this.#total) {
      const { losses, products } = await this.#look(plan).catch((error: unknown) => {
        if (!(error instanceof NotFinite)) throw error;
        if (good !== null && goodSteps > 0) state?.write(good);
        throw notFiniteError(error, this.steps, state === null ? 0 : goodSteps);
      });
      [good, goodSteps] = [stateFile(this.#key, this.#learner.state, this.#history), this.steps];
      if (state !== null && goodSteps > 0 && performance.now() - kept >= 1000 * keepEvery) {
        state.write(good);
        kept = performance.now();
      }
      this.#learner.step(products);
      this.#history.losses.push(losses);
      this.#history.means.push(this.#means());
      progress?.({ name: `entropy ${sumOf(losses).toFixed(3)},`, done: this.steps, total: this.#total });
    }
    weigh(this.#tensors, (tensor, model) => this.#learner.coefficient(tensor, model));
  }

  /** @returns each task's loss before the step, and what the step follows from. @throws NotFinite */
  async #look(plan: StepPlan): Promise<{ readonly losses: readonly number[]; readonly products: Float64Array }> {
    weigh(this.#tensors, (tensor, model) => this.#learner.coefficient(tensor, model));
    const sizes = this.#tensors.map(({ base }) => base.length);
    const { losses, sums } = await taskGradients(this.steps, this.#tasks, sizes, plan);
    const products = productsWith(this.#tensors, sums);
    const bad = products.findIndex((product) => !Number.isFinite(product));
    if (bad !== -1) {
      const { name } = this.#tensors[Math.floor(bad / this.#recipe.models.length)]!;
      throw new NotFinite(`the gradient of a coefficient of ${name}`, products[bad]!);
    }
    return { losses, products };
  }

  /** Mean over tensors of the coefficients as they are used, by model. */
  #means(): number[] {
    return this.#models.models.map((_, model) => {
      const all = this.#tensors.map((_tensor, index) => this.#learner.coefficient(index, model));
      return sumOf(all) / all.length;
    });
  }

  result(): Pick<CoefficientResult, "steps" | "coefficients" | "merged" | "means" | "history" | "table"> {
    const { per = "tensor", split = "val", clamp = [0, 1] } = this.#options;
    const row = (tensor: number) =>
      Float32Array.from(this.#models.models, (_, model) => this.#learner.coefficient(tensor, model));
    const coefficients = new Map(this.#tensors.map(({ name }, index) => [name, row(index)]));
    const table = tableFile(coefficients, {
      ...this.#models,
      parameters: weighedUnder(this.#recipe),
      told: {
        per,
        split,
        steps: String(this.steps),
        batch: String(this.#order.batch),
        clamp: JSON.stringify(clamp),
        tasks: this.#tasks.map(({ name }) => name).join(", "),
        version: VERSION,
      },
    });
    return {
      steps: this.steps,
      coefficients,
      merged: new Map(this.#tensors.map(({ name, merged }) => [name, merged])),
      means: this.#means(),
      history: this.#history,
      table,
    };
  }
}

/** Per tensor the group whose coefficients it shares. */
function groupsOf(tensors: readonly WeighedTensor[], per: Sharing): number[] {
  if (per === "tensor") return tensors.map((_, index) => index);
  if (per === "model") return tensors.map(() => 0);
  const layers = new Layers(tensors.map(({ name }) => name));
  const groups = new Map<string, number>();
  return tensors.map(({ name }) => {
    const place = layers.placeOf(name);
    const key = place === null ? (isBeforeLayers(name) ? "before" : "behind") : `${place.stack}.${place.index}`;
    if (!groups.has(key)) groups.set(key, groups.size);
    return groups.get(key)!;
  });
}

/** Of each group where its first tensor begins. */
function startOf(tensors: readonly WeighedTensor[], groupOf: readonly number[]): Float64Array {
  const models = tensors[0]!.start.length;
  const start = new Float64Array((Math.max(...groupOf) + 1) * models);
  for (let index = tensors.length - 1; index >= 0; index--) start.set(tensors[index]!.start, groupOf[index]! * models);
  return start;
}

function tooFar(made: number, asked: number): MergewrightError {
  return new MergewrightError("the unfinished run that is continued has made more steps already", {
    kind: "request",
    code: "output/stale-partial",
    expected: `--steps ${made} or more`,
    found: `--steps ${asked}`,
    advice: "ask for more steps, or start over with --force",
  });
}

function sumOf(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
