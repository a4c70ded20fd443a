/**
 * The contract of a merge method. A method knows tensors' entries, parameters and statistics, and nothing else: no
 * file, no platform, no checkpoint. Documentation, `mergewright methods NAME`, the recipe schema and completion are
 * generated from its declaration.
 */

import type { Algebra, Matrix, Matrix64 } from "../algebra/algebra.js";

/** A declared parameter: type, default, range, meaning. `per` says where a recipe may set it. */
export type Parameter = NumberParameter | ChoiceParameter | FlagParameter | ReferenceParameter;

interface ParameterBase {
  /** One sentence for the manual. */
  readonly meaning: string;
  /**
   * `recipe`: one value for the whole merge. `tensor`: may differ between tensor patterns. `model`: may also differ
   * between models.
   */
  readonly per: "recipe" | "tensor" | "model";
  /** No statistic depends on it: what is known for one value holds for all, so that a sweep over it looks once. */
  readonly late?: true;
}

export interface NumberParameter extends ParameterBase {
  readonly type: "number";
  readonly default: number;
  /** Inclusive bounds; absent means any finite number. */
  readonly min?: number;
  readonly max?: number;
  readonly integer?: boolean;
}

export interface ChoiceParameter extends ParameterBase {
  readonly type: "choice";
  readonly default: string;
  readonly choices: Readonly<Record<string, string>>;
}

export interface FlagParameter extends ParameterBase {
  readonly type: "flag";
  readonly default: boolean;
}

/** A checkpoint named by a parameter, e.g. the oracle sign's. Its tensors become an extra input stream. */
export interface ReferenceParameter extends ParameterBase {
  readonly type: "checkpoint";
  readonly default: null;
}

export type ParameterValue = number | string | boolean | null;
export type Values = Readonly<Record<string, ParameterValue>>;

/** The parameter values that hold for one tensor. */
export interface Settings {
  readonly global: Values;
  /** One per model, in recipe order; contains the global values too. */
  readonly models: readonly Values[];
  /** One per model, of the partition that the tensor belongs to; absent where no statistics know it. */
  readonly importance?: readonly Importance[];
}

/** Of the partition of a model's change that a tensor belongs to, or of each row of the tensor. */
export interface Importance {
  /** What the partition does to the mean loss of the model's task: below zero where it helps. */
  readonly changes: readonly number[];
  /** Share of the partition's entries that is kept, as `densities` of the method says. */
  readonly densities: readonly number[];
}

/** What must be known before entries can be combined. The engine asks again until nothing more is needed. */
export type Need = ThresholdNeed | MomentsNeed | EnergyNeed | NormShareNeed | OverlapNeed | ScoresNeed;

/** Over which entries a statistic is taken: all merged entries of a model, or one tensor. */
export type Scope = "model" | "tensor";

/** The value of a rank among the magnitudes of each model's change, exactly. */
export interface ThresholdNeed {
  readonly statistic: "threshold";
  readonly scope: Scope;
  /** Per model: from the number of entries in scope to the rank wanted, 1 = the largest; 0: none, `null`: all. */
  readonly ranks: readonly ((entries: number) => number | null)[];
  /** `keep`: every entry equal to the threshold is kept; `first`: exactly `rank` are, lowest index first. */
  readonly ties: "keep" | "first";
}

/** Count, mean and unbiased standard deviation of each model's change. */
export interface MomentsNeed {
  readonly statistic: "moments";
  readonly scope: Scope;
}

/** The squared norm of each model's change, or of what survives a trim. */
export interface EnergyNeed {
  readonly statistic: "energy";
  readonly scope: Scope;
  readonly trim: readonly Trim[];
}

/**
 * The magnitude above which a share of each model's squared norm lies: entries are added from the largest down until
 * the share is reached, the crossing one included.
 */
export interface NormShareNeed {
  readonly statistic: "norm-share";
  readonly scope: Scope;
  readonly shares: readonly number[];
}

