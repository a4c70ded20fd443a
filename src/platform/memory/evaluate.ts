/** What evaluation needs where there are no files: models and data by name, a network in the calling thread. */

import { MergewrightError } from "../../errors.js";
import { someOf } from "../../formats/safetensors/text.js";
import { type DecodeJpeg, openJpegDecoder } from "../../evaluate/images/jpeg.js";
import type { EvaluatePlatform } from "../../evaluate/platform.js";
import { blobSource } from "../../sources/blob.js";
import { memorySource } from "../../sources/memory.js";
import { openNetwork } from "./network.js";
import { memoryPlatform, type ModelFiles } from "./platform.js";

/**
 * @param models by the label that tasks and callers use.
 * @param data files by the path that tasks call them; those below `x/` are the folder `x`. Addresses need no entry.
 */
export function memoryEvaluation(
  models: Readonly<Record<string, ModelFiles>>,
  data: Readonly<Record<string, Uint8Array | Blob>>,
): EvaluatePlatform {
  let jpeg: Promise<DecodeJpeg> | undefined;
  return {
    openModel: memoryPlatform(models).openModel,
    openNetwork,
    async openFile(path) {
      const content = data[path];
      if (content instanceof Uint8Array) return memorySource(content, path);
      if (content !== undefined) return blobSource(content, path);
      if (/^https?:\/\//.test(path)) return (await import("../../sources/http.js")).httpSource(path);
      throw new MergewrightError("there are no data of this name", {
        kind: "request",
        code: "tasks/data",
        where: { file: path },
        expected: `one of ${someOf(Object.keys(data))}, or an address`,
        advice: "give the file under this name",
      });
    },
    listFolder: (path) => listBelow(Object.keys(data), path),
    jpegDecoder: () => (jpeg ??= openJpegDecoder()),
    runCommand: null,
  };
}

/** Names below a folder, relative to it; `null` where there are none. */
export function listBelow(names: readonly string[], folder: string): string[] | null {
  const start = `${folder.replace(/\/+$/, "")}/`;
  const below = names.flatMap((name) => (name.startsWith(start) ? [name.slice(start.length)] : [])).sort();
  return below.length === 0 ? null : below;
}
