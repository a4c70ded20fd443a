/**
 * A look at the weights that takes a second or two, whatever the models' size: short runs of entries, spread evenly over
 * all tensors that the checkpoints share. Figures of whole models come with the half-width of their 95 % confidence
 * interval, from how much the runs differ among each other; small models are read whole, and their figures are exact.
 */
import { BLOCK_ENTRIES, blocksOf } from "../execute/blocks.js";
import type { Block } from "../execute/blocks.js";
import { setupOf } from "../execute/setup.js";
import type { WorkSetup } from "../execute/setup.js";
import type { AnalysisOptions, ReadingPlatform } from "../analyse/platform.js";
import type { ScanPart } from "../execute/job_types.js";
import type { Relations } from "../kernels/relations/definition.js";
import { taskArithmetic } from "../methods/task_arithmetic.js";
import { tiedGroups } from "../models/families.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { entriesOf, isFloat } from "../numbers/dtypes.js";
import type { Plan, PlannedTensor } from "../plan/types.js";

/** Entries of a run, and how many runs are spread over all tensors. */
const RUN = 4096;
const RUNS = 512;
/** Standard errors on either side. */
const CONFIDENCE = 1.96;
/** Pairs of models are kept in kernel memory. */
export const MOST_COMPARED = 128;

/** A figure and the half-width of its 95 % confidence interval; 0 where everything was read. */
export interface Figure {
  readonly value: number;
  readonly error: number;
}

export interface Sampled {
  /** Entries looked at, of how many that the checkpoints share. */
  readonly entries: number;
  readonly of: number;
  /** Of the changes from the base; of the weights themselves where there is no base. In the order of the models. */
  readonly norms: readonly Figure[];
  readonly cosines: readonly (readonly Figure[])[];
  /** Columns with both signs, in columns where two or more models changed. */
  readonly conflicts: Figure;
  /** Per shared tensor and checkpoint (base first): from a run of its own, whole where it is short. */
  readonly tensors: readonly { readonly name: string; readonly checkpoints: readonly TensorFigures[] }[];
}

export interface TensorFigures {
  /** Root of the mean square of the finite entries looked at. */
  readonly rms: number;
  readonly largest: number;
  readonly zeros: number;
  readonly nonFinite: number;
  readonly entries: number;
  /** Of the change from the base; `null` for the base itself and without one. */
  readonly change: number | null;
}

/** @param base `null`: the weights themselves are compared. @param models at least one, at most MOST_COMPARED. */
export async function sampleModels(
  base: Checkpoint | null,
  models: readonly Checkpoint[],
  isLeftOut: (name: string) => boolean,
  { createCrew }: ReadingPlatform,
  { threads }: AnalysisOptions,
): Promise<Sampled | null> {
  const all = base === null ? models : [base, ...models];
  const shared = sharedTensors(all, isLeftOut);
  if (shared.length === 0) return null;
  const setup = sampleSetup(base, models, shared);
  const sizes = shared.map(([first]) => entriesOf(first!.shape));
  const spread = spreadRuns(sizes);
  const own = sizes.map((size, tensor) => ({
    tensor,
    start: (size - Math.min(RUN, size)) >> 1,
    count: Math.min(RUN, size),
  }));
  const args = { thresholds: models.map(() => 0) };
  const crew = await createCrew(setup, threads, 0);
  try {
    const runs = await crew.run({ job: "relations", blocks: spread, args });
    const changes = await crew.run({ job: "relations", blocks: own, args });
    // A tensor of one checkpoint stands behind the shared ones.
    const at = (tensor: number, checkpoint: number) => shared.length + tensor * all.length + checkpoint;
    const blocks = own.flatMap((block) =>
      all.map((_, checkpoint) => ({ ...block, tensor: at(block.tensor, checkpoint) })),
    );
    const scans = await crew.run({ job: "scan", blocks, args: null });
    const of = sizes.reduce((sum, size) => sum + size, 0);
    const entries = spread.reduce((sum, block) => sum + block.count, 0);
    return {
      ...{ entries, of },
      ...figuresOf(runs, spread, models.length, of),
      tensors: shared.map(([first], tensor) => ({
        name: first!.name,
        checkpoints: all.map((_, checkpoint) => {
          const model = base === null ? null : checkpoint - 1;
          const change =
            model === null || model < 0 ? null : changeOf(changes[tensor]!, model, models.length, own[tensor]!);
          return tensorFigures(scans[tensor * all.length + checkpoint]!, own[tensor]!, change);
        }),
      })),
    };
  } finally {
    await crew.close();
  }
}

/** Float tensors that every checkpoint has in the same shape, tied copies once; per tensor one entry per checkpoint. */
function sharedTensors(all: readonly Checkpoint[], isLeftOut: (name: string) => boolean): StoredTensor[][] {
  const [first] = all;
  const aliases = new Set(tiedGroups(first!.config, first!.tensors.keys()).flatMap((group) => group.aliases));
  return [...first!.tensors.values()]
    .sort((a, b) => a.shard - b.shard || a.offset - b.offset)
    .filter(
      ({ name, dtype, shape }) => isFloat(dtype) && entriesOf(shape) > 0 && !isLeftOut(name) && !aliases.has(name),
    )
    .map(({ name }) => all.flatMap(({ tensors }) => tensors.get(name) ?? []))
    .filter((stored) => {
      const [{ shape }] = stored as [StoredTensor];
      return (
        stored.length === all.length && stored.every((one) => isFloat(one.dtype) && one.shape.join() === shape.join())
      );
    });
}

