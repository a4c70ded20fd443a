import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Method, Parameter, ParameterValue } from "../methods/method.js";
import { pruners } from "../pruners/catalogue.js";
import { buildRecipe } from "./build.js";
import { context, methods } from "./fakes.test.js";
import { parseRecipe } from "./native.js";
import type { ModelSetting, PruneSettings, Recipe, SettingValue, TokenizerWish } from "./recipe.js";
import { stringifyRecipe } from "./write.js";
import { readYaml } from "./yaml.js";

function withoutPlaces(recipe: Recipe) {
  return { ...recipe, positions: {}, notes: [] };
}

const awkward = fc.oneof(
  fc.string({ minLength: 1, unit: "binary" }),
  fc.constantFrom(
    "2024",
    "007",
    "1e3",
    "null",
    "~",
    "true",
    "- a",
    "#x",
    "a: b",
    "a #b",
    "'",
    '"',
    "*a",
    "&a",
    "!x",
    "%y",
    "|",
    ">",
    "---",
    "...",
    "?",
    "{a",
    "[b",
    " x ",
    "@a",
    "`a",
    "a\u00a0b",
    "<<",
    "=",
    "0x1",
    ".nan",
  ),
);
const path = awkward.filter((text) => text.trim() !== "" && !/[\p{Cc}\p{Cs}]/u.test(text));
const pattern = fc.oneof(
  fc.constantFrom("*", "1", "0", "*.mlp.*", "{a,b}.{0..3}", "[!x]?", "__proto__", "a: b", "null", "\\*"),
  path.map(escape),
);
const number = fc.oneof(
  fc.float({ noNaN: true, noDefaultInfinity: true }),
  fc.double({ min: -1e30, max: 1e30, noNaN: true }),
);

function escape(text: string): string {
  return text.slice(0, 400).replace(/[[\]{}\\*?,]/g, "\\$&");
}

function value(parameter: Parameter): fc.Arbitrary<ParameterValue> {
  switch (parameter.type) {
    case "number":
      if (parameter.integer === true) return fc.integer({ min: parameter.min ?? -1000 });
      return parameter.max === undefined ? number : fc.double({ min: 0, max: parameter.max, noNaN: true });
    case "choice":
      return fc.constantFrom(...Object.keys(parameter.choices));
    case "flag":
      return fc.boolean();
    case "checkpoint":
      return fc.option(path);
  }
}

function setting(
  parameter: Parameter,
): fc.Arbitrary<{ value: SettingValue; patterns: { pattern: string; value: SettingValue }[] }> {
  const patterns = fc.uniqueArray(fc.record({ pattern, value: values(parameter) }), {
    maxLength: 3,
    selector: (one) => one.pattern,
  });
  if (parameter.per === "recipe") return fc.record({ value: value(parameter), patterns: fc.constant([]) });
  const none = parameter.type === "checkpoint" ? [] : [fc.constant(null)];
  return fc.record({ value: fc.oneof(values(parameter), ...none), patterns });
}

/** One value or a gradient. */
function values(parameter: Parameter): fc.Arbitrary<SettingValue> {
  if (parameter.type === "checkpoint") return value(parameter);
  const steps = value(parameter) as fc.Arbitrary<number | boolean | string>;
  return fc.oneof(steps, fc.array(steps, { minLength: 1, maxLength: 4 }));
}

const anyPruning = fc.option(
  fc.constantFrom(...pruners).chain((pruner) =>
    fc.record({
      pruner: fc.constant(pruner),
      parameters: fc.record(
        Object.fromEntries(Object.entries(pruner.parameters).map(([name, parameter]) => [name, setting(parameter)])),
      ),
    }),
  ),
);

const location = path.filter((text) => text !== "union" && text !== "base");
const wish: fc.Arbitrary<TokenizerWish> = fc.record({
  source: fc.oneof(
    fc.constantFrom({ kind: "union" as const }, { kind: "base" as const }),
    fc.record({ kind: fc.constant("model" as const), model: location }),
  ),
  tokens: fc.uniqueArray(
    fc.record({
      token: path,
      force: fc.boolean(),
      source: fc.option(
        fc.oneof(
          fc.constant({ kind: "zero" as const }),
          fc.record({ kind: fc.constant("model" as const), model: path }),
          fc.record({
            kind: fc.constant("model-token" as const),
            model: path,
            token: fc.oneof(path, fc.nat()),
          }),
        ),
      ),
    }),
    { maxLength: 3, selector: ({ token }) => token },
  ),
  padToMultipleOf: fc.option(fc.integer({ min: 1, max: 512 })),
  keepPadding: fc.boolean(),
});

const anyRecipe: fc.Arbitrary<Recipe> = fc.constantFrom(...methods).chain((method) => {
  const ofModel = Object.entries(method.parameters).filter(([, { per }]) => per === "model");
  const own = Object.fromEntries(
    ofModel.map(([name, parameter]) => [
      name,
      setting(parameter).chain((made) => fc.constantFrom(made, { patterns: made.patterns })),
    ]),
  );
  const pruning = method.inputs === "changes" ? anyPruning : fc.constant(null);
  return pruning.chain((prune) => recipeOf(method, own, prune));
});

