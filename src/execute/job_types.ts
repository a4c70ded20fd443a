import type { Relations } from "../kernels/relations/definition.js";
import type { ScoreBracket } from "../kernels/scores/binding.js";
import type { Arguments, ScoresNeed, Settings } from "../methods/method.js";
import type { Moments } from "../numbers/sums.js";
import type { Bracket, Found, Standing } from "../statistics/threshold.js";
import type { Block } from "./blocks.js";
import type { SampledRuns } from "./sample_runs.js";

export type Quota = readonly (number | null)[] | null;

/** A block that is combined, with what differs between blocks of one tensor. */
export interface CombineBlock extends Block {
  /**
   * Per input, for an exact quota: how many entries equal to the threshold this block keeps, lowest index first;
   * `null`: all of them. Concerns the column named `threshold` of the method's arguments.
   */
  readonly quota: Quota;
}

export interface CombineArgs {
  readonly args: Arguments;
}

/** A combination under assumptions, proved or refuted by what is counted along with it. */
export interface AssumeArgs {
  /** The method's arguments should the majority of signs be positive, and should it not. */
  readonly positive: Arguments;
  readonly negative: Arguments;
  /** Per model of the group: bit pattern of a threshold to count around; `null` where nothing is to be proved. */
  readonly guesses: readonly number[] | null;
  /** Address of the i64 in which the threads add up positive minus negative columns so far. */
  readonly lead: number;
}

/** Per input: magnitudes above and at or above the guess, if there was one; and which majority was assumed. */
export interface Proof {
  readonly above: readonly number[];
  readonly atLeast: readonly number[];
  readonly positive: boolean;
}

/** What is known of a written block; also the journal's record. */
export interface WrittenBlock {
  /** XXH64 of the block's bytes. */
  readonly digest: string;
  readonly counters: Readonly<Record<string, number>>;
  /** NaN or infinite entries in the output and, where there are any, in each input (base last). */
  readonly nonFinite: number;
  readonly nonFiniteInputs: readonly number[] | null;
  /** Where something was assumed. */
  readonly proof?: Proof;
  /** Per input: its mask over the block. */
  readonly masks?: readonly WrittenMask[];
  /** XXH64 of the base's block as it is stored, where masks are written. */
  readonly baseDigest?: string;
  /** With the first block of a tensor that was solved as a matrix: what the method told. */
  readonly solved?: {
    readonly warnings: readonly string[];
    readonly figures: Readonly<Record<string, readonly number[]>>;
  };
}

/** A block of a mask; the numbers are those of `MaskSums`. */
export interface WrittenMask {
  /** XXH64 of the bits. */
  readonly digest: string;
  readonly kept: number;
  readonly change: number;
  readonly shared: number;
}

/** A combination that is only counted. */
export interface RehearseArgs {
  /** The arguments under some majority of signs: counters do not depend on it. */
  readonly args: Arguments;
  /** As in AssumeArgs. */
  readonly guesses: AssumeArgs["guesses"];
}

/** What a combination counts. */
export type Rehearsal = Pick<WrittenBlock, "counters"> & Pick<Proof, "above" | "atLeast">;

export interface SurveyRow {
  /** Bit patterns of magnitudes. */
  readonly high: number;
  readonly guess: number;
  readonly low: number;
  /** Address of the shared histogram's bins, and how many bits a bin drops. */
  readonly bins: number;
  readonly shift: number;
  /** Address of the words that note which values a bin met, or 0. */
  readonly seen: number;
}

export interface SurveyArgs {
  /** Per model of the group (not per input of a tensor). */
  readonly rows: readonly SurveyRow[];
}

export interface SurveyBlock extends Block {
  /** Address of a log of LOG_ENTRIES words for each input, or 0. */
  readonly log: number;
}

export interface SurveyPart {
  /** Per input of the block's tensor. */
  readonly atHigh: readonly number[];
  readonly above: readonly number[];
  readonly atLeast: readonly number[];
  /** How many magnitudes inside the bracket were met, all of them logged if there is a log and it has room. */
  readonly logged: readonly number[];
  /** Zeros that no entry is, met behind the block's own. */
  readonly padding: number;
}

