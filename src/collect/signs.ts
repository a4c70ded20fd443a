/**
 * Signs for TIES from a few labelled examples (arXiv 2306.01708, the paper's few-shot estimation of the oracle): a model is
 * trained briefly on all tasks at once, each with its own frozen head, and the sign of its change from the base is the
 * estimate. The result is a checkpoint, which TIES takes as `oracle`.
 */
import { MergewrightError } from "../errors.js";
import { sha256 } from "../evaluate/fingerprint.js";
import type { Split, Task } from "../evaluate/task.js";
import { layoutHeader } from "../formats/safetensors/layout.js";
import { tiedGroups } from "../models/families.js";
import { sampledFingerprint } from "../models/fingerprint.js";
import type { Checkpoint } from "../models/model.js";
import { strangerError } from "../models/related.js";
import { isFloat } from "../numbers/dtypes.js";
import { isExcluded, whereOf } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import type { WeightSource } from "../runtime/network.js";
import { Adam } from "../runtime/optimiser.js";
import { weightsOf } from "../runtime/weights.js";
import { VERSION } from "../version.js";
import { arraysFile, type NamedArray, readArrays } from "./arrays.js";
import type { CollectPlatform, KeptState } from "./coefficients.js";
import { NotFinite, notFiniteError, type StepPlan, taskGradients } from "./task_gradients.js";
import { openTasks, type OpenTasks, type TaskInputs } from "./task_inputs.js";
import { heldInMemory } from "./weighed.js";

export interface SignOptions {
  readonly threads: number;
  /** Default 100. */
  readonly steps?: number;
  /** Examples of every task in one step. Default 16. */
  readonly batch?: number;
  /** Examples of every task at all: the first of the split. Default 32. */
  readonly examples?: number;
  /** Adam's step size. Default 0.0003. */
  readonly rate?: number;
  /** Where training begins. Default: the mean of the models. */
  readonly from?: "base" | "mean";
  /** Default: train. */
  readonly split?: Split;
  readonly heads?: Readonly<Record<string, string>>;
  readonly state?: KeptState | null;
  /** Seconds between two writings of the state. Default 30. */
  readonly keepEvery?: number;
  readonly progress?: (progress: { readonly name: string; readonly done: number; readonly total: number }) => void;
}

export interface SignResult {
  readonly split: Split;
  readonly steps: number;
  readonly resumedAt: number;
  readonly examples: number;
  readonly tasks: readonly string[];
  /** Each task's mean cross-entropy in nats before each step. */
  readonly losses: readonly (readonly number[])[];
  /** Entries that were trained, and those of them that changed. */
  readonly entries: number;
  readonly changed: number;
  /** Share of entries whose sign is that of the sum of the models' changes; plainly, and weighted by that sum's magnitude. */
  readonly agreement: { readonly entries: number; readonly mass: number };
  /** The checkpoint: file names and contents. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly notes: readonly string[];
  readonly seconds: number;
}

const STATE_KIND = "mergewright.signs.state";

interface Trained {
  readonly name: string;
  readonly shape: readonly number[];
  readonly base: Float32Array;
  /** Sum of the models' changes. */
  readonly sum: Float32Array;
  readonly values: Float32Array;
}

