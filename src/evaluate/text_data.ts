/** Texts of a split, from a JSON file of lists by split. */

import { printable, someOf } from "../formats/safetensors/text.js";
import { isObject } from "../tokenizers/json.js";
import { taskDefect } from "./defect.js";
import type { EvaluatePlatform } from "./platform.js";
import type { Split, Task } from "./task.js";

/** More is no test set but a corpus. */
const MOST_BYTES = 1 << 30;

type TextTask = Task & { readonly data: string };

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
): Promise<{ readonly examples: readonly T[]; readonly others: readonly T[] }> {
  const where = { file: task.data };
  const content = await readJson(task, platform);
  if (!isObject(content)) {
    throw taskDefect(task, "tasks/data", "the data are not divided into splits", {
      where,
      expected: '{"train": [...], "val": [...], "test": [...]}',
      found: Array.isArray(content) ? "a list" : typeof content,
    });
  }
  const lists = Object.entries(content).filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]));
  const list = lists.find(([name]) => name === split)?.[1];
  if (list === undefined) {
    throw taskDefect(task, "tasks/data", `the data have no split ${split}`, {
      where,
      expected: "a list of examples by that name",
      found: lists.length === 0 ? "no lists" : someOf(lists.map(([name]) => name)),
      advice: "choose one of these with --split",
    });
  }
  if (list.length === 0) {
    throw taskDefect(task, "tasks/data", `the split ${split} has no examples`, {
      where,
      expected: "one example or more",
      advice: "choose another split, or add data",
    });
  }
  const readAll = (name: string, values: readonly unknown[]) =>
    values.map((value, index) => {
      const example = readExample(value);
      if (example !== undefined) return example;
      throw taskDefect(task, "tasks/data", `example ${index + 1} of the split ${name} cannot be used`, {
        where,
        expected,
        found: printable(JSON.stringify(value)).slice(0, 200),
      });
    });
  const others = lists.flatMap(([name, values]) => (name === split ? [] : readAll(name, values)));
  return { examples: readAll(split, list), others };
}

async function readJson(task: TextTask, platform: EvaluatePlatform): Promise<unknown> {
  const source = await platform.openFile(task.data);
  try {
    const { size } = source.stamp;
    if (size > MOST_BYTES) {
      throw taskDefect(task, "tasks/data", "the data are too large for one JSON file", {
        where: { file: task.data },
        expected: `at most ${MOST_BYTES} bytes`,
        found: `${size} bytes`,
      });
    }
    const bytes = new Uint8Array(size);
    await source.read(0, bytes);
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof TypeError)) throw cause;
    throw taskDefect(task, "tasks/data", "the data are not JSON", {
      where: { file: task.data },
      found: printable(cause.message),
      cause,
    });
  } finally {
    await source.close();
  }
}