/** How many active entries each model shares with others and how many it has alone, exactly. */
export interface OverlapNeed {
  readonly statistic: "overlap";
  readonly scope: Scope;
  /** Per model, above 0: a change is active unless its magnitude is smaller (NaN is active). */
  readonly thresholds: readonly number[];
}

/**
 * What is to be known of one of the method's scores, row by row: see `Score`. A method may ask again, of the same score
 * or another, with what it knows by then.
 */
export interface ScoresNeed {
  readonly statistic: "scores";
  readonly scope: Scope;
  /** The name under which the answer is known. */
  readonly key: string;
  /** Which score. */
  readonly score: string;
  /**
   * Order statistics of every row: from how many scores there are, and how many of them are above zero, to the rank
   * wanted, 1 = the largest; 0 asks for nothing and gives infinity. −0 counts as 0, a NaN as smaller than every number.
   */
  readonly ranks: readonly ((scores: number, positive: number) => number)[];
  /** Whether the sum of the scores, or of their squares, is wanted; what is not finite is left out of it. */
  readonly sum: "none" | "values" | "squares";
  /** `false`, only where no ranks are: nobody looks at the range nor at how many scores are above zero. */
  readonly range?: false;
}

/** Which entries of a change survive: those with |change − centre| ≥ threshold (NaN always survives). */
export interface Trim {
  readonly centre: number;
  readonly threshold: number;
}

export interface ThresholdValue {
  /** Per model; 0 keeps everything. */
  readonly thresholds: readonly number[];
  /** Per model: entries that survive. */
  readonly kept: readonly number[];
  readonly entries: number;
}

/** Columns that elect a positive and a negative sign. */
export interface VotesValue {
  readonly positive: number;
  readonly negative: number;
}

export interface MomentsValue {
  readonly entries: number;
  readonly mean: readonly number[];
  /** Unbiased (n − 1); 0 for a single entry. */
  readonly deviation: readonly number[];
}

export interface EnergyValue {
  /** Per model: sum of squares. */
  readonly energy: readonly number[];
}

/** Arrays are per model. */
export interface OverlapValue {
  /** Active entries in which another model is active, too. */
  readonly shared: readonly number[];
  /** Active entries in which no other model is. */
  readonly unique: readonly number[];
}

/** Of one row of scores. */
export interface RowScores {
  readonly scores: number;
  /** Those above zero. */
  readonly positive: number;
  /** The smallest and the largest; infinity and −infinity where every score is NaN. */
  readonly least: number;
  readonly most: number;
  /** The scores of the ranks asked for. */
  readonly ranked: readonly number[];
  /** 0 where none was asked for. */
  readonly sum: number;
}

/** What is known of scores, per row. */
export interface ScoresValue {
  readonly per: ScoreRows;
  readonly rows: readonly RowScores[];
}

/** The statistics of one tensor (scope `tensor`) or of all (scope `model`); arrays are per model in recipe order. */
export interface Known {
  readonly threshold?: ThresholdValue;
  readonly votes?: VotesValue;
  readonly moments?: MomentsValue;
  readonly energy?: EnergyValue;
  readonly "norm-share"?: ThresholdValue;
  readonly overlap?: OverlapValue;
  /** By the key that the method gave. */
  readonly scores?: Readonly<Record<string, ScoresValue>>;
  readonly gram?: Gram;
  readonly collected?: Collected;
}

/** Of the sums that tiles have as `extra["statistics.0"]` …, one per model that has the tensor. */
export interface Collected {
  /** What each sum is divided by to be a mean. */
  readonly counts: readonly number[];
  /** Length (L2) of each model's means over all merged tensors that have any, tied copies left out. */
  readonly norms: readonly number[];
  /** The same over this tensor. */
  readonly tensorNorms: readonly number[];
}

/** Inner products of the vectors of one tensor, or of one row or column of it, in f64. */
export interface Gram {
  /** Number of vectors: the models' in recipe order, then the base's where it is a member. */
  readonly vectors: number;
  /** `none`: there is none. `origin`: changes from it are looked at. `member`: it is the last vector. */
  readonly base: "none" | "origin" | "member";
  /**
   * Of every pair i ≤ j, row by row: (0,0), (0,1), …, (1,1), … Entry positions at which some vector is not finite are
   * left out, so these are always finite.
   */
  readonly products: ArrayLike<number>;
}

