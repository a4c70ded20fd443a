/** From what a run wrote to the manifest of its artifact. */
import { MergewrightError } from "../errors.js";
import type { RunResult } from "../execute/run.js";
import type { Masking, MaskSums, Method } from "../methods/method.js";
import { folderOf, makesArtifact, MODEL_FOLDER, SHARED_FOLDER } from "../plan/artifact.js";
import type { Plan } from "../plan/types.js";
import { fingerprintOf, MANIFEST_VERSION } from "./manifest.js";
import type { Manifest, ManifestTask } from "./manifest.js";

/**
 * @returns the manifest, and what is worth telling of it; `null` where the method's result is a checkpoint.
 * @throws values/non-finite where a task has no finite scale.
 */
export function manifestOf(
  plan: Plan,
  method: Method,
  result: RunResult,
): { readonly manifest: Manifest; readonly warnings: readonly string[] } | null {
  if (!makesArtifact(method)) return null;
  const warnings: string[] = [];
  const models = plan.inputs.filter(({ role }) => role === "model");
  const tasks = models.map(({ name, label }, model): ManifestTask => {
    const own =
      method.masking === undefined ? ownTask(plan, result, model) : maskedTask(plan, method.masking, result, model);
    if (own.kept === 0 && method.experts !== undefined)
      warnings.push(`${name} is what the tasks share; its expert is empty`);
    else if (own.kept === 0)
      warnings.push(
        `the mask of ${name} keeps nothing: ${own.vector === null ? "its model is the base" : "its layers are the base's"}`,
      );
    if (!Number.isFinite(own.scale)) throw noScale(name, own.scale, result);
    return { name, model: label, ...own, head: folderIn(plan, "heads", name) };
  });
  const base = plan.inputs.find(({ role }) => role === "base")!;
  const inside = method.experts?.over === "merge" ? MODEL_FOLDER : null;
  const [first] = plan.experts ?? [];
  const tensors = Object.fromEntries(
    result.tensors.flatMap(({ name, baseChecksum }) => (baseChecksum === null ? [] : [[name, baseChecksum]])),
  );
  return {
    manifest: {
      format: "mergewright artifact",
      version: method.experts === undefined ? 1 : MANIFEST_VERSION,
      method: method.name,
      base: { model: inside ?? base.label, inside, fingerprint: fingerprintOf(tensors), tensors },
      shared: method.masking === undefined ? null : SHARED_FOLDER,
      routing: first === undefined ? null : method.experts!.routing(first.settings),
      tasks,
    },
    warnings,
  };
}

type OwnParts = Omit<ManifestTask, "name" | "model" | "head">;

/** Of a task with a mask over the shared vector. */
function maskedTask(plan: Plan, masking: Masking, result: RunResult, model: number): OwnParts {
  const settings = plan.tensors.find(({ action }) => action === "merge")!.settings!;
  const sums = sumsOf(plan, result, model);
  const kept = sums.reduce((sum, tensor) => sum + tensor.kept, 0);
  return {
    scale: kept === 0 ? 1 : masking.scale(settings, sums),
    vector: null,
    mask: folderIn(plan, "masks", nameOf(plan, model)),
    starts: null,
    factors: null,
    gates: null,
    kept,
    entries: sums.reduce((sum, tensor) => sum + tensor.entries, 0),
  };
}

/** Of a task with a vector of its own, some of whose tensors hold only what their masks keep or are factored. */
function ownTask(plan: Plan, { kept }: RunResult, model: number): OwnParts {
  const name = nameOf(plan, model);
  const left = folderIn(plan, "left", name);
  return {
    scale: 1,
    vector: folderIn(plan, "vectors", name),
    mask: folderIn(plan, "masks", name),
    starts: folderIn(plan, "starts", name),
    factors: left === null ? null : { left, values: folderOf("values", name), right: folderOf("right", name) },
    gates: folderIn(plan, "gates", name),
    ...kept![model]!,
  };
}

function nameOf({ inputs }: Plan, model: number): string {
  return inputs.filter(({ role }) => role === "model")[model]!.name;
}

/** Over the tensors that the model has, in the order of the plan; tied copies are left out. */
function sumsOf({ tensors }: Plan, result: RunResult, model: number): MaskSums[] {
  return tensors.flatMap(({ tiedTo, inputs }, index) => {
    const { masks } = result.tensors[index]!;
    const input = inputs.findIndex((candidate) => candidate.model === model);
    return masks === null || tiedTo !== null || input < 0 ? [] : [masks[input]!];
  });
}

/** A part's folder, if the task has anything in it. */
function folderIn({ files }: Plan, part: Parameters<typeof folderOf>[0], name: string): string | null {
  const folder = folderOf(part, name);
  return files.some((file) => file.name.startsWith(`${folder}/`)) ? folder : null;
}

function noScale(task: string, scale: number, { warnings }: RunResult): MergewrightError {
  return new MergewrightError(`the scale of ${task} is not a finite number`, {
    kind: "check",
    code: "values/non-finite",
    found: [String(scale), ...warnings.slice(0, 3)].join("; "),
    advice: "repair the model or leave it out, or exclude the tensors that hold NaN or infinity",
  });
}
