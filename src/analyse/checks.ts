import { printable, someOf } from "../formats/safetensors/text.js";

/** One question asked of an output folder, and its answer. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** One line; where the check failed, the first few problems. */
  readonly detail: string;
  /** Every problem, one line each; empty where the check passed. */
  readonly problems: readonly string[];
}

export function passed(name: string, detail: string): Check {
  return { name, ok: true, detail, problems: [] };
}

/** @param problems at least one. */
export function failure(name: string, problems: readonly string[]): Check {
  return { name, ok: false, detail: someOf(problems, 3), problems: problems.map(printable) };
}

export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
