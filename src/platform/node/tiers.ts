/** When V8 optimises code. */
import v8 from "node:v8";

/**
 * By V8's major version, because names and units of flags change and an unknown one is reported on the error stream. A merge
 * spends its time in a few kernels, which are worth optimising at once, and in little JavaScript, which mostly is not worth
 * it at all: compiling it took a sixth of the processor time of a merge of seconds.
 */
const FLAGS: Readonly<Record<string, { readonly ours: string; readonly defaults: string }>> = {
  // Node 20: bytes of bytecode, and of WebAssembly, that run before a function is optimised.
  "11": {
    ours: "--interrupt-budget=1000000 --wasm-tiering-budget=200000",
    defaults: "--interrupt-budget=67584 --wasm-tiering-budget=1800000",
  },
  // Node 22: calls.
  "12": { ours: "--invocation-count-for-turbofan=30000", defaults: "--invocation-count-for-turbofan=3000" },
};
const flags = FLAGS[process.versions.v8.split(".")[0]!];

/** For processes of our own that merge: the flags hold for all threads, also those of others. */
export function favourKernels(): void {
  if (flags !== undefined) v8.setFlagsFromString(flags.ours);
}

/** Back to the flags that a process begins with, for code that is kept for one. */
export function favourNothing(): void {
  if (flags !== undefined) v8.setFlagsFromString(flags.defaults);
}
