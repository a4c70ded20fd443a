import { type ErrorDetails, MergewrightError } from "../errors.js";
import type { Task } from "./task.js";

/** Something about a task's data, head or model that cannot be scored. */
export function taskDefect(
  { name }: Pick<Task, "name">,
  code: "tasks/data" | "tasks/head" | "tasks/model" | "tasks/scorer",
  summary: string,
  { where, ...details }: Omit<ErrorDetails, "kind" | "code"> = {},
): MergewrightError {
  return new MergewrightError(summary, { kind: "request", code, where: { ...where, key: `task ${name}` }, ...details });
}
