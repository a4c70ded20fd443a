import { magnitude } from "./magnitude.js";
import { outliers } from "./outliers.js";
import type { Pruner } from "./pruner.js";
import { random } from "./random.js";
import { rank } from "./rank.js";

/** Every pruner that `prune: {by: ...}` may name. */
export const pruners: readonly Pruner[] = [random, magnitude, outliers, rank];
