/** Whole merges of models with different vocabularies, from disk. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, describe, it } from "node:test";
import { merge as mergeInBrowser } from "../../src/browser.js";
import { openModel as openStored } from "../../src/platform/node/platform.js";
import { mergeModels } from "../../src/merge.js";
import { nodePlatform } from "../../src/platform/node/platform.js";
import { readRecipe } from "../../src/recipes.js";
import type { RecipeObject } from "../../src/recipes.js";
import { mergewright, scratch } from "../cli/support.js";
import { bpe, learnMerges, modelFiles, reference, sizeOf, valueOf, withAdded, writeModel } from "./support.js";
import type { Json, ModelSpec } from "./support.js";

const place = scratch(after);
const WIDTH = 16;

/** Three fine-tunes of one base: one with chat tokens, one with more words, one with both and another order. */
const merges = learnMerges("the quick brown fox jumps over the lazy dog and the other dogs", 30);
const plain = bpe(merges);
const chat = withAdded(plain, ["<|start|>", "<|end|>"]);
const longer = bpe(learnMerges("der schnelle braune fuchs springt ueber den hund", 25, merges));
const both = withAdded(bpe(learnMerges("der hund springt", 10, merges)), ["<|end|>", "<tool>"]);
const specs: Record<string, ModelSpec> = {
  base: { tokenizer: plain, seed: 1, rows: sizeOf(plain) + 3 },
  one: { tokenizer: chat, seed: 2 },
  two: { tokenizer: longer, seed: 3, rows: sizeOf(longer) + 7 },
  three: { tokenizer: both, seed: 4 },
};
const common = { width: WIDTH, dtype: "BF16" as const, bias: true };
for (const [name, spec] of Object.entries(specs)) writeModel(place("models", name), { ...common, ...spec });
const MODELS = ["one", "two", "three"];

/** Every token of a model with its number. */
function numbersOf(json: Json): Map<string, number> {
  const { vocab } = json["model"] as { vocab: Record<string, number> };
  const added = (json["added_tokens"] as Json[]).map(({ content, id }) => [content, id] as [string, number]);
  return new Map([...Object.entries(vocab), ...added]);
}

/** The union in the order that the manual promises. */
function unionOf(): (string | undefined)[] {
  const tokens: (string | undefined)[] = [];
  for (const [token, id] of numbersOf(plain)) tokens[id] = token;
  for (const name of MODELS) {
    const others = [...numbersOf(specs[name]!.tokenizer!)].sort((a, b) => a[1] - b[1]);
    for (const [token] of others) if (!tokens.includes(token)) tokens.push(token);
  }
  return tokens;
}

/** A model's rows in the union, by the rules of the manual, written out. */
function expandedRows(name: string, tokens: readonly (string | undefined)[], tensor: number, width: number): number[] {
  const rowsOf = (model: string, token: string) => {
    const id = numbersOf(specs[model]!.tokenizer!).get(token);
    return id === undefined
      ? null
      : Array.from({ length: width }, (_, i) => valueOf(specs[model]!.seed, tensor, id * width + i));
  };
  return tokens.flatMap((token) => {
    const own = rowsOf(name, token!);
    if (own !== null) return own;
    const owners = ["base", ...MODELS].filter((model) => rowsOf(model, token!) !== null);
    if (owners.length === 1 || owners.includes("base")) return rowsOf(owners[0]!, token!)!;
    return Array.from({ length: width }, (_, i) => {
      return owners.reduce((sum, model) => sum + rowsOf(model, token!)![i]!, 0) / owners.length;
    });
  });
}

/** The same models, with the rows of the union stored in them. */
async function writeExpanded(tokens: readonly (string | undefined)[]): Promise<void> {
  for (const [name, spec] of Object.entries(specs)) {
    const files = modelFiles({ ...common, ...spec, rows: tokens.length });
    const folder = place("expanded", name);
    writeModel(folder, { ...common, ...spec, rows: tokens.length });
    const bytes = files["model.safetensors"]!;
    const stored = await openStored(folder);
    for (const [index, [tensor, width]] of [
      ["model.embed_tokens.weight", WIDTH],
      ["lm_head.weight", WIDTH],
      ["lm_head.bias", 1],
    ].entries()) {
      const { offset, length } = stored.tensors.get(tensor as string)!;
      const values = Float32Array.from(expandedRows(name, tokens, [0, 3, 4][index]!, width as number));
      // BF16 is the upper half of f32; the averages of two multiples of 1/8 are exact in it.
      const bits = new Uint32Array(values.buffer);
      const half = new Uint16Array(bits.length);
      for (let i = 0; i < bits.length; i++) {
        assert.equal(bits[i]! & 0xffff, 0);
        half[i] = bits[i]! >>> 16;
      }
      assert.equal(length, half.byteLength);
      bytes.set(new Uint8Array(half.buffer), offset);
    }
    await stored.close();
    writeFileSync(path.join(folder, "model.safetensors"), bytes);
  }
}

