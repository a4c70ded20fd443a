/** What a model is made of, from its headers and configs; with figures of its entries on request. */
import { isStatistics, readStatistics } from "../collected/statistics.js";
import type { StatisticsInfo } from "../collected/statistics.js";
import { MergewrightError } from "../errors.js";
import type { ScanPart } from "../execute/job_types.js";
import { layerOf, roleOf, tiedGroups } from "../models/families.js";
import type { TensorRole, TiedGroup } from "../models/families.js";
import type { Checkpoint, StoredTensor } from "../models/model.js";
import { entriesOf, isFloat } from "../numbers/dtypes.js";
import type { Dtype } from "../numbers/dtypes.js";
import { CompensatedSum, sumOf } from "../numbers/sums.js";
import type { AnalysisOptions, ReadingPlatform } from "./platform.js";
import { metered, readingSetup, runOver, storedTensors } from "./reading.js";

export interface InspectOptions extends AnalysisOptions {
  /** Also read every floating-point tensor for its figures. Default false: headers only. */
  readonly norms?: boolean;
}

export interface Inspection {
  readonly label: string;
  readonly name: string;
  /** Canonical location; "" where there is none. */
  readonly location: string;
  /** In the order of the bytes. */
  readonly tensors: readonly InspectedTensor[];
  readonly totals: Totals;
  /** Tensors of one format, the format with the most bytes first. */
  readonly dtypes: readonly (Totals & { readonly dtype: Dtype })[];
  readonly shards: readonly InspectedShard[];
  /** Different layer indices. */
  readonly layers: number;
  /** Tensors that the network shares, by its config and their names. */
  readonly tied: readonly TiedGroup[];
  /** What a statistics file says of itself; `null` for a model. */
  readonly statistics: StatisticsInfo | null;
  /** The telling part of config.json; `null` where there is none. */
  readonly config: Readonly<Record<string, unknown>> | null;
  readonly sideFiles: readonly { readonly name: string; readonly bytes: number }[];
  readonly notes: readonly string[];
  /** L2 norm over all finite entries of floating-point tensors; `null` without norms. */
  readonly norm: number | null;
}

export interface Totals {
  readonly tensors: number;
  readonly entries: number;
  readonly bytes: number;
}

export interface InspectedShard {
  readonly name: string;
  readonly bytes: number;
  readonly tensors: number;
  /** The `__metadata__` of its header. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface InspectedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly entries: number;
  readonly bytes: number;
  /** Name of its weight file. */
  readonly shard: string;
  /** Index of its layer; `null` outside the layers. */
  readonly layer: number | null;
  readonly role: TensorRole;
  /** `null` for integers and booleans, and without norms. */
  readonly figures: Figures | null;
}

/** Of entries as f32 (F64 is rounded). Norm, mean, smallest and largest are of the finite entries. */
export interface Figures {
  /** L2. */
  readonly norm: number;
  /** NaN where no entry is finite. */
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  readonly zeros: number;
  readonly nan: number;
  readonly infinite: number;
}

/** The keys of config.json that say what a network is. */
const CONFIG_KEYS: readonly string[] = [
  "model_type",
  "architectures",
  "hidden_size",
  "d_model",
  "n_embd",
  "intermediate_size",
  "d_ff",
  "num_hidden_layers",
  "n_layer",
  "num_layers",
  "num_attention_heads",
  "n_head",
  "num_key_value_heads",
  "head_dim",
  "num_experts",
  "num_local_experts",
  "vocab_size",
  "max_position_embeddings",
  "image_size",
  "patch_size",
  "num_labels",
  "tie_word_embeddings",
  "dtype",
  "torch_dtype",
  "quantization_config",
  "transformers_version",
];

/** @param label a folder, a file or an address, as the platform opens models. */
export async function inspectModel(
  label: string,
  platform: ReadingPlatform,
  options: InspectOptions,
): Promise<Inspection> {
  const checkpoint = await platform.openModel(label);
  try {
    const stored = storedTensors(checkpoint.shards);
    const scans = options.norms === true ? await scanTensors(checkpoint, stored, platform, options) : null;
    return describe(checkpoint, stored, scans);
  } finally {
    await checkpoint.close();
  }
}

