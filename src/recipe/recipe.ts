import type { FloatDtype } from "../numbers/dtypes.js";
import type { Method, ParameterValue } from "../methods/method.js";
import type { Where } from "../errors.js";
import type { Pruner } from "../pruners/pruner.js";

/** What a person wants, complete: defaults filled in, dialect expanded, names resolved to a method. */
export interface Recipe {
  readonly method: Method;
  /** Name of the dialect whose values were taken. */
  readonly dialect: string;
  readonly base: string | null;
  /** Every checkpoint taking part but the base, each once. */
  readonly models: readonly RecipeModel[];
  /** Which tensors of which layers make the result; `null`: every tensor from those of its name. */
  readonly layout: Layout | null;
  /** Global values by parameter name; every parameter of the method (and of the pre-steps) is present. */
  readonly parameters: Readonly<Record<string, Setting>>;
  /** Pruning of every change before a task-vector method, or `null`. */
  readonly prune: PruneSettings | null;
  /** A table of learnt coefficients, one per tensor and model, that takes the place of a parameter; or `null`. */
  readonly coefficients: string | null;
  /** LiNeS after a method with a lambda, or `null`. */
  readonly lines: LinesSettings | null;
  readonly exclude: readonly string[];
  readonly heads: Heads;
  readonly missing: "error" | "skip";
  readonly input: InputSettings;
  readonly output: OutputSettings;
  readonly seed: number;
  readonly compat: Compat;
  /** Vocabulary of the result, or `null`: the donor's tokenizer files are copied and no row is moved. */
  readonly tokenizer: TokenizerWish | null;
  /** Chat template of the result: `auto`, a built-in's name or the template itself; `null`: the tokenizer's own. */
  readonly chatTemplate: string | null;
  /**
   * Merges whose results are inputs and are never written, by label: `base`, a model or a parameter that names a
   * checkpoint holds the label in place of a path. Equal merges have one label.
   */
  readonly merges: Readonly<Record<string, Recipe>>;
  /** The text of a mergekit recipe, which goes into its result as mergekit_config.yml; `null` for any other recipe. */
  readonly mergekit: string | null;
  /** Facts worth telling that are no errors, e.g. a base that the method does not use. One sentence each. */
  readonly notes: readonly string[];
  /**
   * Where things were written, for messages of later stages: by key path, e.g. `models.1.model`. A model's parameter
   * is `models.1.parameters.weight` however it was spelt, a pattern `parameters.density.patterns.0`, the whole recipe
   * "". Defaults have no entry; `whereOf` (pattern.ts) falls back to the nearest enclosing key.
   */
  readonly positions: Readonly<Record<string, Where>>;
}

export interface RecipeModel {
  /** Path or address as written, or the label of a merge in `Recipe.merges`. */
  readonly model: string;
  /** A statistics file of this model, for methods that need one. */
  readonly statistics?: string;
  /** Short unique name: the last path part, with `-2`, `-3` … where it repeats. */
  readonly name: string;
  /** Per-model values that override the global ones. */
  readonly parameters: Readonly<Record<string, ModelSetting>>;
  /** Its own values of the pruner's parameters. */
  readonly prune: Readonly<Record<string, ModelSetting>>;
}

/**
 * A value, with exceptions for tensors whose name matches a glob pattern; the first match wins. A number that is `null`
 * is no value: a tensor for which nothing else gives one is an error.
 */
export interface Setting {
  readonly value: SettingValue;
  readonly patterns: readonly PatternValue[];
}

/** A model's own setting; without `value`, tensors that match no pattern follow the global setting. */
export interface ModelSetting {
  readonly value?: SettingValue;
  readonly patterns: readonly PatternValue[];
}

export interface PatternValue {
  readonly pattern: string;
  readonly value: SettingValue;
}

/** One value, or a gradient over the layers. */
export type SettingValue = ParameterValue | Gradient;

/**
 * Values from the first layer to the last, at least one: numbers are joined by straight lines, anything else holds
 * until the next begins.
 */
export type Gradient = readonly (number | boolean | string)[];

export function isGradient(value: SettingValue | undefined): value is Gradient {
  return Array.isArray(value);
}

