import { MergewrightError } from "../errors.js";
import type { Known, Settings } from "../methods/method.js";
import { xxh64 } from "../numbers/checksum.js";
import { inputStates } from "../plan/streams.js";
import type { Plan } from "../plan/types.js";
import { BLOCK_ENTRIES } from "./blocks.js";
import type { Gathered } from "./gather.js";
import type { Quota, WrittenBlock } from "./jobs.js";
import type { Workspace } from "./workspace.js";

/**
 * What an interrupted run left: lines of JSON, written after the work they speak of. The first names the plan and the
 * state of the inputs; `known` lines hold statistics, `block` lines what was written.
 */
interface FirstLine {
  readonly format: 1;
  readonly plan: string;
  readonly inputs: readonly string[];
}

interface KnownLine {
  readonly known: string;
  readonly value: Known;
}

interface BlockLine {
  readonly block: readonly [tensor: number, index: number];
  readonly written: WrittenBlock;
}

/** A plan is not changed, and for a network of many experts the text of one has tens of megabytes. */
const hashes = new WeakMap<Plan, string>();

/** The plan without the inputs' state and place: equal for the same recipe over the same headers on any machine. */
export function planHash(plan: Plan): string {
  const known = hashes.get(plan) ?? hashOf(plan);
  hashes.set(plan, known);
  return known;
}

function hashOf(plan: Plan): string {
  const inputs = plan.inputs.map(({ role, name, label }) => ({ role, name, label }));
  const sources = plan.sources.map(({ input, file }) => ({ input, file }));
  const files = plan.files.map(({ name, size, header }) => ({ name, size, header: xxh64(header) }));
  const merges = plan.merges.map((merge) => planHash(merge.plan));
  const { tensors, settings } = withoutRepetition(plan.tensors);
  const own = { inputs, sources, files, merges, tensors, settings, estimate: null, warnings: null };
  const text = JSON.stringify({ ...plan, ...own });
  return xxh64(new TextEncoder().encode(text));
}

/** Settings, which most tensors have in common, once, and with each tensor the number of its own. */
function withoutRepetition(planned: Plan["tensors"]) {
  const numbers = new Map<string, number>();
  const objects = new Map<object, number>();
  const numberOf = (settings: Settings) => {
    let number = objects.get(settings);
    if (number === undefined) {
      const text = JSON.stringify(settings);
      number = numbers.get(text) ?? numbers.size;
      numbers.set(text, number);
      objects.set(settings, number);
    }
    return number;
  };
  const tensors = planned.map((tensor) => {
    return { ...tensor, settings: tensor.settings === null ? null : numberOf(tensor.settings) };
  });
  return { tensors, settings: [...numbers.keys()] };
}

/** The statistics of a merge that is an input; see settle.ts. */
interface SettledLine {
  readonly settled: string;
  readonly value: Known;
  /** Per tensor its quotas, runs of equal ones together. */
  readonly quotas: readonly (readonly [tensor: number, runs: readonly (readonly [quota: Quota, blocks: number])[]])[];
}

/** The line that a journal of a plan begins with. */
export function firstLine(plan: Plan): string {
  return JSON.stringify({ format: 1, plan: planHash(plan), inputs: inputStates(plan) } satisfies FirstLine);
}

/** Whether a line of a journal tells statistics, of the merge itself or of one that is an input. */
export function tellsStatistics(line: string): boolean {
  return line.startsWith('{"known":') || line.startsWith('{"settled":');
}

/** What a step beside the engine found out or made, in its own form. */
interface NoteLine {
  readonly note: string;
  readonly value: unknown;
}

interface RedoLine {
  readonly redo: readonly (readonly [tensor: number, index: number])[];
}

export class Journal {
  readonly #workspace: Workspace;
  readonly known = new Map<string, Known>();
  /** Of merges that are inputs, by merge and group. */
  readonly settled = new Map<string, Gathered>();
  /** By key. */
  readonly notes = new Map<string, unknown>();
  /** By tensor index, then block index. */
  readonly written = new Map<number, Map<number, WrittenBlock>>();
  /** Whether an earlier run's work was found. */
  readonly resumed: boolean;

  /**
   * Opens the workspace's journal for a plan.
   * @throws input/changed, output/stale-partial
   */
  constructor(workspace: Workspace, plan: Plan) {
    this.#workspace = workspace;
    const first = firstLine(plan);
    const [earlier, ...lines] = workspace.journal;
    this.resumed = earlier !== undefined;
    if (earlier === undefined) {
      workspace.record([first]);
      return;
    }
    checkSame(workspace.label, parseLine(earlier) as FirstLine | null, JSON.parse(first) as FirstLine);
    for (const line of lines) this.#read(parseLine(line));
  }

