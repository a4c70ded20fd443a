/**
 * Recipes are files from strangers: whatever stands in one, the answer is a recipe or an error that names a line,
 * quickly, and never another exception.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import { methods } from "../../src/methods/catalogue.js";
import { parseRecipe } from "../../src/recipe/native.js";
import { overrideRecipe, recipeFromOptions } from "../../src/recipe/options.js";
import { flatPlace, patternsOf, settingsFor } from "../../src/recipe/pattern.js";
import { stringifyRecipe } from "../../src/recipe/write.js";
import { processorTime } from "../processor_time.js";

const RECIPES = [
  "method: ties\nbase: ./b\nmodels: [./a, {model: ./c, weight: 0.8, density: 0.3}]\nparameters: {density: 0.2, lambda: 1}\n",
  "method: ties/mergekit\nbase: b\nmodels:\n  - a\n  - model: c\n    name: x\n    parameters:\n      weight: {value: 1, patterns: {'*.w': 2}}\n",
  'method: average\nmodels:\n- "a"\n- \'b\'\nexclude: ["head.*", "x.{0..3}.[ab]?"]\nheads: separate\nmissing: skip\nseed: 7\n',
  "method: task_arithmetic\nbase: &b ./b\nmodels: [*b, c]\ndare: {drop: 0.9, rescale: true}\noutput: {dtype: bfloat16, shard_size: 5GB}\n",
  '%YAML 1.2\n---\n# note\nmethod: ties\ndialect: paper\nbase: |-\n  b\nmodels: [a, a]\nallow_duplicates: true\nparameters:\n  lambda:\n    patterns:\n      "*": 1e-5\n...\n',
  "merge_method: ties\nbase_model: b\nmodels:\n  - model: a\n    parameters: {weight: 0.5}\ndtype: float16\n",
  "slices:\n- sources:\n  - {model: a, layer_range: [0, 4], parameters: {weight: [{filter: mlp, value: [0, 1]}, {value: 1e-1}]}}\n  - {model: b, layer_range: [2, 6]}\n  parameters: {weight: 0.5}\nmerge_method: linear\ntokenizer: {source: union, tokens: {<x>: {source: {kind: zero}}}}\nchat_template: auto\n",
  "merge_method: linear\nname: n\nmodels: [{model: a}, {model: {model: {path: c+d}}}]\nparameters: {weight: 1}\n---\nmerge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: n}]\nparameters: {t: [0, 0.5, 1]}\ncompat: strict\nwrong: 1\n",
  "method: average\nmodules:\n  m:\n    slices:\n    - models: [{model: a, layers: [0, 2]}, b]\n      base_layers: [0, 2]\nparameters: {weight: {value: null, patterns: {'*': [1, 2]}}}\n",
];
const SCRAPS =
  "\n|\n  |\n- |: |:|, |[|]|{|}|&a |*a|!!str |!x |<<: |? |# |'|\"|\\|%|---\n|...\n|>\n|-|~|null|true|.nan|.inf|1e999|-0|0x1|1e-5|\t|\r\n|\u0000|\u0085|\u2028|\ufeff|\ud800|💡|__proto__|constructor|method|models|parameters|patterns|value|density|weight|drop|*.{a,b}[!c]?|merge_method".split(
    "|",
  );

/** Deterministic: mulberry32. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function mutate(text: string, below: (n: number) => number): string {
  const from = below(text.length + 1);
  const to = Math.min(text.length, from + below(5));
  const scrap = SCRAPS[below(SCRAPS.length)]!;
  switch (below(8)) {
    case 0:
      return text.slice(0, from) + text.slice(to);
    case 1:
      return text.slice(0, from) + scrap + text.slice(from);
    case 2:
      return text.slice(0, from) + scrap + text.slice(to);
    case 3:
      return text.slice(0, to) + text.slice(from);
    case 4:
      return text.slice(0, from) + RECIPES[below(RECIPES.length)]!.slice(below(80));
    case 5:
      return text.replace(/\d/, String(below(30)));
    case 6:
      return text.split("\n").toSpliced(below(8), 0, ["", "# x", "seed: 5", "  - z"][below(4)]!).join("\n");
    default:
      return text.slice(0, from) + String.fromCharCode(below(5) === 0 ? below(65536) : below(128)) + text.slice(to);
  }
}

/** The recipe, or `null` after an error as promised. */
function attempt<Result>(run: () => Result, input: unknown): Result | null {
  try {
    return run();
  } catch (error) {
    const problem = problemWith(error, input);
    if (problem !== null) assert.fail(`${problem}: ${JSON.stringify(input).slice(0, 500)}`);
    return null;
  }
}

function problemWith(error: unknown, input: unknown): string | null {
  if (!(error instanceof MergewrightError)) return error instanceof Error ? error.stack! : String(error);
  if (error.kind !== "request") return error.kind;
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/.test(error.message)) return "an unprintable message";
  if (typeof input !== "string") return null;
  const { line = 0, column = 0 } = error.where;
  return line >= 1 && line <= input.split("\n").length && column >= 1 ? null : `the place ${line}:${column}`;
}

