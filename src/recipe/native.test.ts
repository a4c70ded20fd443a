import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../errors.js";
import { context, methods, mixer, trimmer } from "./fakes.test.js";
import { parseRecipe } from "./native.js";
import type { Recipe } from "./recipe.js";

const HEAD = "method: trimmer\nbase: ./base\nmodels: [./a, ./b]\n";
/** Column and line of the first line behind HEAD are 4:…. */
const parse = (text: string): Recipe => parseRecipe(text, context);

function failure(text: string): MergewrightError {
  try {
    parse(text);
  } catch (error) {
    assert.ok(error instanceof MergewrightError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: `parsed: ${text}` });
}

/** `code line:column` of the first error. */
function place(text: string): string {
  const { code, where } = failure(text);
  return `${code} ${where.line}:${where.column}`;
}

describe("a recipe", () => {
  it("fills in every default", () => {
    const { positions, ...recipe } = parse("method: trimmer\nbase: ./base\nmodels: [./a]");
    assert.deepEqual(recipe, {
      method: trimmer,
      dialect: "paper",
      base: "./base",
      models: [{ model: "./a", name: "a", parameters: {}, prune: {} }],
      parameters: Object.fromEntries(
        Object.entries(trimmer.parameters).map(([name, parameter]) => [
          name,
          { value: parameter.default, patterns: [] },
        ]),
      ),
      prune: null,
      lines: null,
      exclude: [],
      heads: "base",
      missing: "error",
      output: { dtype: null, shardSize: 5e9 },
      seed: 0,
      layout: null,
      input: { dtype: null },
      compat: "none",
      tokenizer: null,
      chatTemplate: null,
      merges: {},
      mergekit: null,
      coefficients: null,
      notes: [],
    });
    assert.deepEqual(positions.models, { file: "recipe.yaml", line: 3, column: 1, key: "models" });
    assert.deepEqual(positions["models.0.model"], { file: "recipe.yaml", line: 3, column: 10, key: "models.0.model" });
  });

  it("reads every key", () => {
    const recipe = parse(`
method: trimmer
dialect: tool
base: ./zoo/base
models:
  - ./zoo/mnist
  - {model: ./zoo/fashion, name: fashion, weight: 0.8, density: 0.3, drop: 0.5}
  - model: ./zoo/letters
    parameters: {weight: {value: 2, patterns: {"*.bias": 0}}}
    drop: {patterns: {"*": 1}}
parameters:
  density: {value: 0.4, patterns: {"*.mlp.*": 0.5, "model.layers.{0..3}.*": 0.1}}
  rounds: 7
dare: {drop: 0.9, rescale: false}
exclude: ["classifier.*", 'lm_head.*']
heads: separate
missing: skip
seed: 42
output: {dtype: bfloat16, shard_size: 500MB}
`);
    assert.equal(recipe.dialect, "tool");
    assert.deepEqual(recipe.models, [
      { model: "./zoo/mnist", name: "mnist", parameters: {}, prune: {} },
      {
        model: "./zoo/fashion",
        name: "fashion",
        parameters: { density: { value: 0.3, patterns: [] }, weight: { value: 0.8, patterns: [] } },
        prune: { density: { value: 0.5, patterns: [] } },
      },
      {
        model: "./zoo/letters",
        name: "letters",
        parameters: { weight: { value: 2, patterns: [{ pattern: "*.bias", value: 0 }] } },
        prune: { density: { patterns: [{ pattern: "*", value: 0 }] } },
      },
    ]);
    assert.deepEqual(recipe.parameters.density, {
      value: 0.4,
      patterns: [
        { pattern: "*.mlp.*", value: 0.5 },
        { pattern: "model.layers.{0..3}.*", value: 0.1 },
      ],
    });
    // From the dialect, from the recipe, from the default.
    assert.equal(recipe.parameters.scope!.value, "tensor");
    assert.equal(recipe.parameters.rounds!.value, 7);
    assert.equal(recipe.parameters.normalize!.value, true);
    assert.equal(recipe.prune!.pruner.name, "random");
    assert.deepEqual(recipe.prune!.parameters, {
      density: { value: 1 - 0.9, patterns: [] },
      rescale: { value: "none", patterns: [] },
      vectors: { value: "prune", patterns: [] },
    });
    assert.deepEqual(recipe.exclude, ["classifier.*", "lm_head.*"]);
    assert.deepEqual(
      [recipe.heads, recipe.missing, recipe.seed, recipe.output],
      ["separate", "skip", 42, { dtype: "BF16", shardSize: 5e8 }],
    );
  });

  it("takes the dialect from either place", () => {
    assert.equal(parse(HEAD.replace("trimmer", "trimmer/tool")).parameters.lambda!.value, 0.3);
    assert.equal(parse(`${HEAD}dialect: tool`).dialect, "tool");
    assert.equal(parse(`${HEAD.replace("trimmer", "trimmer/tool")}dialect: tool`).dialect, "tool");
    assert.equal(place(`${HEAD.replace("trimmer", "trimmer/tool")}dialect: paper`), "recipe/unknown-method 4:10");
    assert.equal(parse("method: mixer\nmodels: [a, b]").dialect, "");
  });

  it("takes numbers that are strings for other readers of YAML", () => {
    for (const [text, value] of [
      ["1e-5", 1e-5],
      ['"1e-5"', 1e-5],
      ["'.5'", 0.5],
      ["-2.", -2],
      ["+3", 3],
      ["0x10", 16],
    ]) {
      assert.equal(parse(`${HEAD}parameters: {lambda: ${text}}`).parameters.lambda!.value, value);
    }
  });

  it("keeps paths that look like numbers as they are written", () => {
    const { models, base } = parse('method: trimmer\nbase: 1.50\nmodels: [2024, 007, 1e3, "0x1"]');
    assert.deepEqual([base, ...models.map(({ model }) => model)], ["1.50", "2024", "007", "1e3", "0x1"]);
  });

  it("names models after the last part of their path, uniquely", () => {
    const names = (...paths: string[]) =>
      parse(`method: trimmer\nbase: x\nmodels: ${JSON.stringify(paths)}\n`).models.map(({ name }) => name);
    assert.deepEqual(names("a/run", "b/run/", "c\\run", "d/run-2"), ["run", "run-2", "run-3", "run-2-2"]);
    assert.deepEqual(names("Run", "x/run"), ["Run", "run-2"]);
    assert.deepEqual(names(".", "..", "/"), ["model", "model-2", "model-3"]);
    assert.deepEqual(names("https://host/org/name?revision=a/b#c", "a b:c"), ["name", "a-b-c"]);
    assert.deepEqual(
      parse("method: trimmer\nbase: x\nmodels: [a/run, {model: b, name: run}]").models.map(({ name }) => name),
      ["run-2", "run"],
    );
  });

  it("reads sizes", () => {
    const texts = ["5GB", "500MB", "1GiB", "1.5 kb", "4096", "'7b'"];
    const sizes = texts.map((text) => parse(`${HEAD}output: {shard_size: ${text}}`).output.shardSize);
    assert.deepEqual(sizes, [5e9, 5e8, 2 ** 30, 1500, 4096, 7]);
  });

  it("notes what is legal and yet worth a look", () => {
    assert.deepEqual(parse("method: trimmer\nbase: ./a/\nmodels: [a, b]").notes, [
      "the model a is the base itself: its change is zero everywhere",
    ]);
    assert.deepEqual(parse("method: mixer\nbase: c\nmodels: [a, b]").notes, [
      "base is given, but mixer does not use one",
    ]);
  });

  it("takes DARE per model without a global drop", () => {
    const models = "models: [{model: a, drop: 0.1}, {model: b, drop: 0.2}]";
    const { parameters } = parse(`method: trimmer\nbase: x\n${models}\ndare: {}`).prune!;
    assert.deepEqual([parameters.density!.value, parameters.rescale!.value], [1, "inverse"]);
  });

  it("takes any pruner, with values per model and per tensor pattern", () => {
    const { prune, models } = parse(`method: trimmer
base: x
models: [{model: a, prune: {gamma: 0.2, density: {patterns: {"*.w": 0.1}}}}, b]
prune: {by: outliers, density: {value: 0.5, patterns: {"*.b": 1}}, scope: model}
`);
    assert.equal(prune!.pruner.name, "outliers");
    assert.deepEqual(
      Object.entries(prune!.parameters).map(([name, { value }]) => [name, value]),
      [
        ["density", 0.5],
        ["gamma", 0.01],
        ["rescale", "none"],
        ["scope", "model"],
        ["vectors", "prune"],
      ],
    );
    assert.deepEqual(models[0]!.prune, {
      gamma: { value: 0.2, patterns: [] },
      density: { patterns: [{ pattern: "*.w", value: 0.1 }] },
    });
    assert.deepEqual(models[1]!.prune, {});
  });

  it("takes a seed from the context where it names none", () => {
    assert.equal(parseRecipe(HEAD, { methods, seedDefault: 7 }).seed, 7);
    assert.equal(parseRecipe(`${HEAD}seed: 1`, { methods, seedDefault: 7 }).seed, 1);
  });

  it("ignores a byte-order mark and accepts CRLF, comments and a start marker", () => {
    const text = `\uFEFF%YAML 1.2\n---\n# a comment\n${HEAD}`.replaceAll("\n", "\r\n");
    assert.equal(parse(text).models.length, 2);
    assert.equal(place(`${text}bad: 1`), "recipe/unknown-key 7:1");
  });

  it("expands aliases", () => {
    const { parameters } = parse(`${HEAD}parameters: {density: &d 0.5, lambda: *d}`);
    assert.equal(parameters.lambda!.value, 0.5);
  });
});

