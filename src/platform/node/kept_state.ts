/** The state of a run in a file beside its output, and outputs that appear whole. */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { MergewrightError } from "../../errors.js";
import type { KeptState } from "../../collect/coefficients.js";
import { systemError } from "./files.js";

/** @param out the output; the state lies beside it, hidden. */
export function stateBeside(out: string): KeptState & { remove(): void } {
  const target = path.resolve(out);
  const file = path.join(path.dirname(target), `.${path.basename(target)}.mergewright-partial.safetensors`);
  return {
    read: () => (existsSync(file) ? readFileSync(file) : null),
    write: (bytes) => writeWhole(file, bytes),
    remove: () => rmSync(file, { force: true }),
  };
}

/** Under another name first, so that a file is there whole or not at all. */
export function writeWhole(file: string, content: Uint8Array | string): void {
  const part = `${file}.${process.pid}`;
  try {
    mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
    writeFileSync(part, content);
    renameSync(part, file);
  } catch (error) {
    rmSync(part, { force: true });
    throw systemError("write", file, error);
  }
}

/** @throws output/exists where a file is in the way. */
export function refuseTaken(out: string, force: boolean): void {
  if (force || !existsSync(out)) return;
  throw new MergewrightError("the output is there already", {
    kind: "request",
    code: "output/exists",
    where: { file: out },
    advice: "choose another -o, or replace it with --force",
  });
}
