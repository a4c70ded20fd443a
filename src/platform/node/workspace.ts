import fs from "node:fs";
import path from "node:path";
import { MergewrightError } from "../../errors.js";
import type { Workspace } from "../../execute/workspace.js";
import { systemError } from "./files.js";

const JOURNAL = "journal.jsonl";
const LOCK = "lock";

export interface OpenWorkspaceOptions {
  /** Start over: forget an interrupted run and replace what lies at the final place. */
  readonly force: boolean;
}

/**
 * @param out the final folder. It must not exist, or be empty, or `force` be set.
 * @throws output/exists, output/busy, io/write
 */
export function openWorkspace(out: string, { force }: OpenWorkspaceOptions): Workspace {
  const target = path.resolve(out);
  if (!force) refuseOccupied(target, out);
  const partial = path.join(path.dirname(target), `.${path.basename(target)}.mergewright-partial`);
  const at = (name: string) => path.join(partial, ...name.split("/"));
  guard(out, () => makeFolder(partial));
  const unlock = lock(at(LOCK), out);
  if (force) empty(partial);
  const journal = readJournal(at(JOURNAL));
  let journalFile: number | null = null;
  return {
    label: out,
    path: at,
    journal,
    reset: () => empty(partial),
    allocate(name, size, header) {
      guard(at(name), () => {
        makeFolder(path.dirname(at(name)));
        const file = fs.openSync(at(name), fs.constants.O_RDWR | fs.constants.O_CREAT);
        try {
          fs.ftruncateSync(file, size);
          fs.writeSync(file, header, 0, header.length, 0);
        } finally {
          fs.closeSync(file);
        }
      });
    },
    writeWhole(name, bytes) {
      guard(at(name), () => {
        makeFolder(path.dirname(at(name)));
        fs.writeFileSync(at(name), bytes);
      });
    },
    readWhole(name) {
      return guard(at(name), () => (fs.existsSync(at(name)) ? fs.readFileSync(at(name)) : null));
    },
    readAt(name, offset, into) {
      withFile(at(name), "r", (file) => {
        for (let done = 0; done < into.length; ) {
          const count = fs.readSync(file, into, done, into.length - done, offset + done);
          if (count === 0) throw new RangeError(`${at(name)} is shorter than was written`);
          done += count;
        }
      });
    },
    writeAt(name, offset, bytes) {
      withFile(at(name), "r+", (file) => {
        for (let done = 0; done < bytes.length; )
          done += fs.writeSync(file, bytes, done, bytes.length - done, offset + done);
      });
    },
    remove(name) {
      guard(at(name), () => fs.rmSync(at(name), { recursive: true, force: true }));
    },
    record(lines) {
      guard(at(JOURNAL), () => {
        journalFile ??= fs.openSync(at(JOURNAL), "a");
        fs.writeSync(journalFile, `${lines.join("\n")}\n`);
      });
    },
    commit() {
      if (journalFile !== null) fs.closeSync(journalFile);
      guard(out, () => {
        flush(partial);
        fs.rmSync(at(JOURNAL), { force: true });
        unlock();
        replace(partial, target);
      });
    },
    release() {
      if (journalFile !== null) fs.closeSync(journalFile);
      unlock();
    },
  };
}

function refuseOccupied(target: string, out: string): void {
  const stat = statOf(target);
  if (stat === undefined) return;
  if (stat.isDirectory() && fs.readdirSync(target).length === 0) return;
  throw new MergewrightError(`the output ${stat.isDirectory() ? "folder is not empty" : "is a file"}`, {
    kind: "request",
    code: "output/exists",
    where: { file: out },
    expected: "a folder that does not exist yet, or an empty one",
    advice: "choose another -o, or give --force to replace it; mixing two models in one folder loads the wrong weights",
  });
}

/** Level by level: Node's recursive mkdir never returns for some places that cannot be made, such as below /proc. */
function makeFolder(folder: string): void {
  if (statOf(folder)?.isDirectory()) return;
  const parent = path.dirname(folder);
  if (parent !== folder) makeFolder(parent);
  try {
    fs.mkdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** `undefined` where nothing is; a part of the path that is a file leaves that to mkdir's error. */
function statOf(target: string): fs.Stats | undefined {
  try {
    return fs.statSync(target, { throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw systemError("write", target, error);
  }
}

/** One run at a time: the lock holds the process number of its owner and is ignored when that process is gone. */
function lock(file: string, out: string): () => void {
  try {
    fs.writeFileSync(file, String(process.pid), { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw systemError("write", file, error);
    const owner = Number(fs.readFileSync(file, "utf8"));
    if (owner !== process.pid && isAlive(owner)) {
      throw new MergewrightError("another run is writing this output", {
        kind: "environment",
        code: "output/busy",
        where: { file: out },
        found: `process ${owner}`,
        advice: "wait for it to end, or stop it and run the same command again",
      });
    }
    fs.writeFileSync(file, String(process.pid));
  }
  return () => fs.rmSync(file, { force: true });
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function empty(folder: string): void {
  for (const name of fs.readdirSync(folder)) {
    if (name !== LOCK) fs.rmSync(path.join(folder, name), { recursive: true, force: true });
  }
}

function readJournal(file: string): string[] {
  if (!fs.existsSync(file)) return [];
  const text = fs.readFileSync(file, "utf8");
  const end = text.lastIndexOf("\n");
  // What follows the last line end is what a killed run was just writing.
  if (end + 1 < text.length) fs.truncateSync(file, Buffer.byteLength(text.slice(0, end + 1)));
  return end < 0 ? [] : text.slice(0, end).split("\n");
}

/** So that the rename never becomes durable before the bytes are. */
function flush(folder: string): void {
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = fs.openSync(path.join(entry.parentPath, entry.name), "r+");
    fs.fsyncSync(file);
    fs.closeSync(file);
  }
}

function replace(partial: string, target: string): void {
  const old = `${partial}-replaced`;
  fs.rmSync(old, { recursive: true, force: true });
  if (fs.existsSync(target)) fs.renameSync(target, old);
  fs.renameSync(partial, target);
  fs.rmSync(old, { recursive: true, force: true });
}

function withFile(place: string, flags: string, action: (file: number) => void): void {
  guard(place, () => {
    const file = fs.openSync(place, flags);
    try {
      action(file);
    } finally {
      fs.closeSync(file);
    }
  });
}

function guard<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw systemError("write", file, error);
  }
}
