/** Rows of Parquet files through a maintained reader, as the Hub keeps data sets. */

import type { AsyncBuffer, FileMetaData } from "hyparquet";
import { someOf } from "../formats/safetensors/text.js";
import type { ByteSource } from "../sources/source.js";
import { isObject } from "../tokenizers/json.js";
import { taskDefect } from "./defect.js";
import type { EvaluatePlatform } from "./platform.js";
import type { DataTask } from "./task.js";

export type Row = Readonly<Record<string, unknown>>;

export interface Table {
  readonly rows: number;
  /** Names of a column's classes, where the file says that its numbers are classes. */
  classNames(column: string): readonly string[] | null;
  /** Rows `from` to `to`. A group of rows is decoded once as long as rows are asked for in order. */
  read(from: number, to: number): Promise<Row[]>;
  close(): Promise<void>;
}

interface Part {
  readonly path: string;
  readonly source: ByteSource;
  readonly file: AsyncBuffer;
  readonly metadata: FileMetaData;
  /** The first row of each group, and the end. */
  readonly starts: readonly number[];
}

type Wanted = readonly string[] | null;

/**
 * @param paths files with the same columns, whose rows follow each other.
 * @param columns those that are read; `null`: all.
 * @throws tasks/data for what is no Parquet, or lacks a column.
 */
export async function openTable(
  task: DataTask,
  paths: readonly string[],
  columns: Wanted,
  platform: EvaluatePlatform,
): Promise<Table> {
  const parts: Part[] = [];
  let rows = 0;
  try {
    for (const path of paths) {
      const part = await openPart(task, path, rows, platform);
      parts.push(part);
      checkColumns(task, part, columns ?? Object.values(task.columns ?? {}));
      rows = part.starts.at(-1)!;
    }
  } catch (error) {
    for (const { source } of parts) await source.close();
    throw error;
  }
  let held: { readonly from: number; readonly rows: Row[] } = { from: 0, rows: [] };
  /** The group that a row is in. */
  const groupOf = async (row: number) => {
    const isHeld = row >= held.from && row < held.from + held.rows.length;
    if (!isHeld) held = await readGroup(task, parts, row, columns);
    return held;
  };
  return {
    rows,
    classNames: (column) => classNamesOf(parts[0]!.metadata, column),
    async read(from, to) {
      const found: Row[] = [];
      while (from + found.length < to) {
        const group = await groupOf(from + found.length);
        found.push(...group.rows.slice(from + found.length - group.from, to - group.from));
      }
      return found;
    },
    async close() {
      for (const { source } of parts) await source.close();
    },
  };
}

async function openPart(task: DataTask, path: string, first: number, platform: EvaluatePlatform): Promise<Part> {
  const source = await platform.openFile(path);
  const file: AsyncBuffer = {
    byteLength: source.stamp.size,
    async slice(start, end = source.stamp.size) {
      const bytes = new Uint8Array(end - start);
      await source.read(start, bytes);
      return bytes.buffer;
    },
  };
  try {
    const { parquetMetadataAsync } = await import("hyparquet");
    const metadata = await parquetMetadataAsync(file);
    let next = first;
    const starts = [first, ...metadata.row_groups.map((group) => (next += Number(group.num_rows)))];
    return { path, source, file, metadata, starts };
  } catch (cause) {
    await source.close();
    throw unreadable(task, path, cause);
  }
}

async function readGroup(task: DataTask, parts: readonly Part[], row: number, columns: Wanted) {
  const part = parts.find(({ starts }) => row < starts.at(-1)!)!;
  const group = part.starts.findLastIndex((start) => start <= row);
  const [from, to] = [part.starts[group]!, part.starts[group + 1]!];
  const { parquetReadObjects } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  try {
    const { file, metadata } = part;
    const within = { rowStart: from - part.starts[0]!, rowEnd: to - part.starts[0]! };
    const only = columns !== null && { columns: [...columns] };
    // Pictures are bytes; texts are marked as such.
    const rows = await parquetReadObjects({ file, metadata, compressors, utf8: false, ...within, ...only });
    if (rows.length !== to - from) throw new RangeError(`${rows.length} rows where ${to - from} were announced`);
    return { from, rows };
  } catch (cause) {
    throw unreadable(task, part.path, cause);
  }
}

function checkColumns(task: DataTask, { path, metadata }: Part, columns: readonly string[]): void {
  const known = columnsOf(metadata);
  const missing = columns.find((column) => !known.includes(column));
  if (missing === undefined) return;
  throw taskDefect(task, "tasks/data", `the data have no column ${missing}`, {
    where: { file: path },
    expected: `columns ${columns.join(", ")}`,
    found: someOf(known),
    advice: "say which column is meant with columns: {…} in the task",
  });
}

/** The top level's names: what follows the root in the schema, without what lies below others. */
function columnsOf({ schema }: FileMetaData): string[] {
  const names: string[] = [];
  for (let at = 1; at < schema.length; at = behind(schema, at)) names.push(schema[at]!.name);
  return names;
}

function behind(schema: FileMetaData["schema"], at: number): number {
  let next = at + 1;
  for (let child = 0; child < (schema[at]?.num_children ?? 0); child++) next = behind(schema, next);
  return next;
}

/** The Hub's data sets write their features as JSON beside the schema. */
function classNamesOf({ key_value_metadata }: FileMetaData, column: string): readonly string[] | null {
  const text = key_value_metadata?.find(({ key }) => key === "huggingface")?.value;
  if (text === undefined) return null;
  try {
    let inner: unknown = JSON.parse(text);
    for (const key of ["info", "features", column, "names"]) inner = isObject(inner) ? inner[key] : undefined;
    const isNames = Array.isArray(inner) && inner.every((name) => typeof name === "string");
    return isNames ? (inner as string[]) : null;
  } catch {
    return null;
  }
}

function unreadable(task: DataTask, path: string, cause: unknown) {
  return taskDefect(task, "tasks/data", "the data cannot be read as Parquet", {
    where: { file: path },
    found: cause instanceof Error ? cause.message : String(cause),
    cause,
  });
}
