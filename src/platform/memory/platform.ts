/**
 * The platform of models in memory: files picked in a browser, Blobs, buffers. The calling thread does the work; needs
 * nothing but WebAssembly with SIMD. Results are Blobs.
 */
import type { Adapter } from "../../adapters/adapter.js";
import { openAdapter } from "../../adapters/open.js";
import { openReference, parseReference } from "../../adapters/reference.js";
import { MergewrightError } from "../../errors.js";
import type { WorkSource } from "../../execute/setup.js";
import type { Platform } from "../../merge.js";
import { findMethod } from "../../methods/catalogue.js";
import type { Method } from "../../methods/method.js";
import { openCheckpoint } from "../../models/checkpoint.js";
import type { Checkpoint } from "../../models/model.js";
import { memoryFolder } from "../../models/folder.js";
import type { FolderAccess } from "../../models/folder.js";
import { httpFolder } from "../../models/http_folder.js";
import { blobSource } from "../../sources/blob.js";
import { memorySource } from "../../sources/memory.js";
import type { ByteSource } from "../../sources/source.js";
import { memoryCrew, MemoryWorkspace } from "./workspace.js";

/** A checkpoint's files by name, e.g. `model.safetensors`, `config.json`. */
export type ModelFiles = Readonly<Record<string, Uint8Array | Blob>>;

export interface MemoryPlatform extends Platform {
  /** @param label as that of a model. */
  readonly openAdapter: (label: string) => Promise<Adapter>;
  /** A label's files, or those of a folder inside it (`LABEL/left/TASK`), or an address. */
  readonly openFolder: (label: string) => FolderAccess;
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
    const files = models[label] ?? filesBelow(models, label);
    if (files === null) throw unknownModel(label, Object.keys(models));
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
  const folderOf = (label: string) =>
    /^https?:\/\//.test(label) && !Object.hasOwn(models, label) ? httpFolder(label) : access(label);
  const openAdapterOf = (label: string) => openAdapter(label, folderOf(label));
  const openModel = async (label: string): Promise<Checkpoint> => {
    const folded = Object.hasOwn(models, label) ? null : parseReference(label);
    if (folded === null) return openCheckpoint(label, folderOf(label));
    const checkpoint = await openReference(label, folded, { openBase: openModel, openAdapter: openAdapterOf });
    // One thread does all the work, so that what computes the weights here computes them there.
    for (const { source } of checkpoint.shards)
      if (source.address?.kind === "folded") sources.set(source.label, source);
    return checkpoint;
  };
  return {
    output: space.finished,
    openModel,
    openAdapter: openAdapterOf,
    openFolder: folderOf,
    createCrew: async (setup, _threads, statisticsBytes) =>
      memoryCrew(setup, statisticsBytes, space, {
        openStored: (source) => openSource(source, sources),
        findMethod: find,
      }),
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

/** Of a folder inside a label's, by their names in it; `null` where there is none. */
function filesBelow(models: Readonly<Record<string, ModelFiles>>, folder: string): ModelFiles | null {
  for (const [label, files] of Object.entries(models)) {
    if (!folder.startsWith(`${label}/`)) continue;
    const start = `${folder.slice(label.length + 1)}/`;
    const below = Object.entries(files).filter(([name]) => name.startsWith(start));
    if (below.length > 0) return Object.fromEntries(below.map(([name, file]) => [name.slice(start.length), file]));
  }
  return null;
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
