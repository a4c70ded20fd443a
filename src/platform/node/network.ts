import type { NetworkOptions, TappedNetwork, WeightSource } from "../../runtime/network.js";
import { openNetworkWith } from "../../runtime/opened_network.js";
import { soloTeam } from "../../runtime/team.js";
import { threadTeam } from "./team.js";

/** A network over worker threads; with one thread, in the calling one; or on another back end. */
export const openNetwork = async (weights: WeightSource, options: NetworkOptions): Promise<TappedNetwork> => {
  if (options.backend === "onnx") return (await import("./onnx.js")).openOnnxNetwork(weights, options);
  return openNetworkWith(weights, options, options.threads > 1 ? threadTeam(options.threads) : soloTeam());
};