/** Coefficients of a weighted sum: of the base's entries, and of each model's entries or changes. */
export interface Mixture {
  readonly base: number;
  readonly models: readonly number[];
}

/** The numbers a tile needs, named: the same for the TypeScript definition and for its kernel. */
export interface Arguments {
  readonly scalars: Readonly<Record<string, number>>;
  /** Per name one number per model. */
  readonly columns: Readonly<Record<string, readonly number[]>>;
  /** Further numbers, f32, at most three per pair of models. */
  readonly table?: readonly number[];
}

/** A run of entries of one tensor, all in f32. */
export interface Tile {
  readonly count: number;
  /** The base's entries; zeros for a method without a base. */
  readonly base: Float32Array;
  /** Per model: its entries, or its changes (entry − base, rounded to f32), as `inputs` of the method says. */
  readonly inputs: readonly Float32Array[];
  /** Extra streams by role, e.g. the oracle sign's change. */
  readonly extra: Readonly<Record<string, Float32Array>>;
  /** Per entry the measure of its row, for a method that measures rows. */
  readonly rows?: Float32Array;
  readonly out: Float32Array;
  /** Counts the method adds to, by name; see `counters`. */
  readonly counters: Record<string, number>;
}

/** Rows of scores of a tensor: one per model, one for all models together, or one per pair of models (i ≤ j). */
export type ScoreRows = "model" | "column" | "pair";

/** A run of entries whose scores are wanted. */
export interface ScoreTile extends Omit<Tile, "out" | "counters"> {
  /** Per row. Pairs lie in the order (0,0), (0,1), … (1,1), (1,2), … */
  readonly scores: readonly Float32Array[];
}

/** Numbers that a method makes of every entry, whose ranks, range and sums the engine finds. */
export interface Score {
  readonly per: ScoreRows;
  /** The largest number of ranks that a need asks of it. */
  readonly ranks: number;
  /** From settings and what is known so far to the numbers of `define`. */
  bind(settings: Settings, known: Known): Arguments;
  /** The definition, in f32 as `combine`. */
  define(tile: ScoreTile, args: Arguments): void;
  /** Name of the kernel that gives the same bits, or `null`. */
  kernel(args: Arguments): string | null;
  /**
   * Name of a kernel that adds the squares of the scores, which it does not write, to eight f64 per row by their place
   * modulo eight, for needs that ask for nothing else.
   */
  readonly squares?: string;
}

/**
 * A number for each row (a run along the last axis; a tensor of one axis is one row), made of the whole row before its
 * entries are scored or combined. For methods of one model.
 */
export interface RowMeasure {
  /** Sixteen f64 at most that travel from entry to entry and from step to step: what they begin with. */
  readonly state: readonly number[];
  /**
   * Walks over the row, one after the other; each is given the row in runs, in order, and changes the state. Runs can be
   * cut anywhere: what is added where must depend on the place in the row alone, of which the run's first has `at`.
   */
  readonly steps: readonly ((base: Float32Array, model: Float32Array, state: Float64Array, at: number) => void)[];
  /** Name of the kernels of the steps, which end in `_0`, `_1` …. */
  readonly kernel: string;
  /** The measure, an f32, of a row of so many entries. */
  readonly result: (state: Float64Array, length: number) => number;
}

/**
 * What the survivors are multiplied by. `none`: nothing. `inverse`: 1 / the probability (or share) with which an entry is
 * kept. `norm`: what gives the tensor its old L1 norm; nothing where the norm before or after is below 1e-7.
 */
export type Rescale = "none" | "inverse" | "norm";

/** Which entries of one model's change of one tensor survive; a finite entry that does not becomes +0. */
export type Cut = ChanceCut | BandCut | RankCut | RowsCut;

