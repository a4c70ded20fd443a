/** Where every row comes from, told from the values that a checkpoint shows in the vocabulary of the result. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MergewrightError } from "../../src/errors.js";
import type { Checkpoint } from "../../src/models/model.js";
import { widen } from "../../src/numbers/convert.js";
import type { FloatDtype } from "../../src/numbers/dtypes.js";
import { readRecipe } from "../../src/recipes.js";
import type { RecipeObject } from "../../src/recipes.js";
import { withVocabulary } from "../../src/tokenizers/wrap.js";
import { addedToken, bpe, openModel, unigram, valueOf, withAdded } from "./support.js";
import type { Json, ModelSpec } from "./support.js";

const EMBEDDING = "model.embed_tokens.weight";
const WIDTH = 4;

/** A vocabulary of few words, each of which is one token. */
const ids = (...tokens: readonly string[]): Json => ({
  version: "1.0",
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: "WhitespaceSplit" },
  post_processor: null,
  decoder: null,
  model: { type: "WordLevel", unk_token: tokens[0], vocab: Object.fromEntries(tokens.map((token, id) => [token, id])) },
});

interface Seen {
  readonly shape: readonly number[];
  /** Rows of the embedding, or of another tensor. */
  readonly rows: (name?: string) => Promise<number[][]>;
  readonly checkpoint: Checkpoint;
}

interface Shown {
  readonly base: Seen | null;
  readonly models: readonly Seen[];
  readonly notes: readonly string[];
  readonly text: (name: string) => Promise<string | undefined>;
}

/** Models `a`, `b`, `c` … and a base, as a merge sees them. */
async function show(
  tokenizer: string | Json,
  models: readonly ModelSpec[],
  base: ModelSpec | null = null,
  more: Readonly<Record<string, ModelSpec>> = {},
  recipeMore: Partial<RecipeObject> = {},
): Promise<Shown> {
  const names = models.map((_, index) => "abcdef"[index]!);
  const recipe = readRecipe({
    method: base === null ? "average" : "task_arithmetic",
    ...(base !== null && { base: "base" }),
    models: names,
    tokenizer,
    ...recipeMore,
  });
  const opened = await Promise.all(models.map((spec, index) => openModel(names[index]!, spec)));
  const inputs = {
    base: base === null ? null : await openModel("base", base),
    models: opened,
    extra: {},
  };
  const shown = await withVocabulary(recipe, inputs, (label) => {
    const spec = more[label];
    if (spec === undefined) throw new RangeError(`nothing is called ${label}`);
    return openModel(label, spec);
  });
  const all = [...(shown.base === null ? [] : [shown.base]), ...shown.models];
  return {
    base: shown.base === null ? null : seen(shown.base),
    models: shown.models.map(seen),
    notes: "notes" in shown ? (shown.notes as string[]) : [],
    async text(name) {
      const file = all.flatMap(({ sideFiles }) => sideFiles).find((side) => side.name === name);
      return file === undefined ? undefined : new TextDecoder().decode(await file.read());
    },
  };
}

function seen(checkpoint: Checkpoint): Seen {
  return {
    checkpoint,
    shape: checkpoint.tensors.get(EMBEDDING)!.shape,
    async rows(name = EMBEDDING) {
      const { shard, offset, length, dtype, shape } = checkpoint.tensors.get(name)!;
      const bytes = new Uint8Array(length);
      await checkpoint.shards[shard]!.source.read(offset, bytes);
      const width = shape.slice(1).reduce((product, size) => product * size, 1);
      const floats = new Float32Array(shape[0]! * width);
      widen(dtype as FloatDtype, bytes, floats);
      return Array.from({ length: shape[0]! }, (_, row) => [...floats.slice(row * width, (row + 1) * width)]);
    },
  };
}

/** Row of the embedding as a model stores it. */
const row = (seed: number, index: number) =>
  Array.from({ length: WIDTH }, (_, i) => valueOf(seed, 0, index * WIDTH + i));
