/** Merging and extracting adapters with files and threads. */
import type { Adapter } from "../../adapters/adapter.js";
import { peftFiles } from "../../adapters/write.js";
import type { AdapterOrigin } from "../../adapters/write.js";
import { openAlgebra } from "../../algebra/algebra.js";
import { combineAdapters } from "../../lora/combine.js";
import type { CombineOptions } from "../../lora/combine.js";
import { extractLora } from "../../lora/extract.js";
import type { ExtractReport, ExtractWish, WorkOnDifferences } from "../../lora/extract.js";
import type { AdapterProgress, CombinePlatform, CombineReport } from "../../lora/given.js";
import type { Method } from "../../methods/method.js";
import type { AdapterRecipe } from "../../recipe/adapters.js";
import { stringifyRecipe } from "../../recipe/write.js";
import { mergingSets } from "../memory/merge_sets.js";
import { openAdapterAt, writeFolder } from "./adapters.js";
import { workOnJobs } from "./job_pool.js";
import { openModel } from "./platform.js";

/** @param own methods beside those of the catalogue. */
export function combinePlatform(threads: number, own: readonly Method[] = []): CombinePlatform {
  return {
    algebra: openAlgebra(),
    mergeSets: mergingSets(own),
    workOn: (works, done) =>
      workOnJobs(works, threads, (index, result) => {
        if (result.kind !== "difference") done(index, result);
      }),
  };
}

export interface MergeAdaptersOptions extends CombineOptions {
  /** Folder to write; must not exist or be empty unless `force`. */
  readonly out: string;
  readonly threads: number;
  readonly force?: boolean;
  /** Methods beside those of the catalogue. */
  readonly own?: readonly Method[];
}

/** Opens what the recipe names, merges it and writes the folder. */
export async function mergeAdaptersAt(
  asked: AdapterRecipe,
  { out, threads, force = false, own = [], ...options }: MergeAdaptersOptions,
): Promise<CombineReport & { readonly out: string }> {
  const opened: { close(): void | Promise<void> }[] = [];
  try {
    const adapters: Adapter[] = [];
    for (const { model } of asked.recipe.models) {
      const adapter = await openAdapterAt(model);
      opened.push(adapter);
      adapters.push(adapter);
    }
    const base = asked.base === null ? null : await openModel(asked.base);
    if (base !== null) opened.push(base);
    const { draft, report } = await combineAdapters(adapters, base, asked, combinePlatform(threads, own), options);
    const { warnings: _, ...details } = report;
    const origin: AdapterOrigin = {
      action: "adapter merge",
      summary: summaryOf(report),
      inputs: adapters.map(({ label, header: { hash } }) => ({ label, header: hash })),
      details: { recipe: stringifyRecipe(asked.recipe), adapter: asked.wish, ...details },
    };
    writeFolder(out, peftFiles(draft, origin), { force });
    return { ...report, out };
  } finally {
    for (const one of opened) await one.close();
  }
}

function summaryOf({ adapters, method, dialect, space }: CombineReport): string {
  const named = adapters.map(({ name }) => name).join(", ");
  return `A merge of the adapters ${named} with ${method}${dialect === "" ? "" : `/${dialect}`} (${space}).`;
}

export interface ExtractOptions extends ExtractWish {
  /** Folder to write; must not exist or be empty unless `force`. */
  readonly out: string;
  readonly threads: number;
  readonly force?: boolean;
  readonly progress?: (progress: AdapterProgress) => void;
}

/** Opens both models, extracts the adapter and writes its folder. */
export async function extractAt(
  model: string,
  base: string,
  { out, threads, force = false, progress, ...wish }: ExtractOptions,
): Promise<ExtractReport & { readonly out: string }> {
  const opened = await openModel(model);
  try {
    const from = await openModel(base);
    try {
      const workOn: WorkOnDifferences = (works, done) =>
        workOnJobs(works, threads, (index, result) => {
          if (result.kind === "difference") done(index, result);
        });
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
      writeFolder(out, peftFiles(draft, origin), { force });
      return { ...report, out };
    } finally {
      await from.close();
    }
  } finally {
    await opened.close();
  }
}
