/**
 * How changes are pruned by outliers and packed: what must be known of every pruned tensor is gathered first, then the
 * parts get their places, then they are written.
 */
import { MergewrightError } from "../errors.js";
import type { Arguments, OutlierCounts, TileMethod } from "../methods/method.js";
import { blockTreeChecksum, xxh64 } from "../numbers/checksum.js";
import { sumOf } from "../numbers/sums.js";
import type { Plan, PlannedTensor } from "../plan/types.js";
import { blocksOf } from "./blocks.js";
import type { Block } from "./blocks.js";
import type { Crew } from "./crew.js";
import { Gatherer, statisticsBytes } from "./gather.js";
import type { CombineArgs, WrittenBlock } from "./jobs.js";
import type { Journal } from "./journal.js";
import { eachInLanes } from "./lanes.js";
import { meterStatistics } from "./meter.js";
import type { RunOptions, RunResult, TensorResult } from "./run.js";
import { setupOf } from "./setup.js";
import type { Settled, Tuning } from "./setup.js";
import type { Workspace } from "./workspace.js";

/** Tensors whose thresholds are looked for at the same time. */
const LANES = 3;
/** Both partitions of a tensor are looked at as if they were two models. */
const PARTITIONS = 2;
const LANE_BYTES = Math.ceil(statisticsBytes(PARTITIONS, "tensor") / 64) * 64;

export interface PackingOptions extends RunOptions {
  readonly tuning?: Tuning;
  /** What is known of the merges among the inputs. */
  readonly settled: ReadonlyMap<string, Settled>;
}

/** What is known of the pruned tensors: by index in the plan. */
export type Packed = ReadonlyMap<number, PackedTensor>;

export interface PackedTensor {
  readonly args: Arguments;
  /** Per block how many entries are kept. */
  readonly counts: readonly number[];
}

export function keptIn({ counts }: PackedTensor): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Reads every pruned tensor for its outliers, its thresholds and the number of entries that it keeps. */
export function gatherPacking(
  plan: Plan,
  method: TileMethod,
  journal: Journal,
  options: PackingOptions,
): Promise<Packed> {
  return gather(plan, method, journal, options, "packing:", (gathering, thresholdsOf) => gathering.count(thresholdsOf));
}

/**
 * The arguments of every merged tensor of a packing merge that is the input of another, from one reading for its outliers
 * and one for its thresholds. @param key of the merge.
 */
export async function settlePacking(
  key: string,
  plan: Plan,
  method: TileMethod,
  journal: Journal,
  options: PackingOptions,
): Promise<(CombineArgs | null)[]> {
  const bound = await gather(plan, method, journal, options, `packing:${key}:`, (gathering, thresholdsOf) =>
    Promise.resolve(gathering.bind(thresholdsOf)),
  );
  return plan.tensors.map(({ action, settings }, index) => {
    if (action === "copy") return null;
    return { args: bound.get(index) ?? method.packing!.bind(settings!, null) };
  });
}

/** @param prefix of the journal's keys. @param use of what was gathered, while there are threads. */
async function gather<T>(
  plan: Plan,
  method: TileMethod,
  journal: Journal,
  { createCrew, progress, tuning, settled }: PackingOptions,
  prefix: string,
  use: (gathering: Gathering, thresholdsOf: (at: number) => readonly number[]) => Promise<T>,
): Promise<T> {
  const indices = plan.tensors.flatMap(({ packed }, index) => (packed === undefined ? [] : [index]));
  const tensors = indices.map((index) => statisticsTensor(plan.tensors[index]!));
  const setup = setupOf({ ...plan, tensors, files: [] }, (file) => file, tuning, settled);
  const crew = meterStatistics(await createCrew(setup, LANES * LANE_BYTES), setup, progress);
  try {
    const gathering = new Gathering(plan, method, indices, tensors, crew);
    const keyOf = (at: number) => `${prefix}${indices[at]!}`;
    const missing = [...indices.keys()].filter((at) => !journal.known.has(keyOf(at)));
    if (missing.length > 0) {
      const ranks = await gathering.ranks();
      await eachInLanes(missing, LANES, async (at, lane) => {
        const gatherer = new Gatherer(
          crew,
          setup.tensors,
          { tensors: [at] },
          PARTITIONS,
          "tensor",
          crew.statistics + lane * LANE_BYTES,
        );
        const need = {
          statistic: "threshold",
          scope: "tensor",
          ties: "keep",
          ranks: ranks[at]!.map((rank) => () => rank),
        } as const;
        const { known } = await gatherer.gather((so) => (so.threshold === undefined ? need : null));
        journal.recordKnown(keyOf(at), known);
      });
    }
    return await use(gathering, (at) => journal.known.get(keyOf(at))!.threshold!.thresholds);
  } finally {
    await crew.close();
  }
}

