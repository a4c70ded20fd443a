/**
 * Opens a Hugging Face folder or a single safetensors file: which files are weights, what belongs together, what
 * travels along. Only headers, the index and config.json are read; nothing is ever executed.
 */

import { MergewrightError, type ErrorCode, type ErrorDetails } from "../errors.js";
import { readHeader } from "../formats/safetensors/header.js";
import { INDEX_FILE, SINGLE_FILE, shardName } from "../formats/safetensors/shard.js";
import { printable, someOf } from "../formats/safetensors/text.js";
import type { ByteSource } from "../sources/source.js";
import { ADAPTER_FILE, isPickle, isSideFile, modelName, shardNumber } from "./files.js";
import { isPlainName, missingFile, outsideFolder, type FolderAccess, type FolderListing } from "./folder.js";
import { CONFIG_DEPTH_LIMIT, LIMITS } from "./limits.js";
import type { Checkpoint, Shard, SideFile, StoredTensor } from "./model.js";
import { inParallel } from "./parallel.js";

/** @param label the path or address as the user wrote it. */
export async function openCheckpoint(label: string, access: FolderAccess): Promise<Checkpoint> {
  const folder: Folder = { label, access, listing: await access.list() };
  const weights = await findWeights(folder);
  const config = await readConfig(folder);
  const shards = await openShards(folder, weights.files);
  try {
    const tensors = gather(folder, shards);
    if (weights.index !== null) compareWithIndex(folder, weights.index, shards, tensors);
    return {
      label,
      name: modelName(label),
      location: access.location,
      shards,
      tensors,
      config: config?.values ?? null,
      configText: config?.text ?? null,
      sideFiles: sideFilesOf(folder),
      notes: [...folder.listing.notes, ...weights.notes, ...notesOn(config?.values ?? null)],
      close: () => closeAll(shards.map(({ source }) => source)),
    };
  } catch (error) {
    await closeAll(shards.map(({ source }) => source));
    throw error;
  }
}

/** What travels with the weights in a folder that may have none. */
export async function readCompanions(
  label: string,
  access: FolderAccess,
): Promise<Pick<Checkpoint, "config" | "configText" | "sideFiles">> {
  const folder: Folder = { label, access, listing: await access.list() };
  const config = await readConfig(folder);
  return { config: config?.values ?? null, configText: config?.text ?? null, sideFiles: sideFilesOf(folder) };
}

interface Folder {
  readonly label: string;
  readonly access: FolderAccess;
  readonly listing: FolderListing;
}

interface Index {
  readonly file: string;
  /** From tensor to the file that holds it. */
  readonly weightMap: ReadonlyMap<string, string>;
}

interface Weights {
  readonly files: readonly string[];
  readonly index: Index | null;
  readonly notes: readonly string[];
}

/** Which files are the weights: transformers' order of preference, then what can only be meant one way. */
async function findWeights(folder: Folder): Promise<Weights> {
  const names = folder.listing.files.map(({ name }) => name);
  const stored = names.filter((name) => name.endsWith(".safetensors"));
  const chosen = await chooseWeights(folder, names, stored);
  const notes = [...chosen.notes];
  const others = stored.filter((name) => !chosen.files.includes(name));
  if (others.length > 0) notes.push(`not part of the checkpoint, left alone: ${someOf(others)}`);
  const pickles = names.filter(isPickle);
  if (pickles.length > 0) notes.push(`pickles are never opened, left alone: ${someOf(pickles)}`);
  return { ...chosen, notes };
}

