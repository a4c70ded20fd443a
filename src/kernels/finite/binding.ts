import { DTYPE_BYTES } from "../../numbers/dtypes.js";
import type { FloatDtype } from "../../numbers/dtypes.js";
import type { Kernels } from "../load.js";
import { countNonFinite } from "./definition.js";

/** `countNonFinite` of definition.ts over `count` entries in kernel memory; for formats without a kernel, itself. */
export function finiteKernel(kernels: Kernels): (dtype: FloatDtype, address: number, count: number) => number {
  return (dtype, address, count) => {
    if (dtype === "BF16" || dtype === "F16" || dtype === "F32") {
      const run: (address: number, count: number) => number = kernels.get(`non_finite_${dtype}`);
      return run(address, count);
    }
    return countNonFinite(dtype, new Uint8Array(kernels.memory.buffer, address, count * DTYPE_BYTES[dtype]));
  };
}
