/** Adapters merged and extracted as the files of a folder, from labels that a platform opens. */
import type { Adapter } from "../adapters/adapter.js";
import { peftFiles } from "../adapters/write.js";
import type { AdapterFiles, AdapterOrigin } from "../adapters/write.js";
import { readStatistics } from "../collected/statistics.js";
import type { Statistics } from "../collected/statistics.js";
import type { Checkpoint } from "../models/model.js";
import type { AdapterRecipe } from "../recipe/adapters.js";
import { stringifyRecipe } from "../recipe/write.js";
import { combineAdapters } from "./combine.js";
import type { CombineOptions } from "./combine.js";
import { extractLora } from "./extract.js";
import type { ExtractReport, ExtractWish, WorkOnDifferences } from "./extract.js";
import type { AdapterProgress, CombinePlatform, CombineReport } from "./given.js";

/** How a platform opens what a request names. */
export interface LoraInputs {
  readonly openAdapter: (label: string) => Promise<Adapter>;
  readonly openModel: (label: string) => Promise<Checkpoint>;
}

/** Opens what the recipe names, merges it and closes it again. */
export async function mergedFiles(
  asked: AdapterRecipe,
  inputs: LoraInputs,
  platform: CombinePlatform,
  options: CombineOptions = {},
): Promise<{ readonly files: AdapterFiles; readonly report: CombineReport }> {
  const opened: { close(): void | Promise<void> }[] = [];
  try {
    const adapters: Adapter[] = [];
    for (const { model } of asked.recipe.models) {
      const adapter = await inputs.openAdapter(model);
      opened.push(adapter);
      adapters.push(adapter);
    }
    const base = asked.base === null ? null : await inputs.openModel(asked.base);
    if (base !== null) opened.push(base);
    const statistics: (Statistics | null)[] = [];
    for (const { statistics: label } of asked.recipe.models) {
      const file = label === undefined ? null : await inputs.openModel(label);
      if (file !== null) opened.push(file);
      statistics.push(file === null ? null : readStatistics(file));
    }
    const { draft, report } = await combineAdapters(adapters, base, asked, platform, { statistics, ...options });
    const { warnings: _, ...details } = report;
    const origin: AdapterOrigin = {
      action: "adapter merge",
      summary: summaryOf(report),
      inputs: adapters.map(({ label, header: { hash } }) => ({ label, header: hash })),
      details: { recipe: stringifyRecipe(asked.recipe), adapter: asked.wish, ...details },
    };
    return { files: peftFiles(draft, origin), report };
  } finally {
    for (const one of opened) await one.close();
  }
}

function summaryOf({ adapters, method, dialect, space }: CombineReport): string {
  const named = adapters.map(({ name }) => name).join(", ");
  return `A merge of the adapters ${named} with ${method}${dialect === "" ? "" : `/${dialect}`} (${space}).`;
}

/** Opens both models, extracts what the first changed of the second as a LoRA, and closes them again. */
export async function extractedFiles(
  { model, base }: { readonly model: string; readonly base: string },
  { openModel }: Pick<LoraInputs, "openModel">,
  workOn: WorkOnDifferences,
  wish: ExtractWish,
  progress?: (progress: AdapterProgress) => void,
): Promise<{ readonly files: AdapterFiles; readonly report: ExtractReport }> {
  const opened = await openModel(model);
  try {
    const from = await openModel(base);
    try {
      const { draft, report } = await extractLora(opened, from, wish, workOn, progress);
      const { warnings: _, ...details } = report;
      const origin: AdapterOrigin = {
        action: "adapter extract",
        summary: `What ${opened.name} changed of ${from.name}, at a low rank.`,
        inputs: [opened, from].flatMap(({ label, shards }) =>
          shards.map(({ name, header: { hash } }) => ({
            label: shards.length === 1 ? label : `${label}/${name}`,
            header: hash,
          })),
        ),
        details: { ...wish, ...details },
      };
      return { files: peftFiles(draft, origin), report };
    } finally {
      await from.close();
    }
  } finally {
    await opened.close();
  }
}