export interface SampleArgs {
  /** Per model of the group: address of the first u32 of its samples. */
  readonly buffers: readonly number[];
}

/** Runs of entries whose magnitudes go to the sample buffers, one run behind the other. */
export interface SampleBlock extends SampledRuns {
  /** Per input: the place of the first run's first magnitude. */
  readonly slots: readonly number[];
}

/** A model's sample in kernel memory, and the rank wanted among `entries`. */
export interface SelectBlock extends Block {
  readonly address: number;
  readonly rank: number;
  readonly entries: number;
}

/** What a sample says of a rank: the answer where the sample is complete, else where to look, and how sure it is. */
export interface Selection {
  readonly found: Found | null;
  readonly bracket: Bracket;
  /** Of the bracket's guess. */
  readonly standing: Standing;
}

/** What is wanted of the method's scores. */
export interface ScoreArgs {
  readonly score: string;
  /** The score's numbers, and per row of a tensor the row of the group; tensors with the same share one. */
  readonly variants: readonly { readonly args: Arguments; readonly rows: readonly number[] }[];
  readonly range: boolean;
  readonly sum: ScoresNeed["sum"];
  /** Per row of the group and rank, where to count; `null`: nowhere. */
  readonly brackets: readonly (readonly (ScoreBracket | null)[])[] | null;
  /** Per row of the group: address of the first u32 of its sample; `null`: no sample is drawn. */
  readonly buffers: readonly number[] | null;
}

export interface ScoreBlock extends Block {
  /** Index into `variants`. */
  readonly variant: number;
  /** Where a sample is drawn: of these runs alone, and per row of the tensor the place of the first score in it. */
  readonly sampled: { readonly runs: readonly Block[]; readonly slots: readonly number[] } | null;
}

/** Per row of the tensor. */
export type ScorePart = readonly {
  readonly least: number;
  readonly most: number;
  readonly positive: number;
  readonly sum: number;
  /** Per rank. */
  readonly counts: readonly ({ readonly atHigh: number; readonly above: number; readonly atLeast: number } | null)[];
}[];

/** A row's sample in kernel memory, and the ranks wanted among `entries`. */
export interface SelectScoresBlock extends Block {
  readonly address: number;
  readonly ranks: readonly number[];
  readonly entries: number;
}

export interface SelectScoresArgs {
  /** Whether the sample is everything, so that each guess is the answer. */
  readonly complete: boolean;
}

export interface MomentsArgs {
  /** Per model; `null`: everything. */
  readonly trim: readonly { readonly centre: number; readonly threshold: number }[] | null;
}

/** Per bin of the upper 16 magnitude bits: how many entries, and the sum of their squared mantissas in two parts. */
export interface EnergyBins {
  readonly counts: Float64Array;
  readonly upper: Float64Array;
  readonly lower: Float64Array;
}

export interface OverlapArgs {
  /** Per model of the group. */
  readonly thresholds: readonly number[];
}

/** Per input of the block's tensor: active entries that another input shares, and those that none does. */
export interface OverlapPart {
  readonly shared: readonly number[];
  readonly unique: readonly number[];
}

export interface MixArgs {
  readonly settings: Settings;
}

/** Coefficients of columns that a merge among the inputs was settled with. */
export interface HeldColumns extends MixArgs {
  /** The bytes of the table that `mixColumns` fills. */
  readonly table: Uint8Array;
}

export interface ColumnsArgs extends MixArgs {
  /** Address of the coefficients of a tensor's columns; see `tableBytes`. */
  readonly table: number;
}

/** A stripe of a tensor's columns, all rows of it. */
export interface ColumnsBlock extends Block {
  readonly first: number;
  readonly columns: number;
}

export interface MatrixArgs {
  readonly settings: Settings;
}

export interface NormsBlock extends Block {
  /** Where the masks of the block's inputs go, one behind the other; `null`: nowhere. */
  readonly masks: number | null;
}

/** L1 norms of an input's changes in one block. */
export interface L1Norms {
  readonly before: number;
  /** Of what pruning leaves, unscaled where the scale follows from these norms. */
  readonly after: number;
}