const mean = (...rows: readonly number[][]) =>
  Array.from({ length: WIDTH }, (_, i) => Math.fround(rows.reduce((sum, values) => sum + values[i]!, 0) / rows.length));
const zero = [0, 0, 0, 0];

describe("the rows of a union", () => {
  const base = { tokenizer: ids("u", "x", "y", "z"), seed: 1 };
  const a = { tokenizer: ids("u", "y", "new_a", "both"), seed: 2 };
  const b = { tokenizer: ids("z", "u", "both", "x"), seed: 3 };

  it("are a model's own, where it has the token", async () => {
    const { models, base: shownBase } = await show("union", [a, b], base);
    assert.deepEqual(models[0]!.shape, [6, WIDTH]);
    const [own, other, first] = [await models[0]!.rows(), await models[1]!.rows(), await shownBase!.rows()];
    assert.deepEqual([first[0], first[1], first[2], first[3]], [row(1, 0), row(1, 1), row(1, 2), row(1, 3)]);
    assert.deepEqual([own[0], own[2], own[4], own[5]], [row(2, 0), row(2, 1), row(2, 2), row(2, 3)]);
    assert.deepEqual([other[0], other[1], other[3], other[5]], [row(3, 1), row(3, 3), row(3, 0), row(3, 2)]);
  });

  it("are those of the only model that has the token", async () => {
    const { models, base: shownBase } = await show("union", [a, b], base);
    assert.deepEqual((await models[1]!.rows())[4], row(2, 2));
    assert.deepEqual((await shownBase!.rows())[4], row(2, 2));
  });

  it("are the base's, where the base and others have the token", async () => {
    const { models } = await show("union", [a, b], base);
    assert.deepEqual((await models[0]!.rows())[1], row(1, 1));
    assert.deepEqual((await models[1]!.rows())[2], row(1, 2));
    assert.deepEqual((await models[0]!.rows())[3], row(1, 3));
  });

  it("are the average of all that have the token, where the base does not", async () => {
    const { base: shownBase } = await show("union", [a, b], base);
    assert.deepEqual((await shownBase!.rows())[5], mean(row(2, 3), row(3, 2)));
  });

  it("know no base where there is none", async () => {
    const { models } = await show("union", [base, a, b]);
    assert.deepEqual((await models[1]!.rows())[1], mean(row(1, 1), row(3, 3)));
    assert.deepEqual((await models[2]!.rows())[4], row(2, 2));
  });

  it("are zeros for a token that the recipe names and nobody has, with a warning", async () => {
    const { models, notes, text } = await show({ tokens: { "<new>": {} } }, [a, b], base);
    assert.deepEqual((await models[0]!.rows())[6], zero);
    assert.match(notes.join(), /no model has a row for these tokens; theirs are zeros: "<new>"/);
    const { added_tokens: added } = JSON.parse((await text("tokenizer.json"))!) as { added_tokens: Json[] };
    assert.deepEqual(added, [addedToken("<new>", 6, { special: false })]);
  });

  it("come from where the recipe says, for models that lack the token", async () => {
    const tokens = {
      new_a: { source: { kind: "zero" } },
      both: { source: "b" },
      y: { source: { kind: "model_token", model: "a", token: "new_a" } },
      z: { source: { kind: "model_token", model: "b", token_id: 3 } },
    };
    const { models, base: shownBase } = await show({ tokens }, [a, b], base);
    const [own, other, first] = [await models[0]!.rows(), await models[1]!.rows(), await shownBase!.rows()];
    assert.deepEqual([own[4], other[4], first[4]], [row(2, 2), zero, zero]);
    assert.deepEqual([own[5], other[5], first[5]], [row(2, 3), row(3, 2), row(3, 2)]);
    assert.deepEqual([own[2], other[2], first[2]], [row(2, 1), row(2, 2), row(1, 2)]);
    assert.deepEqual([own[3], other[3], first[3]], [row(3, 3), row(3, 0), row(1, 3)]);
  });

  it("come from where the recipe says for all models, where it forces them", async () => {
    const { models, base: shownBase } = await show({ tokens: { y: { source: "a", force: true } } }, [a, b], base);
    for (const shown of [...models, shownBase!]) assert.deepEqual((await shown.rows())[2], row(2, 1));
  });

  it("can come from a model that is not merged, which is asked before zeros are written", async () => {
    const lender = { tokenizer: ids("u", "lent"), seed: 9 };
    const tokens = { lent: { source: "lender" }, u: { source: "lender", force: true } };
    const { models, base: shownBase } = await show({ source: "base", tokens }, [a, b], base, { lender });
    for (const shown of [...models, shownBase!]) {
      assert.deepEqual((await shown.rows())[4], row(9, 1));
      assert.deepEqual((await shown.rows())[0], row(9, 0));
    }
    const asked = await show({ source: "lender" }, [a, b], base, { lender });
    for (const shown of asked.models) assert.deepEqual((await shown.rows())[1], row(9, 1));
    assert.deepEqual(
      asked.notes.filter((note) => note.includes("zeros")),
      [],
    );
  });

  it("are zeros where only a model that is not merged has them and mergekit is followed strictly", async () => {
    const lender = { tokenizer: ids("u", "lent"), seed: 9 };
    const { models, notes } = await show({ source: "lender" }, [a, b], base, { lender }, { compat: "strict" });
    assert.deepEqual((await models[0]!.rows())[1], zero);
    assert.match(notes.join(), /theirs are zeros: "lent"/);
  });

  it("are the same for embedding, head and bias of the head", async () => {
    const [one, two] = [a, b].map((spec) => ({ ...spec, bias: true }));
    const { models } = await show("union", [one!, two!], { ...base, bias: true });
    const [head, bias] = [await models[0]!.rows("lm_head.weight"), await models[0]!.rows("lm_head.bias")];
    assert.deepEqual(
      head[2],
      Array.from({ length: WIDTH }, (_, i) => valueOf(2, 3, WIDTH + i)),
    );
    assert.deepEqual(head.length, 6);
    assert.deepEqual(
      bias.map(([value]) => value),
      [
        [2, 0],
        [1, 1],
        [2, 1],
        [1, 3],
        [2, 2],
        [2, 3],
      ].map(([seed, index]) => valueOf(seed!, 4, index!)),
    );
  });

  it("borrow the embedding of a model whose head is tied to it", async () => {
    const { models } = await show("union", [{ ...a, tied: true }, b], base);
    assert.deepEqual((await models[1]!.rows("lm_head.weight"))[4], row(2, 2));
  });

  it("widen where formats differ, and keep the format of the result", async () => {
    const half = { ...a, dtype: "BF16" as const };
    const { models } = await show("union", [half, b], base);
    const tensor = models[0]!.checkpoint.tensors.get(EMBEDDING)!;
    assert.deepEqual([tensor.dtype, tensor.finalDtype], ["F32", "BF16"]);
    assert.deepEqual((await models[0]!.rows())[2], row(2, 1));
  });

  it("are averaged without a rounding to 16 bits, which comes once, with the result", async () => {
    const half = (spec: typeof a) => ({ ...spec, dtype: "BF16" as const });
    const { base: shownBase } = await show("union", [half(a), half(b)], half(base));
    const tensor = shownBase!.checkpoint.tensors.get(EMBEDDING)!;
    assert.deepEqual([tensor.dtype, tensor.finalDtype], ["F32", "BF16"]);
    assert.deepEqual((await shownBase!.rows())[5], mean(row(2, 3), row(3, 2)));
  });

  it("are not moved where they lie right already", async () => {
    const same = { ...base, seed: 5 };
    const { models, base: shownBase } = await show("union", [same], base);
    assert.equal(models[0]!.checkpoint.shards.length, 1);
    assert.equal(shownBase!.checkpoint.shards.length, 1);
  });
});