/** @param recipe whose base, models and exclusions hold; its method is of no matter. */
export async function learnSigns(
  recipe: Recipe,
  tasks: readonly Task[],
  platform: CollectPlatform,
  options: SignOptions,
): Promise<SignResult> {
  const started = performance.now();
  const { openModel } = platform.evaluation;
  if (recipe.base === null || Object.keys(recipe.merges).length > 0 || recipe.layout !== null) throw unfit(recipe);
  const opened: Checkpoint[] = [];
  const team = platform.openTeam(options.threads);
  let inputs: OpenTasks | null = null;
  try {
    for (const label of [recipe.base, ...recipe.models.map(({ model }) => model)]) opened.push(await openModel(label));
    const [base, ...models] = opened as [Checkpoint, ...Checkpoint[]];
    const { split = "train", examples = 32, from = "mean", heads } = options;
    const trained = await readTrained(recipe, base, models, from);
    const weights = trainedWeights(base, trained);
    const how = { split, labels: "needed" as const, ...(heads !== undefined && { heads }) };
    inputs = await openTasks(tasks, base, weights, team, platform.evaluation, how);
    const few = inputs.tasks.map((task): TaskInputs => ({ ...task, count: Math.min(task.count, examples) }));
    const hashes = [];
    for (const checkpoint of opened) hashes.push(await sampledFingerprint(checkpoint));
    const { losses, resumedAt } = await train(trained, few, weights, hashes, options);
    return {
      ...{ split, steps: losses.length, resumedAt, examples, losses },
      tasks: tasks.map(({ name }) => name),
      ...comparison(trained),
      files: await filesOf(base, trained),
      notes: inputs.notes,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await inputs?.close();
    await team.close();
    for (const checkpoint of opened) await checkpoint.close();
  }
}

/** What is trained are the float tensors of the base that the recipe merges, tied ones once. */
async function readTrained(
  recipe: Recipe,
  base: Checkpoint,
  models: readonly Checkpoint[],
  from: "base" | "mean",
): Promise<Trained[]> {
  const aliases = new Set(tiedGroups(base.config, base.tensors.keys()).flatMap((group) => group.aliases));
  for (const [index, model] of models.entries()) {
    const place = whereOf(recipe, `models.${index}`);
    const stranger = strangerError({ reference: base, model, what: "the base" }, place);
    if (stranger !== null) throw stranger;
  }
  const sources = models.map(weightsOf);
  const start = weightsOf(base);
  const trained: Trained[] = [];
  for (const { name, shape, dtype } of base.tensors.values()) {
    if (!isFloat(dtype) || aliases.has(name) || isExcluded(recipe, name)) continue;
    const values = await start.tensor(name);
    const sum = new Float32Array(values.length);
    for (const source of sources) {
      if (source.shape(name)?.join() !== shape.join()) throw otherShape(recipe, name, source, shape);
      const model = await source.tensor(name);
      for (let p = 0; p < sum.length; p++) sum[p]! += model[p]! - values[p]!;
    }
    const share = from === "mean" ? 1 / models.length : 0;
    trained.push({ name, shape, base: values, sum, values: values.map((value, p) => value + share * sum[p]!) });
  }
  return trained;
}

function trainedWeights(base: Checkpoint, trained: readonly Trained[]): WeightSource {
  const stored = heldInMemory(weightsOf(base));
  const found = new Map(trained.map(({ name, values }) => [name, values]));
  const tensor = (name: string) => (found.has(name) ? Promise.resolve(found.get(name)!) : stored.tensor(name));
  return { ...stored, label: "the model that is trained", tensor };
}

async function train(
  trained: readonly Trained[],
  tasks: readonly TaskInputs[],
  weights: WeightSource,
  hashes: readonly string[],
  options: SignOptions,
): Promise<{ losses: (readonly number[])[]; resumedAt: number }> {
  const { steps = 100, batch = 16, rate = 0.0003, from = "mean", state = null, keepEvery = 30, progress } = options;
  const data = tasks.map(({ name, content, count }) => [name, content, count]);
  const names = trained.map(({ name }) => name);
  const key = await sha256(JSON.stringify([VERSION, hashes, names, data, { batch, rate, from }]));
  const parameters = trained.map(({ values }) => values);
  const found = restore(state?.read() ?? null, key, trained, steps);
  const adam = new Adam(parameters, { rate }, found?.adam);
  const losses: (readonly number[])[] = found?.losses ?? [];
  const resumedAt = losses.length;
  const plan: StepPlan = { names, weights, order: { batch, seed: null }, loss: "cross-entropy" };
  const sizes = parameters.map(({ length }) => length);
  let kept = performance.now();
  let keptSteps = resumedAt;
  while (losses.length < steps) {
    const step = await taskGradients(losses.length, tasks, sizes, plan).catch((error: unknown) => {
      throw error instanceof NotFinite ? notFiniteError(error, losses.length, keptSteps) : error;
    });
    // The state before a step is good, now that its losses are known to be finite.
    if (state !== null && losses.length > keptSteps && performance.now() - kept >= 1000 * keepEvery) {
      state.write(stateFile(key, trained, adam.state, losses));
      [kept, keptSteps] = [performance.now(), losses.length];
    }
    adam.step(step.sums);
    losses.push(step.losses);
    const mean = step.losses.reduce((sum, loss) => sum + loss, 0) / step.losses.length;
    progress?.({ name: `cross-entropy ${mean.toFixed(3)},`, done: losses.length, total: steps });
  }
  return { losses, resumedAt };
}

function stateFile(
  key: string,
  trained: readonly Trained[],
  state: Adam["state"],
  losses: readonly (readonly number[])[],
) {
  const flat = Float64Array.from(losses.flat());
  const arrays: NamedArray[] = [{ name: "losses", shape: [flat.length], values: flat }];
  for (const [index, { name, values }] of trained.entries()) {
    const { first, second } = state.moments[index]!;
    const one = (part: string, array: NamedArray["values"]) => ({
      name: `${part} ${name}`,
      shape: [array.length],
      values: array,
    });
    arrays.push(one("value", values), one("first", first), one("second", second));
  }
  return arraysFile(arrays, { kind: STATE_KIND, key, steps: String(state.steps) });
}

/** Puts the values of a state into the trained tensors. */
function restore(bytes: Uint8Array | null, key: string, trained: readonly Trained[], asked: number) {
  if (bytes === null) return null;
  const { metadata, arrays } = readArrays(bytes, "the state of an earlier run");
  const steps = Number(metadata["steps"]);
  if (metadata["kind"] !== STATE_KIND || metadata["key"] !== key || steps > asked) {
    throw new MergewrightError("another run was left unfinished here, or one with more steps", {
      kind: "request",
      code: "output/stale-partial",
      advice: "finish it with its own command, choose another -o, or start over with --force",
    });
  }
  const moments = trained.map(({ name, values }) => {
    values.set(arrays.get(`value ${name}`)!);
    return { first: arrays.get(`first ${name}`)!, second: arrays.get(`second ${name}`)! };
  });
  const flat = arrays.get("losses")!;
  const width = steps === 0 ? 0 : flat.length / steps;
  const losses = Array.from({ length: steps }, (_, step) => [...flat.subarray(step * width, (step + 1) * width)]);
  return { adam: { steps, moments }, losses };
}

function comparison(trained: readonly Trained[]): Pick<SignResult, "entries" | "changed" | "agreement"> {
  let [entries, changed, same, mass, sameMass] = [0, 0, 0, 0, 0];
  for (const { base, sum, values } of trained) {
    for (let p = 0; p < base.length; p++) {
      const change = values[p]! - base[p]!;
      if (change !== 0) changed++;
      const agrees = Math.sign(change) === Math.sign(sum[p]!);
      if (agrees) same++;
      mass += Math.abs(sum[p]!);
      if (agrees) sameMass += Math.abs(sum[p]!);
    }
    entries += base.length;
  }
  return { entries, changed, agreement: { entries: same / entries, mass: mass === 0 ? 0 : sameMass / mass } };
}

/** A checkpoint in F32, in which no small change is rounded away; what was not trained is the base's. */
async function filesOf(base: Checkpoint, trained: readonly Trained[]): Promise<ReadonlyMap<string, Uint8Array>> {
  const found = new Map(trained.map(({ name, values }) => [name, values]));
  const stored = weightsOf(base);
  const tensors = [...base.tensors.values()].filter(({ dtype }) => isFloat(dtype));
  const layout = layoutHeader(
    tensors.map(({ name, shape }) => ({ name, shape, dtype: "F32" as const })),
    { format: "pt" },
  );
  const bytes = new Uint8Array(layout.fileSize);
  bytes.set(layout.header);
  for (const { name, offset, length } of layout.tensors) {
    const values = found.get(name) ?? (await stored.tensor(name));
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, length), offset);
  }
  const config = base.configText === null ? [] : [["config.json", new TextEncoder().encode(base.configText)] as const];
  return new Map([["model.safetensors", bytes], ...config]);
}

function unfit(recipe: Recipe): MergewrightError {
  return new MergewrightError("signs are learnt for a recipe with a base and whole models in files", {
    kind: "request",
    code: "recipe/unsupported",
    where: whereOf(recipe, recipe.base === null ? "base" : "models"),
    advice: "name base: and models: as folders",
  });
}

function otherShape(
  recipe: Recipe,
  tensor: string,
  source: WeightSource,
  expected: readonly number[],
): MergewrightError {
  return new MergewrightError(`a tensor of ${source.label} is not the base's`, {
    kind: "request",
    code: "plan/shape",
    where: { ...whereOf(recipe, "models"), tensor },
    expected: `[${expected.join(", ")}]`,
    found: source.shape(tensor) === undefined ? "nothing" : `[${source.shape(tensor)!.join(", ")}]`,
    advice: "exclude it (exclude: [pattern])",
  });
}
