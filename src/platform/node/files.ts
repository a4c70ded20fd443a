/** Local files as sources and sinks, and local folders as checkpoints. */

import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
  writeSync,
  type BigIntStats,
  type Stats,
} from "node:fs";
import { constants as osConstants } from "node:os";
import { basename, dirname, join } from "node:path";
import { MergewrightError, type ErrorCode, type ErrorDetails } from "../../errors.js";
import { TEMPLATE_FOLDER } from "../../models/files.js";
import {
  isPlainName,
  missingFile,
  outsideFolder,
  tooLarge,
  type FolderAccess,
  type FolderFile,
  type FolderListing,
} from "../../models/folder.js";
import { checkPlace, checkRange, closedError } from "../../sources/range.js";
import type { ByteSink } from "../../sources/sink.js";
import type { ByteSource, SourceAddress, SourceStamp } from "../../sources/source.js";

/** Linux moves at most 2^31 − 4096 bytes at once and Node takes a signed 32-bit length. */
const LARGEST_TRANSFER = 1 << 30;

/**
 * Opens a file for reading. Reads are synchronous and may go straight into (shared) WebAssembly memory.
 *
 * @param label the path as the user wrote it, for messages.
 */
export function fileSource(path: string, label: string = path): ByteSource {
  return new FileSource(path, label);
}

class FileSource implements ByteSource {
  readonly stamp: SourceStamp;
  readonly address: SourceAddress;
  #descriptor: number | null;