async function chooseWeights(folder: Folder, names: readonly string[], stored: readonly string[]): Promise<Weights> {
  const indexes = names.filter((name) => name.endsWith(".safetensors.index.json"));
  if (stored.includes(SINGLE_FILE)) {
    const notes = indexes.includes(INDEX_FILE)
      ? [`both ${SINGLE_FILE} and ${INDEX_FILE} are there; ${SINGLE_FILE} is taken, as transformers does`]
      : [];
    return { files: [SINGLE_FILE], index: null, notes };
  }
  const indexFile = indexes.includes(INDEX_FILE) ? INDEX_FILE : indexes.length === 1 ? indexes[0]! : null;
  if (indexFile !== null) return indexed(folder, await readIndex(folder, indexFile));
  const candidates = stored.filter((name) => name !== ADAPTER_FILE);
  if (candidates.length === 0) throw noWeights(folder, names, stored);
  const numbered = candidates.map(shardNumber);
  const [first] = numbered;
  if (
    first !== null &&
    first !== undefined &&
    numbered.every((shard) => shard?.stem === first.stem && shard.of === first.of)
  ) {
    return { files: completeSet(folder, candidates, first), index: null, notes: [] };
  }
  if (candidates.length === 1) return { files: candidates, index: null, notes: [] };
  throw defect(folder, "checkpoint/index", "nothing tells how several weight files belong together", {
    expected: `${SINGLE_FILE}, ${INDEX_FILE}, or a complete set like ${shardName("model", 1, 2)}`,
    found: someOf(candidates),
    advice: "give the path of one of the files, or add the index",
  });
}

/** All shards of a set without an index must be there. */
function completeSet(
  folder: Folder,
  candidates: readonly string[],
  { stem, of }: { stem: string; of: number },
): readonly string[] {
  const there = new Set(candidates.map((name) => shardNumber(name)!.shard));
  if (there.size === candidates.length && there.size === of && !there.has(0)) return candidates;
  let missing = 1;
  while (there.has(missing)) missing++;
  throw missingFile(
    folder.label,
    shardName(stem, missing, of),
    folder.listing.files.length === 1
      ? "this file is one shard of a checkpoint: give the folder that holds all of them"
      : "download the missing shard; there is no index that would do without it",
  );
}

function indexed(folder: Folder, index: Index): Weights {
  const files = [...new Set(index.weightMap.values())].sort();
  for (const name of files) {
    if (!isPlainName(name)) throw outsideFolder(`${folder.label}/${index.file}`, name);
    if (isPickle(name)) throw pickled(folder, [name]);
    if (!name.endsWith(".safetensors")) {
      throw defect(folder, "checkpoint/index", "the index names a file that is not a safetensors file", {
        where: { file: `${folder.label}/${index.file}` },
        found: printable(name),
      });
    }
  }
  const { listing } = folder;
  const there = new Set(listing.files.map(({ name }) => name));
  const missing = listing.complete ? files.find((name) => !there.has(name)) : undefined;
  if (missing !== undefined) {
    const advice = listing.brokenLinks.includes(missing)
      ? "the file is a link that leads nowhere: its download was not finished, or the cache was cleaned; download it again"
      : undefined;
    throw missingFile(folder.label, missing, advice);
  }
  return { files, index, notes: [] };
}

/** No safetensors weights at all: say what the folder is instead. */
function noWeights(folder: Folder, names: readonly string[], stored: readonly string[]): MergewrightError {
  if (stored.includes(ADAPTER_FILE)) {
    return defect(
      folder,
      "checkpoint/no-weights",
      "this is an adapter, not a checkpoint: it holds changes, not weights",
      {
        expected: SINGLE_FILE,
        found: ADAPTER_FILE,
        advice: "name it together with its base, as BASE+ADAPTER; mergewright adapter fold writes the whole model",
      },
    );
  }
  const pickles = names.filter(isPickle);
  if (pickles.length > 0) return pickled(folder, pickles);
  const { brokenLinks } = folder.listing;
  const broken = brokenLinks.filter((name) => name.endsWith(".safetensors"));
  if (broken.length > 0) {
    return missingFile(folder.label, broken[0]!, "the link leads nowhere: download the file again");
  }
  const advice = names.includes("model_index.json")
    ? "this is a pipeline of several models: give the folder of one of them, such as unet or transformer"
    : names.some((name) => name.endsWith(".gguf"))
      ? "GGUF files are not read: use the checkpoint they were made from"
      : "check the path";
  return defect(folder, "checkpoint/no-weights", "there are no weights here", {
    expected: `${SINGLE_FILE} or ${INDEX_FILE}`,
    found: names.length === 0 ? "no files" : someOf(names),
    advice,
  });
}