describe("the vocabulary of one model", () => {
  const base = { tokenizer: ids("u", "x", "y", "z"), seed: 1, config: { bos_token_id: 1, eos_token_id: 3 } };
  const a = { tokenizer: ids("z", "new", "u", "x"), seed: 2, config: { eos_token_id: 1 } };

  it("is the base's for source: base; tokens of others are left", async () => {
    const { models, text } = await show("base", [a], base);
    assert.deepEqual(await models[0]!.rows(), [row(2, 2), row(2, 3), row(1, 2), row(2, 0)]);
    assert.equal(await text("tokenizer.json"), JSON.stringify(base.tokenizer));
  });

  it("is a model's for its path or name", async () => {
    const { models, base: shownBase, text } = await show("a", [a], base);
    assert.deepEqual(await shownBase!.rows(), [row(1, 3), row(2, 1), row(1, 0), row(1, 1)]);
    assert.equal(models[0]!.checkpoint.shards.length, 1);
    assert.equal(await text("tokenizer.json"), JSON.stringify(a.tokenizer));
  });

  it("takes along the numbers of tokens in the config", async () => {
    const { base: shownBase } = await show("a", [a], base);
    const { config, configText } = shownBase!.checkpoint;
    assert.deepEqual([config!["bos_token_id"], config!["eos_token_id"], config!["vocab_size"]], [3, 1, 4]);
    assert.deepEqual(JSON.parse(configText!), config);
  });

  it("is in the config of every model, which a separate head is written with", async () => {
    const { models } = await show("union", [a], base);
    assert.equal(models[0]!.checkpoint.config!["vocab_size"], 5);
  });

  it("takes along the generation config of that model, else its numbers", async () => {
    const files = { "generation_config.json": '{"eos_token_id": [3, 0], "bos_token_id": 2, "top_p": 0.9}' };
    const { text, notes } = await show("a", [a], { ...base, files });
    const said = JSON.parse((await text("generation_config.json"))!) as Json;
    assert.deepEqual(said, { eos_token_id: 1, bos_token_id: null, top_p: 0.9 });
    assert.match(notes.join(), /bos_token_id named a token that the result lacks/);
    const own = { "generation_config.json": '{"eos_token_id": 0}' };
    const other = await show("a", [{ ...a, files: own }], { ...base, files });
    assert.equal(await other.text("generation_config.json"), own["generation_config.json"]);
  });
});

