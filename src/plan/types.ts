import type { Dtype, FloatDtype } from "../numbers/dtypes.js";
import type { SourceAddress, SourceStamp } from "../sources/source.js";
import type { Settings } from "../methods/method.js";
import type { Collected } from "../methods/method.js";
import type { Statistics } from "../collected/statistics.js";
import type { Checkpoint } from "../models/model.js";
import type { Cut, ExpertForm } from "../methods/method.js";
import type { Recipe } from "../recipe/recipe.js";
import type { CoefficientTable } from "./coefficients.js";

/** The checkpoints that a recipe names, opened. */
export interface OpenInputs {
  readonly base: Checkpoint | null;
  /** In recipe order. */
  readonly models: readonly Checkpoint[];
  /** By role: checkpoints named by parameters. */
  readonly extra: Readonly<Record<string, Checkpoint>>;
  /** The merges among the inputs and among the inputs of those, each once and after those that it reads. */
  readonly merges: readonly OpenMerge[];
  /** The recipe's table of coefficients, read. */
  readonly coefficients?: CoefficientTable | null;
  /** Per model its statistics file, where the method needs them. */
  readonly statistics?: readonly Statistics[];
  /** What was found out about them together, worth telling. */
  readonly notes?: readonly string[];
}

/** A merge whose result is an input: opened and planned, never written. */
export interface OpenMerge {
  /** Equal for equal recipes. */
  readonly key: string;
  readonly recipe: Recipe;
  readonly inputs: OpenInputs;
  readonly plan: Plan;
}

/** What will happen, complete and inspectable, made from the recipe and the headers alone. Plain data. */
export interface Plan {
  readonly method: string;
  /** XXH64 of the module of a method of one's own, or `null`. */
  readonly methodHash: string | null;
  /** Per checkpoint taking part: base first (where there is one), then models, then extra streams. */
  readonly inputs: readonly PlannedInput[];
  /** Every weight file of every input; tensors point into this list. */
  readonly sources: readonly PlannedSource[];
  /** Every tensor of the output, in the order of its bytes. */
  readonly tensors: readonly PlannedTensor[];
  /** Tensors of inputs that do not reach the output, with the reason. */
  readonly skipped: readonly SkippedTensor[];
  readonly files: readonly PlannedFile[];
  /** Small files: where each comes from, or its text. */
  readonly sideFiles: readonly PlannedSideFile[];
  /** Merges that are inputs, or inputs of those; each once and after those that it reads. */
  readonly merges: readonly PlannedMerge[];
  readonly warnings: readonly string[];
  readonly estimate: Estimate;
  /** Of the method's scores: the most rows of any tensor, and the most ranks asked of a row. */
  readonly scores: { readonly rows: number; readonly ranks: number };
  /** Whether the method measures rows. */
  readonly measured: boolean;
  /** Of a method that makes experts: the tensors that they are of. */
  readonly experts?: readonly PlannedExpert[];
  readonly seed: number;
}

/** A tensor whose change is kept for each model that has it. */
export interface PlannedExpert extends Pick<PlannedTensor, "name" | "shape" | "entries" | "dtype" | "base" | "inputs"> {
  readonly settings: Settings;
  readonly form: ExpertForm;
}

/** A merge that is read tile by tile and never written. */
export interface PlannedMerge {
  /** As in the addresses of the sources that it stands behind. */
  readonly key: string;
  readonly dialect: string;
  /** Canonical YAML. */
  readonly recipe: string;
  readonly plan: Plan;
}

/** A small file of the output: copied from an input, or written with this text. */
export type PlannedSideFile =
  | { readonly name: string; readonly input: number; readonly file: string }
  | { readonly name: string; readonly text: string };

export interface PlannedInput {
  readonly role: "base" | "model" | "extra" | "statistics";
  readonly name: string;
  readonly label: string;
  readonly location: string;
}

export interface PlannedSource {
  /** Index into `inputs`. */
  readonly input: number;
  readonly file: string;
  readonly address: SourceAddress | null;
  readonly stamp: SourceStamp;
  readonly headerHash: string;
}

