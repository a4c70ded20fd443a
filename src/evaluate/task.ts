/** What a tasks file asks for: plain data, every default filled in. docs/tasks.md is the grammar for people. */

/** Where the data of a task are divided; any other word works if the data have it. */
export type Split = string;

export type Task = ImageTask | LanguageTask | ChoiceTask | SequenceTask | CommandTask;

interface Named {
  /** Unique in its file. */
  readonly name: string;
}

/** Which of some classes an image belongs to; the metric is accuracy. */
export interface ImageTask extends Named {
  readonly type: "image-classification";
  /** A safetensors file with `SPLIT.images` and `SPLIT.labels`. */
  readonly data: string;
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

/** How well text is predicted; the metric is bits per UTF-8 byte. */
export interface LanguageTask extends Named {
  readonly type: "language-modelling";
  /** A JSON file: lists of documents by split. */
  readonly data: string;
  /** Tokens that a prediction may look at, and is one of. */
  readonly window: number;
  /** Tokens from one window's start to the next one's; windows overlap where it is smaller than `window`. */
  readonly stride: number;
  readonly begin: Begin;
}

/** What stands before a text: what the model's files say, nothing, or the token with this text. */
export type Begin = { readonly kind: "model" } | { readonly kind: "none" } | { readonly kind: "token"; text: string };

/** Which of some continuations a language model finds most likely; the metric is accuracy. */
export interface ChoiceTask extends Named {
  readonly type: "multiple-choice";
  /** A JSON file: lists of `{question, choices, answer}` by split. */
  readonly data: string;
  /** The log-likelihood of a choice as a sum, or divided by its tokens or its UTF-8 bytes. */
  readonly likelihood: Likelihood;
  readonly begin: Begin;
}

export type Likelihood = "sum" | "per-token" | "per-byte";

/** Which of some classes a text belongs to; the metric is accuracy. */
export interface SequenceTask extends Named {
  readonly type: "sequence-classification";
  /** A JSON file: lists of `{text, pair, label}` by split. */
  readonly data: string;
  readonly head: string | null;
  readonly classes: number | null;
  /** Tokens of a text that are looked at; `null`: as many as the model takes. */
  readonly longest: number | null;
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
