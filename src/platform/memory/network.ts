import type { NetworkOptions, TappedNetwork, WeightSource } from "../../runtime/network.js";
import { openNetworkWith } from "../../runtime/opened_network.js";
import { soloTeam } from "../../runtime/team.js";

/** A network in the calling thread; best a Worker's. */
export const openNetwork = (weights: WeightSource, options: NetworkOptions): Promise<TappedNetwork> =>
  openNetworkWith(weights, options, soloTeam());
