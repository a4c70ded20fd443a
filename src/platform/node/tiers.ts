/** When V8 optimises code. */
import v8 from "node:v8";

/**
 * By V8's major version, because names and units of flags change and an unknown one is reported on the error stream. A merge
 * spends its time in a few kernels, which are worth optimising at once, and in little JavaScript, which mostly is not worth
 * it at all: compiling it took a sixth of the processor time of a merge of seconds.
 */
const FLAGS: Readonly<Record<string, string>> = {
  // Node 20: bytes of bytecode, and of WebAssembly, that run before a function is optimised. Defaults 67584 and 1800000.
  "11": "--interrupt-budget=1000000 --wasm-tiering-budget=200000",
  // Node 22: calls. Default 3000.
  "12": "--invocation-count-for-turbofan=30000",
};

/** For processes of our own that merge: the flags hold for all threads, also those of others. */
export function favourKernels(): void {
  const flags = FLAGS[process.versions.v8.split(".")[0]!];
  if (flags !== undefined) v8.setFlagsFromString(flags);
}
