/** Statistics files on disk: written beside their place and moved there when complete; what is unfinished is kept. */
import { existsSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import type { CollectPlatform, Earlier } from "../../collect/collect.js";
import { Sums } from "../../collect/sums.js";
import { readSum } from "../../collected/sums.js";
import { examplesOf, metadataOf, readStatistics } from "../../collected/statistics.js";
import type { Statistics, StatisticsInfo } from "../../collected/statistics.js";
import { MergewrightError } from "../../errors.js";
import { SafetensorsWriter } from "../../formats/safetensors/write.js";
import { openAdapterAt } from "./adapters.js";
import { evaluatePlatform } from "./evaluate.js";
import { fileSink, systemError } from "./files.js";
import { openNetwork } from "./network.js";
import { openModel } from "./platform.js";

export const collectPlatform: CollectPlatform = { ...evaluatePlatform, openNetwork, openAdapter: openAdapterAt };

/** @throws statistics/file. The caller closes the file. */
export async function openStatistics(label: string): Promise<Statistics> {
  const file = await openModel(label);
  try {
    return readStatistics(file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Writes tensor by tensor, in the order of their names, to a temporary name that is then moved. */
export async function writeStatistics(place: string, info: StatisticsInfo, { all }: Sums): Promise<void> {
  const names = [...all.keys()].sort();
  const temporary = `${place}.${process.pid}.tmp`;
  try {
    const tensors = names.map((name) => ({ name, dtype: "F64" as const, shape: all.get(name)!.shape }));
    const writer = SafetensorsWriter.create(
      (size) => fileSink(temporary, "create", size, place),
      tensors,
      metadataOf(info),
    );
    for (const name of names) {
      const { data } = all.get(name)!;
      await writer.write(name, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    await writer.close();
    renameSync(temporary, place);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error instanceof MergewrightError ? error : systemError("write", place, error);
  }
}

/** Where an interrupted collection left its sums. */
export function unfinished(place: string): string {
  return path.join(path.dirname(place), `.${path.basename(place)}.part.safetensors`);
}

/** What an interrupted run left, if it was the beginning of the same work. */
export async function readEarlier(place: string, whole: StatisticsInfo): Promise<Earlier | null> {
  const left = unfinished(place);
  if (!existsSync(left)) return null;
  const { info, file } = await openStatistics(left);
  try {
    const identity = ({ kind, dialect, model, head, base, per, sources, seed, batch }: StatisticsInfo) =>
      JSON.stringify([
        kind,
        dialect,
        model.hash,
        head?.hash,
        base?.hash,
        per,
        seed,
        batch,
        ...sources.map((one) => [one.data, one.split, one.first]),
      ]);
    const examples = examplesOf(info);
    if (identity(info) !== identity(whole) || examples > examplesOf(whole)) return null;
    const sums = new Sums();
    for (const { name, shape } of file.tensors.values()) sums.add(name, shape, await readSum(file, name));
    return { sums, layers: info.layers, examples, count: info.count };
  } finally {
    await file.close();
  }
}
