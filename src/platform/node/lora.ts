/** Merging and extracting adapters with files and threads. */
import { openAlgebra } from "../../algebra/algebra.js";
import type { CombineOptions } from "../../lora/combine.js";
import type { ExtractReport, ExtractWish, WorkOnDifferences } from "../../lora/extract.js";
import type { AdapterProgress, CombinePlatform, CombineReport } from "../../lora/given.js";
import { extractedFiles, mergedFiles } from "../../lora/to_files.js";
import type { ModuleResult } from "../../lora/work.js";
import type { Method } from "../../methods/method.js";
import type { AdapterRecipe } from "../../recipe/adapters.js";
import { mergingSets } from "../memory/merge_sets.js";
import { openAdapterAt, writeFolder } from "./adapters.js";
import { JobPool } from "./job_pool.js";
import { openModel } from "./platform.js";

/** @param own methods beside those of the catalogue. */
export function combinePlatform(pool: JobPool, own: readonly Method[] = []): CombinePlatform {
  return {
    algebra: openAlgebra(),
    mergeSets: mergingSets(own),
    workOn: (works, done) =>
      pool.workOn(works, (index, result) => {
        if (result.kind !== "difference") done(index, result);
      }),
    run: async (work) => (await pool.run(work)) as ModuleResult,
    threads: pool.threads,
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
  const pool = new JobPool(threads);
  try {
    const { files, report } = await mergedFiles(asked, inputs, combinePlatform(pool, own), options);
    writeFolder(out, files, { force });
    return { ...report, out };
  } finally {
    await pool.close();
  }
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
  const pool = new JobPool(threads);
  const workOn: WorkOnDifferences = (works, done) =>
    pool.workOn(works, (index, result) => {
      if (result.kind === "difference") done(index, result);
    });
  try {
    const { files, report } = await extractedFiles({ model, base }, { openModel }, workOn, wish, progress);
    writeFolder(out, files, { force });
    return { ...report, out };
  } finally {
    await pool.close();
  }
}