/** A block's entries in figures; sums and extremes are of the finite ones, infinite extremes where there are none. */
export interface ScanPart {
  readonly sum: number;
  readonly squares: number;
  readonly min: number;
  readonly max: number;
  readonly zeros: number;
  readonly nan: number;
  readonly infinite: number;
}

export interface RelationsArgs {
  /** Per model: the magnitude from which on a change is kept; 0 keeps all. */
  readonly thresholds: readonly number[];
}

/** A block as it is stored. */
export interface StoredBlock {
  /** XXH64 of its bytes. */
  readonly digest: string;
  /** NaN or infinite entries; 0 for integers. */
  readonly nonFinite: number;
}

/** Limits of magnitudes; those of the tensor that a block is of. */
export interface ExceedBlock extends Block {
  readonly limits: readonly number[];
}

export interface PackBlock extends Block {
  readonly args: Arguments;
  /** How many of the tensor's stored entries come before the block's. */
  readonly begin: number;
}

/** What is known of a packed block. */
export interface PackedBlock {
  /** XXH64 of the block's stored entries. */
  readonly digest: string;
  /** XXH64 of the mask's bits. */
  readonly maskDigest: string;
  readonly kept: number;
  readonly nonFinite: number;
}

/** A block of which `kept` entries should have been stored. */
export interface StoredPack extends Block {
  readonly begin: number;
  readonly kept: number;
}

/** Every kind of work on a block: what it is given, what it gives back. Each adds up over blocks in its own way. */
export interface Jobs {
  combine: { block: CombineBlock; args: CombineArgs; part: WrittenBlock };
  magnitudes: { block: Block; args: null; part: number };
  exceed: { block: ExceedBlock; args: null; part: readonly number[] };
  pack: { block: PackBlock; args: null; part: PackedBlock };
  rereadPack: { block: StoredPack; args: null; part: string };
  rereadPacked: { block: Block; args: null; part: string };
  digestBase: { block: Block; args: null; part: string };
  mask: { block: CombineBlock; args: CombineArgs; part: WrittenBlock };
  assume: { block: CombineBlock; args: AssumeArgs; part: WrittenBlock };
  rehearse: { block: CombineBlock; args: RehearseArgs; part: Rehearsal };
  copy: { block: Block; args: null; part: WrittenBlock };
  gram: { block: Block; args: null; part: readonly number[] };
  lineNorms: { block: Block; args: null; part: readonly [sum: number, merged: number] };
  mixRows: { block: Block; args: MixArgs; part: WrittenBlock };
  mixColumns: { block: ColumnsBlock; args: ColumnsArgs; part: null };
  combineColumns: { block: Block; args: ColumnsArgs; part: WrittenBlock };
  /** Blocks are whole tensors; the part holds what became of each of the tensor's blocks. */
  solveMatrix: { block: Block; args: MatrixArgs; part: readonly WrittenBlock[] };
  reread: { block: Block; args: null; part: string };
  sample: { block: SampleBlock; args: SampleArgs; part: null };
  select: { block: SelectBlock; args: { readonly complete: boolean }; part: Selection };
  survey: { block: SurveyBlock; args: SurveyArgs; part: SurveyPart };
  score: { block: ScoreBlock; args: ScoreArgs; part: ScorePart };
  selectScores: { block: SelectScoresBlock; args: SelectScoresArgs; part: readonly Bracket[] };
  moments: { block: CombineBlock; args: MomentsArgs; part: readonly Moments[] };
  energyBins: { block: Block; args: null; part: readonly EnergyBins[] };
  patterns: { block: Block; args: { readonly bins: readonly number[] }; part: readonly Float64Array[] };
  overlap: { block: Block; args: OverlapArgs; part: OverlapPart };
  norms: { block: NormsBlock; args: null; part: readonly L1Norms[] };
  scan: { block: Block; args: null; part: ScanPart };
  relations: { block: Block; args: RelationsArgs; part: Relations };
  examine: { block: Block; args: null; part: StoredBlock };
}

export type JobName = keyof Jobs;
