import type { OpenNetwork } from "../../runtime/network.js";
import { openNetworkWith } from "../../runtime/opened_network.js";
import { soloTeam } from "../../runtime/team.js";

/** A network in the calling thread; best a Worker's. */
export const openNetwork: OpenNetwork = (weights, options) => openNetworkWith(weights, options, soloTeam());