/** Where an input's copy of a tensor lies. */
export interface Stream {
  /** Index into `Plan.sources`. */
  readonly source: number;
  /** First byte in the file. */
  readonly offset: number;
  readonly dtype: Dtype;
  /** Format to which entries are rounded before anything else is done with them; absent: taken as stored. */
  readonly round?: FloatDtype;
}

/** What files know of a tensor, by role and per element of `inputs`; `null`: that file has none of the role. */
export interface PlannedStatistics {
  /** The tensor is stored `[inputs, outputs]`. */
  readonly transposed: boolean;
  readonly roles: Readonly<Record<string, readonly (PlannedStatistic | null)[]>>;
}

/** A sum in a statistics file, F32 or F64, and over how many rows or examples it runs. */
export interface PlannedStatistic {
  readonly stream: Stream;
  readonly shape: readonly number[];
  readonly count: number;
}

export interface PlannedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly entries: number;
  /** Of the output. */
  readonly dtype: Dtype;
  /** `mask`, `starts`: written along with the tensor that they are over. `expert`: a part of what a task adds. */
  readonly action: "merge" | "copy" | "mask" | "starts" | "expert";
  /** Why it is copied, or what is special about its merge; "" where nothing is. */
  readonly reason: string;
  /** The base's copy, for a merge with a base. */
  readonly base: Stream | null;
  /** For a merge: one per model that has the tensor. For a copy: the stream copied; model −1 is the base. */
  readonly inputs: readonly { readonly model: number; readonly stream: Stream }[];
  /** Extra streams by role. */
  readonly extra: Readonly<Record<string, Stream>>;
  /** For a merge of whole matrices with statistics; absent for a tensor that they do not know. */
  readonly statistics?: PlannedStatistics;
  /** Of statistics that are streams among `extra`, as `statistics.0` …: what is known of them. */
  readonly collected?: Collected;
  /** For a merge: parameter values; `models` has one entry per element of `inputs`. */
  readonly settings: Settings | null;
  /** Per element of `inputs` what is cut from its change before the method sees it, or `null`: nothing anywhere. */
  readonly prune: readonly (Cut | null)[] | null;
  /** Name of the tensor this one is tied to; such a tensor is merged like it and left out of statistics. */
  readonly tiedTo: string | null;
  /** For a mask: the index of the tensor that it is over, and which of that tensor's inputs it is of. */
  readonly mask?: { readonly over: number; readonly input: number };
  /** For the starts of a packed vector's blocks: the index of the vector. */
  readonly starts?: { readonly over: number };
  /** For a vector that holds nothing but the entries under its mask: the tensor that it is of, and its layer. */
  readonly packed?: { readonly shape: readonly number[]; readonly entries: number; readonly layer: string };
  /** Index into `Plan.files`. */
  readonly file: number;
  /** First byte in the output file. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

export interface SkippedTensor {
  readonly model: string;
  readonly name: string;
  readonly reason: string;
}

/** A planned tensor before it has a place in a file. */
export type Unplaced = Omit<PlannedTensor, "file" | "offset" | "length">;

export interface Accounted {
  /** The merged backbone, in the order of the reference checkpoint's bytes. */
  readonly backbone: readonly Unplaced[];
  /** With `heads: separate`: per model, its own copies of the excluded tensors. */
  readonly heads: readonly { readonly model: number; readonly tensors: readonly Unplaced[] }[];
  readonly skipped: readonly SkippedTensor[];
  readonly warnings: readonly string[];
}

export interface PlannedFile {
  /** Relative to the output folder, `/` between parts. */
  readonly name: string;
  readonly size: number;
  /** The 8 length bytes and the JSON header, ready to be written at offset 0. */
  readonly header: Uint8Array;
}

export interface Estimate {
  readonly outputBytes: number;
  /** Bytes read from all inputs, statistics passes included. */
  readonly readBytes: number;
  /** Tied copies are counted once. */
  readonly mergedEntries: number;
  /** Passes over the inputs. */
  readonly passes: number;
}
