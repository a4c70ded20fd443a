/** From what a run wrote to the manifest of its artifact. */
import { MergewrightError } from "../errors.js";
import type { RunResult } from "../execute/run.js";
import type { MaskSums, Method } from "../methods/method.js";
import { folderOf, SHARED_FOLDER } from "../plan/masked.js";
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
  const { masking } = method;
  if (masking === undefined) return null;
  const warnings: string[] = [];
  const models = plan.inputs.filter(({ role }) => role === "model");
  const settings = plan.tensors.find(({ action }) => action === "merge")!.settings!;
  const tasks = models.map(({ name, label }, model): ManifestTask => {
    const sums = sumsOf(plan, result, model);
    const kept = sums.reduce((sum, tensor) => sum + tensor.kept, 0);
    if (kept === 0) warnings.push(`the mask of ${name} keeps nothing: its model is the base`);
    const scale = kept === 0 ? 1 : masking.scale(settings, sums);
    if (!Number.isFinite(scale)) throw noScale(name, scale, result);
    return {
      name,
      model: label,
      scale,
      vector: null,
      mask: folderOf("masks", name),
      starts: null,
      head: headOf(plan, name),
      kept,
      entries: sums.reduce((sum, tensor) => sum + tensor.entries, 0),
    };
  });
  const base = plan.inputs.find(({ role }) => role === "base")!;
  const tensors = Object.fromEntries(
    result.tensors.flatMap(({ name, baseChecksum }) => (baseChecksum === null ? [] : [[name, baseChecksum]])),
  );
  return {
    manifest: {
      format: "mergewright artifact",
      version: MANIFEST_VERSION,
      method: method.name,
      base: { model: base.label, fingerprint: fingerprintOf(tensors), tensors },
      shared: SHARED_FOLDER,
      tasks,
    },
    warnings,
  };
}

/** Over the tensors that the model has, in the order of the plan; tied copies are left out. */
function sumsOf({ tensors }: Plan, result: RunResult, model: number): MaskSums[] {
  return tensors.flatMap(({ tiedTo, inputs }, index) => {
    const { masks } = result.tensors[index]!;
    const input = inputs.findIndex((candidate) => candidate.model === model);
    return masks === null || tiedTo !== null || input < 0 ? [] : [masks[input]!];
  });
}

function headOf({ files }: Plan, name: string): string | null {
  const folder = folderOf("heads", name);
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