/** Per tensor its parts in block order; `null` for what is not floating point. */
async function scanTensors(
  { shards }: Checkpoint,
  stored: readonly StoredTensor[],
  { createCrew }: ReadingPlatform,
  { threads, progress }: InspectOptions,
): Promise<(readonly ScanPart[] | null)[]> {
  const floats = [...stored.keys()].filter((index) => isFloat(stored[index]!.dtype));
  const setup = readingSetup(shards, stored);
  const crew = await createCrew(setup, threads, 0);
  try {
    const watched = metered(crew, setup, { tensors: floats, passes: 1, phase: "statistics" }, progress);
    const parts = await runOver(watched, setup, floats, "scan", null);
    const scans: (readonly ScanPart[] | null)[] = stored.map(() => null);
    for (const [at, index] of floats.entries()) scans[index] = parts[at]!;
    return scans;
  } finally {
    await crew.close();
  }
}

function describe(
  checkpoint: Checkpoint,
  stored: readonly StoredTensor[],
  scans: readonly (readonly ScanPart[] | null)[] | null,
): Inspection {
  const { label, name, location, shards, config, sideFiles, notes } = checkpoint;
  const { statistics, defect } = statisticsOf(checkpoint);
  const tensors = stored.map((tensor, index): InspectedTensor => {
    const parts = scans?.[index] ?? null;
    return {
      name: tensor.name,
      dtype: tensor.dtype,
      shape: tensor.shape,
      entries: entriesOf(tensor.shape),
      bytes: tensor.length,
      shard: shards[tensor.shard]!.name,
      layer: layerOf(tensor.name),
      role: roleOf(tensor.name),
      figures: parts === null ? null : figuresOf(parts, entriesOf(tensor.shape)),
    };
  });
  return {
    label,
    name,
    location,
    tensors,
    totals: totalsOf(tensors),
    dtypes: [...new Set(tensors.map(({ dtype }) => dtype))]
      .map((dtype) => ({ dtype, ...totalsOf(tensors.filter((tensor) => tensor.dtype === dtype)) }))
      .sort((a, b) => b.bytes - a.bytes),
    shards: shards.map(({ name, header }) => {
      return { name, bytes: header.fileSize, tensors: header.tensors.length, metadata: header.metadata };
    }),
    layers: new Set(tensors.flatMap(({ layer }) => (layer === null ? [] : [layer]))).size,
    tied: tiedGroups(config, checkpoint.tensors.keys()),
    statistics,
    config: config === null ? null : summaryOf(config),
    sideFiles: sideFiles.map(({ name, size }) => ({ name, bytes: size })),
    notes: [...notes, ...defect],
    norm: scans === null ? null : Math.sqrt(sumOf(scans.flatMap((parts) => parts ?? []).map(({ squares }) => squares))),
  };
}

/** What a file of collected statistics says of itself. One that cannot be used is still listed, with the reason as a note. */
function statisticsOf(checkpoint: Checkpoint): { statistics: StatisticsInfo | null; defect: string[] } {
  if (!isStatistics(checkpoint)) return { statistics: null, defect: [] };
  try {
    return { statistics: readStatistics(checkpoint).info, defect: [] };
  } catch (error) {
    if (!(error instanceof MergewrightError)) throw error;
    return { statistics: null, defect: [error.message.split("\n", 1)[0]!] };
  }
}

function totalsOf(tensors: readonly InspectedTensor[]): Totals {
  return {
    tensors: tensors.length,
    entries: tensors.reduce((sum, { entries }) => sum + entries, 0),
    bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function summaryOf(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(CONFIG_KEYS.filter((key) => Object.hasOwn(config, key)).map((key) => [key, config[key]]));
}

function figuresOf(parts: readonly ScanPart[], entries: number): Figures {
  const sum = new CompensatedSum();
  const squares = new CompensatedSum();
  let [zeros, nan, infinite] = [0, 0, 0];
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const part of parts) {
    sum.add(part.sum);
    squares.add(part.squares);
    min = Math.min(min, part.min);
    max = Math.max(max, part.max);
    zeros += part.zeros;
    nan += part.nan;
    infinite += part.infinite;
  }
  const finite = entries - nan - infinite;
  const [least, most] = finite === 0 ? [Number.NaN, Number.NaN] : [min, max];
  return { norm: Math.sqrt(squares.value), mean: sum.value / finite, min: least, max: most, zeros, nan, infinite };
}
