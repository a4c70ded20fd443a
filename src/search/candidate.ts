/** A merge that is scored without being written. */

import { mergeModels, type Platform } from "../merge.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { memoryFolder } from "../models/folder.js";
import type { Checkpoint } from "../models/model.js";
import type { Recipe } from "../recipe/recipe.js";

/** A platform whose merges stay in memory. */
export interface MemoryMerging extends Platform {
  /** Files of the last finished merge, by name. */
  readonly output: ReadonlyMap<string, Blob>;
}

/** @param label what the result is called in messages. */
export async function mergeInMemory(recipe: Recipe, platform: MemoryMerging, label: string): Promise<Checkpoint> {
  await mergeModels(recipe, platform, { out: label, threads: 1 });
  return openCheckpoint(label, memoryFolder(new Map(platform.output)));
}