/** A result put together from layers. Tensors that no module covers are copied. */
export interface Layout {
  readonly modules: readonly LayoutModule[];
}

/** A part of a network with a stack of layers of its own. */
export interface LayoutModule {
  /** Beginning of its tensors' names, without the dot behind; "": the whole network. */
  readonly prefix: string;
  /** At least one. What lies before the layers comes from the first, what lies behind them from the last. */
  readonly slices: readonly Slice[];
  readonly parameters: Readonly<Record<string, ModelSetting>>;
}

/** A run of layers of the result, from a run of equal length of each member. */
export interface Slice {
  /** `null`: without a base. `model`: index into `Recipe.models`, or -1 for the recipe's base. */
  readonly base: { readonly model: number; readonly layers: LayerRange } | null;
  readonly members: readonly Member[];
  /** Values for this slice; weaker than a member's own, stronger than the module's and the recipe's. */
  readonly parameters: Readonly<Record<string, ModelSetting>>;
}

export interface Member {
  /** Index into `Recipe.models`; each at most once in a slice. */
  readonly model: number;
  readonly layers: LayerRange;
  /** Patterns are those of the model's own tensor names, which differ from the result's where layers move. */
  readonly parameters: Readonly<Record<string, ModelSetting>>;
}

/** First layer and the one behind the last, from 0 on; `null`: all layers. */
export type LayerRange = readonly [from: number, to: number] | null;

export interface PruneSettings {
  readonly pruner: Pruner;
  /** Every parameter of the pruner. */
  readonly parameters: Readonly<Record<string, Setting>>;
}

/** The merged change of layer l of L is multiplied by alpha + beta·l / (L − 1), that of other tensors by alpha. */
export interface LinesSettings {
  /** `null`: follows from the models and their weights, or is measured before the merge. */
  readonly alpha: number | null;
  readonly beta: number;
}

/**
 * What happens to excluded tensors. `base`: copied from the base. `separate`: left out of the merged backbone and
 * written per model beside it, as `heads/<model>/`.
 */
export type Heads = "base" | "separate";

export interface InputSettings {
  /** Entries are first rounded to this format where they are stored with more precision; `null`: taken as stored. */
  readonly dtype: FloatDtype | null;
}

export interface OutputSettings {
  /**
   * `null`: each tensor keeps the base's (without one: the first model's) dtype; in a recipe of mergekit the one that
   * holds all its inputs' values.
   */
  readonly dtype: FloatDtype | null;
  /** Largest shard in bytes. */
  readonly shardSize: number;
}

/**
 * Whose rules hold around the method. `none`: Mergewright's. `mergekit`: those of mergekit 0.1.5 with its defects
 * repaired, for its recipes. `strict`: with the defects that are documented.
 */
export type Compat = "none" | "mergekit" | "strict";

/** How the vocabulary of the result is made. */
export interface TokenizerWish {
  readonly source: TokenizerSource;
  /** Exceptions for single tokens, in the order written. */
  readonly tokens: readonly TokenWish[];
  /** Rows of the vocabulary tensors are padded to a multiple of this, at least 1; `null`: not padded. */
  readonly padToMultipleOf: number | null;
  /** Rows without a token, which many models have at the end of their embeddings, stay. */
  readonly keepPadding: boolean;
}

/** `union`: the base's vocabulary (else the first model's), then every unseen token of the others. */
export type TokenizerSource =
  | { readonly kind: "union" }
  | { readonly kind: "base" }
  /** A model's path or address as written. */
  | { readonly kind: "model"; readonly model: string };

export interface TokenWish {
  readonly token: string;
  /** Where its row comes from; `null`: as for any other token. */
  readonly source: TokenSource | null;
  /** Also for models that have a row of their own. */
  readonly force: boolean;
}

export type TokenSource =
  | { readonly kind: "zero" }
  /** The row that this model has for the token itself. */
  | { readonly kind: "model"; readonly model: string }
  /** The row that this model has for another token, by its text or by its number. */
  | { readonly kind: "model-token"; readonly model: string; readonly token: string | number };
