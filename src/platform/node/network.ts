import type { NetworkOptions, TappedNetwork, WeightSource } from "../../runtime/network.js";
import { openNetworkWith } from "../../runtime/opened_network.js";
import { soloTeam } from "../../runtime/team.js";
import { threadTeam } from "./team.js";

/** A network over worker threads; with one thread, in the calling one. */
export const openNetwork = (weights: WeightSource, options: NetworkOptions): Promise<TappedNetwork> =>
  openNetworkWith(weights, options, options.threads > 1 ? threadTeam(options.threads) : soloTeam());
