/**
 * The platform of models in memory: files picked in a browser, Blobs, buffers. The calling thread does the work; needs
 * nothing but WebAssembly with SIMD. Results are Blobs.
 */
import { MergewrightError } from "../../errors.js";
import { soloCrew } from "../../execute/crew.js";
import type { Bench } from "../../execute/bench.js";
import type { WorkSource } from "../../execute/setup.js";
import { openWorkbench } from "../../execute/open_workbench.js";
import { workbenchBytes } from "../../execute/workbench.js";
import type { Workspace } from "../../execute/workspace.js";
import { createMemory, loadKernels, PAGE_BYTES } from "../../kernels/load.js";
import type { Platform } from "../../merge.js";
import { findMethod } from "../../methods/catalogue.js";
import type { Method } from "../../methods/method.js";
import { openCheckpoint } from "../../models/checkpoint.js";
import { memoryFolder } from "../../models/folder.js";
import { httpFolder } from "../../models/http_folder.js";
import { blobSource } from "../../sources/blob.js";
import { memorySource } from "../../sources/memory.js";
import type { ByteSource } from "../../sources/source.js";

/** A checkpoint's files by name, e.g. `model.safetensors`, `config.json`. */
export type ModelFiles = Readonly<Record<string, Uint8Array | Blob>>;

export interface MemoryPlatform extends Platform {
  /** Files of the last finished merge, by name. */
  readonly output: ReadonlyMap<string, Blob>;
}

/**
 * @param models by the label that a recipe calls them. A label that is an address is read by HTTP ranges.
 * @param own methods beside those of the catalogue.
 */
export function memoryPlatform(
  models: Readonly<Record<string, ModelFiles>>,
  own: readonly Method[] = [],
): MemoryPlatform {
  const find = (name: string) => own.find((method) => method.name === name) ?? findMethod(name)!;
  const sources = new Map<string, ByteSource>();
  const space = new MemoryWorkspace();
  const access = (label: string) => {
    const files = models[label];
    if (files === undefined) throw unknownModel(label, Object.keys(models));
    const folder = memoryFolder(files);
    return {
      ...folder,
      async open(name: string) {
        const content = files[name];
        if (content === undefined) return folder.open(name);
        const path = `${label}/${name}`;
        const source = content instanceof Uint8Array ? memorySource(content, path) : blobSource(content, path);
        sources.set(path, source);
        return source;
      },
    };
  };
  return {
    output: space.finished,
    openModel: (label) => openCheckpoint(label, /^https?:\/\//.test(label) ? httpFolder(label) : access(label)),
    createCrew: async (setup, _threads, statisticsBytes) => {
      const bytes = workbenchBytes(setup);
      const memory = createMemory(PAGE_BYTES + statisticsBytes + bytes, false);
      const region = { address: PAGE_BYTES + statisticsBytes, bytes };
      const work = openWorkbench(setup, loadKernels(memory), region, {
        openStored: (source) => openSource(source, sources),
        findMethod: find,
      });
      const bench: Bench = {
        work,
        method: find(setup.method),
        sink: (file) => space.sink(setup.files[file]!.path),
        written: (file) => memorySource(space.bytes(setup.files[file]!.path), setup.files[file]!.path),
      };
      return soloCrew(bench, PAGE_BYTES);
    },
    openWorkspace: () => {
      space.reset();
      return space;
    },
    hashFile: () => Promise.reject(new RangeError("models in memory are not hashed")),
  };
}

async function openSource(
  { label, address, stamp }: WorkSource,
  sources: ReadonlyMap<string, ByteSource>,
): Promise<ByteSource> {
  const known = sources.get(label);
  // The inputs stay open for the next crew.
  if (known !== undefined) return { ...known, close: () => {} };
  const { httpSource } = await import("../../sources/http.js");
  if (address?.kind !== "http") throw new RangeError(`${label} is not open`);
  return httpSource(address.url, { headers: address.headers, label, stamp });
}

function unknownModel(label: string, known: readonly string[]): MergewrightError {
  return new MergewrightError("there is no model of this name", {
    kind: "request",
    code: "checkpoint/missing-file",
    where: { file: label },
    expected: `one of ${known.join(", ")}, or an address`,
    advice: "give its files under this name",
  });
}

/** Files that grow in memory; `finished` holds them as Blobs after `commit`. */
class MemoryWorkspace implements Workspace {
  readonly label = "memory";
  readonly journal: readonly string[] = [];
  readonly finished = new Map<string, Blob>();
  readonly #files = new Map<string, Uint8Array<ArrayBuffer>>();

  path(name: string): string {
    return name;
  }

  reset(): void {
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

  record(): void {}

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
