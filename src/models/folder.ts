/** Where the files of a checkpoint are: a local folder, a server, files in memory. The rules are in checkpoint.ts. */

import { MergewrightError } from "../errors.js";
import { printable } from "../formats/safetensors/text.js";
import { blobSource } from "../sources/blob.js";
import { memorySource } from "../sources/memory.js";
import type { ByteSource } from "../sources/source.js";
import { TEMPLATE_FOLDER } from "./files.js";

export interface FolderFile {
  readonly name: string;
  /** Bytes; `null` where it is not known before the file is read. */
  readonly size: number | null;
}

export interface FolderListing {
  /** Files, not folders, sorted by name where the folder can be listed. */
  readonly files: readonly FolderFile[];
  /** Whether a name that is not among `files` is surely not there. */
  readonly complete: boolean;
  /** Names of links that lead nowhere. */
  readonly brokenLinks: readonly string[];
  /** Things worth telling about the place itself. */
  readonly notes: readonly string[];
}

export interface FolderAccess {
  /** Canonical location, links resolved; "" where there is none. */
  readonly location: string;
  list(): Promise<FolderListing>;
  /** A file that is not there is `checkpoint/missing-file`; a name that is no plain name `checkpoint/outside-folder`. */
  open(name: string): Promise<ByteSource>;
  /** Like `open`; a file with more than `limit` bytes is `checkpoint/config`. */
  readWhole(name: string, limit: number): Promise<Uint8Array>;
}

/**
 * Whether a name from inside a checkpoint names a file of its own folder on every system: no separators of any system,
 * no drive or stream (`:`), no control characters, neither `.` nor `..`.
 */
export function isPlainName(name: string): boolean {
  return name.length > 0 && name.length <= 255 && name !== "." && name !== ".." && !/[/\\:\p{Cc}]/u.test(name);
}

export function outsideFolder(folder: string, name: string): MergewrightError {
  return new MergewrightError("a checkpoint names a file outside its own folder", {
    kind: "request",
    code: "checkpoint/outside-folder",
    where: { file: folder },
    expected: "the plain name of a file in the folder",
    found: printable(JSON.stringify(name)),
    advice: "do not use this checkpoint unless you know who made it; its index was edited by hand or with intent",
  });
}

export function missingFile(folder: string, name: string, advice?: string): MergewrightError {
  return new MergewrightError("a file of the checkpoint is missing", {
    kind: "request",
    code: "checkpoint/missing-file",
    where: { file: folder },
    expected: printable(name),
    advice: advice ?? "download the checkpoint again, or the missing file",
  });
}

export function tooLarge(file: string, size: number, limit: number): MergewrightError {
  return new MergewrightError("a file is larger than its kind may be", {
    kind: "request",
    code: "checkpoint/config",
    where: { file },
    expected: `at most ${limit} bytes`,
    found: `${size} bytes`,
    advice: "check what the file holds",
  });
}

function sizeOf(content: Uint8Array | Blob): number {
  return content instanceof Uint8Array ? content.length : content.size;
}

/** Of folders inside a checkpoint's folder only the one with chat templates is looked into. */
function isListed({ name }: FolderFile): boolean {
  return isPlainName(name) || name.startsWith(`${TEMPLATE_FOLDER}/`);
}

/** A checkpoint whose files are in memory or were picked in a browser, by name. */
export function memoryFolder(
  files: Readonly<Record<string, Uint8Array | Blob>> | ReadonlyMap<string, Uint8Array | Blob>,
): FolderAccess {
  const contents = new Map<string, Uint8Array | Blob>(files instanceof Map ? files : Object.entries(files));
  const find = (name: string) => {
    const content = contents.get(name);
    if (content === undefined) throw missingFile("", name);
    return content;
  };
  return {
    location: "",
    async list() {
      const listed = [...contents].map(([name, content]) => ({ name, size: sizeOf(content) })).filter(isListed);
      listed.sort((a, b) => (a.name < b.name ? -1 : 1));
      return { files: listed, complete: true, brokenLinks: [], notes: [] };
    },
    async open(name) {
      const content = find(name);
      return content instanceof Uint8Array ? memorySource(content, name) : blobSource(content, name);
    },
    async readWhole(name, limit) {
      const content = find(name);
      if (sizeOf(content) > limit) throw tooLarge(name, sizeOf(content), limit);
      return content instanceof Uint8Array ? content.slice() : new Uint8Array(await content.arrayBuffer());
    },
  };
}