function pickled(folder: Folder, pickles: readonly string[]): MergewrightError {
  return defect(folder, "checkpoint/pickle", "the weights are pickles, which can run code and are never opened", {
    expected: "safetensors files",
    found: someOf(pickles),
    advice:
      "if you trust the checkpoint, convert it, best in a sandbox: " +
      'python -c "from transformers import AutoModel; ' +
      "AutoModel.from_pretrained('FOLDER').save_pretrained('NEW', safe_serialization=True)\" " +
      "(use the class that config.json names under architectures, or its head is lost)",
  });
}

async function readIndex(folder: Folder, file: string): Promise<Index> {
  const place = `${folder.label}/${file}`;
  const wrong = (summary: string, details: Partial<ErrorDetails> = {}) =>
    defect(folder, "checkpoint/index", summary, {
      where: { file: place },
      advice: "download the index again",
      ...details,
    });
  const content = parseJson(decodeText(await folder.access.readWhole(file, LIMITS.index), wrong), wrong);
  const weightMap: unknown = isObject(content) ? content["weight_map"] : undefined;
  if (!isObject(weightMap))
    throw wrong("the index has no weight_map", { expected: "an object of file names by tensor" });
  const entries = Object.entries(weightMap);
  if (entries.length === 0) throw wrong("the index names no tensors");
  const named = entries.map(([tensor, name]): [string, string] => {
    if (typeof name === "string") return [tensor, name];
    throw wrong("the index gives no file name for a tensor", { where: { file: place, tensor: printable(tensor) } });
  });
  return { file, weightMap: new Map(named) };
}

async function openShards(folder: Folder, files: readonly string[]): Promise<readonly Shard[]> {
  const opened: ByteSource[] = [];
  try {
    return await inParallel(files, async (name) => {
      const source = await folder.access.open(name);
      opened.push(source);
      return { name, source, header: await readHeader(source) };
    });
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

async function closeAll(sources: readonly ByteSource[]): Promise<void> {
  for (const source of sources) await source.close();
}

function gather(folder: Folder, shards: readonly Shard[]): ReadonlyMap<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const [shard, { name: file, header }] of shards.entries()) {
    for (const entry of header.tensors) {
      const twin = tensors.get(entry.name);
      if (twin !== undefined) {
        throw defect(folder, "checkpoint/index", "a tensor is in two weight files", {
          where: { file: folder.label, tensor: printable(entry.name) },
          found: `${shards[twin.shard]!.name} and ${file}`,
          advice: "remove the files that do not belong to the checkpoint",
        });
      }
      tensors.set(entry.name, { ...entry, shard });
    }
  }
  if (tensors.size === 0) throw defect(folder, "checkpoint/no-weights", "the weight files hold no tensors", {});
  return tensors;
}

function compareWithIndex(
  folder: Folder,
  { file, weightMap }: Index,
  shards: readonly Shard[],
  tensors: ReadonlyMap<string, StoredTensor>,
): void {
  const where = { file: `${folder.label}/${file}` };
  const shardOf = (name: string) => shards[tensors.get(name)!.shard]!.name;
  const absent = [...weightMap.keys()].filter((name) => !tensors.has(name));
  if (absent.length > 0) {
    throw defect(folder, "checkpoint/index", "the index names tensors that are not in their files", {
      where: { ...where, tensor: printable(absent[0]!) },
      expected: `${someOf(absent)} in ${someOf([...new Set(absent.map((name) => weightMap.get(name)!))])}`,
    });
  }
  const elsewhere = [...weightMap].find(([name, shard]) => shardOf(name) !== shard);
  if (elsewhere !== undefined) {
    const [name, shard] = elsewhere;
    throw defect(folder, "checkpoint/index", "the index names the wrong file for a tensor", {
      where: { ...where, tensor: printable(name) },
      expected: shardOf(name),
      found: shard,
    });
  }
  const unlisted = [...tensors.keys()].filter((name) => !weightMap.has(name));
  if (unlisted.length > 0) {
    throw defect(folder, "checkpoint/index", "the weight files hold tensors that the index does not name", {
      where: { ...where, tensor: printable(unlisted[0]!) },
      found: `${someOf(unlisted)} in ${someOf([...new Set(unlisted.map(shardOf))])}`,
    });
  }
}