async function tensorsIn(folder: string): Promise<Record<string, string>> {
  const checkpoint = await openStored(folder);
  const found: Record<string, string> = {};
  for (const [name, { shard, offset, length, dtype, shape }] of checkpoint.tensors) {
    const bytes = new Uint8Array(length);
    await checkpoint.shards[shard]!.source.read(offset, bytes);
    found[name] = `${dtype} [${shape.join()}] ${Buffer.from(bytes).toString("hex")}`;
  }
  await checkpoint.close();
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function recipeFor(method: string, folder: string, more: Partial<RecipeObject> = {}): RecipeObject {
  return {
    method,
    base: place(folder, "base"),
    models: MODELS.map((name) => place(folder, name)),
    ...more,
  };
}

let outputs = 0;

async function merge(recipe: RecipeObject, threads = 2): Promise<string> {
  const out = place(`out-${outputs++}`);
  await mergeModels(readRecipe(recipe), nodePlatform, { out, threads });
  return out;
}

describe("a merge of models with different vocabularies", () => {
  const tokens = unionOf();
  const union = { tokenizer: { source: "union", keep_padding: false } };

  it("equals the merge of models that hold the rows of the union, whatever the method", async () => {
    await writeExpanded(tokens);
    const wishes: [string, Partial<RecipeObject>][] = [
      ["average", {}],
      ["task_arithmetic", {}],
      ["ties", { parameters: { density: 0.3 } }],
      ["ties", { dialect: "mergekit", parameters: { density: 0.5 } }],
      ["ties", { dare: { drop: 0.5 }, seed: 3 }],
    ];
    for (const [method, more] of wishes) {
      const streamed = await merge(recipeFor(method, "models", { ...more, ...union }));
      const stored = await merge(recipeFor(method, "expanded", more));
      assert.deepEqual(await tensorsIn(streamed), await tensorsIn(stored), `${method} ${JSON.stringify(more)}`);
    }
  });

  it("is the same for any number of threads, and in a browser", async () => {
    const recipe = recipeFor("ties", "models", { parameters: { density: 0.4 }, tokenizer: "union" });
    const [one, three] = [await merge(recipe, 1), await merge(recipe, 3)];
    assert.deepEqual(await tensorsIn(one), await tensorsIn(three));
    const inMemory = Object.fromEntries(
      Object.entries(specs).map(([name, spec]) => [name, modelFiles({ ...common, ...spec })]),
    );
    const { files } = await mergeInBrowser({ ...recipe, base: "base", models: MODELS }, inMemory);
    const weights = Buffer.from(await files.get("model.safetensors")!.arrayBuffer());
    assert.deepEqual(weights, readFileSync(path.join(one, "model.safetensors")));
    assert.deepEqual(await files.get("tokenizer.json")!.text(), readFileSync(path.join(one, "tokenizer.json"), "utf8"));
  });

  it("writes a tokenizer that encodes what each input encodes", async () => {
    const out = await merge(recipeFor("average", "models", { tokenizer: "union", base: undefined as never }));
    const json = JSON.parse(readFileSync(path.join(out, "tokenizer.json"), "utf8")) as Json;
    const merged = reference(json);
    for (const name of MODELS) {
      const own = reference(specs[name]!.tokenizer!);
      for (const [token, id] of numbersOf(specs[name]!.tokenizer!)) {
        const text = own.textOf(id);
        if (own.tokens(text).length === 1) assert.deepEqual(merged.tokens(text), [token]);
      }
    }
  });

  it("is what a recipe of mergekit asks for", async () => {
    const recipe = place("mergekit.yml");
    const entries = MODELS.map((name) => `  - {model: ${place("models", name)}, parameters: {weight: 0.5}}`).join("\n");
    const rest = `base_model: ${place("models/base")}\nmodels:\n${entries}\ndtype: bfloat16\n`;
    const wish = 'tokenizer: {source: union, tokens: {"<|end|>": {source: {kind: zero}, force: true}}}';
    writeFileSync(recipe, `merge_method: task_arithmetic\n${rest}${wish}\nchat_template: chatml\n`);
    const out = place("from-mergekit");
    const { code, err } = await mergewright("merge", recipe, "-o", out);
    assert.equal(code, 0, err);
    const parameters = { lambda: 1 };
    const models = MODELS.map((name) => ({ model: place("models", name), weight: 0.5 }));
    const tokenizer = { tokens: { "<|end|>": { source: { kind: "zero" }, force: true } } };
    const native = await merge({
      method: "task_arithmetic",
      base: place("models/base"),
      models,
      parameters,
      tokenizer,
    });
    assert.deepEqual(await tensorsIn(out), await tensorsIn(native));
    assert.match(readFileSync(path.join(out, "chat_template.jinja"), "utf8"), /im_start/);
    writeFileSync(
      recipe,
      `merge_method: linear\n${rest.replace("dtype", "parameters: {weight: 1}\ndtype")}tokenizer_source: base\n`,
    );
    assert.equal((await mergewright("merge", recipe, "-o", place("from-mergekit-2"))).code, 0);
  });

  it("is verified, found up to date, and made again when an input or the recipe changes", async () => {
    const out = place("again");
    const recipe = place("recipe.yaml");
    const text = (more: string) =>
      `method: ties\nbase: ${place("models/base")}\nmodels: [${MODELS.map((name) => place("models", name)).join(", ")}]\n${more}`;
    writeFileSync(recipe, text("tokenizer: union\n"));
    const first = await mergewright("merge", recipe, "-o", out, "--json");
    assert.equal(first.code, 0, first.err);
    const before = await tensorsIn(out);
    const checked = await mergewright("verify", out, "--inputs");
    assert.equal(checked.code, 0, checked.out);
    const second = JSON.parse((await mergewright("merge", recipe, "-o", out, "--json")).out) as { upToDate: boolean };
    assert.equal(second.upToDate, true);
    writeFileSync(recipe, text("tokenizer: {source: union, tokens: {'<|end|>': {source: {kind: zero}}}}\n"));
    const changed = await mergewright("merge", recipe, "-o", out, "--force", "--json");
    assert.equal((JSON.parse(changed.out) as { upToDate: boolean }).upToDate, false);
    assert.notDeepEqual(await tensorsIn(out), before);
  });

  it("says in the plan what it will do, without reading weights", async () => {
    const recipe = place("planned.yaml");
    writeFileSync(
      recipe,
      `method: average\nmodels: [${MODELS.map((name) => place("models", name)).join(", ")}]\ntokenizer: {tokens: {"<new>": {}}}\n`,
    );
    const { code, out } = await mergewright("plan", recipe, "--json");
    assert.equal(code, 0);
    const plan = JSON.parse(out) as { warnings: string[]; tensors: { name: string; shape: number[] }[] };
    assert.match(plan.warnings.join(), /theirs are zeros: "<new>"/);
    const embedding = plan.tensors.find(({ name }) => name === "model.embed_tokens.weight")!;
    assert.equal(embedding.shape[1], WIDTH);
  });
});

describe("a merge that an edit of an input interrupts", () => {
  it("does not mix rows of the old and the new file", async () => {
    const recipe = recipeFor("average", "models", { tokenizer: "union" });
    const changed = place("models", "two", "model.safetensors");
    const platform = {
      ...nodePlatform,
      createCrew: (...args: Parameters<typeof nodePlatform.createCrew>) => {
        utimesSync(changed, 1, 1);
        return nodePlatform.createCrew(...args);
      },
    };
    const work = mergeModels(readRecipe(recipe), platform, { out: place("mixed"), threads: 2 });
    await assert.rejects(work, /an input changed after the plan was made/);
  });
});

describe("a merge of a model with a tied head and one with its own", () => {
  writeModel(place("heads", "tied"), { tokenizer: plain, seed: 1, tied: true });
  writeModel(place("heads", "own"), { tokenizer: chat, seed: 2 });

  it("has a head, and a config that says so", async () => {
    const out = await merge({
      method: "average",
      models: [place("heads/tied"), place("heads/own")],
      tokenizer: "union",
    });
    const tensors = await tensorsIn(out);
    const rows = sizeOf(chat);
    const seen = (seed: number, tensor: number, at: number) => valueOf(seed, tensor, at);
    const expected = Float32Array.from({ length: rows * 4 }, (_, at) => {
      const own = seen(2, 3, at);
      return at < sizeOf(plain) * 4 ? (seen(1, 0, at) + own) / 2 : own;
    });
    assert.equal(tensors["lm_head.weight"], `F32 [${rows},4] ${Buffer.from(expected.buffer).toString("hex")}`);
    const config = JSON.parse(readFileSync(path.join(out, "config.json"), "utf8")) as Json;
    assert.deepEqual([config["tie_word_embeddings"], config["vocab_size"]], [false, rows]);
  });
});

describe("a recipe without a tokenizer block", () => {
  it("refuses models with different vocabularies, and says what to write", async () => {
    const work = merge(recipeFor("average", "models"));
    await assert.rejects(work, /tensor model\.embed_tokens\.weight[\s\S]*tokenizer: \{source: union\}/);
  });

  it("copies the tokenizer of the base as it is", async () => {
    const out = await merge({
      method: "average",
      models: [place("models", "base"), place("models", "base")],
      allow_duplicates: true,
    });
    const files = readdirSync(out).filter((name) => name.startsWith("tokenizer"));
    assert.deepEqual(files, ["tokenizer.json"]);
  });
});

describe("chat_template", () => {
  const [short, long] = ["{{ messages[0]['content'] }}", "{% for m in messages %}{{ m }}{% endfor %}"];
  const withTemplate = (name: string, seed: number, files: Record<string, string>) =>
    writeModel(place("chat", name), { tokenizer: plain, seed, width: WIDTH, files });
  withTemplate("none", 1, { "tokenizer_config.json": "{}" });
  withTemplate("short", 2, { "tokenizer_config.json": JSON.stringify({ chat_template: short }) });
  withTemplate("long", 3, { "chat_template.jinja": long, "tokenizer_config.json": '{"eos_token": "</s>"}' });
  withTemplate("long-too", 4, {
    "tokenizer_config.json": JSON.stringify({ chat_template: [{ name: "default", template: long }] }),
  });

  const templatesOf = async (names: readonly string[], chat_template: string, more: Partial<RecipeObject> = {}) => {
    const out = await merge({
      method: "average",
      models: names.map((name) => place("chat", name)),
      chat_template,
      ...more,
    });
    const read = (name: string) => readFileSync(path.join(out, name), "utf8");
    const { warnings } = JSON.parse(read("mergewright.json")) as { warnings: string[] };
    const { chat_template: inConfig } = JSON.parse(read("tokenizer_config.json")) as Json;
    return { jinja: read("chat_template.jinja"), inConfig, warnings };
  };

  it("auto is the most common one of the inputs, the first of equally common ones", async () => {
    assert.deepEqual((await templatesOf(["none", "short", "long", "long-too"], "auto")).jinja, long);
    assert.deepEqual((await templatesOf(["none", "short", "long"], "auto")).jinja, short);
  });

  it("stands wherever versions of transformers look", async () => {
    for (const more of [{}, { tokenizer: "union" }]) {
      const { jinja, inConfig } = await templatesOf(["none", "long"], "auto", more);
      assert.deepEqual([jinja, inConfig], [long, long]);
    }
  });

  it("can be a built-in, whose marks are looked up among the tokens", async () => {
    const { jinja, warnings } = await templatesOf(["short", "long"], "chatml");
    assert.match(jinja, /<\|im_start\|>/);
    assert.match(warnings.join(), /writes "<\|im_start\|>", "<\|im_end\|>", which are no tokens/);
    const tokens = { "<|im_start|>": {}, "<|im_end|>": {} };
    const added = await templatesOf(["short", "long"], "chatml", { tokenizer: { tokens } });
    assert.deepEqual(
      added.warnings.filter((warning) => warning.includes("no token")),
      [],
    );
  });

  it("can be a template of one's own; anything else is an error", async () => {
    const own = "{{ bos_token }}{{ messages[-1].content }}";
    assert.deepEqual((await templatesOf(["short"], own)).jinja, own);
    await assert.rejects(templatesOf(["short"], "chatlm"), /write chatml/);
    await assert.rejects(templatesOf(["short"], "{{ short }}"), /20 characters/);
  });
});
