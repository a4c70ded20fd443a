/** Which files hold a split of a task's data. */

import { someOf } from "../formats/safetensors/text.js";
import { taskDefect } from "./defect.js";
import type { EvaluatePlatform } from "./platform.js";
import type { DataTask, Split } from "./task.js";

export type DataFiles =
  /** One file with all splits in it. */
  | { readonly kind: "file"; readonly path: string }
  /** Files of the split alone, one behind the other. */
  | { readonly kind: "split"; readonly paths: readonly string[] }
  /** A folder of other files: their paths below it. */
  | { readonly kind: "folder"; readonly files: readonly string[] };

/** Names of one and the same split. */
const SAME: readonly (readonly string[])[] = [["val", "validation", "valid", "dev"]];

export function namesOf(split: Split): readonly string[] {
  return SAME.find((names) => names.includes(split)) ?? [split];
}

/**
 * `data:` is a file with all splits; or a path with `{split}` in it; or a folder, whose Parquet files belong to a split by
 * their names as on the Hub (`data/train-00000-of-00001.parquet`, `test.parquet`).
 *
 * @throws tasks/data where nothing belongs to the split.
 */
export async function findData(task: DataTask, split: Split, platform: EvaluatePlatform): Promise<DataFiles> {
  const { data } = task;
  if (data.includes("{split}")) return { kind: "split", paths: [data.replaceAll("{split}", split)] };
  const files = await platform.listFolder(data);
  if (files === null) {
    if (!isParquet(data)) return { kind: "file", path: data };
    if (splitOf(data) === null || !namesOf(split).includes(splitOf(data)!)) throw otherSplit(task, split);
    return { kind: "split", paths: [data] };
  }
  const tables = files.filter(isParquet);
  if (tables.length === 0) return { kind: "folder", files };
  const own = tables.filter((file) => namesOf(split).includes(splitOf(file) ?? ""));
  if (own.length > 0) return { kind: "split", paths: own.map((file) => `${data.replace(/\/+$/, "")}/${file}`) };
  throw taskDefect(task, "tasks/data", `the folder has no Parquet file of the split ${split}`, {
    where: { file: data },
    expected: `${split}.parquet, or ${split}-00000-of-00001.parquet and so on`,
    found: someOf(tables),
    advice: "choose another split with --split",
  });
}

export function isParquet(path: string): boolean {
  return /\.parquet$/i.test(path);
}

/** The split that a Parquet file's name, or its folder's, tells. */
function splitOf(path: string): string | null {
  const parts = path.split(/[/\\]/);
  const name = parts.at(-1)!.replace(/\.parquet$/i, "");
  const word = /^([A-Za-z]+)(?:[-_.]\d+(?:-of-\d+)?)?$/.exec(name)?.[1];
  return word ?? (/^\d+$/.test(name) ? (parts.at(-2) ?? null) : null);
}

function otherSplit(task: DataTask, split: Split) {
  return taskDefect(task, "tasks/data", `the Parquet file is not of the split ${split}`, {
    where: { file: task.data },
    expected: `a name that tells the split, such as ${split}.parquet`,
    advice: "write {split} in data: in its place, or give the folder",
  });
}