interface Config {
  readonly values: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** What Python's json module writes for numbers that JSON does not have. */
const PYTHON_NUMBER = /-?\bInfinity\b|\bNaN\b/g;

/** The values are looked at for a few known keys only; the text itself is carried over as it is. */
function withoutPythonNumbers(text: string): string {
  return text.replaceAll(PYTHON_NUMBER, "null");
}

/** The values of a config that is known to be one. */
export function configValues(text: string): Readonly<Record<string, unknown>> {
  return JSON.parse(withoutPythonNumbers(text)) as Readonly<Record<string, unknown>>;
}

async function readConfig(folder: Folder): Promise<Config | null> {
  if (!folder.listing.files.some(({ name }) => name === "config.json")) return null;
  const wrong = (summary: string, details: Partial<ErrorDetails> = {}) =>
    defect(folder, "checkpoint/config", summary, { where: { file: `${folder.label}/config.json` }, ...details });
  const text = decodeText(await folder.access.readWhole("config.json", LIMITS.config), wrong);
  const config = parseJson(withoutPythonNumbers(text), wrong);
  if (!isObject(config)) {
    throw wrong("config.json does not hold an object", { expected: "{…}", advice: "download config.json again" });
  }
  if (depthOf(config) > CONFIG_DEPTH_LIMIT) {
    throw wrong("config.json is nested too deeply", { expected: `at most ${CONFIG_DEPTH_LIMIT} levels` });
  }
  return { values: config, text };
}

function notesOn(config: Readonly<Record<string, unknown>> | null): readonly string[] {
  if (config === null || !isObject(config["auto_map"])) return [];
  const files = Object.values(config["auto_map"]).flatMap((place) => (typeof place === "string" ? [place] : []));
  return [`config.json refers to Python code, which is never carried over (auto_map: ${someOf(files)})`];
}

type Wrong = (summary: string, details: Partial<ErrorDetails>) => MergewrightError;

function decodeText(bytes: Uint8Array, wrong: Wrong): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw wrong("a file is not UTF-8 text", { advice: "download it again", cause });
  }
}

function parseJson(text: string, wrong: Wrong): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw wrong("a file is not valid JSON", {
      found: printable(cause instanceof Error ? cause.message : String(cause)),
      advice: "download the file again; NaN and Infinity, which Python writes, are not JSON: write null or a number",
      cause,
    });
  }
}

/** Levels of objects and lists, found level by level: recursion could exhaust the stack. */
function depthOf(value: object): number {
  let level: object[] = [value];
  for (let depth = 0; ; depth++) {
    if (level.length === 0 || depth > CONFIG_DEPTH_LIMIT) return depth;
    level = level.flatMap((inside) =>
      Object.values(inside).filter((item) => typeof item === "object" && item !== null),
    );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sideFilesOf({ access, listing }: Folder): readonly SideFile[] {
  return listing.files
    .filter(({ name, size }) => isSideFile(name) && (size ?? 0) <= LIMITS.sideFile)
    .map(({ name, size }) => ({
      name,
      size: size ?? 0,
      read: () => access.readWhole(name, LIMITS.sideFile),
    }));
}

function defect(folder: Folder, code: ErrorCode, summary: string, details: Partial<ErrorDetails>): MergewrightError {
  return new MergewrightError(summary, { kind: "request", code, where: { file: folder.label }, ...details });
}
