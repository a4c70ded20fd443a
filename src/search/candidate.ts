/** A merge that is scored without being written. */

import { openArtifact } from "../artifacts/open.js";
import type { Task } from "../evaluate/task.js";
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

export interface Merged {
  /** The model that is scored on a task: of an artifact its task of that name. */
  modelFor(task: Task): Promise<Checkpoint>;
  close(): Promise<void>;
}

/** @param label what the result is called in messages. */
export async function mergeInMemory(recipe: Recipe, platform: MemoryMerging, label: string): Promise<Merged> {
  const { artifact } = await mergeModels(recipe, platform, { out: label, threads: 1 });
  const files = new Map(platform.output);
  if (artifact === null) {
    const model = await openCheckpoint(label, memoryFolder(files));
    return { modelFor: () => Promise.resolve(model), close: () => model.close() };
  }
  const openFolder = (folder: string) => {
    const inside = folder === label ? "" : `${folder.slice(label.length + 1)}/`;
    const own = [...files].filter(([name]) => name.startsWith(inside) && !name.slice(inside.length).includes("/"));
    return memoryFolder(new Map(own.map(([name, content]) => [name.slice(inside.length), content])));
  };
  const opened = await openArtifact(label, { openFolder, openModel: platform.openModel });
  return {
    modelFor: async ({ name }) => (await opened.openTask(name)).checkpoint,
    close: () => opened.close(),
  };
}
