import { definitionsByName } from "./kernels/definitions.js";
import type { RuntimeKernels } from "./kernels/load.js";
import type { Machine } from "./kernels/machine.js";
import type { Program, Step } from "./program.js";
import type { Area } from "./tape.js";

/** Where the areas begin, in entries of the memory. */
export type Bases = Readonly<Record<Area, number>>;

/** What of a program is needed to run it. */
export type Steps = Pick<Program, "steps" | "again">;

export function runProgram(kernels: RuntimeKernels, program: Steps, bases: Bases): void {
  eachStep(program, ({ kernel, args }) => {
    kernels[kernel](...args.map((arg) => (typeof arg === "number" ? arg : 4 * (bases[arg.area] + arg.at))));
  });
}

/** The same by the kernels' definitions. */
export function runDefined(machine: Machine, program: Steps, bases: Bases): void {
  eachStep(program, ({ kernel, args }) => {
    definitionsByName[kernel](
      machine,
      ...args.map((arg) => (typeof arg === "number" ? arg : bases[arg.area] + arg.at)),
    );
  });
}

function eachStep({ steps, again }: Steps, run: (step: Step) => void): void {
  for (const step of steps) run(step);
  for (let turn = 1; turn < (again?.times ?? 1); turn++) {
    for (let index = again!.from; index < steps.length; index++) run(steps[index]!);
  }
}