describe("padding", () => {
  const tokenizer = ids("u", "x", "y", "z");
  const base = { tokenizer, rows: 8, seed: 1 };
  const a = { tokenizer: ids("u", "x", "y", "z", "new"), rows: 8, seed: 2 };

  it("stays, each model's own where it has no token there", async () => {
    const { models, base: shownBase } = await show("base", [a], base);
    assert.equal(shownBase!.checkpoint.shards.length, 1);
    const rows = await models[0]!.rows();
    assert.deepEqual([rows.length, rows[4], rows[5]], [8, row(1, 4), row(2, 5)]);
  });

  it("is used up by new tokens", async () => {
    const { models, base: shownBase } = await show("union", [a], base);
    assert.deepEqual([models[0]!.shape[0], shownBase!.shape[0]], [8, 8]);
    assert.deepEqual((await shownBase!.rows())[4], row(2, 4));
    assert.deepEqual((await shownBase!.rows())[5], row(1, 5));
    assert.equal(models[0]!.checkpoint.shards.length, 1);
  });

  it("goes where it is asked to", async () => {
    const { models, base: shownBase } = await show({ source: "union", keep_padding: false }, [a], base);
    assert.deepEqual([models[0]!.shape[0], shownBase!.checkpoint.config!["vocab_size"]], [5, 5]);
  });

  it("is lost where mergekit is followed strictly, with a warning", async () => {
    const { models, notes } = await show("base", [a], base, {}, { compat: "strict" });
    assert.equal(models[0]!.shape[0], 4);
    assert.match(notes.join(), /4 rows of padding of base are lost, as in mergekit/);
  });

  it("fills up to a multiple with the average of the tokens' rows, as the model sees them", async () => {
    const { models, base: shownBase } = await show({ pad_to_multiple_of: 6 }, [a], base);
    const rows = await models[0]!.rows();
    assert.deepEqual([rows.length, shownBase!.checkpoint.config!["vocab_size"]], [12, 12]);
    for (const index of [8, 9, 10, 11]) {
      assert.deepEqual(rows[index], mean(row(2, 0), row(2, 1), row(2, 2), row(2, 3), row(2, 4)));
      assert.deepEqual((await shownBase!.rows())[index], mean(row(1, 0), row(1, 1), row(1, 2), row(1, 3), row(2, 4)));
    }
    assert.deepEqual(rows[7], row(2, 7));
  });

  it("is kept in gaps between numbers, too", async () => {
    const gap = ids("u", "x", "y");
    (gap["model"] as { vocab: Json }).vocab["far"] = 6;
    const { models } = await show("base", [{ tokenizer: ids("far", "u", "x"), rows: 7, seed: 2 }], {
      tokenizer: gap,
      rows: 7,
      seed: 1,
    });
    assert.deepEqual(await models[0]!.rows(), [
      row(2, 1),
      row(2, 2),
      row(1, 2),
      row(2, 3),
      row(2, 4),
      row(2, 5),
      row(2, 0),
    ]);
  });
});

