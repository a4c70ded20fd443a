/** A merge that is scored without being written. */

import { openArtifact } from "../artifacts/open.js";
import type { Task } from "../evaluate/task.js";
import type { Progress } from "../execute/meter.js";
import { firstLine, planHash, tellsStatistics } from "../execute/journal.js";
import { mergeModels, planMerge, type Platform } from "../merge.js";
import type { Method, Values } from "../methods/method.js";
import { openCheckpoint } from "../models/checkpoint.js";
import { memoryFolder } from "../models/folder.js";
import type { FolderAccess } from "../models/folder.js";
import type { Checkpoint } from "../models/model.js";
import type { Plan } from "../plan/types.js";
import type { Recipe } from "../recipe/recipe.js";

/** A platform whose merges stay in memory. */
export interface MemoryMerging extends Platform {
  /** Files of the last finished merge, by name. */
  readonly output: ReadonlyMap<string, Blob>;
  /** Lines of the last merge's journal. */
  readonly recorded: readonly string[];
  /** Lines of a journal that the next merges begin with. */
  readonly beginWith: (lines: readonly string[]) => void;
}

/** Statistics of merges so far, for later ones that differ only in parameters that no statistic depends on. */
export class SharedStatistics {
  readonly #lines = new Map<string, readonly string[]>();
  /** Merges that found theirs here. */
  shared = 0;

  /** Lines that a merge of the plan can begin with; none for the first of its kind. */
  linesFor(plan: Plan, method: Method): readonly string[] {
    const known = this.#lines.get(statisticsKey(plan, method));
    if (known === undefined) return [];
    this.shared++;
    return [firstLine(plan), ...known];
  }

  keep(plan: Plan, method: Method, recorded: readonly string[]): void {
    const key = statisticsKey(plan, method);
    if (!this.#lines.has(key)) this.#lines.set(key, recorded.filter(tellsStatistics));
  }
}

/** The same for plans whose statistics are the same. */
function statisticsKey(plan: Plan, { parameters }: Method): string {
  const late = new Set(Object.keys(parameters).filter((name) => parameters[name]!.late));
  const early = (values: Values): Values =>
    Object.fromEntries(Object.entries(values).filter(([name]) => !late.has(name)));
  const tensors = plan.tensors.map((tensor) => {
    if (tensor.settings === null) return tensor;
    const { global, models } = tensor.settings;
    return { ...tensor, settings: { global: early(global), models: models.map(early) } };
  });
  return planHash({ ...plan, tensors });
}

export interface Merged {
  /** The model that is scored on a task: of an artifact its task of that name. */
  modelFor(task: Task): Promise<Checkpoint>;
  close(): Promise<void>;
}

/**
 * @param label what the result is called in messages.
 * @param statistics of earlier merges, for this one, and of this one, for later ones.
 * @param progress told of the merge.
 */
export async function mergeInMemory(
  recipe: Recipe,
  platform: MemoryMerging,
  label: string,
  statistics: SharedStatistics = new SharedStatistics(),
  progress: (progress: Progress) => void = () => {},
): Promise<Merged> {
  // The method of a packed artifact plans twice; what it knows is not in the journal.
  const { method } = recipe;
  const isShared = method.grain === "tile" && method.packing === undefined;
  platform.beginWith(isShared ? statistics.linesFor(await planMerge(recipe, platform), method) : []);
  const { artifact, plan } = await mergeModels(recipe, platform, { out: label, threads: 1, progress });
  if (isShared) statistics.keep(plan, method, platform.recorded);
  const files = new Map(platform.output);
  if (artifact === null) {
    const model = await openCheckpoint(label, memoryFolder(files));
    return { modelFor: () => Promise.resolve(model), close: () => model.close() };
  }
  const openFolder = foldersIn(label, files);
  const opened = await openArtifact(label, { openFolder, openModel: platform.openModel });
  return {
    modelFor: async ({ name }) => (await opened.openTask(name)).checkpoint,
    close: () => opened.close(),
  };
}

/** The folders of a result in memory: its own, and those of an artifact's parts. @param files by their names in it. */
export function foldersIn(label: string, files: ReadonlyMap<string, Blob>): (folder: string) => FolderAccess {
  return (folder) => {
    const inside = folder === label ? "" : `${folder.slice(label.length + 1)}/`;
    const own = [...files].filter(([name]) => name.startsWith(inside) && !name.slice(inside.length).includes("/"));
    return memoryFolder(new Map(own.map(([name, content]) => [name.slice(inside.length), content])));
  };
}
