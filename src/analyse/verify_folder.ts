/** What lies in an output folder besides the weights' bytes: strays, indexes, configs, small files. */
import { MergewrightError } from "../errors.js";
import { INDEX_FILE } from "../formats/safetensors/shard.js";
import type { FolderAccess } from "../models/folder.js";
import type { Shard } from "../models/model.js";
import { LIMITS } from "../models/limits.js";
import { xxh64 } from "../numbers/checksum.js";
import { countOf, failure, passed } from "./checks.js";
import type { Check } from "./checks.js";
import { placeOf } from "./recorded.js";
import type { RecordedMerge } from "./recorded.js";

/** The output folder itself, or the folder of one separate head. */
export interface OutputFolder {
  /** "" or heads/MODEL. */
  readonly name: string;
  /** `null` where it is gone. */
  readonly access: FolderAccess | null;
  /** Names of the files that are there. */
  readonly files: readonly string[];
}

/** A weight file whose header can be read. */
export interface OutputShard extends Shard {
  /** Name of its folder. */
  readonly folder: string;
}

/** The folders that the record names. */
export async function openFolders(
  label: string,
  root: FolderAccess,
  { outputs, sideFiles }: RecordedMerge,
  open: (label: string) => FolderAccess,
): Promise<OutputFolder[]> {
  const names = new Set([...outputs, ...sideFiles].map(({ file }) => placeOf(file).folder));
  const folders: OutputFolder[] = [];
  for (const name of new Set(["", ...names])) {
    const access = name === "" ? root : openOrNull(`${label}/${name}`, open);
    const files = access === null ? [] : (await access.list()).files.map((file) => file.name);
    folders.push({ name, access, files });
  }
  return folders;
}

function openOrNull(label: string, open: (label: string) => FolderAccess): FolderAccess | null {
  try {
    return open(label);
  } catch (error) {
    if (error instanceof MergewrightError && error.kind === "request") return null;
    throw error;
  }
}

export function pathOf(folder: OutputFolder, name: string): string {
  return folder.name === "" ? name : `${folder.name}/${name}`;
}

/** Weights or an index of another model would be loaded instead of the merged ones, or along with them. */
export function checkStrays(folders: readonly OutputFolder[], { outputs, sideFiles }: RecordedMerge): Check {
  const recorded = new Set([...outputs, ...sideFiles].map(({ file }) => file));
  const strays = folders.flatMap((folder) =>
    folder.files
      .filter((name) => /\.safetensors(\.index\.json)?$/i.test(name))
      .map((name) => pathOf(folder, name))
      .filter((file) => !recorded.has(file)),
  );
  if (strays.length > 0)
    return failure(
      "strays",
      strays.map((file) => `${file} is not part of the merge`),
    );
  return passed("strays", "no other weight files");
}

export async function checkIndexes(
  folders: readonly OutputFolder[],
  { outputs }: RecordedMerge,
  shards: readonly OutputShard[],
): Promise<Check> {
  const problems: string[] = [];
  let indexes = 0;
  for (const folder of folders) {
    const weights = outputs.filter(({ file }) => placeOf(file).folder === folder.name);
    if (weights.length < 2) continue;
    indexes++;
    const own = shards.filter((shard) => shard.folder === folder.name);
    problems.push(...(await indexProblems(folder, own)));
  }
  if (problems.length > 0) return failure("index", problems);
  return passed("index", indexes === 0 ? "not needed" : "true to the weight files");
}

async function indexProblems(folder: OutputFolder, shards: readonly OutputShard[]): Promise<string[]> {
  const file = pathOf(folder, INDEX_FILE);
  const content = await readJson(folder, INDEX_FILE, LIMITS.index);
  if (typeof content === "string") return [content];
  const map = content["weight_map"];
  if (!isObject(map)) return [`${file} has no weight_map`];
  const problems: string[] = [];
  const named = new Map(Object.entries(map));
  const say = (text: string) => problems.push(`${file}: ${text}`);
  for (const { name: shard, header } of shards) {
    for (const { name } of header.tensors) {
      const said = named.get(name);
      if (said === undefined) say(`${name} of ${shard} is not named`);
      else if (said !== shard) say(`${name} is in ${shard}, not in ${JSON.stringify(said)}`);
      named.delete(name);
    }
  }
  // A file that is there but cannot be read may well hold what the index says.
  const unreadable = new Set<unknown>(folder.files);
  for (const { name } of shards) unreadable.delete(name);
  for (const [name, said] of named) {
    if (!unreadable.has(said)) say(`${name} is not in ${JSON.stringify(said)}`);
  }
  return problems;
}

export async function checkConfigs(folders: readonly OutputFolder[]): Promise<Check> {
  const problems: string[] = [];
  let read = 0;
  for (const folder of folders) {
    if (!folder.files.includes("config.json")) continue;
    const content = await readJson(folder, "config.json", LIMITS.config);
    if (typeof content === "string") problems.push(content);
    else read++;
  }
  return problems.length > 0
    ? failure("config", problems)
    : passed("config", read === 0 ? "there is none" : "readable");
}

/** A file's bytes, or what is wrong. */
async function readOrProblem(folder: OutputFolder, name: string, limit: number): Promise<Uint8Array | string> {
  const file = pathOf(folder, name);
  if (folder.access === null || !folder.files.includes(name)) return `${file} is missing`;
  try {
    return await folder.access.readWhole(name, limit);
  } catch (error) {
    if (error instanceof MergewrightError && error.kind === "request")
      return `${file}: ${error.message.split("\n")[0]!}`;
    throw error;
  }
}

/** A parsed object, or what is wrong. */
async function readJson(
  folder: OutputFolder,
  name: string,
  limit: number,
): Promise<Readonly<Record<string, unknown>> | string> {
  const file = pathOf(folder, name);
  const bytes = await readOrProblem(folder, name, limit);
  if (typeof bytes === "string") return bytes;
  try {
    const content: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return isObject(content) ? content : `${file} does not hold an object`;
  } catch {
    return `${file} is not valid JSON`;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export async function checkSideFiles(folders: readonly OutputFolder[], { sideFiles }: RecordedMerge): Promise<Check> {
  const problems: string[] = [];
  for (const { file, checksum } of sideFiles) {
    const { folder: name, name: own } = placeOf(file);
    const folder = folders.find((candidate) => candidate.name === name)!;
    const bytes = await readOrProblem(folder, own, LIMITS.sideFile);
    if (typeof bytes === "string") problems.push(bytes);
    else if (checksum !== undefined && xxh64(bytes) !== checksum) problems.push(`${file} is not as written`);
  }
  return problems.length > 0
    ? failure("side files", problems)
    : passed("side files", `${countOf(sideFiles.length, "file")}, all there`);
}
