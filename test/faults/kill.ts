/** A merge in a process of its own, to be killed: node kill.js RECIPE OUT THREADS */

import { mergeModels } from "../../src/merge.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { recipeOf } from "../laws/support/family.js";

const [recipe, out, threads] = process.argv.slice(2) as [string, string, string];
// Small chunks, so that there are many moments to be killed at.
const tuning = { tileEntries: 4096, chunkEntries: 16_384 };
process.stdout.write("go\n");
const parsed = recipeOf(JSON.parse(recipe) as Record<string, unknown>);
await mergeModels(parsed, nodePlatform, { out, threads: Number(threads), tuning });
