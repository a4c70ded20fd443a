import { MergewrightError } from "../errors.js";
import { RESTS } from "../lora/rests.js";
import { SPACES } from "../recipe/spaces.js";

/** A flag, declared once: the parser, the help and the messages are made from it. */
export interface Flag {
  /** As it is written: `-o, --out <folder>`. */
  readonly spelling: string;
  /** Its line in the help. */
  readonly text: string;
  readonly group: "Recipe" | "Output" | "Run" | "Printing";
  /** May be given several times; the values become a list. */
  readonly repeatable?: true;
  readonly required?: boolean;
  /** Turns the text given into the value; without it the text is the value. */
  readonly read?: (text: string) => unknown;
}

/** The name of a flag in messages: `--out`. */
export function nameOf({ spelling }: Flag): string {
  return /--[\w-]+/.exec(spelling)![0];
}

// What a recipe says; on top of a recipe file they replace what it says.

export const method: Flag = {
  spelling: "--method <name>",
  text: "merge method, alone or with its dialect: ties, ties/mergekit",
  group: "Recipe",
};

export const use: Flag = {
  spelling: "--use <module>",
  text: "a JavaScript module with a merge method of your own; it runs with your rights",
  group: "Recipe",
  repeatable: true,
};

export const dialect: Flag = {
  spelling: "--dialect <name>",
  text: "the method's dialect, where --method does not name it",
  group: "Recipe",
};

export const base: Flag = {
  spelling: "--base <model>",
  text: "checkpoint that the models were fine-tuned from",
  group: "Recipe",
};

export const model: Flag = {
  spelling: "--model <model>",
  text: "a model to merge; the same as naming it without a flag",
  group: "Recipe",
  repeatable: true,
};

export const parameter: Flag = {
  spelling: "-p, --parameter <assignment>",
  text: "density=0.2; mnist.weight=0.5 for one model; density@*.mlp.*=0.5 for matching tensors",
  group: "Recipe",
  repeatable: true,
};

export const prune: Flag = {
  spelling: "--prune <assignment>",
  text: "prune each change first: random, magnitude, outliers or rank; density=0.2, mnist.density=0.5, gamma=0.01, none",
  group: "Recipe",
  repeatable: true,
};

export const rescale: Flag = {
  spelling: "--rescale <rule>",
  text: "scale what pruning leaves: none, inverse (1 / probability) or norm (to the old L1 norm of each tensor)",
  group: "Recipe",
};

export const dare: Flag = {
  spelling: "--dare <assignment>",
  text: "drop a random share of each change first: 0.9, mnist.drop=0.5, rescale=false, none",
  group: "Recipe",
  repeatable: true,
};

export const lines: Flag = {
  spelling: "--lines <numbers>",
  text: "scale the merged change by layer (LiNeS): alpha,beta or beta alone: 0.1,0.2; none",
  group: "Recipe",
};

export const exclude: Flag = {
  spelling: "--exclude <pattern>",
  text: "leave tensors with matching names out of the merge: classifier.*",
  group: "Recipe",
  repeatable: true,
};

export const heads: Flag = {
  spelling: "--heads <how>",
  text: "excluded tensors: base copies the base's, separate keeps each model's own beside the merge",
  group: "Recipe",
};

export const missing: Flag = {
  spelling: "--missing <how>",
  text: "a tensor that a model lacks: error, or skip to merge it from the models that have it",
  group: "Recipe",
};

export const seed: Flag = {
  spelling: "--seed <number>",
  text: "seed of everything random",
  group: "Recipe",
};

export const allowDuplicates: Flag = {
  spelling: "--allow-duplicates",
  text: "allow a model to be listed twice",
  group: "Recipe",
};

export const compat: Flag = {
  spelling: "--compat <rules>",
  text: "of a mergekit recipe: mergekit without its defects (mergekit, the default) or with them (strict)",
  group: "Recipe",
};

export const dtype: Flag = {
  spelling: "--dtype <format>",
  text: "format of merged tensors: bfloat16, float16, float32 ...; each tensor's own by default",
  group: "Output",
};