/** The tensor as it is before it is pruned, once for each partition. */
function statisticsTensor(tensor: PlannedTensor): PlannedTensor {
  const { packed, inputs, shape: _, ...rest } = tensor;
  const { stream } = inputs[0]!;
  const both = Array.from({ length: PARTITIONS }, (_unused, model) => ({ model, stream }));
  return { ...rest, shape: packed!.shape, entries: packed!.entries, inputs: both };
}

class Gathering {
  constructor(
    readonly plan: Plan,
    readonly method: TileMethod,
    readonly indices: readonly number[],
    readonly tensors: readonly PlannedTensor[],
    readonly crew: Crew,
  ) {}

  /** Per pruned tensor and partition. */
  async ranks(): Promise<number[][]> {
    const outliers = await this.#outliers();
    const ranks: number[][] = this.tensors.map(() => []);
    for (const group of this.#byModel()) {
      const counts = group.map((at) => outliers[at]!);
      const densities = this.method.packing!.densities(this.#settings(group[0]!), counts);
      for (const [order, at] of group.entries()) {
        ranks[at] = densities.map((one) => this.method.packing!.rank(this.tensors[at]!.entries, one[order]!));
      }
    }
    return ranks;
  }

  /** @param thresholdsOf the largest magnitude pruned, per partition. @returns by index in the plan. */
  bind(thresholdsOf: (at: number) => readonly number[]): Map<number, Arguments> {
    const { bind } = this.method.packing!;
    return new Map(this.tensors.map(({ settings }, at) => [this.indices[at]!, bind(settings!, thresholdsOf(at))]));
  }

  async count(thresholdsOf: (at: number) => readonly number[]): Promise<Packed> {
    const bound = this.bind(thresholdsOf);
    const blocks = this.tensors.flatMap(({ entries }, at) => {
      const least = this.method.packing!.limit(bound.get(this.indices[at]!)!);
      return blocksOf(at, entries).map((block) => ({ ...block, limits: least === null ? [] : [least] }));
    });
    const parts = await this.crew.run({ job: "exceed", blocks, args: null });
    const packed = new Map<number, PackedTensor>();
    for (const [index, args] of bound) packed.set(index, { args, counts: [] });
    for (const [order, { tensor }] of blocks.entries()) {
      (packed.get(this.indices[tensor]!)!.counts as number[]).push(parts[order]![0] ?? 0);
    }
    return packed;
  }

  #settings(at: number) {
    return this.tensors[at]!.settings!;
  }

  /** Tensors of one model: outliers are compared within it. */
  #byModel(): number[][] {
    const groups = new Map<number, number[]>();
    for (const [at, index] of this.indices.entries()) {
      const { model } = this.plan.tensors[index]!.inputs[0]!;
      groups.set(model, [...(groups.get(model) ?? []), at]);
    }
    return [...groups.values()];
  }

  /** Two passes: the mean magnitudes, then how many exceed so many times the mean. */
  async #outliers(): Promise<OutlierCounts[]> {
    const blocks = this.tensors.flatMap(({ entries }, at) => blocksOf(at, entries));
    const sums = perTensor(blocks, await this.crew.run({ job: "magnitudes", blocks, args: null }));
    const totals = sums.map((parts) => sumOf(parts));
    for (const [at, total] of totals.entries()) if (!Number.isFinite(total)) throw this.#notFinite(at);
    const limits: number[][] = this.tensors.map(() => []);
    for (const group of this.#byModel()) {
      const factors = this.method.packing!.outliers(this.#settings(group[0]!));
      for (const layer of new Set(group.map((at) => this.#layer(at)))) {
        const members = group.filter((at) => this.#layer(at) === layer);
        const entries = members.reduce((sum, at) => sum + this.tensors[at]!.entries, 0);
        const mean = sumOf(members.map((at) => totals[at]!)) / entries;
        for (const at of members)
          limits[at] = [factors.layer * mean, (factors.tensor * totals[at]!) / this.tensors[at]!.entries];
      }
    }
    const limited = blocks.map((block) => ({ ...block, limits: limits[block.tensor]! }));
    const counts = perTensor(blocks, await this.crew.run({ job: "exceed", blocks: limited, args: null }));
    return counts.map((parts, at) => ({
      entries: this.tensors[at]!.entries,
      layer: this.#layer(at),
      aboveLayer: parts.reduce((sum, [above]) => sum + above!, 0),
      above: parts.reduce((sum, [, above]) => sum + above!, 0),
    }));
  }

  #layer(at: number): string {
    return this.plan.tensors[this.indices[at]!]!.packed!.layer;
  }

  #notFinite(at: number): MergewrightError {
    const models = this.plan.inputs.filter(({ role }) => role === "model");
    const { name, inputs } = this.plan.tensors[this.indices[at]!]!;
    return new MergewrightError("a change that is to be pruned has no finite mean", {
      kind: "check",
      code: "values/non-finite",
      where: { tensor: name },
      found: `NaN, infinity or too large a sum in ${models[inputs[0]!.model]!.name}`,
      advice: "repair the model or leave it out, or exclude the tensor",
    });
  }
}

