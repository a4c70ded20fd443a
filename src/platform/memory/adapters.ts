/** What the browser does with adapters: files by name in, files by name out. */
import type { Adapter } from "../../adapters/adapter.js";
import { convertAdapter } from "../../adapters/convert.js";
import type { AdapterFormat } from "../../adapters/convert.js";
import { inspectAdapter } from "../../adapters/inspect.js";
import type { AdapterInspection } from "../../adapters/inspect.js";
import { BaseNames } from "../../adapters/target.js";
import type { AdapterFiles } from "../../adapters/write.js";
import { adapterContext } from "../../lora/context.js";
import type { CombineOptions } from "../../lora/combine.js";
import { EXTRACT_DEFAULTS } from "../../lora/extract.js";
import type { ExtractReport, ExtractWish } from "../../lora/extract.js";
import type { AdapterProgress, CombineReport } from "../../lora/given.js";
import { extractedFiles, mergedFiles } from "../../lora/to_files.js";
import { methods } from "../../methods/catalogue.js";
import type { Method } from "../../methods/method.js";
import { readAdapterRecipe } from "../../recipe/adapters.js";
import { soloCombinePlatform, soloDifferences } from "./lora.js";
import { memoryPlatform } from "./platform.js";
import type { ModelFiles } from "./platform.js";

type Models = Readonly<Record<string, ModelFiles>>;

/** @param text the recipe, as YAML or JSON. */
export async function mergeAdaptersInMemory(
  text: string,
  models: Models,
  own: readonly Method[],
  options: CombineOptions,
): Promise<CombineReport & { readonly files: AdapterFiles }> {
  const asked = readAdapterRecipe(text, {}, {}, adapterContext([...methods, ...own]));
  const { files, report } = await mergedFiles(asked, memoryPlatform(models, own), soloCombinePlatform(own), options);
  return { ...report, files };
}

export async function extractInMemory(
  labels: { readonly model: string; readonly base: string },
  models: Models,
  wish: Partial<ExtractWish>,
  progress?: (progress: AdapterProgress) => void,
): Promise<ExtractReport & { readonly files: AdapterFiles }> {
  const whole = { ...EXTRACT_DEFAULTS, ...wish };
  const { files, report } = await extractedFiles(labels, memoryPlatform(models), soloDifferences(), whole, progress);
  return { ...report, files };
}

export interface ConvertInMemory {
  readonly to: AdapterFormat;
  /** Label of the base, to find the modules in whose paths are joined with underscores. */
  readonly base?: string;
  /** Of kohya's module names. Default `lora_unet`. */
  readonly prefix?: string;
}

export async function convertInMemory(label: string, models: Models, options: ConvertInMemory): Promise<AdapterFiles> {
  const { to, base, prefix } = options;
  const platform = memoryPlatform(models);
  const checkpoint = base === undefined ? null : await platform.openModel(base);
  const names = checkpoint === null ? null : new BaseNames(checkpoint.tensors.keys());
  await checkpoint?.close();
  return withAdapter(platform.openAdapter(label), (adapter) =>
    convertAdapter(adapter, { to, names, ...(prefix !== undefined && { prefix }) }),
  );
}

export function inspectInMemory(label: string, models: Models): Promise<AdapterInspection> {
  return withAdapter(memoryPlatform(models).openAdapter(label), inspectAdapter);
}

async function withAdapter<T>(opening: Promise<Adapter>, work: (adapter: Adapter) => Promise<T>): Promise<T> {
  const adapter = await opening;
  try {
    return await work(adapter);
  } finally {
    await adapter.close();
  }
}
