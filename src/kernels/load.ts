import * as binary from "./binary.js";

/** A kernel of the tile family: takes the address of a context, returns what its source says. */
export type ContextKernel = (context: number) => number;

export interface Kernels {
  readonly memory: WebAssembly.Memory;
  /**
   * @param name method's kernel name, `models` where one is written out for that many models, then the formats:
   * `("ties", "_BF16_BF16", 3)` is `ties3_BF16_BF16`, or `ties_BF16_BF16` where there is none for three.
   * @throws RangeError for a name that no kernel has; a defect of the caller.
   */
  get(name: string, formats?: string, models?: number): ContextKernel;
  /** Whether `get` has one. */
  has(name: string, formats?: string, models?: number): boolean;
  /** Kernels with other parameters, by name. */
  readonly exports: Readonly<Record<string, (...args: never[]) => number>>;
}

export const PAGE_BYTES = 65_536;
const MAX_PAGES = 65_536;

/** Whether this runtime can share WebAssembly memory between threads. */
export function canShareMemory(): boolean {
  return typeof SharedArrayBuffer === "function";
}

/** Memory for kernels: at least `bytes`, shared where `shared`; grows up to 4 GiB. */
export function createMemory(bytes: number, shared: boolean): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES), maximum: MAX_PAGES, shared });
}

/** A module as scripts/build-kernels.mjs writes it: for shared memory, but for one byte. */
export interface EmbeddedModule {
  readonly bytes: () => Uint8Array<ArrayBuffer>;
  readonly MEMORY_FLAGS_AT: number;
  readonly UNSHARED_MEMORY: number;
}

/** Compiles the kernels for memory that is or is not shared. A module can be posted to other threads. */
export function compileKernels(shared: boolean, embedded: EmbeddedModule = binary): WebAssembly.Module {
  const bytes = embedded.bytes();
  if (!shared) bytes[embedded.MEMORY_FLAGS_AT] = embedded.UNSHARED_MEMORY;
  return new WebAssembly.Module(bytes);
}

export function isShared({ buffer }: WebAssembly.Memory): boolean {
  return canShareMemory() && buffer instanceof SharedArrayBuffer;
}

/** Instantiates the kernels over `memory`. */
export function loadKernels(memory: WebAssembly.Memory, module = compileKernels(isShared(memory))): Kernels {
  const { exports } = new WebAssembly.Instance(module, { env: { memory, abort: abortKernel } });
  const find = (name: string, formats: string, models?: number) =>
    exports[`${name}${models}${formats}`] ?? exports[name + formats];
  return {
    memory,
    exports: exports as Kernels["exports"],
    get(name, formats = "", models) {
      const kernel = find(name, formats, models);
      if (typeof kernel !== "function") throw new RangeError(`no kernel is named ${name}${formats}`);
      return kernel as ContextKernel;
    },
    has: (name, formats = "", models) => find(name, formats, models) !== undefined,
  };
}

function abortKernel(): never {
  throw new WebAssembly.RuntimeError("a kernel aborted");
}