function perTensor<T>(blocks: readonly Block[], parts: readonly T[]): T[][] {
  const tensors: T[][] = [];
  for (const [order, { tensor }] of blocks.entries()) (tensors[tensor] ??= []).push(parts[order]!);
  return tensors;
}

/**
 * Writes the artifact.
 * @param plan the final one, in which every part has its size.
 */
export async function runPacking(
  plan: Plan,
  method: TileMethod,
  packed: Packed,
  workspace: Workspace,
  journal: Journal,
  { createCrew, progress, strict, tuning, settled }: PackingOptions,
): Promise<RunResult> {
  for (const { name, size, header } of plan.files) workspace.allocate(name, size, header);
  const setup = setupOf(plan, (file) => workspace.path(file), tuning, settled);
  const crew = meterStatistics(await createCrew(setup, 0), setup, progress, "merge");
  try {
    const writing = new Writing(plan, method, packed, crew);
    await writing.whole();
    await writing.packed();
    await writing.base();
    writing.starts(workspace);
    return writing.result(journal.resumed, strict);
  } finally {
    await crew.close();
  }
}

class Writing {
  readonly #checksums: (string | null)[];
  readonly #nonFinite: number[];
  readonly #baseChecksums = new Map<string, string>();
  readonly #starts = new Map<number, BigUint64Array<ArrayBuffer>>();

  constructor(
    readonly plan: Plan,
    readonly method: TileMethod,
    readonly known: Packed,
    readonly crew: Crew,
  ) {
    this.#checksums = plan.tensors.map(() => null);
    this.#nonFinite = plan.tensors.map(() => 0);
  }

  /** Vectors that stay whole, and the tasks' own tensors. */
  async whole(): Promise<void> {
    const blocks = (isIt: (tensor: PlannedTensor) => boolean) =>
      this.plan.tensors.flatMap((tensor, index) => (isIt(tensor) ? blocksOf(index, tensor.entries) : []));
    const copied = blocks(({ action }) => action === "copy");
    this.#keep(copied, await this.crew.run({ job: "copy", blocks: copied, args: null }));
    const models = new Map<string, number[]>();
    for (const [index, { action, packed, settings }] of this.plan.tensors.entries()) {
      if (action !== "merge" || packed !== undefined) continue;
      const key = JSON.stringify(settings);
      models.set(key, [...(models.get(key) ?? []), index]);
    }
    for (const indices of models.values()) {
      const args = this.method.packing!.bind(this.plan.tensors[indices[0]!]!.settings!, null);
      const own = indices
        .flatMap((index) => blocksOf(index, this.plan.tensors[index]!.entries))
        .map((block) => ({ ...block, quota: null }));
      this.#keep(own, await this.crew.run({ job: "combine", blocks: own, args: { args } }));
    }
  }