export const shardSize: Flag = {
  spelling: "--shard-size <size>",
  text: "largest weight file: 5GB, 500MB",
  group: "Output",
};

export const out: Flag = {
  spelling: "-o, --out <folder>",
  text: "folder to write; it must not exist or be empty",
  group: "Output",
  required: true,
};

export const place: Flag = {
  spelling: "-o, --out <folder>",
  text: "folder that the merge would write, to look at the room there; the current one by default",
  group: "Output",
};

export const force: Flag = {
  spelling: "--force",
  text: "start over and replace what the output folder holds",
  group: "Output",
};

export const hashInputs: Flag = {
  spelling: "--hash-inputs",
  text: "record SHA-256 of the inputs, which reads them once more",
  group: "Output",
};

export const strict: Flag = {
  spelling: "--strict",
  text: "stop if the result holds NaN or infinity, instead of warning",
  group: "Run",
};

export const threads: Flag = {
  spelling: "--threads <number>",
  text: "threads to work with; one per processor by default",
  group: "Run",
  read: (text) => wholeNumber(text, { flag: "--threads", min: 1, max: 256 }),
};

export const backend: Flag = {
  spelling: "--backend <name>",
  text: "what networks run on: own (default), or onnx where onnxruntime-node is installed",
  group: "Run",
  read(text) {
    if (text === "own" || text === "onnx") return text;
    throw outside("--backend", text, "own or onnx");
  },
};

export const density: Flag = {
  spelling: "--density <share>",
  text: "share of each change kept before conflicts are counted again; 0.2 by default",
  group: "Run",
  read: (text) => share(text, "--density"),
};

export const adapterDialect: Flag = {
  spelling: "--dialect <name>",
  text: "the method's dialect; peft: as PEFT's add_weighted_adapter computes it, cross terms and all",
  group: "Recipe",
};

export const weights: Flag = {
  spelling: "--weights <numbers>",
  text: "what each adapter's update is multiplied by, in order: 0.5,0.8; a negative one takes its task away",
  group: "Recipe",
  read: (text) => numbers(text, "--weights"),
};

export const rank: Flag = {
  spelling: "--rank <number>",
  text: "largest rank of a module",
  group: "Output",
  read: (text) => wholeNumber(text, { flag: "--rank", min: 1, max: 1_000_000 }),
};

export const energy: Flag = {
  spelling: "--energy <share>",
  text: "smallest rank that holds this share of a module's squared norm: 0.95",
  group: "Output",
  read: (text) => energyShare(text),
};

export const auto: Flag = {
  spelling: "--auto",
  text: "choose each module's rank where its spectrum falls to noise; at most --rank (128)",
  group: "Output",
};

export const space: Flag = {
  spelling: "--space <name>",
  text: "where a method sees the updates: core (their common subspace, the default), full (as matrices), knots (aligned)",
  group: "Recipe",
  read: (text) => oneWord(text, SPACES, "--space"),
};

export const anyBase: Flag = {
  spelling: "--any-base",
  text: "merge adapters although they name different bases",
  group: "Run",
};

export const rest: Flag = {
  spelling: "--rest <how>",
  text: "what changed and is no linear or convolution weight: save keeps it whole, skip leaves it out and tells",
  group: "Output",
  read: (text) => oneWord(text, RESTS, "--rest"),
};

export const include: Flag = {
  spelling: "--include <pattern>",
  text: "only tensors with matching names: *.self_attn.*",
  group: "Recipe",
  repeatable: true,
};

export const headers: Flag = {
  spelling: "--headers",
  text: "look at headers, configs and tokenizers only; no weights are read",
  group: "Run",
};

export const norms: Flag = {
  spelling: "--norms",
  text: "also read the weights: norm, zeros, NaN and infinity per tensor",
  group: "Run",
};

export const inputs: Flag = {
  spelling: "--inputs",
  text: "also check that the inputs are still what the merge read",
  group: "Run",
};

export const task: Flag = {
  spelling: "--task <name>",
  text: "name of the task, as mergewright inspect lists it",
  group: "Run",
};

export const taskWeights: Flag = {
  spelling: "--weights <weights>",
  text: "a=0.7,b=0.3: how much of which tasks' experts is added, instead of the whole of the task's own",
  group: "Run",
  read: readWeights,
};