/** Each entry by itself with probability `density`. */
export interface ChanceCut {
  readonly kind: "chance";
  readonly density: number;
  readonly rescale: Rescale;
}

/** A run of ranks by magnitude; of equal magnitudes the entry with the lower index counts as the larger. */
export interface BandCut {
  readonly kind: "band";
  /** Over which entries the ranks run; `layer`: as in `Partitioning`. */
  readonly scope: Scope | "layer";
  readonly density: number;
  /** Share of largest entries dropped; less where the density asks for more. */
  readonly gamma: number;
  /** Fewest entries kept. */
  readonly least: number;
  readonly rescale: Rescale;
}

/** Each entry with a probability that rises evenly with the rank of its magnitude within its row. */
export interface RankCut {
  readonly kind: "rank";
  /** Probability of a row's smallest entry, and of its largest; a row of one entry takes the mean. */
  readonly lowest: number;
  readonly highest: number;
  readonly rescale: Rescale;
}

/** Each row, a run along all but the first axis or one entry of a vector, by numbers of its own. */
export interface RowsCut {
  readonly kind: "rows";
  /** Each entry by itself with a probability, or so many of the smallest of the row, at most all but one. */
  readonly drop: "chance" | "magnitude";
  /** The probability of being kept, or the share kept, of each row. */
  readonly densities: readonly number[];
  /** What the survivors of each row are multiplied by; f32. */
  readonly scales: readonly number[];
  readonly rescale: "none";
}

export interface Paper {
  readonly title: string;
  readonly authors: string;
  /** arXiv identifier or URL. */
  readonly where: string;
}

export interface Dialect {
  readonly meaning: string;
  readonly values: Values;
}

export interface MethodDeclaration {
  readonly name: string;
  /** One line. */
  readonly title: string;
  readonly paper: Paper | null;
  /** The formula and every rule worth knowing, in plain text; the manual page's body. */
  readonly description: string;
  /**
   * `member`: optional, and where given it is merged like a model: it counts as one, and `inputs: weights` includes it.
   */
  readonly base: "required" | "optional" | "unused" | "member";
  /** Least and largest number of models; a base that is a member is one of them. */
  readonly models: { readonly min: number; readonly max?: number };
  /**
   * By name. A number called `lambda` is the scale of the merged change and nothing else: theta_0 + lambda·change. A
   * recipe's `lines` multiplies it layer by layer.
   */
  readonly parameters: Readonly<Record<string, Parameter>>;
  /** Named sets of parameter values; the first is the default dialect. */
  readonly dialects: Readonly<Record<string, Dialect>>;
  /** `changes`: task vectors (entry − base; without a base, entries as they are). `weights`: entries as they are. */
  readonly inputs: "changes" | "weights";
  /** Names of the counts it makes, with their meaning for the report. */
  readonly counters: Readonly<Record<string, string>>;
  /** What it must know of each model's data, from a file beside the model; absent: nothing. */
  readonly statistics?: StatisticsWish;
  /** Of a method of one's own: the address of its module, from which threads load it, and XXH64 of that file. */
  readonly origin?: { readonly module: string; readonly hash: string };
  /**
   * One sentence on what mergekit 0.1.5 computes differently for these values and this tensor, or `null` where it
   * computes the same; a plan shows each distinct sentence once.
   */
  quirk?(settings: Settings, tensor: { readonly name: string; readonly shape: readonly number[] }): string | null;
  /** For a tile method whose result is an artifact: a vector that all tasks share, and a mask over it per task. */
  readonly masking?: Masking;
  /** For a tile method whose result is an artifact of sparse changes, one per model. */
  readonly packing?: Packing;
  /** For a tile method whose result is theta_0 plus one number per model times a part of its change. */
  readonly weighing?: Weighing;
  /** For a tile method whose result is a shared model and what is added to it per task. */
  readonly experts?: Experts;
}

