import { definitionsByName } from "./kernels/definitions.js";
import type { RuntimeKernels } from "./kernels/load.js";
import type { Machine } from "./kernels/machine.js";
import type { Program, Step } from "./program.js";
import type { Area } from "./tape.js";

/** Where the areas begin, in entries of the memory. */
export type Bases = Readonly<Record<Area, number>>;

/** What of a program is needed to run it. */
export type Steps = Pick<Program, "steps" | "again">;

/** Kernel calls that a program makes in all. */
export function stepsOf({ steps, again }: Steps): number {
  return steps.length + (again === null ? 0 : (again.times - 1) * (steps.length - again.from));
}

/** @param done told after every step. */
export function runProgram(kernels: RuntimeKernels, { steps, again }: Steps, bases: Bases, done: () => void): void {
  each(steps, again, (step) => {
    call(kernels, step, bases);
    done();
  });
}

/**
 * One thread's share of a program that several run together.
 * @param shares the calls of each step. @param meet waits for the other threads.
 */
export function runShare(
  kernels: RuntimeKernels,
  shares: readonly (readonly Step[])[],
  again: Steps["again"],
  bases: Bases,
  meet: () => void,
): void {
  each(shares, again, (calls) => {
    for (const step of calls) call(kernels, step, bases);
    meet();
  });
}

/** A program by the kernels' definitions. */
export function runDefined(machine: Machine, { steps, again }: Steps, bases: Bases): void {
  each(steps, again, ({ kernel, args }) => {
    definitionsByName[kernel](
      machine,
      ...args.map((arg) => (typeof arg === "number" ? arg : bases[arg.area] + arg.at)),
    );
  });
}

function call(kernels: RuntimeKernels, { kernel, args }: Step, bases: Bases): void {
  kernels[kernel](...args.map((arg) => (typeof arg === "number" ? arg : 4 * (bases[arg.area] + arg.at))));
}

function each<T>(steps: readonly T[], again: Steps["again"], run: (step: T) => void): void {
  for (const step of steps) run(step);
  for (let turn = 1; turn < (again?.times ?? 1); turn++) {
    for (let index = again!.from; index < steps.length; index++) run(steps[index]!);
  }
}