  #read(line: unknown): void {
    if (typeof line !== "object" || line === null) return;
    if ("known" in line) {
      const { known, value } = line as KnownLine;
      this.known.set(known, value);
    } else if ("settled" in line) {
      const { settled, value, quotas } = line as SettledLine;
      this.settled.set(settled, { known: value, quotas: unpacked(quotas), unproved: null });
    } else if ("block" in line) {
      const { block, written } = line as BlockLine;
      this.#keep(block[0], block[1], written);
    } else if ("note" in line) {
      const { note, value } = line as NoteLine;
      this.notes.set(note, value);
    } else if ("redo" in line) {
      for (const [tensor, index] of (line as RedoLine).redo) this.written.get(tensor)?.delete(index);
    }
  }

  #keep(tensor: number, index: number, written: WrittenBlock): void {
    let blocks = this.written.get(tensor);
    if (blocks === undefined) this.written.set(tensor, (blocks = new Map()));
    blocks.set(index, written);
  }

  recordKnown(key: string, value: Known): void {
    this.known.set(key, value);
    this.#workspace.record([encode({ known: key, value } satisfies KnownLine)]);
  }

  recordNote(key: string, value: unknown): void {
    this.notes.set(key, value);
    this.#workspace.record([JSON.stringify({ note: key, value } satisfies NoteLine)]);
  }

  recordSettled(key: string, gathered: Gathered): void {
    const { known, quotas } = gathered;
    this.settled.set(key, gathered);
    this.#workspace.record([encode({ settled: key, value: known, quotas: packed(quotas) } satisfies SettledLine)]);
  }

  recordBlocks(
    parts: readonly { readonly tensor: number; readonly start: number; readonly written: WrittenBlock }[],
  ): void {
    const lines = parts.map(({ tensor, start, written }) => {
      const index = start / BLOCK_ENTRIES;
      this.#keep(tensor, index, written);
      return encode({ block: [tensor, index], written } satisfies BlockLine);
    });
    if (lines.length > 0) this.#workspace.record(lines);
  }

  /** Takes blocks back, for good: they were written with a guess that proved wrong. */
  recordRedo(blocks: readonly { readonly tensor: number; readonly start: number }[]): void {
    if (blocks.length === 0) return;
    for (const { tensor, start } of blocks) this.forget(tensor, start);
    const redo = blocks.map(({ tensor, start }) => [tensor, start / BLOCK_ENTRIES] as const);
    this.#workspace.record([JSON.stringify({ redo } satisfies RedoLine)]);
  }

  /** Whether a block needs no work. */
  has(tensor: number, start: number): boolean {
    return this.written.get(tensor)?.has(start / BLOCK_ENTRIES) ?? false;
  }

  forget(tensor: number, start: number): void {
    this.written.get(tensor)?.delete(start / BLOCK_ENTRIES);
  }
}

function checkSame(label: string, earlier: FirstLine | null, now: FirstLine): void {
  if (earlier !== null && earlier.plan === now.plan && earlier.inputs.join("\n") === now.inputs.join("\n")) return;
  if (earlier !== null && earlier.plan === now.plan) {
    const index = now.inputs.findIndex((state, i) => state !== earlier.inputs[i]);
    throw new MergewrightError("an input changed since this merge began", {
      kind: "request",
      code: "input/changed",
      where: { file: now.inputs[index]?.split(" ")[0] ?? label },
      expected: earlier.inputs[index] ?? "no such file",
      found: now.inputs[index] ?? "no such file",
      advice: "restore the input to continue, or give --force to start over",
    });
  }
  throw new MergewrightError("an interrupted merge of another recipe or of other inputs is in the way", {
    kind: "request",
    code: "output/stale-partial",
    where: { file: label },
    advice: "give --force to start over, or finish the other merge with its own command first",
  });
}

/** Nearly all blocks of a tensor have one of two quotas. */
function packed(quotas: Gathered["quotas"]): SettledLine["quotas"] {
  return [...quotas].map(([tensor, blocks]) => {
    const runs: [Quota, number][] = [];
    let last = "";
    for (const quota of blocks) {
      const text = JSON.stringify(quota);
      if (runs.length > 0 && text === last) runs.at(-1)![1]++;
      else runs.push([quota, 1]);
      last = text;
    }
    return [tensor, runs];
  });
}

function unpacked(quotas: SettledLine["quotas"]): Gathered["quotas"] {
  return new Map(
    quotas.map(([tensor, runs]) => {
      return [tensor, runs.flatMap(([quota, blocks]) => Array.from({ length: blocks }, () => quota))];
    }),
  );
}

/** JSON has no infinity; thresholds and the range of scores can be infinite. */
function encode(line: KnownLine | SettledLine | BlockLine): string {
  return JSON.stringify(line, (_, value: unknown) =>
    value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY ? String(value) : value,
  );
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line, (_, value: unknown) =>
      value === "Infinity" || value === "-Infinity" ? Number(value) : value,
    );
  } catch {
    return null;
  }
}
