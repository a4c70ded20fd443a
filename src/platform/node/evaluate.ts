/** What evaluation needs of Node: models, data, programs, and a folder of known outcomes. */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { MergewrightError } from "../../errors.js";
import { type DecodeJpeg, openJpegDecoder } from "../../evaluate/images/jpeg.js";
import type { EvaluatePlatform, ResultStore } from "../../evaluate/platform.js";
import { httpSource } from "../../sources/http.js";
import { runCommand } from "./command.js";
import { fileSource } from "./files.js";
import { openNetwork } from "./network.js";
import { openModel } from "./platform.js";

export const evaluatePlatform: EvaluatePlatform = {
  openModel: (label, base) => openModel(label, base),
  openNetwork,
  openFile(label) {
    if (/^https?:\/\//.test(label)) return httpSource(label);
    if (existsSync(label)) return fileSource(label);
    throw new MergewrightError("there is no such file", {
      kind: "request",
      code: "tasks/data",
      where: { file: label },
      expected: "a file with data",
      advice: "check data: in the tasks file; paths start at the current folder",
    });
  },
  listFolder(label) {
    if (/^https?:\/\//.test(label) || !existsSync(label) || !statSync(label).isDirectory()) return null;
    const entries = readdirSync(label, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(label, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, "/"))
      .sort();
  },
  jpegDecoder: () => (jpeg ??= openJpeg()),
  runCommand,
};

let jpeg: Promise<DecodeJpeg> | undefined;

async function openJpeg(): Promise<DecodeJpeg> {
  const file = createRequire(import.meta.url).resolve("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm");
  return openJpegDecoder(await WebAssembly.compile(readFileSync(file)));
}

/** Where outcomes are kept unless another folder is named: MERGEWRIGHT_CACHE, or the user's cache folder. */
export function defaultStoreFolder(): string {
  const { MERGEWRIGHT_CACHE, XDG_CACHE_HOME } = process.env;
  if (MERGEWRIGHT_CACHE) return path.join(MERGEWRIGHT_CACHE, "evaluations");
  return path.join(XDG_CACHE_HOME || path.join(os.homedir(), ".cache"), "mergewright", "evaluations");
}

/** One file per key. What cannot be read or written is as if it were not kept. */
export function folderStore(folder: string): ResultStore {
  const fileOf = (key: string) => path.join(folder, `${key}.json`);
  return {
    async get(key) {
      try {
        return readFileSync(fileOf(key), "utf8");
      } catch {
        return null;
      }
    },
    async put(key, text) {
      try {
        mkdirSync(folder, { recursive: true });
        // Another run may write the same at the same time.
        const part = `${fileOf(key)}.${process.pid}`;
        writeFileSync(part, text);
        renameSync(part, fileOf(key));
      } catch {
        // A full or read-only disk costs time at the next evaluation, nothing else.
      }
    },
  };
}
