import { definitionsByName } from "./kernels/definitions.js";
import type { RuntimeKernels } from "./kernels/load.js";
import type { Machine } from "./kernels/machine.js";
import type { Program } from "./program.js";
import type { Area } from "./tape.js";

/** Where the areas begin, in entries of the memory. */
export type Bases = Readonly<Record<Area, number>>;

export function runProgram(kernels: RuntimeKernels, { steps }: Pick<Program, "steps">, bases: Bases): void {
  for (const { kernel, args } of steps) {
    kernels[kernel](...args.map((arg) => (typeof arg === "number" ? arg : 4 * (bases[arg.area] + arg.at))));
  }
}

/** The same by the kernels' definitions. */
export function runDefined(machine: Machine, { steps }: Pick<Program, "steps">, bases: Bases): void {
  for (const { kernel, args } of steps) {
    definitionsByName[kernel](
      machine,
      ...args.map((arg) => (typeof arg === "number" ? arg : bases[arg.area] + arg.at)),
    );
  }
}
