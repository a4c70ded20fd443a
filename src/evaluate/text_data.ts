/** Texts of a split: from a JSON file of lists by split, or from files of the split alone. */

import { printable, someOf } from "../formats/safetensors/text.js";
import { isObject } from "../tokenizers/json.js";
import { findData, isParquet } from "./data_files.js";
import { taskDefect } from "./defect.js";
import { openTable } from "./parquet.js";
import type { EvaluatePlatform } from "./platform.js";
import type { DataTask, Split } from "./task.js";

/** More is no test set but a corpus. */
const MOST_BYTES = 1 << 30;

type TextTask = Exclude<DataTask, { readonly type: "image-classification" }>;

export interface Examples<T> {
  readonly examples: readonly T[];
  /** Those of other splits, where they lie in the same file. */
  readonly others: readonly T[];
  /** How many classes a label has, where the data say so. */
  readonly classes: number | null;
}

/**
 * The examples of a split, each read by `readExample`, which answers `undefined` for one that it cannot use.
 * @param expected what an example is, in words.
 * @throws tasks/data naming the file and the first example that is wrong.
 */
export async function readExamples<T>(
  task: TextTask,
  split: Split,
  platform: EvaluatePlatform,
  readExample: (value: unknown) => T | undefined,
  expected: string,
): Promise<Examples<T>> {
  const data = await findData(task, split, platform);
  if (data.kind === "folder") {
    throw taskDefect(task, "tasks/data", "the folder has no Parquet files", {
      where: { file: task.data },
      expected: `a JSON file, or a folder with ${split}-00000-of-00001.parquet and so on`,
      found: data.files.length === 0 ? "an empty folder" : someOf(data.files),
    });
  }
  const found =
    data.kind === "file"
      ? await readSplits(task, split, data.path, platform)
      : await readAll(task, data.paths, platform);
  if (found.examples.length === 0) {
    throw taskDefect(task, "tasks/data", `the split ${split} has no examples`, {
      where: { file: task.data },
      expected: "one example or more",
      advice: "choose another split, or add data",
    });
  }
  const read = (name: string) => (value: unknown, index: number) => {
    const example = readExample(renamed(value, task.columns));
    if (example !== undefined) return example;
    throw taskDefect(task, "tasks/data", `example ${index + 1} of the split ${name} cannot be used`, {
      where: { file: task.data },
      expected,
      found: printable(shown(value)).slice(0, 200),
      advice: "if the data call these otherwise, say how with columns: {…} in the task",
    });
  };
  const others = found.others.flatMap(([name, values]) => values.map(read(name)));
  return { examples: found.examples.map(read(split)), others, classes: found.classes };
}

interface Found {
  readonly examples: readonly unknown[];
  readonly others: readonly (readonly [string, readonly unknown[]])[];
  readonly classes: number | null;
}

/** One JSON file of lists by split. */
async function readSplits(task: TextTask, split: Split, path: string, platform: EvaluatePlatform): Promise<Found> {
  const where = { file: path };
  const content = parseJson(task, path, await readText(task, path, platform));
  if (!isObject(content)) {
    throw taskDefect(task, "tasks/data", "the data are not divided into splits", {
      where,
      expected: '{"train": [...], "val": [...], "test": [...]}, or a file per split: data: NAME-{split}.json',
      found: Array.isArray(content) ? "a list" : typeof content,
    });
  }
  const lists = Object.entries(content).filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]));
  const list = lists.find(([name]) => name === split)?.[1];
  if (list !== undefined) return { examples: list, others: lists.filter(([name]) => name !== split), classes: null };
  throw taskDefect(task, "tasks/data", `the data have no split ${split}`, {
    where,
    expected: "a list of examples by that name",
    found: lists.length === 0 ? "no lists" : someOf(lists.map(([name]) => name)),
    advice: "choose one of these with --split",
  });
}

/** Files of one split: Parquet, a JSON list, or JSON by lines. */
async function readAll(task: TextTask, paths: readonly string[], platform: EvaluatePlatform): Promise<Found> {
  if (paths.every(isParquet)) return readTable(task, paths, platform);
  const lists = await Promise.all(
    paths.map(async (path) => {
      const text = await readText(task, path, platform);
      if (/\.jsonl$/i.test(path)) {
        return text
          .split("\n")
          .flatMap((line, at): unknown[] => (line.trim() === "" ? [] : [parseJson(task, path, line, at)]));
      }
      const content = parseJson(task, path, text);
      if (Array.isArray(content)) return content as unknown[];
      throw taskDefect(task, "tasks/data", "the data of a split are not a list", {
        where: { file: path },
        expected: "a JSON list of examples",
        found: typeof content,
      });
    }),
  );
  return { examples: lists.flat(), others: [], classes: null };
}

async function readTable(task: TextTask, paths: readonly string[], platform: EvaluatePlatform): Promise<Found> {
  const table = await openTable(task, paths, null, platform);
  try {
    const classes = table.classNames(task.columns?.["label"] ?? "label")?.length ?? null;
    return { examples: (await table.read(0, table.rows)).map(plain), others: [], classes };
  } finally {
    await table.close();
  }
}

/** Whole numbers of 64 bits as numbers, as JSON has them. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (!isObject(value) || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

function renamed(value: unknown, columns: TextTask["columns"]): unknown {
  if (columns === null || !isObject(value)) return value;
  const pairs = Object.entries(columns).map(([ours, theirs]) => [ours, value[theirs]]);
  return { ...value, ...Object.fromEntries(pairs) };
}

function shown(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner)) ?? "nothing";
}

function parseJson(task: TextTask, file: string, text: string, line?: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw taskDefect(task, "tasks/data", "the data are not JSON", {
      where: { file, ...(line !== undefined && { line: line + 1 }) },
      found: printable(cause instanceof Error ? cause.message : String(cause)),
      cause,
    });
  }
}

async function readText(task: TextTask, file: string, platform: EvaluatePlatform): Promise<string> {
  const source = await platform.openFile(file);
  try {
    const { size } = source.stamp;
    if (size > MOST_BYTES) {
      throw taskDefect(task, "tasks/data", "the data are too large for one JSON file", {
        where: { file },
        expected: `at most ${MOST_BYTES} bytes`,
        found: `${size} bytes`,
      });
    }
    const bytes = new Uint8Array(size);
    await source.read(0, bytes);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw taskDefect(task, "tasks/data", "the data are not UTF-8 text", { where: { file }, cause });
  } finally {
    await source.close();
  }
}
