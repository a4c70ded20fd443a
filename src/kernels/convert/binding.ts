import type { Kernels } from "../load.js";

/** Formats with conversion kernels; F64 and the F8 formats go through numbers/convert.ts. */
export type KernelDtype = "BF16" | "F16" | "F32";

/** Addresses in kernel memory, of any alignment; `count` entries, any number of them. */
export interface ConvertKernels {
  /** @returns what the kernel does to entries of this format at `source`: write them as f32 to `target`. */
  widen(dtype: KernelDtype): (source: number, target: number, count: number) => void;
  /** Like `narrow` of numbers/convert.ts: returns how many entries were written as NaN or infinite. */
  narrow(dtype: KernelDtype): (source: number, target: number, count: number) => number;
  /** model − base, all f32; `target` may be either input. */
  readonly change: (model: number, base: number, target: number, count: number) => void;
  /** The same of a model's entries in this format, as they are stored. */
  changeOf(dtype: KernelDtype): (model: number, base: number, target: number, count: number) => void;
}

export function convertKernels(kernels: Kernels): ConvertKernels {
  return {
    widen: (dtype) => kernels.get(`widen_${dtype}`),
    narrow: (dtype) => kernels.get(`narrow_${dtype}`),
    change: kernels.get("change"),
    changeOf: (dtype) => kernels.get(`change_${dtype}`),
  };
}
