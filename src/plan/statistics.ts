/** What statistics files know of the tensors of a merge. */
import { MergewrightError } from "../errors.js";
import { partitionOf, rowsOf, statisticsDefect, sumName } from "../collected/statistics.js";
import type { LayerStatistics, Statistics } from "../collected/statistics.js";
import type { Collected, Partitioning } from "../methods/method.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import type { PlannedStatistic, PlannedStatistics, Stream } from "./types.js";

type StreamOf = (checkpoint: Checkpoint, tensor: StoredTensor) => Stream;

/** A tensor by the name under which a model stores it. */
export interface Member {
  readonly model: number;
  readonly name: string;
}

/** A partition of a model's change, or rows with the same name, and what each does to the mean loss. */
export interface PartitionChange {
  readonly partition: string;
  readonly changes: readonly number[];
}

/** Of every tensor that a file knows: sums of sums where the file has finer ones. */
function changesOf(file: Statistics, per: Partitioning): (name: string) => PartitionChange | undefined {
  if (per === "row") return rowChangesOf(file);
  const { info, sums } = file;
  const isFiner = info.per === "row" || info.per === "tensor";
  const changes = new Map<string, number>();
  for (const [name, values] of sums!) {
    const key = isFiner ? partitionOf(name, per) : per === "model" ? "model" : name;
    changes.set(
      key,
      values.reduce((sum, value) => sum + value, changes.get(key) ?? 0),
    );
  }
  return (name) => {
    const partition = partitionOf(name, per);
    const sum = isFiner && !sums!.has(name) ? undefined : changes.get(partition);
    return sum === undefined ? undefined : { partition, changes: [sum / info.count] };
  };
}

/** Row by row; the bias of a row, and that of a norm's gain, is part of it. */
function rowChangesOf({ info, sums }: Statistics): (name: string) => PartitionChange | undefined {
  const turned = new Set(Object.values(info.layers).flatMap(({ weight, transposed }) => (transposed ? [weight] : [])));
  const pairOf = (name: string): readonly [weight: string, bias: string] | null => {
    const stem = /^(.*)\.(?:weight|bias)$/.exec(name)?.[1];
    const [weight, bias] = [`${stem}.weight`, `${stem}.bias`];
    const isPair = stem !== undefined && !turned.has(weight) && sums!.has(weight);
    return isPair && sums!.get(weight)!.length === sums!.get(bias)?.length ? [weight, bias] : null;
  };
  const means = (values: Float64Array) => Array.from(values, (value) => value / info.count);
  return (name) => {
    const pair = pairOf(name);
    if (pair === null) return sums!.has(name) ? { partition: name, changes: means(sums!.get(name)!) } : undefined;
    const [weights, biases] = pair.map((one) => sums!.get(one)!);
    return { partition: pair[0], changes: means(weights!.map((value, row) => value + biases![row]!)) };
  };
}

/** Finds what files know of tensors. @param files one per model. */
export class StatisticsTable {
  readonly #files: readonly Statistics[];
  readonly #streamOf: StreamOf;
  /** Per file, by a tensor's name, the importance of the partition that it is in. */
  readonly #changes: readonly ((name: string) => PartitionChange | undefined)[];
  /** Per file, by a weight's name, its layer. */
  readonly #layers: readonly ReadonlyMap<string, { readonly module: string; readonly layer: LayerStatistics }>[];

  /** @param per what has an importance, of files of importances. */
  constructor(files: readonly Statistics[], streamOf: StreamOf, per: Partitioning | null = null) {
    this.#files = files;
    this.#changes = files.map((file) => (per === null ? () => undefined : changesOf(file, per)));
    this.#streamOf = streamOf;
    this.#layers = files.map(
      ({ info }) => new Map(Object.entries(info.layers).map(([module, layer]) => [layer.weight, { module, layer }])),
    );
  }

  /** Sums of squares of every member's tensor; `null` where no file has any. Norms over all are filled in later. */
  fisher(members: readonly Member[]): { readonly extra: Record<string, Stream>; readonly collected: Collected } | null {
    const found = members.map(({ model, name }) => this.#files[model]!.file.tensors.get(name));
    if (this.#isUnknown(found, members)) return null;
    const infos = members.map(({ model }) => this.#files[model]!.info);
    const streams = members.map(({ model }, index) => this.#streamOf(this.#files[model]!.file, found[index]!));
    const counts = infos.map(({ count }) => count);
    const tensorNorms = members.map(({ name }, index) => Math.sqrt(infos[index]!.energy[name] ?? 0) / counts[index]!);
    return {
      extra: Object.fromEntries(streams.map((stream, index) => [`statistics.${index}`, stream])),
      collected: { counts, norms: tensorNorms, tensorNorms },
    };
  }

  /** What the partition of each member does to the mean loss; `null` where no file knows it. */
  importance(members: readonly Member[], shape: readonly number[]): readonly PartitionChange[] | null {
    const found = members.map(({ model, name }) => this.#changes[model]!(name));
    if (this.#isUnknown(found, members)) return null;
    for (const [index, { model, name }] of members.entries()) {
      const { info, file, sums } = this.#files[model]!;
      if (info.per !== "row" || sums!.get(name)!.length === rowsOf(shape)) continue;
      throw statisticsDefect(file, `${name} has ${rowsOf(shape)} rows`, `${sums!.get(name)!.length} sums, ${index}`);
    }
    return found.map((one) => one!);
  }

  /** Products of the inputs, and of the output gradients where there are any, of a linear layer; `null`: it is none. */
  layer(members: readonly Member[]): PlannedStatistics | null {
    const found = members.map(({ model, name }) => this.#layers[model]!.get(name));
    if (this.#isUnknown(found, members)) return null;
    const roleOf = (role: "input" | "output") =>
      members.map(({ model }, index): PlannedStatistic | null => {
        const { file } = this.#files[model]!;
        const stored = file.tensors.get(sumName(found[index]!.module, role));
        if (stored === undefined) return null;
        return { stream: this.#streamOf(file, stored), shape: stored.shape, count: found[index]!.layer.rows };
      });
    return { transposed: found[0]!.layer.transposed, roles: { input: roleOf("input"), output: roleOf("output") } };
  }

  /** @throws statistics/file where only some of the files know a tensor. */
  #isUnknown(found: readonly unknown[], members: readonly Member[]): boolean {
    if (found.every((one) => one === undefined)) return true;
    const lacking = found.indexOf(undefined);
    if (lacking < 0) return false;
    const { model, name } = members[lacking]!;
    throw new MergewrightError("a statistics file knows nothing of a tensor that others know", {
      kind: "request",
      code: "statistics/file",
      where: { file: this.#files[model]!.file.label, tensor: name },
      advice: "collect the statistics of all models the same way",
    });
  }
}

/** Lengths over all tensors, from those of each. */
export function withNorms<
  T extends {
    readonly inputs: readonly { readonly model: number }[];
    readonly tiedTo: string | null;
    readonly collected?: Collected;
  },
>(tensors: readonly T[]): T[] {
  const squares = new Map<number, number>();
  for (const { inputs, tiedTo, collected } of tensors) {
    if (collected === undefined || tiedTo !== null) continue;
    for (const [index, { model }] of inputs.entries()) {
      squares.set(model, (squares.get(model) ?? 0) + collected.tensorNorms[index]! ** 2);
    }
  }
  return tensors.map((tensor) => {
    if (tensor.collected === undefined) return tensor;
    const norms = tensor.inputs.map(({ model }) => Math.sqrt(squares.get(model) ?? 0));
    return { ...tensor, collected: { ...tensor.collected, norms } };
  });
}