/** @throws MergewrightError for anything but names and numbers. */
function readWeights(text: string): Readonly<Record<string, number>> {
  const pairs = text.split(",").map((pair): [string, number] => {
    const at = pair.lastIndexOf("=");
    return [
      pair.slice(0, Math.max(at, 0)).trim(),
      Number(at < 0 || pair.slice(at + 1).trim() === "" ? NaN : pair.slice(at + 1)),
    ];
  });
  const names = new Set(pairs.map(([name]) => name));
  if (pairs.every(([name, weight]) => name !== "" && Number.isFinite(weight)) && names.size === pairs.length) {
    return Object.fromEntries(pairs);
  }
  throw new MergewrightError("the weights of tasks cannot be read", {
    kind: "request",
    code: "usage",
    where: { key: "--weights" },
    expected: "TASK=NUMBER, TASK=NUMBER ..., each task once",
    found: text,
  });
}

export const artifactBase: Flag = {
  spelling: "--base <model>",
  text: "the base of the artifact, where it is not where it was",
  group: "Run",
};

export const to: Flag = {
  spelling: "--to <layout>",
  text: "peft (a folder) or kohya (one file, which ComfyUI reads too)",
  group: "Output",
};

export const prefix: Flag = {
  spelling: "--prefix <name>",
  text: "of kohya's module names: lora_unet (the default), lora_te, …",
  group: "Output",
};

export const besideBase: Flag = {
  spelling: "--base <model>",
  text: "the base, to measure what is recovered against it",
  group: "Run",
};

export const adapterBase: Flag = {
  spelling: "--base <model>",
  text: "the base, to find the modules in whose paths are joined with underscores",
  group: "Run",
};

export const tasks: Flag = {
  spelling: "--tasks <file>",
  text: "what to score, in YAML; docs/tasks.md has the grammar",
  group: "Run",
  required: true,
};

export const split: Flag = {
  spelling: "--split <name>",
  text: "part of the data: train, val, test ...; test by default",
  group: "Run",
};

export const routing: Flag = {
  spelling: "--routing <mode>",
  text: "of an artifact: soft or top1 by its router, oracle (each task its own expert), tokens by the gates",
  group: "Run",
  read(text) {
    const modes = ["soft", "top1", "oracle", "tokens"];
    if (modes.includes(text)) return text;
    throw new MergewrightError("there is no such routing", {
      kind: "request",
      code: "usage",
      where: { key: "--routing" },
      expected: modes.join(", "),
      found: text,
    });
  },
};

export const routerKind: Flag = {
  spelling: "--router <kind>",
  text: "mlp, the perceptron of the paper, or logistic; mlp by default",
  group: "Run",
  read(text) {
    if (text === "mlp" || text === "logistic") return text;
    throw new MergewrightError("there is no such kind of router", {
      kind: "request",
      code: "usage",
      where: { key: "--router" },
      expected: "mlp or logistic",
      found: text,
    });
  },
};

export const headFrom: Flag = {
  spelling: "--head-from <heads>",
  text: "TASK=MODEL whose head is attached for a task, or a folder with one model per task, by name",
  group: "Run",
  repeatable: true,
};

export const against: Flag = {
  spelling: "--against <model>",
  text: "a model to compare with, example by example",
  group: "Run",
};

export const examples: Flag = {
  spelling: "--examples <number>",
  text: "examples to take; 256 by default",
  group: "Run",
  read: (text) => wholeNumber(text, { flag: "--examples", min: 1, max: 999_999_999 }),
};

export const first: Flag = {
  spelling: "--first <number>",
  text: "the first example to take, from 0; for collecting in parts",
  group: "Run",
  read: (text) => wholeNumber(text, { flag: "--first", min: 0, max: 999_999_999 }),
};

export const batch: Flag = {
  spelling: "--batch <number>",
  text: "examples of a batch, for dialects that add gradients before they square them; 32 by default",
  group: "Run",
  read: (text) => wholeNumber(text, { flag: "--batch", min: 1, max: 65_536 }),
};

