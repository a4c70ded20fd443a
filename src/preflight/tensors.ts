/** Which tensors models that are to be merged do not share, and in which formats they hold them. */
import { layerOf, tiedGroups } from "../models/families.js";
import { DTYPE_BYTES, isFloat } from "../numbers/dtypes.js";
import type { Plan, Stream } from "../plan/types.js";
import { isExcluded } from "../recipe/pattern.js";
import type { Recipe } from "../recipe/recipe.js";
import { countOf } from "../report/units.js";
import { fewOf } from "./findings.js";
import type { Finding, Named } from "./findings.js";

/**
 * Every difference at once, where a plan stops at the first.
 * @param all the donor first; what it lacks is not in the result.
 * @param isPlanned whether the merge can be planned as it is: what is missing is then dealt with.
 */
export function tensorFindings(recipe: Recipe, all: readonly Named[], isPlanned: boolean): Finding[] {
  const [donor, ...models] = all;
  if (donor === undefined) return [];
  const wanted = [...donor.checkpoint.tensors.values()].filter(
    ({ name, dtype }) => isFloat(dtype) && !isExcluded(recipe, name),
  );
  const level = isPlanned ? "warning" : "problem";
  const hasTwin = twinsOf(all);
  return models.flatMap(({ name, checkpoint: { tensors } }): Finding[] => {
    const missing = wanted.filter((tensor) => !hasTwin(tensors, tensor.name)).map((tensor) => tensor.name);
    const shaped = wanted.flatMap((tensor) => {
      const own = tensors.get(tensor.name);
      if (own === undefined || own.shape.join() === tensor.shape.join()) return [];
      return [`${tensor.name} [${tensor.shape.join(", ")}] and [${own.shape.join(", ")}]`];
    });
    const extra = [...tensors.keys()].filter(
      (key) => !hasTwin(donor.checkpoint.tensors, key) && !isExcluded(recipe, key),
    );
    return [
      ...finding(missing, {
        level,
        what: `${name} lacks ${countOf(missing.length, "tensor")} of ${donor.name}: ${placesOf(missing)}`,
        advice: "exclude them, write missing: skip, or check that it is a fine-tune of the same model",
      }),
      ...finding(shaped, {
        level,
        what: `${countOf(shaped.length, "tensor")} of ${name} and ${donor.name} differ in shape: ${fewOf(shaped)}`,
        advice:
          "exclude them; for a vocabulary write tokenizer: into the recipe; heads: separate keeps every model's own head",
      }),
      ...finding(extra, {
        level: "warning",
        what: `${name} has ${countOf(extra.length, "tensor")} that ${donor.name} lacks, which are not in the result: ${placesOf(extra)}`,
        advice: "check that nothing is lost that the result needs; adapters are merged into their model first",
      }),
    ];
  });
}

/** A function that tells whether a checkpoint has a tensor, or one that it is tied to. */
function twinsOf(all: readonly Named[]): (tensors: ReadonlyMap<string, unknown>, name: string) => boolean {
  const names = new Set(all.flatMap(({ checkpoint }) => [...checkpoint.tensors.keys()]));
  const groups = new Map<string, readonly string[]>();
  for (const { primary, aliases } of tiedGroups(all[0]!.checkpoint.config, names)) {
    for (const name of [primary, ...aliases]) groups.set(name, [primary, ...aliases]);
  }
  return (tensors, name) => tensors.has(name) || (groups.get(name) ?? []).some((twin) => tensors.has(twin));
}

function finding(names: readonly string[], found: Omit<Finding, "topic">): Finding[] {
  return names.length === 0 ? [] : [{ ...found, topic: "tensors" }];
}

/** Names, or the layers that they fill. */
function placesOf(names: readonly string[]): string {
  const layers = [...new Set(names.map(layerOf))].filter((layer) => layer !== null).sort((a, b) => a - b);
  const inLayers = layers.length > 1 ? ` (layers ${layers[0]!} to ${layers.at(-1)!})` : "";
  return `${fewOf(names)}${inLayers}`;
}

/** What is rounded away between the inputs' formats and the output's. */
export function formatFindings(plan: Plan): Finding[] {
  const isStored = ({ source }: Stream) => plan.sources[source]!.address?.kind !== "merge";
  const merged = plan.tensors
    .filter(({ action }) => action === "merge")
    // An inner merge comes in F32 whatever its models are stored in.
    .map((tensor) => ({ ...tensor, inputs: tensor.inputs.filter(({ stream }) => isStored(stream)) }));
  const narrowed = merged.filter(({ dtype, inputs }) =>
    inputs.some(({ stream }) => DTYPE_BYTES[stream.dtype] > DTYPE_BYTES[dtype]),
  );
  const eight = merged.filter(({ inputs }) => inputs.some(({ stream }) => DTYPE_BYTES[stream.dtype] === 1));
  const wide = merged.filter(({ base, inputs }) =>
    [base, ...inputs.map(({ stream }) => stream)].some((stream) => stream?.dtype === "F64"),
  );
  const formats = [...new Set(merged.flatMap(({ inputs }) => inputs.map(({ stream }) => stream.dtype)))].sort();
  const findings: Omit<Finding, "topic">[] = [];
  if (narrowed.length > 0) {
    findings.push({
      level: "warning",
      what: `${countOf(narrowed.length, "tensor")} are written in fewer bits than some model has them`,
      advice: "set output.dtype to the wider format (float32 keeps everything), or leave it if the format is wanted",
    });
  }
  if (eight.length > 0) {
    findings.push({
      level: "warning",
      what: `${countOf(eight.length, "tensor")} are stored in 8 bits, which leave little of a fine-tune's change`,
      advice: "merge the 16-bit weights that they were made from",
    });
  }
  if (wide.length > 0) {
    findings.push({
      level: "note",
      what: `${countOf(wide.length, "tensor")} are F64 and are rounded to float32 before merging`,
      advice: "nothing needs to be done unless differences below one part in ten million matter",
    });
  }
  if (formats.length > 1) {
    findings.push({
      level: "note",
      what: `the models are stored in ${formats.join(", ")}`,
      advice: "nothing needs to be done: all are widened exactly and rounded once",
    });
  }
  return findings.map((found) => ({ ...found, topic: "formats" }));
}