/** Statistics that `mergewright collect` makes of a model and its data (docs/statistics.md). */
export interface StatisticsWish {
  /** The kinds of file that will do for these settings, best first. */
  kinds(settings: Values): readonly StatisticsKind[];
  /** Of importances: what must have one of its own, and whether they must say if a partition helps or harms. */
  importance?(settings: Values): { readonly per: Partitioning; readonly isSigned: boolean };
}

/**
 * `fisher`: sums of squared gradients, a tensor for each of the model's. `gram`: per linear layer the sum of x x^T over
 * its inputs. `kfac`: the same and the sum of g g^T over the gradients of its outputs. `block`: per vector of an (IA)3 adapter
 * the sum of g g^T over the gradients by it. `importance`: what partitions of a model's change do to the loss.
 */
export type StatisticsKind = "fisher" | "gram" | "kfac" | "block" | "importance";

/**
 * What of a change is looked at together: all of it, a layer (outside the layers the embeddings, or one module), a tensor,
 * or a run along all but a tensor's first axis (of a vector one entry).
 */
export type Partitioning = "model" | "layer" | "tensor" | "row";

/** What makes a tile of the result out of tiles of the inputs. */
export interface Combination {
  /** The definition. f32 arithmetic: every operation is rounded with Math.fround. */
  combine(tile: Tile, args: Arguments): void;
  /** Name of the kernel that computes `combine` for these arguments bit for bit, or `null`. */
  kernel(args: Arguments): string | null;
}

/** A method that looks at one entry position at a time: out[p] from base[p], inputs[·][p] and a few numbers. */
export interface TileMethod extends MethodDeclaration, Combination {
  readonly grain: "tile";
  /** What is measured of each row, for these arguments of a score or of `combine`. */
  rows?(args: Arguments): RowMeasure;
  /** The scores that `needs` asks about, by name. */
  readonly scores?: Readonly<Record<string, Score>>;
  /** What must be known next, or `null`. Called again with each answer added to `known`. */
  needs(settings: Settings, known: Known): Need | null;
  /**
   * By what the unscaled merged change (lambda 1) exceeds the plain sum of the models' changes, where it is a multiple of
   * that sum for every input; else `null`. LiNeS derives its alpha from it.
   */
  sumMultiple?(settings: Settings): number | null;
  /** Errors in the values that no single parameter's range can express; called at planning for every tensor. */
  check?(settings: Settings): string | null;
  /** From settings and statistics to the numbers of `combine`. */
  bind(settings: Settings, known: Known): Arguments;
  /**
   * Over which entries `known.votes` is counted, or `null` where it does not matter. Where it does, it decides, by `positive > negative`, nothing but columns that the method counts
   * as `cancelled`, and the method counts `positive` and `negative` columns too. The engine combines under an assumed
   * majority and mends the blocks in which the assumption proves wrong and matters, so no pass is spent on votes.
   */
  majority?(settings: Settings): Scope | null;
  /**
   * Name of a kernel that does what `kernel` does with what masks keep of the changes, from entries as they are stored, or
   * `null`: there is none for these arguments. It is used for the formats, read and written alike, and numbers of models that
   * it exists for; in columns 1 and 2 it takes the address of a row's mask and what is kept is multiplied by.
   */
  maskedKernel?(args: Arguments): string | null;
  /**
   * What is cut from each model's change, one per model, before statistics and `combine` see it; absent: nothing. A
   * recipe may prune for a method that does not.
   */
  prune?(settings: Settings, shape: readonly number[]): readonly (Cut | null)[];
  /** With importances: the share of entries that is kept of each partition of one model's change; made at planning. */
  densities?(
    values: Values,
    partitions: readonly { readonly entries: number; readonly change: number }[],
  ): readonly number[];
}

/**
 * The other half of a method whose result is no checkpoint (docs/artifacts.md). `combine` then gives a shared change
 * instead of weights; it is stored in the output's format, and the mask of each model, a task, is made from what is
 * stored, so that both always agree. The task's weights are theta_0 + scale * mask * shared.
 */
