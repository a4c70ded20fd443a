/** What a plan reads: streams of stored files, and streams of merges that are made of such. */
import type { Checkpoint } from "../models/model.js";
import { DTYPE_BYTES } from "../numbers/dtypes.js";
import type { Plan, PlannedSource, PlannedTensor, Stream } from "./types.js";

type Streams = Pick<PlannedTensor, "inputs" | "base" | "extra">;

/** Everything that is read for a tensor. */
export function streamsOf({ inputs, base, extra }: Streams): Stream[] {
  return [...inputs.map(({ stream }) => stream), ...Object.values(extra), ...(base === null ? [] : [base])];
}

/** Whether a checkpoint is a merge that is never written. */
export function isMerged({ shards }: Checkpoint): boolean {
  return shards[0]?.source.address?.kind === "merge";
}

/** Whether tensors of a checkpoint are computed where they are read, in F32 whatever they would be stored in. */
export function isComputed({ shards }: Checkpoint): boolean {
  return shards.some(({ source: { address } }) => {
    return address?.kind === "merge" || address?.kind === "task" || address?.kind === "folded";
  });
}

/** Weight files that are read for a plan, those of the merges among its inputs included. */
export function storedSources(plan: Plan): PlannedSource[] {
  // Rows in another vocabulary are no file; the files that they come from are.
  return sourcesOf(plan).filter(({ address }) => address?.kind !== "merge" && address?.kind !== "rows");
}

function sourcesOf({ sources, merges }: Plan): PlannedSource[] {
  return [...merges.flatMap(({ plan }) => plan.sources), ...sources];
}

/** What the stored inputs of a plan are at the moment, and what rows are made of, one line each. */
export function inputStates(plan: Plan): string[] {
  return sourcesOf(plan)
    .filter(({ address }) => address?.kind !== "merge")
    .map(({ file, stamp, headerHash }) => `${file} ${stamp.size} ${stamp.version} ${headerHash}`);
}

/** A function that gives the bytes read from stored inputs for one entry of a tensor of the plan's output. */
export function entryCosts(plan: Pick<Plan, "sources" | "merges">): (tensor: Streams) => number {
  /** Per merge: by the position of a tensor. */
  const known = new Map<string, ReadonlyMap<number, number>>();
  const costsOf = (key: string) => {
    let costs = known.get(key);
    if (costs === undefined) {
      const merge = plan.merges.find((candidate) => candidate.key === key)!.plan;
      const cost = entryCosts(merge);
      costs = new Map(merge.tensors.map((tensor) => [tensor.offset, cost(tensor)]));
      known.set(key, costs);
    }
    return costs;
  };
  const streamCost = ({ source, offset, dtype }: Stream) => {
    const { address } = plan.sources[source]!;
    return address?.kind === "merge" ? costsOf(address.key).get(offset)! : DTYPE_BYTES[dtype];
  };
  return (tensor) => streamsOf(tensor).reduce((bytes, stream) => bytes + streamCost(stream), 0);
}
