import { compileKernels, isShared } from "../../kernels/load.js";
import * as binary from "./binary.js";
import { WITH_SCRATCH } from "./definitions.js";
import type { KernelName } from "./definitions.js";

/** Kernels by name. Addresses are in bytes; those with memory of their own get it from here. */
export type RuntimeKernels = Readonly<Record<KernelName, (...args: number[]) => void>>;

/** A module can be posted to other threads. */
export function compileRuntime(shared: boolean): WebAssembly.Module {
  return compileKernels(shared, binary);
}

/** @param scratch the address of SCRATCH_BYTES bytes for this instance alone. */
export function loadRuntime(
  memory: WebAssembly.Memory,
  scratch: number,
  module = compileRuntime(isShared(memory)),
): RuntimeKernels {
  const { exports } = new WebAssembly.Instance(module, { env: { memory, abort } });
  const kernels = exports as Record<KernelName, (...args: number[]) => void>;
  const scratched = [...WITH_SCRATCH].map((name) => {
    const kernel = kernels[name];
    return [name, (...args: number[]) => kernel(...args, scratch)] as const;
  });
  return { ...kernels, ...Object.fromEntries(scratched) };
}

function abort(): never {
  throw new WebAssembly.RuntimeError("a kernel aborted");
}
