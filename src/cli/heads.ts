import { existsSync } from "node:fs";
import path from "node:path";
import { MergewrightError } from "../errors.js";
import type { Task } from "../evaluate/task.js";
import { nearest, oneOf } from "../recipe/issues.js";
import type { FlagValues } from "./verb.js";

/** `TASK=MODEL`, or a folder in which models are called as the tasks are; the later flag wins. */
export function headsOf({ headFrom = [] }: FlagValues, tasks: readonly Task[]): Record<string, string> {
  const heads: Record<string, string> = {};
  for (const text of headFrom) {
    const sign = text.indexOf("=");
    const named = sign > 0 ? tasks.find(({ name }) => name === text.slice(0, sign)) : undefined;
    if (named !== undefined) heads[named.name] = text.slice(sign + 1);
    else Object.assign(heads, headsIn(text, tasks));
  }
  return heads;
}

function headsIn(folder: string, tasks: readonly Task[]): Record<string, string> {
  const found = tasks.flatMap(({ name }) => {
    const head = path.join(folder, name);
    return existsSync(head) ? [[name, head] as const] : [];
  });
  if (found.length > 0) return Object.fromEntries(found);
  const names = tasks.map(({ name }) => name);
  const close = folder.includes("=") ? nearest(folder.slice(0, folder.indexOf("=")), names) : undefined;
  throw new MergewrightError("--head-from names no head of any task", {
    kind: "request",
    code: "usage",
    where: { key: `--head-from ${folder}` },
    expected: `TASK=MODEL, or a folder that holds ${oneOf(names)}`,
    ...(close !== undefined && { advice: `write ${close}=MODEL` }),
  });
}
