/**
 * What V8 compiled of a bundle, kept beside it: reading a megabyte of JavaScript anew takes a tenth of a merge of a second.
 * As with Python's compiled modules, the first merge writes it, where the folder can be written to: one file per version
 * of Node and kind of processor. V8 itself passes over what does not fit its version and flags.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import vm from "node:vm";
import { threadId } from "node:worker_threads";
import { crc32 } from "node:zlib";

/** Bundles hold copies of this module, so what the one that runs them offers to the others is found by a global name. */
const KEEP = Symbol.for("mergewright.keep-code");
const offered = globalThis as { [KEEP]?: (before: () => void) => void };

type Bundle = (
  importForBundle: (name: string) => Promise<unknown>,
  require: NodeJS.Require,
  module: { readonly exports: object },
  exports: object,
  __filename: string,
  __dirname: string,
) => void;

/** Names of files are of those beside this module, which are the bundles' own. */
function importForBundle(name: string): Promise<unknown> {
  return import(name);
}

/**
 * Runs a bundle in the form of Node's older modules that imports by `importForBundle`: kept code has lost what V8 knew of
 * where `import()` in it leads.
 * @param address whose name changes with its content: V8 compares no more than the length.
 */
export function runBundle(address: string): void {
  const file = fileURLToPath(address);
  const place = `${file}.${process.version}-${process.arch}.cache`;
  const cachedData = readKept(place);
  const start = "(function (importForBundle, require, module, exports, __filename, __dirname) {";
  const script = new vm.Script(`${start}${readFileSync(file, "utf8")}\n})`, {
    filename: file,
    columnOffset: -start.length,
    ...(cachedData !== null && { cachedData }),
  });
  if (cachedData === null) {
    offered[KEEP] = (before) =>
      process.once("exit", () => {
        before();
        keep(script, place);
      });
  }
  const exports = {};
  const require = createRequire(address);
  (script.runInThisContext() as Bundle)(importForBundle, require, { exports }, exports, file, path.dirname(file));
}

/**
 * Keeps, when this thread ends, what was compiled until then, if nothing is kept yet.
 * @param before makes V8's flags those with which the bundle will be read.
 */
export function keepCode(before: () => void = () => {}): void {
  offered[KEEP]?.(before);
  delete offered[KEEP];
}

/** Bytes of the checksum behind the code: V8 does not look whether the code is whole, and a damaged one ends the process. */
const CHECKSUM_BYTES = 4;

/** `null` where nothing is kept or what is kept is damaged. */
function readKept(place: string): Buffer | null {
  let kept: Buffer;
  try {
    kept = readFileSync(place);
  } catch {
    return null;
  }
  const code = kept.subarray(0, -CHECKSUM_BYTES);
  return kept.length > CHECKSUM_BYTES && crc32(code) === kept.readUInt32LE(code.length) ? code : null;
}

/** A folder that cannot be written to, or a full disk, is no reason to complain after a merge: it only starts slower. */
function keep(script: vm.Script, place: string): void {
  const partial = `${place}.${process.pid}-${threadId}`;
  try {
    const file = openSync(partial, "wx");
    try {
      const code = script.createCachedData();
      const checksum = Buffer.alloc(CHECKSUM_BYTES);
      checksum.writeUInt32LE(crc32(code));
      writeFileSync(file, Buffer.concat([code, checksum]));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(partial, place);
  } catch {
    rmSync(partial, { force: true });
  }
}