describe("tokens beyond the rows of the embedding", () => {
  const tokenizer = bpe([["a", "b"]]);
  const rows = 98;

  it("are left out where nobody has a row for them, and what names them with them", async () => {
    const files = {
      "tokenizer_config.json": JSON.stringify({
        pad_token: "[PAD]",
        eos_token: "</s>",
        added_tokens_decoder: { 98: { content: "[PAD]", special: true } },
      }),
      "special_tokens_map.json": '{"pad_token": {"content": "[PAD]"}, "eos_token": "</s>"}',
    };
    const padded = { tokenizer: withAdded(tokenizer, ["[PAD]"]), rows, seed: 1, files };
    const { models, text, notes } = await show("base", [{ tokenizer, rows, seed: 2 }], padded);
    assert.equal(models[0]!.shape[0], rows);
    assert.equal((await text("tokenizer.json"))!.includes("[PAD]"), false);
    assert.deepEqual(JSON.parse((await text("special_tokens_map.json"))!), { eos_token: "</s>" });
    const config = JSON.parse((await text("tokenizer_config.json"))!) as Json;
    assert.deepEqual(config, { eos_token: "</s>", added_tokens_decoder: {} });
    assert.match(notes.join(), /beyond the 98 rows of its embedding; they are left out: "\[PAD\]"/);
    assert.match(notes.join(), /pad_token named a token that is left out/);
  });

  it("come back where another model has a row for them", async () => {
    const padded = { tokenizer: withAdded(tokenizer, ["[PAD]"]), rows, seed: 1 };
    const resized = { tokenizer: withAdded(tokenizer, ["[PAD]"]), seed: 2 };
    const { base: shownBase, models } = await show("base", [resized], padded);
    assert.deepEqual([models[0]!.shape[0], shownBase!.shape[0]], [99, 99]);
    assert.deepEqual((await shownBase!.rows())[98], row(2, 98));
  });

  it("are an error where they are ordinary words", async () => {
    const broken = show("base", [{ tokenizer, seed: 2, rows: 97 }], { tokenizer, seed: 1, rows: 97 });
    await refused(broken, "checkpoint/tokenizer", /more tokens than the embedding has rows/);
  });
});

async function refused(work: Promise<unknown>, code: string, says: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof MergewrightError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, says);
    return true;
  });
}

