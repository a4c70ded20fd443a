import { compileKernels } from "../../kernels/load.js";
import * as binary from "./binary.js";
import type { AlgebraKernels } from "./kernels.js";

/** Memory that products pack blocks of their operands into; gemm64 needs the most. A multiple of 64. */
export const SCRATCH_BYTES = 655_488;

type Exports = Omit<AlgebraKernels, "gemm" | "gemm64"> & {
  gemm(...args: number[]): void;
  gemm64(...args: number[]): void;
};

/**
 * The WebAssembly kernels over memory that is not shared.
 * @param scratch the address of SCRATCH_BYTES bytes that are these kernels' alone.
 */
export function loadAlgebra(memory: WebAssembly.Memory, scratch: number): AlgebraKernels {
  const { exports } = new WebAssembly.Instance(compileKernels(false, binary), { env: { memory, abort } });
  const kernels = exports as unknown as Exports;
  return {
    ...kernels,
    gemm: (...args) => kernels.gemm(...args, scratch),
    gemm64: (...args) => kernels.gemm64(...args, scratch),
  };
}

function abort(): never {
  throw new WebAssembly.RuntimeError("a kernel aborted");
}
