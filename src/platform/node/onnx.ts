/** onnxruntime-node as a back end, where the user has installed it. */

import path from "node:path";
import { pathToFileURL } from "node:url";
import { MergewrightError } from "../../errors.js";
import type { NetworkOptions, TappedNetwork, WeightSource } from "../../runtime/network.js";
import { OnnxEngine } from "../../runtime/onnx/engine.js";
import type { OnnxRuntime } from "../../runtime/onnx/engine.js";
import { openNetworkOn } from "../../runtime/opened_network.js";
import { OnnxLane } from "./onnx_lane.js";
import { loadPeer, openSession, PEER } from "./onnx_session.js";
import type { Peer } from "./onnx_session.js";

/** @throws MergewrightError where the peer is not installed. */
export async function openOnnxNetwork(weights: WeightSource, options: NetworkOptions): Promise<TappedNetwork> {
  const runtime = runtimeOf(findPeer(), options.threads);
  return openNetworkOn(weights, options, {
    open: (definition, rule) => new OnnxEngine(definition, rule, runtime, options.progress),
    close: () => runtime.close(),
  });
}

/** The peer, and the place from which it was found. */
interface Found {
  readonly peer: Peer;
  readonly place: string;
}

/** Looks beside this package and in the folder from which the user works. */
function findPeer(): Found {
  const places = [import.meta.url, pathToFileURL(path.join(process.cwd(), "package.json")).href];
  let cause: unknown;
  for (const place of places) {
    try {
      return { peer: loadPeer(place), place };
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

/** The first lane is this thread, which a session keeps busy while it runs. */
function runtimeOf({ peer, place }: Found, threads: number): OnnxRuntime {
  const others = Array.from({ length: threads - 1 }, () => new OnnxLane(place));
  return {
    lanes: threads,
    open(file, lane) {
      if (lane === null) return openSession(peer, file, threads);
      return lane === 0 ? openSession(peer, file, 1) : others[lane - 1]!.open(file);
    },
    async close() {
      await Promise.all(others.map((lane) => lane.close()));
    },
  };
}