  #keep(blocks: readonly Block[], parts: readonly WrittenBlock[]): void {
    for (const [index, written] of groupedBy(blocks, parts)) {
      this.#checksums[index] = blockTreeChecksum(written.map(({ digest }) => digest));
      this.#nonFinite[index] = written.reduce((sum, { nonFinite }) => sum + nonFinite, 0);
    }
  }

  async packed(): Promise<void> {
    const blocks = [...this.known].flatMap(([index, { args, counts }]) => {
      let begin = 0;
      const starts = new BigUint64Array(counts.length);
      const own = blocksOf(index, this.plan.tensors[index]!.packed!.entries).map((block, order) => {
        const place = { ...block, args, begin };
        starts[order] = BigInt(begin);
        begin += counts[order]!;
        return place;
      });
      this.#starts.set(index, starts);
      return own;
    });
    const masks = new Map(
      this.plan.tensors.flatMap(({ mask }, index) => (mask === undefined ? [] : [[mask.over, index] as const])),
    );
    const parts = await this.crew.run({ job: "pack", blocks, args: null });
    for (const [index, written] of groupedBy(blocks, parts)) {
      this.#checksums[masks.get(index)!] = blockTreeChecksum(written.map(({ maskDigest }) => maskDigest));
      this.#nonFinite[index] = written.reduce((sum, { nonFinite }) => sum + nonFinite, 0);
    }
    // What is packed from several blocks is hashed in blocks of its own.
    const stored = [...this.known.keys()].flatMap((index) => blocksOf(index, this.plan.tensors[index]!.entries));
    const digests = await this.crew.run({ job: "rereadPacked", blocks: stored, args: null });
    const found = groupedBy(stored, digests);
    for (const index of this.known.keys()) this.#checksums[index] = blockTreeChecksum(found.get(index) ?? []);
  }

  /** Each tensor of the base once, however many models have a vector over it. */
  async base(): Promise<void> {
    const first = new Map<string, number>();
    for (const [index, { name, action }] of this.plan.tensors.entries())
      if (action === "merge" && !first.has(name)) first.set(name, index);
    const blocks = [...first.values()].flatMap((index) => {
      const { packed, entries } = this.plan.tensors[index]!;
      return blocksOf(index, packed?.entries ?? entries);
    });
    const digests = groupedBy(blocks, await this.crew.run({ job: "digestBase", blocks, args: null }));
    for (const [name, index] of first) this.#baseChecksums.set(name, blockTreeChecksum(digests.get(index)!));
  }

  /** Small enough to be written whole: eight bytes for each block. */
  starts(workspace: Workspace): void {
    const files = new Map<number, number[]>();
    for (const [index, { action, file }] of this.plan.tensors.entries())
      if (action === "starts") files.set(file, [...(files.get(file) ?? []), index]);
    for (const [file, indices] of files) {
      const { name, size, header } = this.plan.files[file]!;
      const bytes = new Uint8Array(size);
      bytes.set(header);
      for (const index of indices) {
        const { offset, starts } = this.plan.tensors[index]!;
        const own = new Uint8Array(this.#starts.get(starts!.over)!.buffer);
        bytes.set(own, offset);
        this.#checksums[index] = wholeChecksum(own);
      }
      workspace.writeWhole(name, bytes);
    }
  }

  result(resumed: boolean, strict: boolean): RunResult {
    const models = this.plan.inputs.filter(({ role }) => role === "model");
    const warnings: string[] = [];
    const tensors = this.plan.tensors.map((tensor, index): TensorResult => {
      const { name, inputs, action } = tensor;
      const nonFinite = this.#nonFinite[index]!;
      if (nonFinite > 0) {
        const text = `${name} of ${models[inputs[0]!.model]?.name ?? "the base"}: ${nonFinite} NaN or infinite entries in the output`;
        if (strict && action === "merge") throw nonFiniteError(name, text);
        warnings.push(text);
      }
      const baseChecksum = action === "merge" ? this.#baseChecksums.get(name)! : null;
      return {
        name,
        checksum: this.#checksums[index]!,
        nonFinite,
        nonFiniteInputs: null,
        masks: null,
        baseChecksum,
        figures: null,
      };
    });
    const kept = models.map((_, model) => {
      const own = [...this.known].filter(([index]) => this.plan.tensors[index]!.inputs[0]!.model === model);
      return {
        kept: own.reduce((sum, [, tensor]) => sum + keptIn(tensor), 0),
        entries: own.reduce((sum, [index]) => sum + this.plan.tensors[index]!.packed!.entries, 0),
      };
    });
    return { resumed, tensors, counters: {}, warnings, kept, thresholds: null };
  }
}

function groupedBy<T>(blocks: readonly Block[], parts: readonly T[]): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const [order, { tensor }] of blocks.entries()) {
    const group = groups.get(tensor);
    if (group === undefined) groups.set(tensor, [parts[order]!]);
    else group.push(parts[order]!);
  }
  return groups;
}

function wholeChecksum(bytes: Uint8Array): string {
  const entries = bytes.length / 8;
  const digests = blocksOf(0, entries).map(({ start, count }) => xxh64(bytes.subarray(8 * start, 8 * (start + count))));
  return blockTreeChecksum(digests);
}

function nonFiniteError(tensor: string, found: string): MergewrightError {
  return new MergewrightError("a vector holds NaN or infinite entries", {
    kind: "check",
    code: "values/non-finite",
    where: { tensor },
    found,
    advice: "repair or leave out the input, exclude the tensor, or merge without --strict",
  });
}