export interface Masking {
  /** The definition: whether the mask of model `row` keeps an entry. @param change of that model, and @param shared as stored: f32. */
  readonly keeps: (change: number, shared: number, row: number, args: Arguments) => boolean;
  /** Name of the kernel that computes `keeps` and the sums for whole tiles; `null`: `keeps` itself runs. */
  readonly kernel: (args: Arguments) => string | null;
  /**
   * A task's scale from what was summed over its tensors (tied copies left out), in the order of the base's bytes.
   * Never called for a task whose masks keep nothing.
   */
  readonly scale: (settings: Settings, tensors: readonly MaskSums[]) => number;
}

/**
 * The other half of a method that prunes each model's change by itself and keeps what is left as an artifact
 * (docs/artifacts.md). `combine` sees one model at a time and gives its change; of the tensors that are pruned only the
 * entries above `limit` are stored, all other tensors whole. Pruned are the matrices inside the network's layers.
 */
export interface Packing {
  /** An entry is an outlier where its magnitude exceeds so many times the mean magnitude of its layer, of its tensor. */
  readonly outliers: (settings: Settings) => { readonly layer: number; readonly tensor: number };
  /** Per partition and pruned tensor of a model the share of entries kept, in [0, 1). */
  readonly densities: (settings: Settings, tensors: readonly OutlierCounts[]) => readonly (readonly number[])[];
  /** The rank, 1 = the largest, of the largest magnitude that is pruned; 0: all are. */
  readonly rank: (entries: number, density: number) => number;
  /** @param thresholds per partition the largest magnitude that is pruned; `null` for a tensor that stays whole. */
  readonly bind: (settings: Settings, thresholds: readonly number[] | null) => Arguments;
  /** The largest magnitude that is not stored; NaN is always stored. `null`: nothing at all is. */
  readonly limit: (args: Arguments) => number | null;
  /** Share of a pruned tensor's entries that will be kept, before anything of it is known. */
  readonly expected: (settings: Settings) => number;
}

/**
 * The other half of a method whose result is an artifact of a shared model and experts (docs/routed.md): what is added to
 * it for inputs of a task, tensor by tensor.
 */
export interface Experts {
  /** What a model's changes are taken from and added to: the merge, which is then part of the artifact, or the base. */
  readonly over: "merge" | "base";
  readonly form: (settings: Settings, tensor: ExpertTensor) => ExpertForm;
  /** How an input finds its experts: by weights that a router gives it, or by the gates of every layer. */
  readonly routing: (settings: Settings) => { readonly by: "inputs" } | { readonly by: "tokens"; readonly top: number };
}

export interface ExpertTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** A matrix inside the network's layers, the bias of one, or neither. */
  readonly layerPart: "matrix" | "bias" | null;
}

/**
 * How a change is kept: not at all; whole; as the product of its first singular triples (`energy`: as few as have this
 * share of the sum of squares); its `kept` largest entries; or entries at random, divided by the probability. `gate`: right
 * singular vectors that are kept besides.
 */
export type ExpertForm =
  | { readonly kind: "none" }
  | { readonly kind: "whole"; readonly gate?: number }
  | { readonly kind: "factors"; readonly rank: number | { readonly energy: number }; readonly gate: number }
  | { readonly kind: "largest"; readonly kept: number }
  | { readonly kind: "chance"; readonly density: number };

/** Outliers among the changes of one pruned tensor. */
export interface OutlierCounts {
  readonly entries: number;
  /** Equal for tensors of one layer. */
  readonly layer: string;
  /** Magnitudes above the layer's limit. */
  readonly aboveLayer: number;
  /** Magnitudes above the tensor's own. */
  readonly above: number;
}

/** What a mask keeps of one tensor. */
export interface MaskSums {
  readonly entries: number;
  /** Entries that the mask keeps. */
  readonly kept: number;
  /** Sum of the magnitudes of the model's change. */
  readonly change: number;
  /** Sum of the magnitudes of the shared change, as stored, under the mask. */
  readonly shared: number;
}

/**
 * What makes a method's coefficients learnable, and readable from a table of one per tensor and model: the result is
 * theta_0 + c_1 x_1 + … + c_n x_n, summed in recipe order.
 */