  constructor(
    path: string,
    readonly label: string,
  ) {
    // A pipe or a device would block in open(2).
    const before = during("read", label, () => statSync(path, { bigint: true }));
    if (!before.isFile()) throw notAFile(label, before);
    this.#descriptor = during("read", label, () => openSync(path, "r"));
    try {
      const stats = during("read", label, () => fstatSync(this.#descriptor!, { bigint: true }));
      this.stamp = { size: Number(stats.size), version: stats.mtimeNs.toString() };
      this.address = { kind: "file", path: during("read", label, () => realpathSync(path)) };
    } catch (error) {
      this.close();
      throw error;
    }
  }

  read(offset: number, into: Uint8Array): void {
    const descriptor = this.#descriptor;
    if (descriptor === null) throw closedError(this.label);
    checkRange(this.label, this.stamp.size, offset, into.length);
    let done = 0;
    while (done < into.length) {
      const length = Math.min(into.length - done, LARGEST_TRANSFER);
      const count = during("read", this.label, () => readSync(descriptor, into, done, length, offset + done));
      if (count === 0) throw this.#shortened(descriptor);
      done += count;
    }
  }

  close(): void {
    if (this.#descriptor === null) return;
    const descriptor = this.#descriptor;
    // First, so that a failing close(2) is not repeated on a number that may belong to another file by then.
    this.#descriptor = null;
    during("read", this.label, () => closeSync(descriptor));
  }

  #shortened(descriptor: number): MergewrightError {
    const size = fstatSync(descriptor).size;
    return new MergewrightError("a file was cut short while it was being read", {
      kind: "request",
      code: "input/changed",
      where: { file: this.label },
      expected: `${this.stamp.size} bytes`,
      found: `${size} bytes`,
      advice: "find out what writes to the file, then start again",
    });
  }
}

/** A sink on a local file. */
export interface FileSink extends ByteSink {
  /** Returns when what was written is on the disk. */
  flush(): void;
  write(offset: number, bytes: Uint8Array): void;
  close(): void;
}

/**
 * Opens a file of fixed size for writing at any place.
 *
 * @param mode `create` makes the file or empties it; `continue` keeps the bytes of a file that is there.
 */
export function fileSink(path: string, mode: "create" | "continue", size: number, label: string = path): FileSink {
  return new PositionedFile(path, mode, size, label);
}

class PositionedFile implements FileSink {
  #descriptor: number | null;

  constructor(
    path: string,
    mode: "create" | "continue",
    readonly size: number,
    readonly label: string,
  ) {
    const descriptor = during("write", label, () => openSync(path, mode === "create" ? "w" : "r+"));
    this.#descriptor = descriptor;
    try {
      during("write", label, () => ftruncateSync(descriptor, size));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  write(offset: number, bytes: Uint8Array): void {
    checkPlace(this.label, this.size, offset, bytes.length);
    writeAll(this.#opened(), this.label, offset, bytes);
  }

  flush(): void {
    const descriptor = this.#opened();
    during("write", this.label, () => fdatasyncSync(descriptor));
  }

  close(): void {
    if (this.#descriptor === null) return;
    const descriptor = this.#descriptor;
    this.#descriptor = null;
    // A network file system may report a failed write only here.
    during("write", this.label, () => closeSync(descriptor));
  }

  #opened(): number {
    if (this.#descriptor !== null) return this.#descriptor;
    throw new MergewrightError("a file was written to after it was closed", {
      kind: "environment",
      code: "io/write",
      where: { file: this.label },
    });
  }
}

/** write(2) may take fewer bytes than it is given. */
export function writeAll(descriptor: number, label: string, offset: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(bytes.length - done, LARGEST_TRANSFER);
    const count = during("write", label, () => writeSync(descriptor, bytes, done, length, offset + done));
    if (count === 0)
      throw systemError("write", label, Object.assign(new Error("nothing was written"), { code: "EIO" }));
    done += count;
  }
}

/** Runs a file-system call and turns its failure into one of the closed list. */
function during<T>(action: "read" | "write", label: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw systemError(action, label, cause);
  }
}

/** What a failed system call on a file means to the user. */
export function systemError(action: "read" | "write", label: string, cause: unknown): MergewrightError {
  const { code, errno, message } = reasonOf(cause);
  const [summary, errorCode, advice] = explain(action, code, errno);
  const details: ErrorDetails = {
    kind: "environment",
    code: errorCode,
    where: { file: label },
    found: message,
    advice,
    cause,
  };
  return new MergewrightError(summary, details);
}

function reasonOf(cause: unknown): NodeJS.ErrnoException {
  return cause instanceof Error ? cause : new Error(String(cause));
}

type Explanation = readonly [summary: string, code: ErrorCode, advice: string];

function explain(action: "read" | "write", code: string | undefined, errno: number | undefined): Explanation {
  const io: ErrorCode = action === "read" ? "io/read" : "io/write";
  const resumes = "then run the same command again: it continues where it stopped";
  // libuv has no name for EDQUOT, so Node gives it a number only.
  if (errno !== undefined && -errno === osConstants.errno.EDQUOT) {
    return ["the disk quota is used up", "io/disk-full", `free some space, ${resumes}`];
  }
  switch (code ?? "") {
    case "ENOSPC":
      return ["the disk is full", "io/disk-full", `free some space, ${resumes}`];
    case "EFBIG":
      return [
        "the file is larger than the file system or the process limit allows",
        io,
        "choose a smaller shard size or another disk",
      ];
    case "ENOENT":
      return action === "read"
        ? ["a file is no longer there", "input/vanished", "put the file back or mount its disk, and try again"]
        : ["the place to write to does not exist", io, "create the folder that the file belongs in"];
    case "EACCES":
    case "EPERM":
      return [
        `a file may not be ${action === "read" ? "read" : "written"}`,
        io,
        "check the permissions of the file and of its folder",
      ];
    case "EROFS":
      return ["the disk is mounted for reading only", io, "choose another output folder"];
    case "EISDIR":
      return ["a folder stands where a file was expected", io, "check the path"];
    case "EMFILE":
    case "ENFILE":
      return ["too many files are open", io, `raise the limit (ulimit -n), ${resumes}`];
    case "EIO":
    case "ESTALE":
      return ["the disk or the network file system failed", io, `check the disk and its connection, ${resumes}`];
    default:
      return [
        `a file could not be ${action === "read" ? "read" : "written"}`,
        io,
        `look at the reason above, ${resumes}`,
      ];
  }
}

function notAFile(label: string, stats: BigIntStats): MergewrightError {
  return new MergewrightError("this is not a regular file", {
    kind: "request",
    code: "io/read",
    where: { file: label },
    expected: "a file",
    found: stats.isDirectory() ? "a folder" : "a device, pipe or socket",
  });
}

/**
 * A local checkpoint: a folder, one `.safetensors` file, or a repository folder of the Hub's cache
 * (`models--ORGANISATION--NAME`), whose main snapshot is taken.
 */
export function openFolder(path: string): FolderAccess {
  let stats: BigIntStats;
  try {
    stats = statSync(path, { bigint: true });
  } catch (cause) {
    const { code } = reasonOf(cause);
    if (code !== "ENOENT" && code !== "ENOTDIR") throw systemError("read", path, cause);
    throw new MergewrightError("there is no such checkpoint", {
      kind: "request",
      code: "checkpoint/missing-file",
      where: { file: path },
      expected: "a folder or a .safetensors file",
      advice: /^[\w.-]+\/[\w.-]+$/.test(path)
        ? `check the path; if this is the name of a repository on the Hub, download it first: hf download ${path}`
        : "check the path",
      cause,
    });
  }
  if (!stats.isDirectory()) return new LocalFolder(dirname(path), dirname(path), [], basename(path));
  const snapshot = hubSnapshot(path);
  return snapshot === null
    ? new LocalFolder(path, path, [], null)
    : new LocalFolder(snapshot.folder, path, [`taken from the Hub cache, snapshot ${snapshot.revision}`], null);
}

class LocalFolder implements FolderAccess {
  readonly location: string;

  /**
   * @param folder where the files lie.
   * @param label the folder in messages.
   * @param only the one file that belongs to the checkpoint, where a file was given.
   */
  constructor(
    private readonly folder: string,
    private readonly label: string,
    private readonly notes: readonly string[],
    private readonly only: string | null,
  ) {
    this.location = during("read", label, () => realpathSync(only === null ? folder : join(folder, only)));
  }

  async list(): Promise<FolderListing> {
    const files: FolderFile[] = [];
    const brokenLinks: string[] = [];
    if (this.only === null) this.#add("", files, brokenLinks);
    else files.push({ name: this.only, size: this.#statsOf(this.only)?.size ?? 0 });
    return { files, brokenLinks, complete: true, notes: this.notes };
  }

  #add(prefix: string, files: FolderFile[], brokenLinks: string[]): void {
    const folder = join(this.folder, prefix);
    for (const entry of during("read", join(this.label, prefix), () => readdirSync(folder)).sort()) {
      const name = `${prefix}${entry}`;
      const stats = this.#statsOf(name);
      if (stats === undefined) brokenLinks.push(name);
      else if (stats.isFile()) files.push({ name, size: stats.size });
      else if (stats.isDirectory() && name === TEMPLATE_FOLDER) this.#add(`${name}/`, files, brokenLinks);
    }
  }

  async open(name: string): Promise<ByteSource> {
    return fileSource(this.#path(name), join(this.label, name));
  }

  async readWhole(name: string, limit: number): Promise<Uint8Array> {
    const path = this.#path(name);
    const label = join(this.label, name);
    const { size } = during("read", label, () => statSync(path));
    if (size > limit) throw tooLarge(label, size, limit);
    return during("read", label, () => new Uint8Array(readFileSync(path)));
  }

  #path(name: string): string {
    const parts = name.split("/");
    const inside = parts.length === 1 || (parts.length === 2 && parts[0] === TEMPLATE_FOLDER);
    if (!inside || !parts.every(isPlainName)) throw outsideFolder(this.label, name);
    if (this.#statsOf(name) === undefined) throw missingFile(this.label, name);
    return join(this.folder, name);
  }

  #statsOf(name: string): Stats | undefined {
    return statsOf(join(this.folder, name), join(this.label, name));
  }
}

/** Links are followed, as the Hub's cache consists of them; `undefined` where there is nothing or a link leads nowhere. */
function statsOf(path: string, label: string = path): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    if (reasonOf(cause).code === "ELOOP") return undefined;
    throw systemError("read", label, cause);
  }
}

/** `refs/main` names the folder below `snapshots` that holds the newest download of the main branch. */
function hubSnapshot(path: string): { folder: string; revision: string } | null {
  const snapshots = join(path, "snapshots");
  if (!isFolder(snapshots) || !(isFolder(join(path, "refs")) || isFolder(join(path, "blobs")))) return null;
  const revision = mainRevision(path) ?? onlyRevision(path, snapshots);
  const folder = join(snapshots, revision);
  if (isPlainName(revision) && isFolder(folder)) return { folder, revision };
  throw new MergewrightError("the Hub cache names a snapshot that it does not hold", {
    kind: "request",
    code: "checkpoint/missing-file",
    where: { file: path },
    expected: "a folder below snapshots",
    found: JSON.stringify(revision.slice(0, 100)),
    advice: "download the repository again",
  });
}

function isFolder(path: string): boolean {
  return statsOf(path)?.isDirectory() === true;
}

function mainRevision(path: string): string | null {
  const main = join(path, "refs", "main");
  const stats = statsOf(main);
  if (stats === undefined || !stats.isFile() || stats.size > 1000) return null;
  return during("read", main, () => readFileSync(main, "utf8")).trim();
}

function onlyRevision(path: string, snapshots: string): string {
  const revisions = during("read", snapshots, () => readdirSync(snapshots)).sort();
  if (revisions.length === 1) return revisions[0]!;
  throw new MergewrightError("the Hub cache does not say which snapshot is the main one", {
    kind: "request",
    code: "checkpoint/missing-file",
    where: { file: path },
    expected: "refs/main, or a single folder below snapshots",
    found: revisions.length === 0 ? "no snapshot" : revisions.slice(0, 5).join(", "),
    advice: "give the path of one snapshot folder",
  });
}
