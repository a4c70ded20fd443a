/** Stored tensors as work for a crew that reads and writes nothing. */
import { BLOCK_ENTRIES, blocksOf } from "../execute/blocks.js";
import { observed } from "../execute/crew.js";
import type { Crew } from "../execute/crew.js";
import type { Jobs } from "../execute/jobs.js";
import type { Phase, Progress } from "../execute/meter.js";
import { setupOf } from "../execute/setup.js";
import type { WorkSetup } from "../execute/setup.js";
import type { TensorEntry } from "../formats/safetensors/types.js";
import { taskArithmetic } from "../methods/task_arithmetic.js";
import type { Shard, StoredTensor } from "../models/model.js";
import { DTYPE_BYTES, entriesOf } from "../numbers/dtypes.js";
import type { Plan, PlannedTensor } from "../plan/types.js";

/** Every tensor of the shards, by shard and position. */
export function storedTensors(shards: readonly Pick<Shard, "header">[]): StoredTensor[] {
  return shards.flatMap(({ header }, shard) => header.tensors.map((entry): StoredTensor => ({ ...entry, shard })));
}

/** @param tensors the one input of each setup tensor, in this order; `shard` counts in `shards`. */
export function readingSetup(
  shards: readonly Pick<Shard, "source" | "header">[],
  tensors: readonly StoredTensor[],
): WorkSetup {
  const plan: Plan = {
    // No reading job asks the method for anything.
    method: taskArithmetic.name,
    methodHash: null,
    inputs: [],
    sources: shards.map(({ source: { label, address, stamp }, header }) => {
      return { input: 0, file: label, address, stamp, headerHash: header.hash };
    }),
    tensors: tensors.map((tensor) => plannedAsStored(tensor, tensor.shard)),
    skipped: [],
    files: [],
    sideFiles: [],
    merges: [],
    warnings: [],
    estimate: { outputBytes: 0, readBytes: 0, mergedEntries: 0, passes: 1 },
    scores: { rows: 0, ranks: 0 },
    measured: false,
    seed: 0,
  };
  return setupOf(plan, (file) => file);
}

function plannedAsStored({ name, shape, dtype, offset, length }: TensorEntry, source: number): PlannedTensor {
  return {
    name,
    shape,
    entries: entriesOf(shape),
    dtype,
    action: "copy",
    reason: "",
    base: null,
    inputs: [{ model: 0, stream: { source, offset, dtype } }],
    extra: {},
    settings: null,
    prune: null,
    tiedTo: null,
    file: 0,
    offset,
    length,
  };
}

/**
 * Runs a job over whole tensors.
 * @param blockEntries of a tensor's blocks, by its index.
 * @returns per tensor its parts in block order; none for a tensor without entries.
 */
export async function runOver<N extends "scan" | "relations" | "examine">(
  crew: Crew,
  setup: WorkSetup,
  tensors: readonly number[],
  job: N,
  args: Jobs[N]["args"],
  blockEntries: (tensor: number) => number = () => BLOCK_ENTRIES,
): Promise<Jobs[N]["part"][][]> {
  const blocks = tensors.map((tensor) => blocksOf(tensor, setup.tensors[tensor]!.entries, blockEntries(tensor)));
  const parts = await crew.run({ job, blocks: blocks.flat(), args });
  let next = 0;
  return blocks.map(({ length }) => parts.slice(next, (next += length)));
}

/** A crew that tells how much of some tensors' bytes has been read, of all bytes in so many passes. */
export function metered(
  crew: Crew,
  setup: WorkSetup,
  { tensors, passes, phase }: { readonly tensors: readonly number[]; readonly passes: number; readonly phase: Phase },
  report: ((progress: Progress) => void) | undefined,
): Crew {
  if (report === undefined) return crew;
  const perEntry = setup.tensors.map(({ base, inputs }) =>
    inputs.reduce(
      (bytes, { stream }) => bytes + DTYPE_BYTES[stream.dtype],
      base === null ? 0 : DTYPE_BYTES[base.dtype],
    ),
  );
  const totalBytes = tensors.reduce((sum, index) => sum + passes * setup.tensors[index]!.entries * perEntry[index]!, 0);
  let doneBytes = 0;
  return observed(crew, (_, blocks) => {
    for (const block of blocks) doneBytes += block.count * perEntry[block.tensor]!;
    // A sample or a repeated pass is not in the total.
    report({ phase, doneBytes: Math.min(doneBytes, totalBytes), totalBytes });
  });
}
