/** What a tasks file asks for: plain data, every default filled in. docs/tasks.md is the grammar for people. */

/** Where the data of a task are divided; any other word works if the data have it. */
export type Split = string;

export type Task = DataTask | CommandTask;

/** Those whose examples are read here. */
export type DataTask = ImageTask | LanguageTask | ChoiceTask | SequenceTask | TextToTextTask;

interface Named {
  /** Unique in its file. */
  readonly name: string;
}

interface WithData extends Named {
  /** A file with all splits; a path with `{split}` in it; a folder. Which forms there are depends on the type. */
  readonly data: string;
  /** Names in the data by those used here, where they differ, e.g. `{"text": "sentence"}`; `null`: none does. */
  readonly columns: Readonly<Record<string, string>> | null;
}

/** Which of some classes an image belongs to; the metric is accuracy. Examples have `image` and `label`. */
export interface ImageTask extends WithData {
  readonly type: "image-classification";
  /** A model whose head is attached; `null`: the evaluated model's own. */
  readonly head: string | null;
  /** How many classes there are, where the labels do not show it. */
  readonly classes: number | null;
  /** How pixels become numbers; `null`: as the model's preprocessor_config.json says. */
  readonly normalise: Normalisation | null;
}

/** A pixel becomes (pixel × scale − mean) / std, channel by channel. */
export interface Normalisation {
  readonly scale: number;
  /** One per channel, or one for all. */
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** How well text is predicted; the metric is bits per UTF-8 byte. Examples are texts or have `text`. */
export interface LanguageTask extends WithData {
  readonly type: "language-modelling";
  /** Tokens that a prediction may look at, and is one of. */
  readonly window: number;
  /** Tokens from one window's start to the next one's; windows overlap where it is smaller than `window`. */
  readonly stride: number;
  readonly begin: Begin;
}

/** What stands before or behind a text: what the model's files say, nothing, or the token with this text. */
export type Begin = { readonly kind: "model" } | { readonly kind: "none" } | { readonly kind: "token"; text: string };

/**
 * Which of some continuations a language model finds most likely; the metric is accuracy. Examples have `question`,
 * `choices` and `answer`.
 */
export interface ChoiceTask extends WithData {
  readonly type: "multiple-choice";
  /** The log-likelihood of a choice as a sum, or divided by its tokens or its UTF-8 bytes. */
  readonly likelihood: Likelihood;
  readonly begin: Begin;
}

export type Likelihood = "sum" | "per-token" | "per-byte";

/** Which of some classes a text belongs to; the metric is accuracy. Examples have `text`, `pair` and `label`. */
export interface SequenceTask extends WithData {
  readonly type: "sequence-classification";
  readonly head: string | null;
  readonly classes: number | null;
  /** Tokens of a text that are looked at; `null`: as many as the model takes. */
  readonly longest: number | null;
}

/**
 * Whether a model, always choosing its most likely next token, writes exactly the target; the metric is exact match.
 * Examples have `input` and `target`.
 */
export interface TextToTextTask extends WithData {
  readonly type: "text-to-text";
  readonly begin: Begin;
  /** The token that ends a text, which the model must write, too. */
  readonly end: Begin;
}

/** What a program prints about the model's files. */
export interface CommandTask extends Named {
  readonly type: "command";
  /** The program and its arguments, or a line for the shell. */
  readonly command: string | readonly string[];
  /** Seconds after which it is ended. */
  readonly timeout: number;
  /** What the number is called. */
  readonly metric: string;
  readonly better: Better;
}

export type Better = "higher" | "lower";
