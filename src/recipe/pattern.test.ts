import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { context, trimmer } from "./fakes.test.js";
import { parseRecipe } from "./native.js";
import {
  flatPlace,
  isExcluded,
  patternsOf,
  pruningFor,
  settingsFor,
  unmatchedPattern,
  unmatchedPatterns,
  valueFor,
  whereOf,
} from "./pattern.js";

const recipe = parseRecipe(
  `method: trimmer
base: x
models:
  - plain
  - {model: valued, density: 0.1, drop: 0.7}
  - {model: patterned, density: {patterns: {"a.*": 0.9}}, drop: {patterns: {"b*": 1}}}
  - {model: both, density: {value: 0.8, patterns: {"a.*": 0.7, "*": 0.75}}}
parameters:
  density: {value: 0.5, patterns: {"*.w": 0.4, "a.*": 0.3}}
dare: {drop: {value: 0.6, patterns: {a.w: 0.2}}}
exclude: ["head.*", "{x,y}.w"]
`,
  context,
);

/** A few patterns in other words. */
const PLAINLY: Readonly<Record<string, (name: string) => boolean>> = {
  "*": () => true,
  "a*": (name) => name.startsWith("a"),
  "*b": (name) => name.endsWith("b"),
  ab: (name) => name === "ab",
  c: (name) => name === "c",
};

function densities(name: string) {
  return settingsFor(recipe, flatPlace(name, 0, [0, 1, 2, 3])).models.map(({ density }) => density);
}

describe("settingsFor", () => {
  it("goes from model pattern over model value and global pattern to global value", () => {
    assert.deepEqual(densities("a.w"), [0.4, 0.1, 0.9, 0.7]);
    assert.deepEqual(densities("a.b"), [0.3, 0.1, 0.9, 0.7]);
    assert.deepEqual(densities("b.w"), [0.4, 0.1, 0.4, 0.75]);
    assert.deepEqual(densities("b.b"), [0.5, 0.1, 0.5, 0.75]);
  });

  it("gives every parameter, globally and per model, for the models asked for", () => {
    const { global, models } = settingsFor(recipe, flatPlace("b.b", 0, [3, 0]));
    assert.deepEqual(Object.keys(global), Object.keys(trimmer.parameters));
    assert.deepEqual(models, [{ ...global, density: 0.75 }, global]);
  });

  it("goes the same way for DARE", () => {
    const kept = (name: string) => pruningFor(recipe, flatPlace(name, 0, [0, 1, 2]))!.map(({ density }) => density);
    assert.deepEqual(kept("a.w"), [1 - 0.2, 1 - 0.7, 1 - 0.2]);
    assert.deepEqual(kept("b.w"), [1 - 0.6, 1 - 0.7, 0]);
    assert.equal(pruningFor({ ...recipe, prune: null }, flatPlace("a.w", 0, [0])), null);
  });

  it("obeys the law of precedence for any combination", () => {
    const setting = fc.record(
      {
        value: fc.integer({ min: 0, max: 99 }),
        patterns: fc.array(
          fc.record({
            pattern: fc.constantFrom(...Object.keys(PLAINLY)),
            value: fc.integer({ min: 100, max: 199 }),
          }),
          { maxLength: 3 },
        ),
      },
      { requiredKeys: ["patterns"] },
    );
    fc.assert(
      fc.property(setting, setting, fc.constantFrom("ab", "a", "b", "c", "d"), (global, model, name) => {
        const made = {
          ...recipe,
          parameters: { density: { value: global.value ?? -1, patterns: global.patterns } },
          models: [{ ...recipe.models[0]!, parameters: { density: model } }],
        };
        const first = (one: typeof global) => one.patterns.find(({ pattern }) => PLAINLY[pattern]!(name))?.value;
        const expected = first(model) ?? model.value ?? first(global) ?? global.value ?? -1;
        const settings = settingsFor(made, flatPlace(name, 0, [0]));
        assert.equal(settings.models[0]!.density, expected);
        assert.equal(settings.global.density, first(global) ?? global.value ?? -1);
        assert.equal(valueFor(made.parameters.density, name), settings.global.density);
      }),
    );
  });
});

describe("patterns", () => {
  it("are all listed with their places", () => {
    assert.deepEqual(
      patternsOf(recipe).map(({ pattern, path, where }) => `${path} ${pattern} ${where.line}:${where.column}`),
      [
        "parameters.density.patterns.0 *.w 9:36",
        "parameters.density.patterns.1 a.* 9:48",
        "models.2.parameters.density.patterns.0 a.* 6:45",
        "models.2.prune.density.patterns.0 b* 6:77",
        "models.3.parameters.density.patterns.0 a.* 7:52",
        "models.3.parameters.density.patterns.1 * 7:64",
        "prune.density.patterns.0 a.w 10:38",
        "exclude.0 head.* 11:11",
        "exclude.1 {x,y}.w 11:21",
      ],
    );
  });

  it("that match nothing are found and explained", () => {
    const names = ["a.w", "b.w", "y.w", "heads.w"];
    const [unmatched, ...others] = unmatchedPatterns(recipe, names);
    assert.equal(unmatched!.pattern, "head.*");
    assert.deepEqual(others, []);
    const error = unmatchedPattern(unmatched!, names);
    assert.equal(error.code, "recipe/pattern");
    assert.deepEqual(error.where, { file: "recipe.yaml", line: 11, column: 11, key: "exclude.0" });
  });

  it("exclude tensors", () => {
    assert.deepEqual(
      ["head.w", "x.w", "x.b", "a.head.w"].map((name) => isExcluded(recipe, name)),
      [true, true, false, false],
    );
  });
});

describe("whereOf", () => {
  it("falls back to the nearest key around a default", () => {
    assert.equal(whereOf(recipe, "parameters.density").line, 9);
    assert.equal(whereOf(recipe, "parameters.lambda").line, 8);
    assert.equal(whereOf(recipe, "models.0.parameters.density").line, 4);
    assert.equal(whereOf(recipe, "seed").line, 1);
    assert.deepEqual(whereOf({ positions: {} }, "seed"), {});
  });
});