function recipeOf(
  method: Method,
  own: Record<string, fc.Arbitrary<ModelSetting>>,
  prune: PruneSettings | null,
): fc.Arbitrary<Recipe> {
  const ofModel = prune === null ? {} : { density: setting(prune.pruner.parameters.density!) };
  return fc.record({
    method: fc.constant(method),
    dialect: fc.constantFrom(...(Object.keys(method.dialects).length === 0 ? [""] : Object.keys(method.dialects))),
    base: method.base === "required" ? path : fc.option(path),
    models: fc
      .uniqueArray(fc.tuple(path, fc.record(own, { requiredKeys: [] }), fc.record(ofModel, { requiredKeys: [] })), {
        minLength: 2,
        maxLength: 3,
        selector: ([model]) => model,
      })
      .map((models) =>
        models.map(([model, parameters, pruned], index) => ({ model, name: `m${index}`, parameters, prune: pruned })),
      ),
    parameters: fc.record(
      Object.fromEntries(Object.entries(method.parameters).map(([name, one]) => [name, setting(one)])),
    ),
    prune: fc.constant(prune),
    lines:
      method.parameters.lambda === undefined
        ? fc.constant(null)
        : fc.option(fc.record({ alpha: fc.option(number), beta: number })),
    exclude: fc.array(pattern, { maxLength: 3 }),
    heads: fc.constantFrom("base" as const, "separate" as const),
    missing: fc.constantFrom("error" as const, "skip" as const),
    seed: fc.maxSafeNat(),
    output: fc.record({
      dtype: fc.constantFrom(null, "F64" as const, "BF16" as const, "F8_E4M3" as const),
      shardSize: fc.oneof(fc.integer({ min: 1, max: 1e10 }), fc.constantFrom(5e9, 1e6, 2 ** 30, 1, 3 * 2 ** 40)),
    }),
    layout: fc.constant(null),
    input: fc.record({ dtype: fc.constantFrom(null, "BF16" as const) }),
    compat: fc.constantFrom("none" as const, "mergekit" as const, "strict" as const),
    tokenizer: fc.option(wish),
    chatTemplate: fc.option(
      fc.constantFrom("auto", "chatml", "{% for message in messages %}\n  {{ message }}\n{% endfor %}"),
    ),
    mergekit: fc.constant(null),
    coefficients: fc.constant(null),
    notes: fc.constant([]),
    merges: fc.constant({}),
    positions: fc.constant({}),
  }) as fc.Arbitrary<Recipe>;
}

describe("stringifyRecipe", () => {
  it("is read back as the same recipe", () => {
    fc.assert(
      fc.property(anyRecipe, (recipe) => {
        const text = stringifyRecipe(recipe);
        assert.deepEqual(plainly(withoutPlaces(parseRecipe(text, context))), plainly(withoutPlaces(recipe)));
        assert.equal(stringifyRecipe(parseRecipe(text, context)), text);
      }),
      { numRuns: 400, seed: 2 },
    );
  });

  it("is complete and canonical", () => {
    const text = stringifyRecipe(
      parseRecipe("method: blender\nmodels: [a, {model: a, name: again}]\nallow_duplicates: true", context),
    );
    assert.equal(
      text,
      `method: blender
dialect: paper
base: null
models:
  - model: a
    name: a
  - model: a
    name: again
allow_duplicates: true
parameters: {}
prune: null
lines: null
exclude: []
heads: base
missing: error
seed: 0
output:
  dtype: null
  shard_size: 5GB
`,
    );
  });

  it("keeps the order of patterns that look like numbers", () => {
    const text = 'method: trimmer\nbase: x\nmodels: [a]\nparameters: {lambda: {patterns: {"2": 1, "1": 2, "*": 3}}}';
    const again = parseRecipe(stringifyRecipe(parseRecipe(text, context)), context);
    assert.deepEqual(
      again.parameters.lambda!.patterns.map((one) => one.pattern),
      ["2", "1", "*"],
    );
  });

  it("says nothing that depends on where a recipe came from", () => {
    const recipe = parseRecipe("method: mixer\nmodels: [b, a]", context);
    const moved = buildRecipe(readYaml("# moved\n\nmodels:\n- b\n- a\nmethod: mixer", "other.yaml"), context);
    assert.equal(stringifyRecipe(moved), stringifyRecipe(recipe));
  });
});

/** Numbers by value and prototype-free: -0 and 0 differ, and fast-check's records have no prototype. */
function plainly(value: unknown): unknown {
  return structuredClone(JSON.parse(JSON.stringify(value, (_, part: unknown) => (Object.is(part, -0) ? "-0" : part))));
}
