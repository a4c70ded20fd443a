import { planHash } from "../execute/journal.js";
import type { Dtype } from "../numbers/dtypes.js";
import { expectedSize } from "../plan/artifact.js";
import type { Plan, PlannedTensor } from "../plan/types.js";
import { upscalingOf } from "../plan/upscaling.js";
import type { ExpertsCost, Upscaling } from "../plan/upscaling.js";
import { methodsOf } from "../recipe/methods.js";
import type { Recipe } from "../recipe/recipe.js";
import { stringifyRecipe } from "../recipe/write.js";
import { mergekitDifferences } from "./differences.js";
import { makingOf, peakMemory } from "./estimate.js";

/** What a merge would do, as plain data; `mergewright plan --json` prints it. */
export interface PlanReport {
  /** Hash of the plan; a merge of the same plan over the same inputs writes the same bytes. */
  readonly plan: string;
  readonly method: string;
  readonly dialect: string;
  readonly inputs: readonly InputReport[];
  /** Merges that are inputs and are written nowhere, each after those that it reads. */
  readonly merges: readonly MergeInputReport[];
  readonly actions: {
    readonly merge: ActionTotal;
    readonly copy: ActionTotal;
    /** Of an artifact: what says which entries tasks keep, in bytes. */
    readonly mask: ActionTotal;
    /** Of an artifact: parts of what is added to the shared model per task. */
    readonly expert: ActionTotal;
    /** Tensors of inputs that do not reach the output. */
    readonly skip: { readonly tensors: number };
  };
  /** Every tensor of the output, in the order of its bytes. */
  readonly tensors: readonly TensorReport[];
  readonly skipped: Plan["skipped"];
  readonly files: readonly { readonly file: string; readonly bytes: number }[];
  /** Small files: the input they are copied from, or `null` where they are written anew. */
  readonly sideFiles: readonly { readonly file: string; readonly from: string | null }[];
  readonly outputBytes: number;
  /** Predicted, statistics passes included. */
  readonly readBytes: number;
  /** How often the inputs are read. */
  readonly passes: number;
  /** Of a method that makes experts: what they store and cost a token, and what making them takes; else `null`. */
  readonly experts: { readonly upscaling: Upscaling; readonly making: ExpertsCost } | null;
  readonly threads: number;
  /** Predicted for this number of threads. */
  readonly peakMemoryBytes: number;
  readonly warnings: readonly string[];
  /** For a recipe of mergekit: what mergekit 0.1.5 would do differently. */
  readonly differences: readonly string[];
  /** Canonical YAML, every default written out. */
  readonly recipe: string;
}

export interface InputReport {
  readonly role: string;
  readonly name: string;
  readonly model: string;
  /** Key of a merge. */
  readonly merge?: string;
}

export interface MergeInputReport {
  readonly key: string;
  readonly plan: string;
  readonly method: string;
  readonly dialect: string;
  readonly inputs: readonly InputReport[];
}

export interface ActionTotal {
  readonly tensors: number;
  readonly entries: number;
  /** Of the output. */
  readonly bytes: number;
}

export interface TensorReport {
  readonly name: string;
  readonly action: PlannedTensor["action"];
  readonly reason: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly file: string;
}

export function planReport(recipe: Recipe, plan: Plan, threads: number): PlanReport {
  return {
    plan: planHash(plan),
    method: recipe.method.name,
    dialect: recipe.dialect,
    inputs: inputsOf(plan),
    merges: plan.merges.map(({ key, dialect, plan: inner }) => {
      return { key, plan: planHash(inner), method: inner.method, dialect, inputs: inputsOf(inner) };
    }),
    actions: {
      merge: totalOf(plan, "merge"),
      copy: totalOf(plan, "copy"),
      mask: totalOf(plan, "mask", "starts"),
      expert: totalOf(plan, "expert"),
      skip: { tensors: plan.skipped.length },
    },
    tensors: plan.tensors.map(({ name, action, reason, dtype, shape, file }) => ({
      name,
      action,
      reason,
      dtype,
      shape,
      file: plan.files[file]!.name,
    })),
    skipped: plan.skipped,
    files: plan.files.map(({ name, size }) => ({ file: name, bytes: size })),
    sideFiles: plan.sideFiles.map((side) => ({
      file: side.name,
      from: "text" in side ? null : plan.inputs[side.input]!.label,
    })),
    outputBytes: plan.estimate.outputBytes,
    readBytes: plan.estimate.readBytes,
    passes: plan.estimate.passes,
    experts: expertsOf(recipe, plan, threads),
    threads,
    peakMemoryBytes: peakMemory(plan, recipe.method, threads, methodsOf(recipe)),
    warnings: plan.warnings,
    differences: mergekitDifferences(recipe, plan),
    recipe: stringifyRecipe(recipe),
  };
}

function expertsOf({ method }: Recipe, { experts, inputs, estimate }: Plan, threads: number): PlanReport["experts"] {
  const [first] = experts ?? [];
  if (experts === undefined || first === undefined || method.experts === undefined) return null;
  const shapes = experts.flatMap(({ name, shape, entries, form, inputs: own }) =>
    own.map(({ model }) => ({ tensor: name, shape, model, ...expectedSize(form, { shape, entries }) })),
  );
  const tasks = inputs.filter(({ role }) => role === "model").length;
  const routing = method.experts.routing(first.settings);
  return {
    upscaling: upscalingOf(shapes, estimate.mergedEntries, tasks, routing),
    making: makingOf(experts, threads),
  };
}

function inputsOf({ inputs, sources }: Plan): InputReport[] {
  return inputs.map(({ role, name, label }, index) => {
    const address = sources.find(({ input }) => input === index)?.address;
    return { role, name, model: label, ...(address?.kind === "merge" && { merge: address.key }) };
  });
}

function totalOf(plan: Plan, ...actions: readonly PlannedTensor["action"][]): ActionTotal {
  const tensors = plan.tensors.filter(({ action }) => actions.includes(action));
  return {
    tensors: tensors.length,
    entries: tensors.reduce((sum, { entries }) => sum + entries, 0),
    bytes: tensors.reduce((sum, { length }) => sum + length, 0),
  };
}
