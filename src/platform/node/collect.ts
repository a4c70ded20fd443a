/** What learning and measuring on data needs of Node. */

import type { CollectPlatform } from "../../collect/coefficients.js";
import { soloTeam } from "../../runtime/team.js";
import { evaluatePlatform } from "./evaluate.js";
import { threadTeam } from "./team.js";

export const collectPlatform: CollectPlatform = {
  evaluation: evaluatePlatform,
  openTeam: (threads) => (threads > 1 ? threadTeam(threads) : soloTeam()),
};
