/** What scripts/build-kernels.mjs writes beside the compiled modules, as binary.js. */

/** WebAssembly that imports shared memory. */
export function bytes(): Uint8Array<ArrayBuffer>;
/** The byte that says whether the imported memory is shared, and its value for memory that is not. */
export const MEMORY_FLAGS_AT: number;
export const UNSHARED_MEMORY: number;