describe("an error in a recipe", () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    // structure
    ["", "recipe/wrong-type 1:1", /expected: a map/],
    ["- a", "recipe/wrong-type 1:1", /found: {4}a list/],
    ["method: [", "recipe/syntax 1:10", /not valid YAML/],
    ["a: 1\n  b: 2", "recipe/syntax 1:4", /not valid YAML/],
    [`${HEAD}seed: 1\nseed: 2`, "recipe/syntax 5:1", /also stands in line 4/],
    [`${HEAD}seed: !!int 1\nheads: !custom base`, "recipe/syntax 5:8", /tag/],
    [`${HEAD}seed: !!js/function 1`, "recipe/syntax 4:7", /tag/],
    [`${HEAD}<<: {seed: 1}`, "recipe/unknown-key 4:1", /merge keys/],
    [`${HEAD}? [a]\n: 1`, "recipe/syntax 4:3", /plain text/],
    [`${HEAD}---\n${HEAD}`, "recipe/syntax 4:1", /more than one document/],
    ["%YAML 1.1\n---\nmethod: trimmer", "recipe/syntax 1:1", /YAML 1.1/],
    ["method: tri\u0000mmer", "recipe/syntax 1:12", /does not allow/],
    ["a: *b", "recipe/syntax 1:4", /&b/],
    ["a: &b [*b]", "recipe/syntax 1:8", /contains itself/],
    [`a: ${"[".repeat(100)}${"]".repeat(100)}`, "recipe/syntax 1:67", /nested too deeply/],
    [`a: [${"b,".repeat(60_000)}]`, "recipe/syntax 1:66668", /more than 100000 tokens/],
    ["#".repeat(262_145), "recipe/syntax 1:1", /at most 262144 characters/],
    // keys
    [`${HEAD}exlude: []`, "recipe/unknown-key 4:1", /write exclude/],
    [`${HEAD}density: 0.5`, "recipe/unknown-key 4:1", /under parameters:/],
    [`${HEAD}dtype: bfloat16`, "recipe/unknown-key 4:1", /under output:/],
    [`${HEAD}__proto__: {polluted: 1}`, "recipe/unknown-key 4:1", /"__proto__"/],
    [`${HEAD}output: {dtyp: float32}`, "recipe/unknown-key 4:10", /write dtype/],
    [`${HEAD}dare: {drop: 0.1, recale: true}`, "recipe/unknown-key 4:19", /write rescale/],
    [`${HEAD}parameters: {densty: 0.5}`, "recipe/unknown-parameter 4:14", /write density/],
    [`${HEAD}parameters: {toString: 0.5}`, "recipe/unknown-parameter 4:14", /unknown parameter/],
    ["method: mixer\nmodels: [a, b]\nparameters: {lambda: 1}", "recipe/unknown-parameter 3:14", /belongs to trimmer/],
    // method
    ["models: [a]", "recipe/missing-key 1:1", /no method/],
    [HEAD.replace("trimmer", "trimer"), "recipe/unknown-method 1:9", /write trimmer/],
    [HEAD.replace("trimmer", "trimmer/papr"), "recipe/unknown-method 1:9", /write paper/],
    [`${HEAD}dialect: toll`, "recipe/unknown-method 4:10", /write tool/],
    [HEAD.replace("trimmer", "[trimmer]"), "recipe/wrong-type 1:9", /a list/],
    ["merge_method: ties\nmodels: []", "recipe/unsupported 1:15", /mergekit/],
    // base and models
    ["method: trimmer\nmodels: [a]", "recipe/missing-key 1:1", /no base/],
    ["method: trimmer\nbase:\nmodels: [a]", "recipe/missing-key 2:1", /no base/],
    ["method: trimmer\nbase: x", "recipe/missing-key 1:1", /no models/],
    ["method: trimmer\nbase: x\nmodels: []", "recipe/models 3:1", /at least 1 model/],
    ["method: mixer\nmodels: [a]", "recipe/models 2:1", /from 2 to 3 models/],
    ["method: mixer\nmodels: [a, b, c, d]", "recipe/models 2:1", /found: {4}4/],
    ["method: trimmer\nbase: x\nmodels: ./a", "recipe/wrong-type 3:9", /dash/],
    ["method: trimmer\nbase: x\nmodels: [./a, a/]", "recipe/models 3:15", /allow_duplicates/],
    ["method: trimmer\nbase: x\nmodels: [a, true]", "recipe/wrong-type 3:13", /in quotes/],
    ["method: trimmer\nbase: x\nmodels: [a, [b]]", "recipe/wrong-type 3:13", /a list/],
    ["method: trimmer\nbase: x\nmodels:\n- a\n-", "recipe/wrong-type 5:2", /nothing/],
    ["method: trimmer\nbase: x\nmodels: [{name: a}]", "recipe/missing-key 3:10", /names no model/],
    ["method: trimmer\nbase: x\nmodels: [{path: a}]", "recipe/missing-key 3:10", /write model/],
    ["method: trimmer\nbase: x\nmodels: [{model: a, name: ../b}]", "recipe/out-of-range 3:27", /letters/],
    ["method: trimmer\nbase: x\nmodels: [{model: a, name: ..}]", "recipe/out-of-range 3:27", /letters/],
    [
      "method: trimmer\nbase: x\nmodels: [{model: a, name: n}, {model: b, name: N}]",
      "recipe/models 3:42",
      /called "N"/,
    ],
    ["method: trimmer\nbase: x\nmodels: |\n  a\n  b", "recipe/wrong-type 3:9", /a list/],
    ['method: trimmer\nbase: x\nmodels: ["a\\nb"]', "recipe/out-of-range 3:10", /one line/],
    // parameters
    [`${HEAD}parameters: {density: 20}`, "recipe/out-of-range 4:23", /write 0.2 for 20 %/],
    [`${HEAD}parameters: {density: 20%}`, "recipe/wrong-type 4:23", /write 0.2/],
    [`${HEAD}parameters: {density: "0,2"}`, "recipe/wrong-type 4:23", /a point/],
    [`${HEAD}parameters: {lambda: true}`, "recipe/wrong-type 4:22", /write 1/],
    [`${HEAD}parameters: {lambda: .inf}`, "recipe/out-of-range 4:22", /finite/],
    [`${HEAD}parameters: {lambda: .nan}`, "recipe/out-of-range 4:22", /finite/],
    [`${HEAD}parameters: {lambda: 1e39}`, "recipe/out-of-range 4:22", /finite/],
    [`${HEAD}parameters: {lambda: []}`, "recipe/out-of-range 4:22", /at least one value/],
    [`${HEAD}parameters: {lambda: [1, x]}`, "recipe/wrong-type 4:26", /number/],
    [`${HEAD}parameters: {scope: [model, tensor]}`, "recipe/pattern 4:21", /single value/],
    [`${HEAD}slices: []`, "recipe/models 4:1", /one of models, slices and modules/],
    [`${HEAD}compat: mergkit`, "recipe/out-of-range 4:9", /write mergekit/],
    [`${HEAD}input: {dtype: bf16}`, "recipe/out-of-range 4:16", /write bfloat16/],
    [`${HEAD}tokenizer: {sorce: union}`, "recipe/unknown-key 4:13", /write source/],
    [`${HEAD}tokenizer: {tokens: {x: {source: {kind: zer}}}}`, "recipe/wrong-type 4:41", /zero or model_token/],
    [`${HEAD}tokenizer: {tokens: {x: {source: {kind: model_token, model: a}}}}`, "recipe/wrong-type 4:34", /token_id/],
    [`${HEAD}chat_template: []`, "recipe/wrong-type 4:16", /template/],
    [`${HEAD}parameters: {lambda: }`, "recipe/wrong-type 4:22", /nothing/],
    [`${HEAD}parameters: {rounds: 1.5}`, "recipe/out-of-range 4:22", /whole number, 1 or more/],
    [`${HEAD}parameters: {rounds: 0}`, "recipe/out-of-range 4:22", /whole number, 1 or more/],
    [`${HEAD}parameters: {scope: tensr}`, "recipe/out-of-range 4:21", /write tensor/],
    [`${HEAD}parameters: {normalize: yes}`, "recipe/wrong-type 4:25", /write true/],
    [`${HEAD}parameters: {density: {}}`, "recipe/wrong-type 4:23", /patterns or both/],
    [`${HEAD}parameters: {density: {default: 1}}`, "recipe/unknown-key 4:24", /value or patterns/],
    [`${HEAD}parameters: {density: {patterns: [1]}}`, "recipe/wrong-type 4:34", /map from pattern/],
    [`${HEAD}parameters: {density: {patterns: {"a[": 1}}}`, "recipe/pattern 4:35", /without its \]/],
    [`${HEAD}parameters: {density: {patterns: {a: 2}}}`, "recipe/out-of-range 4:38", /patterns\."a"/],
    [`${HEAD}parameters: {normalize: {value: true, patterns: {a: true}}}`, "recipe/pattern 4:39", /single value/],
    [
      "method: trimmer\nbase: x\nmodels: [{model: a, lambda: 1}]",
      "recipe/unknown-parameter 3:21",
      /differ between models/,
    ],
    [
      "method: trimmer\nbase: x\nmodels: [{model: a, parameters: {scope: tensor}}]",
      "recipe/unknown-parameter 3:34",
      /differ/,
    ],
    [
      "method: trimmer\nbase: x\nmodels: [{model: a, weight: 1, parameters: {weight: 2}}]",
      "recipe/syntax 3:45",
      /twice/,
    ],
    // the rest
    [`${HEAD}dare: {rescale: true}`, "recipe/missing-key 4:1", /dare.drop/],
    [`${HEAD}dare: {drop: 90}`, "recipe/out-of-range 4:14", /write 0.9/],
    [`${HEAD}dare: {drop: 0.9, rescale: norms}`, "recipe/wrong-type 4:28", /true, false, or none, inverse/],
    [`${HEAD}prune: {by: rnadom, density: 0.5}`, "recipe/out-of-range 4:13", /write random/],
    [`${HEAD}prune: {density: 0.5}`, "recipe/missing-key 4:1", /prune.by: random, magnitude, outliers/],
    [`${HEAD}prune: {by: magnitude}`, "recipe/missing-key 4:1", /prune.density/],
    [`${HEAD}prune: {by: magnitude, density: 0.5, gamma: 0.1}`, "recipe/unknown-key 4:38", /gamma/],
    [`${HEAD}prune: {by: random, density: 0.1}\ndare: {drop: 0.9}`, "recipe/syntax 5:1", /keep one/],
    ["method: trimmer\nbase: x\nmodels: [{model: a, prune: {density: 0.5}}]", "recipe/missing-key 3:21", /no prune/],
    [`${HEAD}dare: 0.9`, "recipe/wrong-type 4:7", /a map/],
    ["method: mixer\nmodels: [a, b]\ndare: {drop: 0.5}", "recipe/unsupported 3:1", /does not go with mixer/],
    ["method: trimmer\nbase: x\nmodels: [{model: a, drop: 0.5}]", "recipe/missing-key 3:21", /no dare/],
    [`${HEAD}lines: {beta: 0.1, betta: 1}`, "recipe/unknown-key 4:20", /alpha or beta/],
    [`${HEAD}lines: {alpha: 0.1}`, "recipe/missing-key 4:1", /lines.beta/],
    [`${HEAD}lines: {alpha: one, beta: 1}`, "recipe/wrong-type 4:16", /a finite number/],
    [`${HEAD}lines: 0.1`, "recipe/wrong-type 4:8", /a map/],
    ["method: mixer\nmodels: [a, b]\nlines: {beta: 0.5}", "recipe/unsupported 3:1", /does not go with mixer/],
    [`${HEAD}exclude: classifier.*`, "recipe/wrong-type 4:10", /write exclude: \["classifier/],
    [`${HEAD}exclude: ["{a"]`, "recipe/pattern 4:11", /without its }/],
    [`${HEAD}exclude: [[a]]`, "recipe/wrong-type 4:11", /a pattern/],
    [`${HEAD}heads: seperate`, "recipe/out-of-range 4:8", /write separate/],
    [`${HEAD}missing: ignore`, "recipe/out-of-range 4:10", /error or skip/],
    [`${HEAD}seed: -1`, "recipe/out-of-range 4:7", /0 or more/],
    [`${HEAD}seed: 9007199254740993`, "recipe/out-of-range 4:7", /whole number/],
    [`${HEAD}output: {dtype: bf16}`, "recipe/out-of-range 4:17", /write bfloat16/],
    [`${HEAD}output: {dtype: int8}`, "recipe/out-of-range 4:17", /float32/],
    [`${HEAD}output: {shard_size: 5G}`, "recipe/wrong-type 4:22", /write 5GB/],
    [`${HEAD}output: {shard_size: 0}`, "recipe/out-of-range 4:22", /a size/],
    [`${HEAD}output: {shard_size: -5GB}`, "recipe/wrong-type 4:22", /a size/],
    [`${HEAD}allow_duplicates: 1`, "recipe/wrong-type 4:19", /write true/],
  ];
  for (const [text, expected, message] of cases) {
    it(JSON.stringify(text.replace(HEAD, "… ")).slice(0, 100), () => {
      assert.equal(place(text), expected);
      assert.match(failure(text).message, message);
      assert.equal(failure(text).where.file, "recipe.yaml");
      assert.equal(failure(text).exitCode, 2);
    });
  }

  it("is reported with all the others, first in the file first", () => {
    const { message } = failure(`${HEAD.replace("./b]", "{model: ./b, wieght: 1}]")}heads: bse\nsede: 1`);
    assert.deepEqual(
      message.split("\n\n").map((part) => part.split("\n")[0]),
      ['unknown key "wieght"', '"bse" is no value of heads', 'unknown key "sede"'],
    );
  });

  it("is counted where there are too many to describe", () => {
    const keys = Array.from({ length: 50 }, (_, index) => `k${index}: 1`).join("\n");
    assert.match(failure(`${HEAD}${keys}`).message, /\n\nand 30 more$/);
  });

  it("shows nothing that could steer a terminal", () => {
    const { message } = failure(`${HEAD}"\\e[31m\\u202e": 1\nheads: "\\e]0;x\\a"`);
    // oxlint-disable-next-line no-control-regex
    assert.doesNotMatch(message, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    assert.match(message, /\\u\{1b\}\[31m\\u\{202e\}/);
  });

  it("leaves the prototype of objects alone", () => {
    failure(`${HEAD}__proto__: {polluted: 1}\nparameters: {__proto__: 1}`);
    assert.equal(({} as Record<string, unknown>).polluted, undefined);
  });
});

describe("duplicates", () => {
  it("are allowed by their key", () => {
    const { models } = parse("method: mixer\nmodels: [./a, a]\nallow_duplicates: true");
    assert.deepEqual(
      models.map(({ name }) => name),
      ["a", "a-2"],
    );
    assert.equal(mixer.models.max, 3);
  });
});
