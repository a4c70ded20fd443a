/** onnxruntime-node as a back end, where the user has installed it. */

import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { MergewrightError } from "../../errors.js";
import type { NetworkOptions, TappedNetwork, WeightSource } from "../../runtime/network.js";
import { OnnxEngine } from "../../runtime/onnx/engine.js";
import type { OnnxFeed, OnnxRuntime } from "../../runtime/onnx/engine.js";
import { openNetworkOn } from "../../runtime/opened_network.js";

const PEER = "onnxruntime-node";

/**
 * For how long a thread that waits keeps its processor busy: longer than what one thread does alone between two operators, so
 * that none falls asleep within a pass, and short where something else needs the processor. With the runtime's own choice a
 * pass took up to 1.7 times as long beside other programs.
 */
const SPIN_MICROSECONDS = "200";

/** What of the peer is used. */
interface Peer {
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

/** @throws MergewrightError where the peer is not installed. */
export async function openOnnxNetwork(weights: WeightSource, options: NetworkOptions): Promise<TappedNetwork> {
  const runtime = runtimeOf(loadPeer(), options.threads);
  return openNetworkOn(weights, options, {
    open: (definition, rule) => new OnnxEngine(definition, rule, runtime, options.progress),
    close: () => Promise.resolve(),
  });
}

/** Looks beside this package and in the folder from which the user works. */
function loadPeer(): Peer {
  const places = [import.meta.url, pathToFileURL(path.join(process.cwd(), "package.json")).href];
  let cause: unknown;
  for (const place of places) {
    try {
      return createRequire(place)(PEER) as Peer;
    } catch (error) {
      cause ??= error;
    }
  }
  throw new MergewrightError("the back end onnx needs a package that is not installed", {
    kind: "environment",
    code: "runtime/backend",
    expected: PEER,
    advice: `ONNXRUNTIME_NODE_INSTALL=skip npm install ${PEER}@1.30, or leave out --backend onnx`,
    cause,
  });
}

function runtimeOf({ InferenceSession, Tensor }: Peer, threads: number): OnnxRuntime {
  // Over the memory of the arrays, in both directions.
  const tensorsOf = (arrays: Readonly<Record<string, OnnxFeed>>) =>
    Object.fromEntries(
      Object.entries(arrays).map(([name, { data, dims }]) => {
        return [name, new Tensor(data instanceof Int32Array ? "int32" : "float32", data, dims)] as const;
      }),
    );
  return {
    async open(file) {
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
    },
  };
}