describe("what cannot be", () => {
  const base = { tokenizer: ids("u", "x"), seed: 1 };

  it("is a union of vocabularies that share nothing", async () => {
    const strange = { tokenizer: ids("p", "q"), seed: 2 };
    await refused(show("union", [strange], base), "plan/vocabulary", /share nothing[\s\S]*of base in a/);
    await refused(show("base", [strange], base), "plan/vocabulary", /share nothing/);
  });

  it("is a row of a token that its model lacks", async () => {
    const a = { tokenizer: ids("u", "x"), seed: 2 };
    for (const [source, says] of [
      [{ kind: "model_token", model: "a", token: "none" }, /a has no row for the token "none"/],
      [{ kind: "model_token", model: "a", token_id: 2 }, /a has no row for number 2[\s\S]*a number below 2/],
      ["a", /a has no row for the token "<new>"/],
    ] as const) {
      await refused(show({ tokens: { "<new>": { source } } }, [a], base), "plan/vocabulary", says);
    }
  });

  it("is a vocabulary of models of different width", async () => {
    await refused(
      show("union", [{ tokenizer: ids("u", "new"), seed: 2, width: 8 }], base),
      "plan/shape",
      /differ in more than the vocabulary[\s\S]*\[2, 4\], as in base[\s\S]*\[2, 8\]/,
    );
  });

  it("is a model without a tokenizer, or with one that is not read", async () => {
    const without = { seed: 2, rows: 2 };
    await refused(
      show("union", [without], base),
      "checkpoint/tokenizer",
      /no tokenizer[\s\S]*copy the tokenizer files/,
    );
    const sentencePiece = { ...without, files: { "tokenizer.model": "?" } };
    await refused(
      show("union", [sentencePiece], base),
      "checkpoint/tokenizer",
      /found: +tokenizer\.model[\s\S]*AutoTokenizer/,
    );
  });

  it("is a new piece behind a gap in a Unigram vocabulary", async () => {
    const pieces = unigram([["▁u", -1]]);
    const gap = { ...pieces, added_tokens: [addedToken("<far>", 5)] };
    const other = {
      tokenizer: unigram([
        ["▁u", -1],
        ["▁v", -2],
      ]),
      seed: 2,
    };
    await refused(show("union", [other], { tokenizer: gap, rows: 6, seed: 1 }), "checkpoint/tokenizer", /follow a gap/);
  });
});