export interface Weighing {
  /** The parameter, a number per model, that is c_i. */
  readonly coefficient: string;
  /** Values that other parameters must have for this to be the result. */
  readonly fixed: Values;
  /** c_i as a model's values have it without a table: where learning begins. */
  readonly start: (values: Values) => number;
  /**
   * The definition of x_1 … x_n from changes; counts columns as `combine` does.
   * @param parts one per model, of `count` entries.
   */
  readonly parts: (
    tile: Pick<Tile, "count" | "inputs" | "counters">,
    args: Arguments,
    parts: readonly Float32Array[],
  ) => void;
}

/**
 * A method whose result is a weighted sum of its inputs, with weights that follow from the inputs' inner products:
 * out = base · mixture.base + Σ input_i · mixture.models[i]. The engine makes the inner products and the sum.
 */
export interface MixtureMethod extends MethodDeclaration {
  readonly grain: "mixture";
  /**
   * What is one vector: a tensor's entries, each run along the last axis (`row`), or each run along the first axis
   * (`column`). A tensor of one axis is one vector in every case.
   */
  vectors(settings: Settings): Vectors;
  /** Errors in the values that no single parameter's range can express; called at planning for every tensor. */
  check?(settings: Settings): string | null;
  /**
   * The coefficients, in f64; the engine rounds them to f32. Called once per vector. `settings.models` are the models
   * that have the tensor.
   * @returns a sentence where these vectors have no mixture, such as directions that cancel.
   */
  mix(gram: Gram, settings: Settings): Mixture | string;
}

export type Vectors = "tensor" | "row" | "column";

/**
 * A method that is given whole matrices: every model's copy of a tensor, its base's, and what statistics files know of
 * each model's data there, with dense linear algebra. Tensors that it does not take are combined entry by entry.
 */
export interface MatrixMethod extends MethodDeclaration {
  readonly grain: "matrix";
  /** Whether it makes this tensor. With statistics only tensors that they know are asked about. */
  takes(settings: Settings, tensor: { readonly name: string; readonly shape: readonly number[] }): boolean;
  /** How all other tensors are made; inputs are entries or changes as `inputs` says. */
  readonly otherwise: Combination & { bind(settings: Settings): Arguments };
  /** What the last number of a figure says; of those that a report should show at their worst, which is the largest. */
  readonly figures?: Readonly<Record<string, string>>;
  /** Errors in the values that no single parameter's range can express; called at planning for every tensor. */
  check?(settings: Settings): string | null;
  /** The whole result for one tensor. Called once per tensor, on any thread; a function of its arguments alone. */
  solve(task: MatrixTask, settings: Settings, algebra: Algebra): Promise<MatrixResult>;
}

/** One tensor, seen as a matrix with as many rows as its first axis has. What is asked for is read anew each time. */
export interface MatrixTask {
  readonly name: string;
  readonly shape: readonly number[];
  /** Models that have the tensor; `settings.models` are theirs. */
  readonly models: number;
  /** `true` where rows are a linear layer's inputs and columns its outputs, as GPT-2 stores them; known by statistics. */
  readonly transposed: boolean;
  /** The base's entries; `null` without a base. */
  base(): Promise<Matrix | null>;
  /** A model's entries, or its changes (entry − base, rounded to f32), as `inputs` of the method says. */
  model(index: number): Promise<Matrix>;
  /** A sum over a model's data, and how many rows or examples it is over. `null`: its file has none for this tensor. */
  statistic(index: number, role: string): Promise<{ readonly sum: Matrix64; readonly count: number } | null>;
}

export interface MatrixResult {
  /** The merged entries, in the tensor's own layout. */
  readonly merged: Matrix;
  /** What a person should know, one sentence each; the tensor's name is put before it. */
  readonly warnings?: readonly string[];
  /** Numbers for the report, by name: residuals, condition numbers, iterations. */
  readonly figures?: Readonly<Record<string, readonly number[]>>;
}

export type Method = TileMethod | MixtureMethod | MatrixMethod;
