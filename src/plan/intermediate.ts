/**
 * A merge whose result is the input of another: a checkpoint that is planned like any other and never written. Its
 * tensors are computed where they are read (execute/merged_source.ts), merged ones in F32, so that nothing is rounded
 * on the way unless the inner recipe names an output format.
 */
import type { SafetensorsHeader } from "../formats/safetensors/index.js";
import { INDEX_FILE } from "../formats/safetensors/shard.js";
import { configValues } from "../models/checkpoint.js";
import { isSideFile } from "../models/files.js";
import type { Checkpoint, SideFile, StoredTensor } from "../models/model.js";
import { xxh64 } from "../numbers/checksum.js";
import type { Dtype } from "../numbers/dtypes.js";
import type { ByteSource, SourceStamp } from "../sources/source.js";
import { stringifyRecipe } from "../recipe/write.js";
import type { Recipe } from "../recipe/recipe.js";
import { makePlan } from "./plan.js";
import { inputStates } from "./streams.js";
import type { OpenInputs, OpenMerge, Plan, PlannedTensor } from "./types.js";

/** Equal for equal recipes; merges with equal keys are one. */
export function mergeKey(recipe: Recipe): string {
  return xxh64(new TextEncoder().encode(stringifyRecipe(recipe)));
}

/**
 * Plans a merge that is an input.
 * @throws what makePlan throws, with places in the whole recipe.
 */
export function planIntermediate(recipe: Recipe, inputs: OpenInputs): OpenMerge {
  return { key: mergeKey(recipe), recipe, inputs, plan: makePlan(recipe, inputs, { isWritten: false }) };
}

/** The result of a merge as a checkpoint. Its source has an address, but only threads that merge can read it. */
export function mergedCheckpoint({ key, recipe, plan, inputs }: OpenMerge, label: string): Checkpoint {
  const [file] = plan.files;
  const tensors = plan.tensors.map(({ name, dtype, shape, offset, length }) => ({
    name,
    dtype,
    shape,
    offset,
    length,
  }));
  const header: SafetensorsHeader = {
    tensors,
    metadata: {},
    dataStart: file!.header.length,
    fileSize: file!.size,
    hash: xxh64(file!.header),
  };
  const stamp = { size: file!.size, version: stateOf(plan) };
  const kept = recipe.output.dtype === null;
  const stored = plan.tensors.map((tensor): [string, StoredTensor] => {
    const { name, dtype, shape, offset, length } = tensor;
    const finalDtype = kept && tensor.action === "merge" ? finalOf(tensor, plan, inputs) : dtype;
    return [name, { name, dtype, shape, offset, length, shard: 0, finalDtype }];
  });
  const config = plan.sideFiles.find(({ name }) => name === "config.json");
  const configText = config !== undefined && "text" in config ? config.text : null;
  return {
    label,
    name: label,
    location: "",
    shards: [{ name: label, source: unread(key, label, stamp), header }],
    tensors: new Map(stored),
    config: configText === null ? null : configValues(configText),
    configText,
    sideFiles: sideFilesOf(plan, inputs),
    notes: plan.warnings,
    close: () => Promise.resolve(),
  };
}

function stateOf(plan: Plan): string {
  return xxh64(new TextEncoder().encode(inputStates(plan).join("\n")));
}

/** The format that the tensor would be written in: that of the stored tensor it comes from. */
function finalOf({ base, inputs: streams, name }: PlannedTensor, plan: Plan, open: OpenInputs): Dtype {
  const { source, offset, dtype } = base ?? streams[0]!.stream;
  const { address, input } = plan.sources[source]!;
  if (address?.kind !== "merge") return dtype;
  const checkpoint = [...(open.base === null ? [] : [open.base]), ...open.models][input]!;
  const isIt = (stored: StoredTensor | undefined) => stored?.offset === offset;
  // Nearly always of the same name; tied tensors have another one.
  const own = checkpoint.tensors.get(name);
  const stored = isIt(own) ? own : [...checkpoint.tensors.values()].find(isIt);
  return stored?.finalDtype ?? dtype;
}

/** The bytes are made by the threads that combine; nothing else may ask for them. */
function unread(key: string, label: string, stamp: SourceStamp): ByteSource {
  return {
    label,
    stamp,
    address: { kind: "merge", key },
    read() {
      throw new RangeError(`${label} is computed while it is merged, and is read nowhere else`);
    },
    close() {},
  };
}

function sideFilesOf(plan: Plan, { base, models }: OpenInputs): SideFile[] {
  const checkpoints = base === null ? models : [base, ...models];
  return plan.sideFiles.flatMap((side): SideFile[] => {
    if (!isSideFile(side.name) || side.name === INDEX_FILE) return [];
    if (!("text" in side)) {
      const file = checkpoints[side.input]!.sideFiles.find(({ name }) => name === side.file)!;
      return [{ ...file, name: side.name }];
    }
    const bytes = new TextEncoder().encode(side.text);
    return [{ name: side.name, size: bytes.length, text: side.text, read: () => Promise.resolve(bytes) }];
  });
}
