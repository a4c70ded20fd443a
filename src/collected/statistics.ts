/**
 * Statistics files: what `mergewright collect` found out about a model on its data, as safetensors. Tensors hold sums;
 * the metadata says of what, and over how much, so that the files of shards add up (docs/statistics.md).
 */
import { MergewrightError } from "../errors.js";
import type { Partitioning, StatisticsKind } from "../methods/method.js";
import { layerPartitionOf } from "../models/families.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";

const FORMAT = "mergewright-statistics/1";

/** Which label each squared gradient or output gradient is of. */
export type Labels = "expectation" | "gold" | "sampled" | "argmax" | "root" | "none";

/** A run of examples of one split. */
export interface Source {
  readonly task: string;
  /** SHA-256 of the data as the model reads them. */
  readonly data: string;
  readonly split: string;
  readonly first: number;
  readonly count: number;
}

/** A linear layer whose inputs or output gradients were summed, or the gradients of its vector. */
export interface LayerStatistics {
  /** Its weight's tensor; or the vector, whose shape is then [1, entries]. */
  readonly weight: string;
  readonly shape: readonly number[];
  /** The weight is stored `[inputs, outputs]`. */
  readonly transposed: boolean;
  /** Rows, padding left out, that the sums run over; examples, of a vector. */
  readonly rows: number;
}

export interface StatisticsInfo {
  readonly kind: StatisticsKind;
  /** As `collect` was asked. */
  readonly dialect: string;
  readonly model: ModelIdentity;
  /** Whose head was attached; `null`: the model's own. */
  readonly head: ModelIdentity | null;
  /** Of which the model is a change; of `importance`. */
  readonly base: ModelIdentity | null;
  /** What each number is of; of `importance`. */
  readonly per: Partitioning | null;
  readonly sources: readonly Source[];
  readonly labels: Labels;
  /** Of labels drawn from the model. */
  readonly seed: number | null;
  /** Examples whose gradients were added before they were squared; 1: none. */
  readonly batch: number;
  /** Examples, or batches, that sums of squares run over; predictions that losses are summed over. */
  readonly count: number;
  /** By module; of `gram`, `kfac` and `block`. Of `importance` those whose weights are stored `[inputs, outputs]`, without rows. */
  readonly layers: Readonly<Record<string, LayerStatistics>>;
  /** By tensor the sum of the squares of its sums; of `fisher`. */
  readonly energy: Readonly<Record<string, number>>;
}

export interface ModelIdentity {
  readonly name: string;
  /** See `sampledFingerprint`. */
  readonly hash: string;
}

/** An open statistics file. */
export interface Statistics {
  readonly info: StatisticsInfo;
  readonly file: Checkpoint;
  /** All sums by name, where they are few and wanted for planning. */
  readonly sums?: ReadonlyMap<string, Float64Array>;
}

export const SUM_ROLES = { input: "gram_in", output: "gram_out_grad", block: "fisher_block" } as const;

const PARTITIONINGS: readonly Partitioning[] = ["model", "layer", "tensor", "row"];

/** Under which name the importance of a tensor, or of its rows, is summed. */
export function partitionOf(tensor: string, per: Partitioning): string {
  return { model: "model", layer: layerPartitionOf(tensor), tensor, row: tensor }[per];
}

/** Partitions of a tensor of this shape that are its rows. */
export function rowsOf(shape: readonly number[]): number {
  return shape[0] ?? 1;
}

/** Name of a layer's sum of products. */
export function sumName(module: string, role: keyof typeof SUM_ROLES): string {
  return `${module}.${SUM_ROLES[role]}`;
}