export const add: Flag = {
  spelling: "--add",
  text: "add the files that are named, into one",
  group: "Run",
};

export const noCache: Flag = {
  spelling: "--no-cache",
  text: "score again what was scored before, and keep nothing",
  group: "Run",
};

export const over: Flag = {
  spelling: "--over <field=values>",
  text: "a number of the recipe: parameters.lambda=0.1:1.0:0.1 (or FROM:TO, or A,B,C); models.*.weight is every model's",
  group: "Run",
  repeatable: true,
};

export const searchMethod: Flag = {
  spelling: "--method <name>",
  text: "how to search: grid, sobol, coordinate, cma-es, raise (DPPA's greedy amplification); grid by default",
  group: "Run",
  read: (text) => oneWord(text, ["grid", "sobol", "coordinate", "cma-es", "raise"], "--method"),
};

export const soup: Flag = {
  spelling: "--soup <how>",
  text: "greedy: the average of those of the recipe's models that is best, instead of --over",
  group: "Run",
  read: (text) => oneWord(text, ["greedy"], "--soup"),
};

export const budget: Flag = {
  spelling: "--budget <number>",
  text: "candidates at most; 20 and 10 more per number varied by default, all of a grid",
  group: "Run",
  read: (text) => wholeNumber(text, { flag: "--budget", min: 1, max: 100_000 }),
};

export const objective: Flag = {
  spelling: "--objective <name>",
  text: "mean of the tasks' values, or normalised by those of each task's individual model; mean by default",
  group: "Run",
  read: (text) => oneWord(text, ["mean", "normalised"], "--objective"),
};

export const searchSeed: Flag = {
  spelling: "--seed <number>",
  text: "seed of what is drawn at random: candidates, sets of models; 0 by default",
  group: "Run",
};

export const kind: Flag = {
  spelling: "--kind <name>",
  text: "redundancy, conflict, tasks, flips, lambda, density, oracle or storage; several with several --kind",
  group: "Run",
  repeatable: true,
  required: true,
};

export const curveTasks: Flag = {
  spelling: tasks.spelling,
  text: `${tasks.text}; not needed for conflict`,
  group: tasks.group,
};

export const curveSplit: Flag = {
  ...split,
  text: "part of the data: test by default, val for lambda and density, by which numbers are chosen",
};

export const values: Flag = {
  spelling: "--values <numbers>",
  text: "what is varied: A,B,C or FROM:TO:STEP; densities, probabilities of a flip, lambdas",
  group: "Run",
};

export const trimDensity: Flag = {
  spelling: "--density <share>",
  text: "share of each change that is trimmed to, of conflict and flips; 0.2 by default",
  group: "Run",
  read: (text) => share(text, "--density"),
};

export const subsets: Flag = {
  spelling: "--subsets <number>",
  text: "of tasks: sets of models per number of models, the first models and then random ones; 1 by default",
  group: "Run",
  read: (text) => wholeNumber(text, { flag: "--subsets", min: 1, max: 1000 }),
};

export const oracle: Flag = {
  spelling: "--oracle <model>",
  text: "of oracle: a checkpoint trained on all tasks, whose changes have the signs to take",
  group: "Run",
};

export const curvesFolder: Flag = {
  spelling: "-o, --out <folder>",
  text: "folder for KIND.svg and KIND.json",
  group: "Output",
  required: true,
};

export const searchSplit: Flag = {
  ...split,
  text: "part of the data that candidates are scored on; val by default, test is refused",
};

export const allowTest: Flag = {
  spelling: "--allow-test",
  text: "search on test data all the same; the report says so",
  group: "Run",
};

export const collectSplit: Flag = {
  ...split,
  text: "part of the data to learn on, labels unseen; val by default, test is what the paper uses",
};

export const trainSplit: Flag = { ...split, text: "part of the data to learn from; train by default" };

export const steps: Flag = {
  spelling: "--steps <number>",
  text: "steps of the optimiser; 300 by default",
  group: "Run",
  read: (text) => wholeNumber(text, { flag: "--steps", min: 0, max: 999_999 }),
};

export const signSteps: Flag = { ...steps, text: "steps of the optimiser; 100 by default" };

