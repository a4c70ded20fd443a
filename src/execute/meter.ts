import { DTYPE_BYTES } from "../numbers/dtypes.js";
import { streamsOf } from "../plan/streams.js";
import type { Plan } from "../plan/types.js";
import { blocksOf } from "./blocks.js";
import type { Block } from "./blocks.js";
import { observed } from "./crew.js";
import type { BlockPart, Crew, Stage } from "./crew.js";
import type { JobName } from "./jobs.js";
import type { Journal } from "./journal.js";
import type { WorkSetup } from "./setup.js";

export type Phase = "statistics" | "merge" | "copy" | "check" | "experts";

/** Told from time to time; bytes are of inputs read and outputs written. */
export interface Progress {
  readonly phase: Phase;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

const PHASES: Readonly<Partial<Record<JobName, Phase>>> = {
  combine: "merge",
  mask: "merge",
  assume: "merge",
  mixRows: "merge",
  combineColumns: "merge",
  solveMatrix: "merge",
  copy: "copy",
  reread: "check",
};

/** A crew that reports how much has been read of the merged tensors for statistics, in passes of unknown number. */
export function meterStatistics(
  crew: Crew,
  { tensors }: WorkSetup,
  report: ((progress: Progress) => void) | undefined,
  phase: Phase = "statistics",
): Crew {
  if (report === undefined) return crew;
  const bytesOf = ({ tensor, count }: Block) =>
    streamsOf(tensors[tensor]!).reduce((sum, { dtype }) => sum + DTYPE_BYTES[dtype] * count, 0);
  let totalBytes = 0;
  let doneBytes = 0;
  const watched = observed(crew, (_, blocks) => {
    for (const block of blocks) doneBytes += bytesOf(block);
    report({ phase, doneBytes, totalBytes });
  });
  return {
    ...watched,
    run<N extends JobName>(stage: Stage<N>, progress?: (parts: readonly BlockPart<N>[]) => void) {
      for (const block of stage.blocks) totalBytes += bytesOf(block);
      return watched.run(stage, progress);
    },
  };
}

/** A crew that reports how far the work is. Bytes of statistics passes are added to the total as they come. */
export function meter(
  crew: Crew,
  plan: Plan,
  setup: WorkSetup,
  journal: Journal,
  report: ((progress: Progress) => void) | undefined,
): Crew {
  if (report === undefined) return crew;
  const bytesOf = (tensor: number) => {
    // Written along with what they are over.
    if (["mask", "starts"].includes(plan.tensors[tensor]?.action ?? "")) return 0;
    const one = setup.tensors[tensor]!;
    return streamsOf(one).reduce((sum, stream) => sum + DTYPE_BYTES[stream.dtype], DTYPE_BYTES[one.dtype]);
  };
  let totalBytes = 0;
  const awaited = new Set<string>();
  const keyOf = ({ tensor, start }: Block) => `${tensor} ${start}`;
  for (const [tensor, { entries }] of plan.tensors.entries()) {
    for (const block of blocksOf(tensor, entries)) {
      if (journal.has(tensor, block.start)) continue;
      totalBytes += block.count * bytesOf(tensor);
      awaited.add(keyOf(block));
    }
  }
  let doneBytes = 0;
  const watched = observed(crew, (job, blocks) => {
    for (const block of blocks) doneBytes += block.count * bytesOf(block.tensor);
    report({ phase: PHASES[job] ?? "statistics", doneBytes, totalBytes });
  });
  return {
    ...watched,
    run<N extends JobName>(stage: Stage<N>, progress?: (parts: readonly BlockPart<N>[]) => void) {
      const isWriting = PHASES[stage.job] === "merge" || stage.job === "copy";
      // Statistics, and blocks that are combined a second time, come on top.
      for (const block of stage.blocks) {
        const isFirst = isWriting && awaited.delete(keyOf(block));
        if (!isFirst) totalBytes += block.count * bytesOf(block.tensor);
      }
      return watched.run(stage, progress);
    },
  };
}
