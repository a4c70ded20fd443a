/** Merging and extracting adapters with files and threads. */
import { openAlgebra } from "../../algebra/algebra.js";
import type { CombineOptions } from "../../lora/combine.js";
import type { ExtractReport, ExtractWish, WorkOnDifferences } from "../../lora/extract.js";
import type { AdapterProgress, CombinePlatform, CombineReport } from "../../lora/given.js";
import { extractedFiles, mergedFiles } from "../../lora/to_files.js";
import type { Method } from "../../methods/method.js";
import type { AdapterRecipe } from "../../recipe/adapters.js";
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
  const inputs = { openAdapter: openAdapterAt, openModel };
  const { files, report } = await mergedFiles(asked, inputs, combinePlatform(threads, own), options);
  writeFolder(out, files, { force });
  return { ...report, out };
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
  const workOn: WorkOnDifferences = (works, done) =>
    workOnJobs(works, threads, (index, result) => {
      if (result.kind === "difference") done(index, result);
    });
  const { files, report } = await extractedFiles({ model, base }, { openModel }, workOn, wish, progress);
  writeFolder(out, files, { force });
  return { ...report, out };
}