/** Shared tensors as the models' changes, then every tensor of every checkpoint alone. */
function sampleSetup(
  base: Checkpoint | null,
  models: readonly Checkpoint[],
  shared: readonly StoredTensor[][],
): WorkSetup {
  const all = base === null ? models : [base, ...models];
  const firstSource: number[] = [];
  const sources = all.flatMap(({ shards }, input) => {
    firstSource.push((firstSource.at(-1) ?? 0) + (input === 0 ? 0 : all[input - 1]!.shards.length));
    return shards.map(({ source: { label, address, stamp }, header }) => {
      return { input, file: label, address, stamp, headerHash: header.hash };
    });
  });
  const streams = shared.map((stored) =>
    stored.map(({ shard, offset, dtype }, input) => ({ source: firstSource[input]! + shard, offset, dtype })),
  );
  const together = shared.map(([first], tensor): PlannedTensor => {
    const [reference, ...others] = streams[tensor]!;
    const inputs = base === null ? streams[tensor]! : others;
    return unwritten(first!, base === null ? null : reference!, inputs);
  });
  const alone = shared.flatMap(([first], tensor) =>
    streams[tensor]!.map((stream) => unwritten(first!, null, [stream])),
  );
  const plan: Plan = {
    // No job of a sample asks the method for anything.
    ...{ method: taskArithmetic.name, methodHash: null, inputs: [], sources, tensors: [...together, ...alone] },
    ...{
      skipped: [],
      files: [],
      sideFiles: [],
      merges: [],
      warnings: [],
      seed: 0,
      measured: false,
      scores: { rows: 0, ranks: 0 },
    },
    estimate: { outputBytes: 0, readBytes: 0, mergedEntries: 0, passes: 1 },
  };
  return setupOf(plan, (file) => file);
}

function unwritten(
  { name, shape }: StoredTensor,
  base: PlannedTensor["base"],
  streams: readonly NonNullable<PlannedTensor["base"]>[],
): PlannedTensor {
  return {
    ...{ name, shape, entries: entriesOf(shape), dtype: "F32", action: "copy", reason: "", base },
    inputs: streams.map((stream, model) => ({ model, stream })),
    ...{ extra: {}, settings: null, prune: null, tiedTo: null, file: 0, offset: 0, length: 0 },
  };
}

/** All blocks where the models are small; else as many runs as wanted, at equal distances. */
function spreadRuns(sizes: readonly number[]): Block[] {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total <= 2 * RUN * RUNS) return sizes.flatMap((size, tensor) => blocksOf(tensor, size));
  const blocks: Block[] = [];
  let tensor = 0;
  let before = 0;
  for (let run = 0; run < RUNS; run++) {
    const position = Math.floor(((run + 0.5) * total) / RUNS);
    while (position >= before + sizes[tensor]!) before += sizes[tensor++]!;
    const start = Math.min(position - before, Math.max(0, sizes[tensor]! - RUN));
    blocks.push({ tensor, start, count: Math.min(RUN, BLOCK_ENTRIES, sizes[tensor]! - start) });
  }
  return blocks;
}

function figuresOf(runs: readonly Relations[], blocks: readonly Block[], models: number, of: number) {
  const entries = blocks.reduce((sum, { count }) => sum + count, 0);
  // What is read whole has no error.
  const spread = entries === of ? 0 : CONFIDENCE * Math.sqrt(1 - entries / of);
  const pair = (i: number, j: number) => (i <= j ? i * models - (i * (i - 1)) / 2 + (j - i) : 0);
  const dots = (i: number, j: number) => runs.map((run) => run.dots[i <= j ? pair(i, j) : pair(j, i)]!);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  /** Half-width of a ratio's interval, whose deviation in each run is given. */
  const width = (deviations: readonly number[]) => spread * Math.sqrt(sum(deviations.map((value) => value * value)));
  const squares = Array.from({ length: models }, (_, i) => sum(dots(i, i)));
  const norms = squares.map((square, i): Figure => {
    const deviations = dots(i, i).map((own, run) => own / square - blocks[run]!.count / entries);
    const value = Math.sqrt((square * of) / entries);
    return { value, error: square > 0 ? (value / 2) * width(deviations) : 0 };
  });
  const cosines = squares.map((a, i) =>
    squares.map((b, j): Figure => {
      const scale = Math.sqrt(a) * Math.sqrt(b);
      if (i === j || scale === 0) return { value: i === j && a > 0 ? 1 : Number.NaN, error: 0 };
      const [own, mine, theirs] = [dots(i, j), dots(i, i), dots(j, j)];
      const value = sum(own) / scale;
      const deviations = own.map((dot, run) => dot / scale - (value / 2) * (mine[run]! / a + theirs[run]! / b));
      return { value, error: width(deviations) };
    }),
  );
  const signs = runs.map((run) => run.models[models - 1]!.signs);
  const shared = sum(signs.map((part) => part.shared));
  const share = shared === 0 ? 0 : sum(signs.map((part) => part.conflicts)) / shared;
  const deviations = signs.map((part) => (shared === 0 ? 0 : (part.conflicts - share * part.shared) / shared));
  return { norms, cosines, conflicts: { value: share, error: width(deviations) } };
}

function changeOf({ dots }: Relations, model: number, models: number, { count }: Block): number {
  return Math.sqrt(dots[model * models - (model * (model - 1)) / 2]! / count);
}

function tensorFigures(
  { squares, min, max, zeros, nan, infinite }: ScanPart,
  block: Block,
  change: number | null,
): TensorFigures {
  const nonFinite = nan + infinite;
  const finite = block.count - nonFinite;
  return {
    rms: finite === 0 ? 0 : Math.sqrt(squares / finite),
    largest: finite === 0 ? 0 : Math.max(Math.abs(min), Math.abs(max)),
    ...{ zeros, nonFinite, entries: block.count, change },
  };
}