describe("a broken tokenizer", () => {
  const good = { tokenizer: ids("u", "x"), seed: 1 };
  const broken = (text: string, says: RegExp) =>
    refused(
      show("union", [{ seed: 2, rows: 2, files: { "tokenizer.json": text } }], good),
      "checkpoint/tokenizer",
      says,
    );
  const withModel = (model: Json, more: Json = {}) => JSON.stringify({ model, ...more });

  it("is an error that names the file and the defect", async () => {
    await broken("{", /a\/tokenizer\.json[\s\S]*JSON/);
    await broken("[]", /does not hold an object/);
    await broken("{}", /has no model/);
    await broken(withModel({ type: "Magic", vocab: {} }), /of a kind that is not known[\s\S]*Magic/);
    await broken(withModel({ type: "BPE", vocab: [], merges: [] }), /vocabulary is not as its kind demands/);
    await broken(withModel({ type: "Unigram", vocab: [["u"]] }), /pairs of piece and score/);
    await broken(withModel({ type: "BPE", vocab: {}, merges: [] }), /has no tokens/);
  });

  it("is one with numbers that repeat or are none", async () => {
    await broken(withModel({ type: "WordLevel", vocab: { u: 0, x: 0 } }), /same number[\s\S]*0 is "u" and "x"/);
    for (const id of [-1, 0.5, 1e9, "1", null]) {
      await broken(withModel({ type: "WordLevel", vocab: { u: 0, x: id } }), /no proper number[\s\S]*for "x"/);
    }
    const added = { added_tokens: [{ content: "<a>", id: 1 }] };
    await broken(withModel({ type: "WordLevel", vocab: { u: 0, x: 1 } }, added), /1 is "x" and "<a>"/);
    await broken(withModel({ type: "WordLevel", vocab: { u: 0 } }, { added_tokens: [{ id: 1 }] }), /added token/);
  });

  it("escapes what it quotes", async () => {
    await broken(withModel({ type: "WordLevel", vocab: { "\u001b[2J": 0, x: 0 } }), /\\u001b\[2J/);
  });

  it("is one whose merges are no pairs, where they are needed", async () => {
    const wrong = bpe([["a", "b"]]);
    (wrong["model"] as Json)["merges"] = ["a b c"];
    const base = { tokenizer: wrong, seed: 1 };
    const work = show("union", [{ tokenizer: bpe([["c", "d"]]), seed: 2 }], base);
    await refused(work, "checkpoint/tokenizer", /merges are not pairs/);
  });

  it("is settled and told where only its files contradict each other", async () => {
    const config = {
      added_tokens_decoder: { 0: { content: "<taken>" }, 2: { content: "<late>", special: true } },
    };
    const spec = { ...good, seed: 2, rows: 3, files: { "tokenizer_config.json": JSON.stringify(config) } };
    const { notes, base } = await show("union", [spec], good);
    assert.deepEqual(base!.shape, [3, WIDTH]);
    assert.match(notes.join(), /gives "<taken>" the number of "u"; it is left out/);
  });
});

describe("files of the tokenizer", () => {
  const gpt = (merges: string, vocab: Json): ModelSpec => ({
    seed: 2,
    rows: Object.keys(vocab).length,
    files: {
      "vocab.json": JSON.stringify(vocab),
      "merges.txt": `#version: 0.2\n${merges}`,
      "tokenizer_config.json":
        '{"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1000000000000000019884624838656}',
    },
  });

  it("can be vocab.json with merges.txt, and become tokenizer.json when they change", async () => {
    const spec = gpt("a b\nab c\n", { a: 0, b: 1, c: 2, ab: 3, abc: 4 });
    const { text } = await show("union", [{ tokenizer: ids("a", "b"), seed: 3 }], spec);
    assert.equal(await text("merges.txt"), spec.files!["merges.txt"]);
    const more = await show({ tokens: { "<x>": {} } }, [{ tokenizer: ids("a", "b"), seed: 3 }], spec);
    assert.equal(await more.text("merges.txt"), undefined);
    const json = JSON.parse((await more.text("tokenizer.json"))!) as { model: Json };
    assert.deepEqual(json.model["merges"], [
      ["a", "b"],
      ["ab", "c"],
    ]);
    assert.match((await more.text("tokenizer_config.json"))!, /1000000000000000019884624838656/);
  });

  it("that cannot hold the new tokens are left out, and it is said", async () => {
    const base = { tokenizer: ids("u", "x"), seed: 1, files: { "tokenizer.model": "?", "added_tokens.json": "{}" } };
    const { text, notes } = await show("union", [{ tokenizer: ids("u", "new"), seed: 2 }], base);
    assert.equal(await text("tokenizer.model"), undefined);
    assert.equal(await text("added_tokens.json"), undefined);
    assert.match(notes.join(), /tokenizer\.model cannot hold the new tokens/);
    const same = await show("base", [{ tokenizer: ids("u", "new"), seed: 2 }], base);
    assert.equal(await same.text("tokenizer.model"), "?");
  });

  it("are those of one model, not a mixture", async () => {
    const base = { tokenizer: ids("u", "x"), seed: 1 };
    const a = { tokenizer: ids("u", "x"), seed: 2, files: { "special_tokens_map.json": "{}", "merges.txt": "?" } };
    assert.equal(await (await show("base", [a], base)).text("merges.txt"), undefined);
    assert.equal(await (await show("a", [a], base)).text("merges.txt"), "?");
  });

  it("hold the new tokens wherever they list added tokens", async () => {
    const decoder = {
      0: { content: "u", lstrip: false, normalized: false, rstrip: false, single_word: false, special: true },
    };
    const files = { "tokenizer_config.json": JSON.stringify({ eos_token: "u", added_tokens_decoder: decoder }) };
    const base = { tokenizer: ids("u", "x"), seed: 1, files };
    const { text } = await show("union", [{ tokenizer: withAdded(ids("u", "x"), ["<chat>"]), seed: 2 }], base);
    const config = JSON.parse((await text("tokenizer_config.json"))!) as Json;
    assert.deepEqual(config["added_tokens_decoder"], {
      ...decoder,
      2: { content: "<chat>", lstrip: false, normalized: false, rstrip: false, single_word: false, special: true },
    });
  });
});