export const stepBatch: Flag = { ...batch, text: "examples of every task in one step; 16 by default" };

export const fewExamples: Flag = {
  ...examples,
  text: "examples of every task at all, the first of the split; 32 by default",
};

export const rate: Flag = {
  spelling: "--rate <number>",
  text: "step size of Adam; 0.001 by default",
  group: "Run",
  read: (text) => share(text, "--rate"),
};

export const signRate: Flag = { ...rate, text: "step size of Adam; 0.0003 by default" };

export const per: Flag = {
  spelling: "--per <what>",
  text: "what has a coefficient of its own for each model: tensor (the default), layer, or model for all at once",
  group: "Run",
};

export const noClamp: Flag = {
  spelling: "--no-clamp",
  text: "coefficients may leave the range from 0 to 1",
  group: "Run",
};

export const shuffle: Flag = {
  spelling: "--shuffle",
  text: "take the examples in another order each round, instead of the data's own",
  group: "Run",
};

export const shuffleSeed: Flag = {
  spelling: "--seed <number>",
  text: "seed of --shuffle; without it nothing is random",
  group: "Run",
};

export const start: Flag = {
  spelling: "--from <where>",
  text: "where training begins: mean of the models (the default), or base",
  group: "Run",
};

export const tableOut: Flag = {
  spelling: "-o, --out <file>",
  text: "table to write, .safetensors; its curves are written beside it",
  group: "Output",
  required: true,
};

export const forceFile: Flag = { ...force, text: "start over and replace what is there" };

export const bestRecipe: Flag = {
  spelling: "-o, --out <file>",
  text: "recipe to write: the best candidate",
  group: "Output",
  required: true,
};

export const ledger: Flag = {
  spelling: "--ledger <file>",
  text: "where candidates are noted, so that the same command goes on; OUT.ledger.jsonl by default",
  group: "Output",
};

export const reportFolder: Flag = {
  spelling: "--report <folder>",
  text: "also write evaluation.json and evaluation.md there, of an artifact routing.json and pictures, too",
  group: "Output",
};

export const all: Flag = {
  spelling: "--all",
  text: "list every tensor",
  group: "Printing",
};

export const json: Flag = {
  spelling: "--json",
  text: "print one JSON object: the result on standard output, an error on standard error",
  group: "Printing",
};

export const quiet: Flag = {
  spelling: "--quiet",
  text: "print nothing but errors",
  group: "Printing",
};

export const noColor: Flag = {
  spelling: "--no-color",
  text: "no colours; so does the variable NO_COLOR",
  group: "Printing",
};

/** Flags that together make a recipe. */
export const recipeFlags: readonly Flag[] = [
  use,
  method,
  dialect,
  base,
  model,
  parameter,
  prune,
  rescale,
  dare,
  lines,
  exclude,
  heads,
  missing,
  seed,
  allowDuplicates,
  compat,
  dtype,
  shardSize,
];

function wholeNumber(text: string, { flag, min, max }: { flag: string; min: number; max: number }): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw outside(flag, text, `a whole number from ${min} to ${max}`);
}

function oneWord<W extends string>(text: string, words: readonly W[], flag: string): W {
  const word = words.find((candidate) => candidate === text);
  if (word === undefined) throw outside(flag, text, words.join(", "));
  return word;
}

function numbers(text: string, flag: string): number[] {
  const values = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (values.some((value) => !Number.isFinite(value)))
    throw outside(flag, text, "numbers separated by commas: 0.5,0.8");
  return values;
}

function energyShare(text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value > 0 && value <= 1)) throw outside("--energy", text, "a number above 0, at most 1");
  return value;
}

function share(text: string, flag: string): number {
  const value = /^(?:\d+\.?\d*|\.\d+)(?:[eE]-?\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0 && value <= 1) return value;
  throw outside(flag, text, "a number from 0 to 1");
}

function outside(flag: string, text: string, expected: string): MergewrightError {
  return new MergewrightError(`${flag} has a wrong value`, {
    kind: "request",
    code: "usage",
    where: { key: flag },
    expected,
    found: JSON.stringify(text),
  });
}