describe("a hostile recipe", () => {
  it("is a recipe or an error with a line, for 15000 mutations", () => {
    const below = generator(20231);
    let recipes = 0;
    for (let round = 0; round < 15_000; round++) {
      let text = RECIPES[round % RECIPES.length]!;
      for (let count = 1 + (below(4) >> 1); count > 0; count--) text = mutate(text, below);
      const recipe = attempt(() => parseRecipe(text, { methods }), text);
      if (recipe === null) continue;
      recipes++;
      if (round % 10 !== 0) continue;
      const all = recipe.models.map((_, index) => index);
      attempt(() => settingsFor(recipe, flatPlace("model.layers.0.mlp.w", 0.5, all)), text);
      for (const { where } of patternsOf(recipe)) assert.ok(where.line !== undefined);
      const written = stringifyRecipe(recipe);
      assert.equal(stringifyRecipe(parseRecipe(written, { methods })), written, text);
    }
    assert.ok(recipes > 800, `${recipes} mutations were still recipes`);
  });

  it("is the same as flags and under flags", () => {
    const below = generator(7);
    const scrap = () => SCRAPS[below(SCRAPS.length)]!;
    for (let round = 0; round < 3000; round++) {
      const assignment = mutate(
        ["density=0.2", "a.weight=1", "model1.density@*.w=0.1", "lambda@x=1"][round % 4]!,
        below,
      );
      const options = {
        method: below(9) === 0 ? scrap() : "ties",
        base: below(9) === 0 ? scrap() : "b",
        models: ["a", below(9) === 0 ? scrap() : "c"],
        parameters: [assignment],
        ...(below(9) === 0 && { dare: mutate("drop=0.5", below), seed: scrap(), dtype: scrap(), shardSize: scrap() }),
        ...(below(9) === 0 && { exclude: [scrap()], heads: scrap(), missing: scrap() }),
      };
      attempt(() => recipeFromOptions(options, { methods }), options);
      const text = mutate(RECIPES[round % RECIPES.length]!, below);
      const { parameters } = options;
      attempt(() => overrideRecipe(text, { parameters }, { methods }), [text, parameters]);
    }
  });

  const bombs: Readonly<Record<string, string>> = {
    "aliases ten to the tenth": `a: &a [x]\n${"abcdefghijk"
      .split("")
      .slice(1)
      .map((name, index) => `${name}: &${name} [${`*${"abcdefghijk"[index]},`.repeat(10)}]\n`)
      .join("")}`,
    "a thousand aliases": `base: &b x\nmodels: [${"*b, ".repeat(1000)}]`,
    "1 MB of [": "[".repeat(1 << 20),
    "1 MB of ]": "]".repeat(1 << 20),
    "256 KiB of [": "[".repeat(1 << 18),
    "256 KiB of ]": "]".repeat(1 << 18),
    "256 KiB of {": "{".repeat(1 << 18),
    "256 KiB of {a: ": "{a: ".repeat(1 << 16),
    "256 KiB of - ": "- ".repeat(1 << 17),
    "256 KiB of ? ": "? ".repeat(1 << 17),
    "256 KiB of : ": ": ".repeat(1 << 17),
    "256 KiB of []": "[]".repeat(1 << 17),
    "256 KiB of quotes": '"'.repeat(1 << 18),
    "256 KiB of anchors": "&a ".repeat(80_000),
    "256 KiB of tags": "! ".repeat(1 << 17),
    "256 KiB of directives": "%A\n".repeat(80_000),
    "256 KiB of documents": "---\n".repeat(1 << 16),
    "256 KiB of line ends": "\n".repeat(1 << 18),
    "256 KiB of comments": "#\n".repeat(1 << 17),
    "256 KiB of one key": `${"k".repeat((1 << 18) - 4)}: 1`,
    "256 KiB of one scalar": `method: ${"k".repeat((1 << 18) - 20)}`,
    "many unknown keys": Array.from({ length: 20_000 }, (_, index) => `k${index}: 1`).join("\n"),
    "many models": `method: ties\nbase: b\nmodels: [${"a,".repeat(20_000)}]`,
    "many equal names": `method: ties\nbase: b\nmodels: [${Array.from({ length: 20_000 }, (_, index) => `${index}/a`).join(",")}]`,
    "many merges": `method: average\nmodels: [${Array.from({ length: 400 }, (_, index) => `{merge: {method: average, models: [a, b], seed: ${index}}}`).join(",")}]`,
    "merges in merges": `${"{method: average, models: [a, {merge: ".repeat(15)}{method: average, models: [a, b]}${"}]}".repeat(15)}`,
    "nested ten thousand lists": `a: ${"[".repeat(10_000)}${"]".repeat(10_000)}`,
    "nested forty lists": `models: ${"[".repeat(20)}${"]".repeat(20)}`,
    "nested indentation": Array.from({ length: 700 }, (_, depth) => `${" ".repeat(depth)}a:`).join("\n"),
    "a long number": `seed: ${"1".repeat(100_000)}`,
    "a long pattern": `exclude: ["${"*".repeat(100_000)}"]`,
    "stars and braces": `exclude: ["${"{a,*}".repeat(190)}"]`,
  };
  for (const [name, text] of Object.entries(bombs)) {
    it(`ends quickly: ${name}`, () => {
      const spent = processorTime(() => attempt(() => parseRecipe(text, { methods }), text));
      assert.ok(spent < 3000, `${Math.round(spent)} ms`);
    });
  }
});