/** In the words of the file's metadata, where everything is text. */
export function metadataOf(info: StatisticsInfo): Record<string, string> {
  const { kind, dialect, model, head, base, per, sources, labels, seed, batch, count, layers, energy } = info;
  return {
    format: FORMAT,
    ...{ kind, dialect, labels, seed: seed === null ? "none" : String(seed) },
    ...{ batch: String(batch), count: String(count), masked: "true" },
    accumulation: batch === 1 ? "per_example" : "per_batch",
    examples: String(examplesOf(info)),
    model: JSON.stringify(model),
    head: JSON.stringify(head),
    ...(base !== null && { base: JSON.stringify(base) }),
    ...(per !== null && { per }),
    sources: JSON.stringify(sources),
    layers: JSON.stringify(layers),
    energy: JSON.stringify(energy),
  };
}

export function examplesOf({ sources }: Pick<StatisticsInfo, "sources">): number {
  return sources.reduce((sum, { count }) => sum + count, 0);
}

/** Whether a file says that it holds statistics. */
export function isStatistics({ shards }: Checkpoint): boolean {
  return shards.length === 1 && shards[0]!.header.metadata["format"]?.startsWith("mergewright-statistics/") === true;
}

/** @throws statistics/file */
export function readStatistics(file: Checkpoint): Statistics {
  const { metadata } = file.shards[0]!.header;
  if (!isStatistics(file) || metadata["format"] !== FORMAT) {
    throw statisticsDefect(file, "it is no statistics file", metadata["format"] ?? "no format in its metadata");
  }
  const reader = new MetadataReader(file, metadata);
  const info: StatisticsInfo = {
    kind: reader.word("kind", ["fisher", "gram", "kfac", "block", "importance"]),
    dialect: reader.text("dialect"),
    model: reader.identity("model"),
    head: reader.identity("head", true),
    base: metadata["kind"] === "importance" ? reader.identity("base") : null,
    per: metadata["kind"] === "importance" ? reader.word("per", PARTITIONINGS) : null,
    sources: reader.list("sources").map((source) => reader.source(source)),
    labels: reader.word("labels", ["expectation", "gold", "sampled", "argmax", "root", "none"]),
    seed: reader.text("seed") === "none" ? null : reader.count("seed"),
    batch: reader.count("batch", 1),
    count: reader.count("count", 1),
    layers: Object.fromEntries(Object.entries(reader.record("layers")).map(([name, one]) => [name, reader.layer(one)])),
    energy: Object.fromEntries(
      Object.entries(reader.record("energy")).map(([name, one]) => [name, reader.number(one, "energy")]),
    ),
  };
  checkTensors(file, info);
  return { info, file };
}

/** Every sum is there, in a format that sums are read in and of the shape that belongs to it. */
function checkTensors(file: Checkpoint, { kind, layers, energy, per }: StatisticsInfo): void {
  for (const { name, dtype } of file.tensors.values()) {
    if (dtype !== "F64" && dtype !== "F32") throw statisticsDefect(file, "sums are F64 or F32", `${name} is ${dtype}`);
  }
  if (kind === "importance") return checkPartitions(file, per!);
  const missing = (name: string) => statisticsDefect(file, "a sum is missing", name);
  for (const name of Object.keys(energy)) if (!file.tensors.has(name)) throw missing(name);
  if (kind === "fisher") return;
  for (const [module, { weight, shape, transposed }] of Object.entries(layers)) {
    const [rows = 0, columns = 0] = transposed ? shape.toReversed() : shape;
    const sides = { input: columns, output: rows, block: columns };
    const roles = kind === "block" ? (["block"] as const) : (["input", "output"] as const);
    for (const role of roles) {
      const sum = file.tensors.get(sumName(module, role));
      if (sum === undefined && role !== "output") throw missing(sumName(module, role));
      if (sum === undefined || isSquare(sum, sides[role])) continue;
      const found = `${sum.name} is [${sum.shape.join(", ")}] beside ${weight} [${shape.join(", ")}]`;
      throw statisticsDefect(file, "a sum is not square or does not fit its weight", found);
    }
  }
}

