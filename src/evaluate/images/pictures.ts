/** Pictures of a split that are decoded when they are looked at: from a folder by class, or from Parquet. */

import { someOf } from "../../formats/safetensors/text.js";
import { isObject } from "../../tokenizers/json.js";
import { namesOf } from "../data_files.js";
import { taskDefect } from "../defect.js";
import { sha256 } from "../fingerprint.js";
import { openTable, type Table } from "../parquet.js";
import type { EvaluatePlatform } from "../platform.js";
import type { ImageTask, Split } from "../task.js";

/** Encoded pictures with their labels. */
export interface Pictures {
  readonly labels: readonly number[];
  readonly classes: number;
  readonly notes: readonly string[];
  /** Names a picture in errors. */
  where(index: number): { readonly file: string; readonly key?: string };
  read(index: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * `SPLIT/CLASS/*.png`: classes are numbered as the head's `label2id` says where it knows all of them, else in the order of
 * their names, as the Hub's image folders are.
 */
export async function openFolder(
  task: ImageTask,
  split: Split,
  files: readonly string[],
  label2id: unknown,
  platform: EvaluatePlatform,
): Promise<Pictures> {
  const pictures = files.flatMap((file) => {
    const [part, name] = file.split("/");
    const isPicture = file.split("/").length === 3 && /\.(png|jpe?g)$/i.test(file);
    return isPicture ? [{ file, part: part!, name: name! }] : [];
  });
  const own = pictures.filter(({ part }) => namesOf(split).includes(part));
  if (own.length === 0) throw noPictures(task, split, [...new Set(pictures.map(({ part }) => part))]);
  const names = [...new Set(pictures.map(({ name }) => name))].sort();
  const known = isObject(label2id) && names.every((name) => isClass(label2id[name]));
  const numberOf = (name: string) => (known ? (label2id[name] as number) : names.indexOf(name));
  const root = task.data.replace(/\/+$/, "");
  return {
    labels: own.map(({ name }) => numberOf(name)),
    classes: 1 + Math.max(...names.map(numberOf)),
    notes: known ? [] : [`classes are numbered in the order of their folders' names: ${someOf(names)}`],
    where: (index) => ({ file: `${root}/${own[index]!.file}` }),
    async read(index) {
      const source = await platform.openFile(`${root}/${own[index]!.file}`);
      try {
        const bytes = new Uint8Array(source.stamp.size);
        await source.read(0, bytes);
        return bytes;
      } finally {
        await source.close();
      }
    },
    close: async () => {},
  };
}

function noPictures(task: ImageTask, split: Split, splits: readonly string[]) {
  return taskDefect(task, "tasks/data", `the folder has no pictures of the split ${split}`, {
    where: { file: task.data },
    expected: `${split}/CLASS/NAME.png or .jpg`,
    found: splits.length === 0 ? "no pictures two folders deep" : someOf(splits),
    advice: splits.length === 0 ? "sort the pictures into a folder per class" : "choose one of these with --split",
  });
}

/** Columns of pictures as the Hub has them: `{bytes, path}`, or bytes alone; and of their classes' numbers. */
export async function openPictureTable(
  task: ImageTask,
  split: Split,
  paths: readonly string[],
  platform: EvaluatePlatform,
): Promise<Pictures> {
  const image = task.columns?.["image"] ?? "image";
  const label = task.columns?.["label"] ?? "label";
  const labelTable = await openTable(task, paths, [label], platform);
  let labels: number[];
  try {
    labels = await readLabels(task, split, labelTable, label);
  } finally {
    await labelTable.close();
  }
  const table = await openTable(task, paths, [image], platform);
  const names = labelTable.classNames(label);
  return {
    labels,
    classes: names?.length ?? 1 + labels.reduce((most, one) => Math.max(most, one), 0),
    notes: [],
    where: (index) => ({ file: task.data, key: `row ${index + 1}` }),
    async read(index) {
      const [row] = await table.read(index, index + 1);
      const value = row![image];
      const bytes = isObject(value) && !(value instanceof Uint8Array) ? value["bytes"] : value;
      if (bytes instanceof Uint8Array) return bytes;
      throw taskDefect(task, "tasks/data", "a row holds no picture", {
        where: { file: task.data, key: `row ${index + 1}` },
        expected: `bytes, or {bytes, path}, in the column ${image}`,
        advice: "say which column is meant with columns: {image: …} in the task",
      });
    },
    close: () => table.close(),
  };
}

async function readLabels(task: ImageTask, split: Split, table: Table, column: string): Promise<number[]> {
  const rows = await table.read(0, table.rows);
  if (rows.length === 0) {
    throw taskDefect(task, "tasks/data", `the split ${split} has no examples`, {
      where: { file: task.data },
      expected: "one picture or more",
      advice: "choose another split, or add data",
    });
  }
  return rows.map((row, index) => {
    const value = typeof row[column] === "bigint" ? Number(row[column]) : row[column];
    if (isClass(value)) return value;
    throw taskDefect(task, "tasks/data", "a label is no class", {
      where: { file: task.data, key: `row ${index + 1}, ${column}` },
      expected: "the number of a class, from 0",
      found: String(value),
      ...(value === -1 && { advice: "the Hub marks data without labels so: choose another split" }),
    });
  });
}

function isClass(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 1e9;
}

/** Of all pictures' bytes, in order. */
export async function fingerprintOf(pictures: Pictures): Promise<string> {
  const digests: string[] = [];
  for (let index = 0; index < pictures.labels.length; index++) digests.push(await sha256(await pictures.read(index)));
  return sha256(digests.join("\n"));
}
