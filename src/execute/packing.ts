/**
 * What must be known before changes are pruned by outliers and packed: thresholds and how much of each block is kept, from
 * which the parts get their places (packed_files.ts writes them).
 */
import { MergewrightError } from "../errors.js";
import type { Arguments, OutlierCounts, TileMethod } from "../methods/method.js";
import { sumOf } from "../numbers/sums.js";
import type { Plan, PlannedTensor } from "../plan/types.js";
import { blocksOf } from "./blocks.js";
import type { Block } from "./blocks.js";
import type { Crew } from "./crew.js";
import { Gatherer, statisticsBytes } from "./gather.js";
import type { CombineArgs } from "./jobs.js";
import type { Journal } from "./journal.js";
import { eachInLanes } from "./lanes.js";
import { meterStatistics } from "./meter.js";
import type { RunOptions } from "./run.js";
import { setupOf } from "./setup.js";
import type { Settled, Tuning } from "./setup.js";

/** Tensors whose thresholds are looked for at the same time. */
const LANES = 3;
/** Both partitions of a tensor are looked at as if they were two models. */
const PARTITIONS = 2;
/** The journal's key of how many entries each block keeps. */
const COUNTS_NOTE = "packing:counts";
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
  return gather(plan, method, journal, options, "packing:", (gathering, thresholdsOf) =>
    gathering.count(thresholdsOf, journal),
  );
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
      const ranks = await gathering.ranks(journal, `${prefix}ranks`);
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

  /** Per pruned tensor and partition. @param key under which the journal keeps them. */
  async ranks(journal: Journal, key: string): Promise<readonly (readonly number[])[]> {
    if (!journal.notes.has(key)) journal.recordNote(key, await this.#ranks());
    return journal.notes.get(key) as readonly (readonly number[])[];
  }

  async #ranks(): Promise<number[][]> {
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

  async count(thresholdsOf: (at: number) => readonly number[], journal: Journal): Promise<Packed> {
    const bound = this.bind(thresholdsOf);
    if (!journal.notes.has(COUNTS_NOTE)) journal.recordNote(COUNTS_NOTE, await this.#counts(bound));
    const counts = journal.notes.get(COUNTS_NOTE) as readonly (readonly number[])[];
    return new Map(this.indices.map((index, at) => [index, { args: bound.get(index)!, counts: counts[at]! }]));
  }

  /** Per pruned tensor and block how many entries are kept. */
  async #counts(bound: ReadonlyMap<number, Arguments>): Promise<number[][]> {
    const blocks = this.tensors.flatMap(({ entries }, at) => {
      const least = this.method.packing!.limit(bound.get(this.indices[at]!)!);
      return blocksOf(at, entries).map((block) => ({ ...block, limits: least === null ? [] : [least] }));
    });
    const parts = await this.crew.run({ job: "exceed", blocks, args: null });
    const counts: number[][] = this.tensors.map(() => []);
    for (const [order, { tensor }] of blocks.entries()) counts[tensor]!.push(parts[order]![0] ?? 0);
    return counts;
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