/** A number for each partition, or for each row of a tensor. */
function checkPartitions(file: Checkpoint, per: Partitioning): void {
  for (const { name, shape } of file.tensors.values()) {
    if (shape.length === 1 && shape[0]! >= 1 && (per === "row" || shape[0] === 1)) continue;
    const problem = per === "row" ? "a sum is no list of rows" : `a ${per} has one sum`;
    throw statisticsDefect(file, problem, `${name} is [${shape.join(", ")}]`);
  }
}

function isSquare({ shape }: StoredTensor, side: number): boolean {
  return shape.length === 2 && shape[0] === side && shape[1] === side;
}

export function statisticsDefect(file: Checkpoint, problem: string, found: string): MergewrightError {
  return new MergewrightError(`a statistics file cannot be used: ${problem}`, {
    kind: "request",
    code: "statistics/file",
    where: { file: file.label },
    expected: "a file that mergewright collect wrote",
    found,
    advice: "collect it again; mergewright inspect FILE shows what it holds",
  });
}

/** Metadata is data from outside: every part is checked before it is believed. */
class MetadataReader {
  readonly #file: Checkpoint;
  readonly #metadata: Readonly<Record<string, string>>;

  constructor(file: Checkpoint, metadata: Readonly<Record<string, string>>) {
    this.#file = file;
    this.#metadata = metadata;
  }

  text(key: string): string {
    const text = this.#metadata[key];
    if (text === undefined) throw statisticsDefect(this.#file, `its metadata lack ${key}`, "nothing");
    return text;
  }

  word<T extends string>(key: string, words: readonly T[]): T {
    const text = this.text(key);
    const word = words.find((candidate) => candidate === text);
    return word ?? this.#wrong(key, text);
  }

  count(key: string, least = 0): number {
    const text = this.text(key);
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
    return value >= least ? value : this.#wrong(key, text);
  }

  identity(key: string): ModelIdentity;
  identity(key: string, optional: true): ModelIdentity | null;
  identity(key: string, optional = false): ModelIdentity | null {
    const value = this.#json(key);
    if (value === null && optional) return null;
    const { name, hash } = this.#object(value, key);
    return { name: this.#string(name, key), hash: this.#string(hash, key) };
  }

  list(key: string): readonly unknown[] {
    const value = this.#json(key);
    return Array.isArray(value) && value.length > 0 ? (value as unknown[]) : this.#wrong(key, this.text(key));
  }

  record(key: string): Readonly<Record<string, unknown>> {
    return this.#object(this.#json(key), key);
  }

  source(value: unknown): Source {
    const { task, data, split, first, count } = this.#object(value, "sources");
    const text = (one: unknown) => this.#string(one, "sources");
    return {
      ...{ task: text(task), data: text(data), split: text(split) },
      ...{ first: this.#whole(first, "sources"), count: this.#whole(count, "sources") },
    };
  }

  layer(value: unknown): LayerStatistics {
    const { weight, shape, transposed, rows } = this.#object(value, "layers");
    if (!Array.isArray(shape) || typeof transposed !== "boolean") return this.#wrong("layers", JSON.stringify(value));
    const sizes = (shape as unknown[]).map((size) => this.#whole(size, "layers"));
    return { weight: this.#string(weight, "layers"), shape: sizes, transposed, rows: this.#whole(rows, "layers") };
  }

  number(value: unknown, key: string): number {
    return typeof value === "number" && value >= 0 ? value : this.#wrong(key, JSON.stringify(value));
  }

  #whole(value: unknown, key: string): number {
    return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
      ? value
      : this.#wrong(key, JSON.stringify(value));
  }

  #string(value: unknown, key: string): string {
    return typeof value === "string" ? value : this.#wrong(key, JSON.stringify(value));
  }

  #object(value: unknown, key: string): Readonly<Record<string, unknown>> {
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : this.#wrong(key, this.text(key));
  }

  #json(key: string): unknown {
    try {
      return JSON.parse(this.text(key));
    } catch {
      return this.#wrong(key, this.text(key));
    }
  }

  #wrong(key: string, found: string): never {
    throw statisticsDefect(this.#file, `its metadata say nothing sensible of ${key}`, found.slice(0, 200));
  }
}
