import type { PlainError } from "../../errors.js";
import type { BlockPart } from "../../execute/crew.js";
import type { JobName, Jobs } from "../../execute/jobs.js";
import type { WorkSetup } from "../../execute/setup.js";

/** What a worker thread must know before its first stage. */
export interface WorkerStart {
  readonly setup: WorkSetup;
  readonly memory: WebAssembly.Memory;
  /** The kernels, compiled once for all threads. */
  readonly module: WebAssembly.Module;
  /** This thread's own part of the memory. */
  readonly region: { readonly address: number; readonly bytes: number };
  readonly thread: number;
  /** Addresses of the modules of own methods. */
  readonly modules: readonly string[];
  /** Per slot three counters of a stage: blocks taken in all, from the front, from the back. */
  readonly claims: Int32Array;
}

export const CLAIM_SLOTS = 1024;
export const CLAIM_INTS = 3;

export interface StageMessage {
  readonly type: "stage";
  readonly id: number;
  readonly slot: number;
  readonly job: JobName;
  readonly blocks: readonly Jobs[JobName]["block"][];
  readonly args: Jobs[JobName]["args"];
}

export type ToWorker =
  | { readonly type: "start"; readonly start: WorkerStart }
  | StageMessage
  | { readonly type: "close" };

/** Parts of a stage that are done; the last ones come with its end, as a stage is often a few blocks. */
export type FromWorker = { readonly id: number; readonly parts: readonly BlockPart<JobName>[] } & (
  | { readonly type: "parts" }
  | { readonly type: "done"; readonly error: PlainError | null }
);
