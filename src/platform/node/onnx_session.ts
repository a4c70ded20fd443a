/** Sessions of onnxruntime-node in the thread that asks for them. */

import { createRequire } from "node:module";
import type { OnnxFeed, OnnxSession } from "../../runtime/onnx/engine.js";

export const PEER = "onnxruntime-node";

/** What of the peer is used. */
export interface Peer {
  readonly InferenceSession: {
    create(
      file: Uint8Array,
      options: Readonly<Record<string, unknown>>,
    ): Promise<{
      run(feeds: Readonly<Record<string, unknown>>, fetches: Readonly<Record<string, unknown>>): Promise<unknown>;
      release(): Promise<void>;
    }>;
  };
  readonly Tensor: new (type: string, data: Float32Array | Int32Array, dims: readonly number[]) => unknown;
}

/** @param place address of a module that would find the peer. */
export function loadPeer(place: string): Peer {
  return createRequire(place)(PEER) as Peer;
}

/**
 * For how long a thread that waits keeps its processor busy: longer than what one thread does alone between two operators, so
 * that none falls asleep within a pass, and short where something else needs the processor. With the runtime's own choice a
 * pass took up to 1.7 times as long beside other programs.
 */
const SPIN_MICROSECONDS = "200";

export async function openSession(
  { InferenceSession, Tensor }: Peer,
  file: Uint8Array,
  threads: number,
): Promise<OnnxSession> {
  // Over the memory of the arrays, in both directions.
  const tensorsOf = (arrays: Readonly<Record<string, OnnxFeed>>) =>
    Object.fromEntries(
      Object.entries(arrays).map(([name, { data, dims }]) => {
        return [name, new Tensor(data instanceof Int32Array ? "int32" : "float32", data, dims)] as const;
      }),
    );
  const session = await InferenceSession.create(file, {
    executionProviders: ["cpu"],
    executionMode: "sequential",
    interOpNumThreads: 1,
    intraOpNumThreads: threads,
    logSeverityLevel: 3,
    extra: { session: { intra_op: { spin_duration_us: SPIN_MICROSECONDS } } },
  });
  return {
    async run(feeds, into) {
      await session.run(tensorsOf(feeds), tensorsOf(into));
    },
    close: () => session.release(),
  };
}
