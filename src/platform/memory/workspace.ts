/** A merge whose files are bytes in memory, worked on by the calling thread. */
import { soloCrew } from "../../execute/crew.js";
import type { Crew } from "../../execute/crew.js";
import type { Bench } from "../../execute/bench.js";
import type { WorkSetup } from "../../execute/setup.js";
import { openWorkbench, type ThreadPlatform } from "../../execute/open_workbench.js";
import { workbenchBytes } from "../../execute/workbench.js";
import type { Workspace } from "../../execute/workspace.js";
import { createMemory, loadKernels, PAGE_BYTES } from "../../kernels/load.js";
import { memorySource } from "../../sources/memory.js";

/** @param how where inputs and methods come from. */
export function memoryCrew(
  setup: WorkSetup,
  statisticsBytes: number,
  space: Pick<MemoryWorkspace, "sink" | "bytes">,
  how: Omit<ThreadPlatform, "openWritten">,
): Crew {
  const bytes = workbenchBytes(setup);
  const memory = createMemory(PAGE_BYTES + statisticsBytes + bytes, false);
  const region = { address: PAGE_BYTES + statisticsBytes, bytes };
  const openWritten = (path: string) => memorySource(space.bytes(path), path);
  const bench: Bench = {
    work: openWorkbench(setup, loadKernels(memory), region, { ...how, openWritten }),
    method: how.findMethod(setup.method),
    sink: (file) => space.sink(setup.files[file]!.path),
    written: (file) => openWritten(setup.files[file]!.path),
  };
  return soloCrew(bench, PAGE_BYTES);
}

/** Files that grow in memory; `finished` holds them as Blobs after `commit`. */
export class MemoryWorkspace implements Workspace {
  readonly label = "memory";
  /** Lines of an earlier merge of the same plan to begin with. */
  journal: readonly string[] = [];
  /** Lines of the merge at work or just finished. */
  readonly recorded: string[] = [];
  readonly finished = new Map<string, Blob>();
  readonly #files = new Map<string, Uint8Array<ArrayBuffer>>();

  path(name: string): string {
    return name;
  }

  reset(): void {
    this.recorded.length = 0;
    this.#files.clear();
    this.finished.clear();
  }

  allocate(name: string, size: number, header: Uint8Array): void {
    const bytes = new Uint8Array(size);
    bytes.set(header);
    this.#files.set(name, bytes);
  }

  writeWhole(name: string, bytes: Uint8Array): void {
    this.#files.set(name, bytes.slice());
  }

  readWhole(name: string): Uint8Array | null {
    return this.#files.get(name) ?? null;
  }

  readAt(name: string, offset: number, into: Uint8Array): void {
    into.set(this.bytes(name).subarray(offset, offset + into.length));
  }

  writeAt(name: string, offset: number, bytes: Uint8Array): void {
    this.bytes(name).set(bytes, offset);
  }

  remove(name: string): void {
    for (const file of [...this.#files.keys()]) {
      if (file === name || file.startsWith(`${name}/`)) this.#files.delete(file);
    }
  }

  record(lines: readonly string[]): void {
    this.recorded.push(...lines);
  }

  commit(): void {
    for (const [name, bytes] of this.#files) this.finished.set(name, new Blob([bytes]));
    this.#files.clear();
  }

  release(): void {
    this.#files.clear();
  }

  bytes(name: string): Uint8Array {
    return this.#files.get(name)!;
  }

  sink(name: string) {
    return {
      label: name,
      write: (offset: number, bytes: Uint8Array) => this.bytes(name).set(bytes, offset),
      close: () => {},
    };
  }
}
