/**
 * A tape with addresses: kernel calls on places, ready to be posted to threads. Memory of values is planned over the
 * whole tape: a value has its place from the call that writes it to the last that reads it.
 */

import type { KernelName } from "./kernels/definitions.js";
import { padded } from "./tape.js";
import type { Area, Handed, Operand, Tape } from "./tape.js";

/** An address: entries from the beginning of an area. */
export interface Place {
  readonly area: Area;
  readonly at: number;
}

export interface Step {
  readonly kernel: KernelName;
  readonly args: readonly (number | Place)[];
}

/** Something handed in or out, and its place in its area. */
export interface HandedAt extends Handed {
  readonly at: number;
}

export interface Program {
  readonly steps: readonly Step[];
  /** The step from which all are run once more, so many times in all; `null`: once. */
  readonly again: Tape["again"];
  readonly inputs: readonly HandedAt[];
  readonly outputs: readonly HandedAt[];
  /** Entries of each area that belongs to one run. */
  readonly sizes: { readonly arena: number; readonly inputs: number; readonly outputs: number };
}

/** @param parameters the place of each parameter, in entries, by number. */
export function compile(tape: Tape, parameters: readonly number[]): Program {
  const arena = planArena(tape);
  const inputs = placed(tape.inputs);
  const outputs = placed(tape.outputs);
  const starts: Readonly<Record<Area, (storage: number) => number>> = {
    arena: (storage) => arena.places[storage]!,
    weights: (storage) => parameters[storage]!,
    gradients: (storage) => parameters[storage]!,
    inputs: (storage) => inputs.list[storage]!.at,
    outputs: (storage) => outputs.list[storage]!.at,
  };
  const resolve = (operand: Operand): number | Place => {
    if (operand === null) return 0;
    if (typeof operand === "number") return operand;
    const { area, storage, first = 0 } = operand;
    return { area, at: starts[area](storage) + first };
  };
  return {
    steps: tape.calls.map(({ kernel, operands }) => ({ kernel, args: operands.map(resolve) })),
    again: tape.again,
    inputs: inputs.list,
    outputs: outputs.list,
    sizes: { arena: arena.entries, inputs: inputs.entries, outputs: outputs.entries },
  };
}

function placed(handed: readonly Handed[]): { list: HandedAt[]; entries: number } {
  let entries = 0;
  const list = handed.map((one) => {
    const at = entries;
    entries += padded(one.entries);
    return { ...one, at };
  });
  return { list, entries };
}

/** Gives every storage the lowest free run that is long enough, in the order in which they are first written. */
function planArena({ calls, storages, again }: Pick<Tape, "calls" | "storages" | "again">): {
  places: number[];
  entries: number;
} {
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  const used = calls.map(({ operands }) => {
    const found = new Set<number>();
    for (const operand of operands) {
      if (operand !== null && typeof operand !== "number" && operand.area === "arena") found.add(operand.storage);
    }
    return [...found];
  });
  for (const [step, found] of used.entries()) {
    for (const storage of found) {
      if (!first.has(storage)) first.set(storage, step);
      last.set(storage, step);
    }
  }
  // What is written before a repetition and read in it must outlive the whole of it.
  if (again !== null) {
    for (const [storage, step] of last) {
      if (step >= again.from && first.get(storage)! < again.from) last.set(storage, calls.length);
    }
  }
  const places = storages.map(() => 0);
  const free = new FreeRuns();
  for (const [step, found] of used.entries()) {
    for (const storage of found) {
      if (first.get(storage) === step) places[storage] = free.take(padded(storages[storage]!));
    }
    for (const storage of found) {
      if (last.get(storage) === step) free.give(places[storage]!, padded(storages[storage]!));
    }
  }
  return { places, entries: free.entries };
}

/** Free runs of entries by place; behind the last everything is free. */
class FreeRuns {
  readonly #runs: { at: number; size: number }[] = [];
  entries = 0;

  take(size: number): number {
    const index = this.#runs.findIndex((run) => run.size >= size);
    if (index >= 0) {
      const run = this.#runs[index]!;
      const { at } = run;
      run.at += size;
      run.size -= size;
      if (run.size === 0) this.#runs.splice(index, 1);
      return at;
    }
    const tail = this.#runs.at(-1);
    const at = tail !== undefined && tail.at + tail.size === this.entries ? this.#runs.pop()!.at : this.entries;
    this.entries = at + size;
    return at;
  }

  give(at: number, size: number): void {
    if (size === 0) return;
    let index = this.#runs.findIndex((run) => run.at > at);
    if (index < 0) index = this.#runs.length;
    this.#runs.splice(index, 0, { at, size });
    for (const left of [index, index - 1]) {
      const run = this.#runs[left];
      const next = this.#runs[left + 1];
      if (run === undefined || next === undefined || run.at + run.size !== next.at) continue;
      run.size += next.size;
      this.#runs.splice(left + 1, 1);
    }
  }
}
