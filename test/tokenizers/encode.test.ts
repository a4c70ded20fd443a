/** What a united tokenizer makes of texts, compared by the maintained library with what its inputs make of them. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { root } from "../cli/support.js";
import { checkUnion } from "../../src/tokenizers/check.js";
import { addedToken, bpe, learnMerges, reference, unigram, unite, withAdded, wordPiece } from "./support.js";
import type { Json } from "./support.js";

const ENGLISH =
  "the quick brown fox jumps over the lazy dog while the other foxes are looking for their own quiet place in the " +
  "forest where nobody ever looks for them and the days are long and the nights are longer than the days";
const GERMAN =
  "der schnelle braune fuchs springt ueber den faulen hund waehrend die anderen fuechse nach einem eigenen ruhigen " +
  "platz im wald suchen an dem niemand nach ihnen sucht und die tage sind lang und die naechte sind laenger";
const CODE = "for (let i = 0; i < length; i++) { return value[i] === null ? undefined : value[i].length; } // the end";

const words = `${ENGLISH} ${GERMAN} ${CODE}`.split(" ");
const texts = fc
  .array(fc.oneof(fc.constantFrom(...words), fc.stringMatching(/^[a-z]{1,8}$/)), { minLength: 1, maxLength: 8 })
  .map((parts) => parts.join(" "));

const ordinaryTokens = (json: Json) => Object.keys((json["model"] as { vocab: Json }).vocab);

/** Every new token taken apart into what the base makes of its text. */
function takenApart(tokens: readonly string[], base: Json, isNew: (token: string) => boolean): string[] {
  const model = reference({ ...base, pre_tokenizer: null, decoder: null });
  return tokens.flatMap((token) => (isNew(token) ? model.tokens(token) : [token]));
}

/** The law: joining neighbours into new tokens is all that the union does to any text. */
async function checkLaw(base: Json, others: readonly Json[], runs: number) {
  const { json, vocabulary, warnings } = await unite([base, ...others].map((tokenizer, seed) => ({ tokenizer, seed })));
  const fresh = new Set(vocabulary.ordinary);
  const [before, after] = [reference(base), reference(json)];
  fc.assert(
    fc.property(texts, (text) => {
      assert.deepEqual(
        takenApart(after.tokens(text), base, (token) => fresh.has(token)),
        before.tokens(text),
      );
    }),
    { numRuns: runs },
  );
  return { json, vocabulary, warnings, before, after };
}

describe("a union of BPE tokenizers", () => {
  const base = bpe(learnMerges(ENGLISH, 60));
  const german = bpe(learnMerges(GERMAN, 60));
  const code = bpe(learnMerges(CODE, 40));

  it("splits every text as the base does, except that neighbours become one new token", async () => {
    const { vocabulary } = await checkLaw(base, [german, code], 300);
    assert.ok(vocabulary.ordinary.length > 60);
  });

  it("encodes every token of the base as the base does", async () => {
    const { before, after } = await checkLaw(base, [german, code], 1);
    for (const token of ordinaryTokens(base)) {
      const text = token.replaceAll("Ġ", " ");
      assert.deepEqual(after.encode(text), before.encode(text), token);
    }
  });

  it("encodes every token of the others as they do", async () => {
    const { json, vocabulary } = await checkLaw(base, [german, code], 1);
    const after = reference(json);
    for (const [own, other] of [
      [reference(german), german],
      [reference(code), code],
    ] as const) {
      for (const token of ordinaryTokens(other)) {
        if (!vocabulary.ordinary.includes(token)) continue;
        const text = token.replaceAll("Ġ", " ");
        assert.deepEqual(after.tokens(text), own.tokens(text), token);
      }
    }
  });

  it("is the other tokenizer itself where that one only adds merges to the base's", async () => {
    const merges = learnMerges(ENGLISH, 60);
    const longer = bpe(learnMerges(GERMAN, 80, merges));
    const { json, warnings } = await unite([
      { tokenizer: bpe(merges), seed: 1 },
      { tokenizer: longer, seed: 2 },
    ]);
    assert.deepEqual(warnings, []);
    const [one, other] = [reference(json), reference(longer)];
    fc.assert(
      fc.property(texts, (text) => assert.deepEqual(one.tokens(text), other.tokens(text))),
      { numRuns: 300 },
    );
  });

  it("holds for merges made at random", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...words), { minLength: 5, maxLength: 30 }),
        fc.array(fc.constantFrom(...words), { minLength: 5, maxLength: 30 }),
        fc.integer({ min: 1, max: 80 }),
        async (one, two, count) => {
          await checkLaw(bpe(learnMerges(one.join(" "), count)), [bpe(learnMerges(two.join(" "), count))], 20);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("keeps special tokens apart and finds those of every input", async () => {
    const { json, vocabulary } = await unite([
      { tokenizer: base, seed: 1 },
      { tokenizer: withAdded(base, ["<|im_start|>", "<|im_end|>"]), seed: 2 },
      { tokenizer: withAdded(german, ["<|end|>"], { special: false, rstrip: true }), seed: 3 },
    ]);
    const { tokens } = reference(json);
    assert.deepEqual(tokens("<|im_start|>the fox<|im_end|><|end|>"), [
      "<|im_start|>",
      ...reference(base).tokens("the fox"),
      "<|im_end|>",
      "<|end|>",
    ]);
    const end = (json["added_tokens"] as Json[]).find(({ content }) => content === "<|end|>")!;
    assert.deepEqual([end["special"], end["rstrip"]], [false, true]);
    assert.deepEqual(
      (json["added_tokens"] as Json[]).map(({ id }) => vocabulary.tokens[id as number]),
      (json["added_tokens"] as Json[]).map(({ content }) => content),
    );
  });

  it("has the numbers that the tokenizers library will give, which counts and does not read them", async () => {
    const { json, vocabulary } = await unite([
      { tokenizer: withAdded(base, ["<|chat|>"]), seed: 1 },
      { tokenizer: withAdded(german, ["<|end|>"]), seed: 2 },
      { tokenizer: withAdded(code, ["<|tool|>"]), seed: 3 },
    ]);
    const numbers = new Map(Object.entries((json["model"] as { vocab: Record<string, number> }).vocab));
    for (const { content } of json["added_tokens"] as { content: string }[]) {
      if (!numbers.has(content)) numbers.set(content, numbers.size);
    }
    assert.deepEqual(
      vocabulary.tokens.map((token) => numbers.get(token!)),
      [...vocabulary.tokens.keys()],
    );
  });

  describe("with a token that the base's own merges pull apart", () => {
    const apart: [string, string][] = [
      ["a", "b"],
      ["c", "d"],
      ["e", "f"],
    ];
    const second = bpe([
      ["b", "c"],
      ["d", "e"],
      ["a", "bc"],
      ["de", "f"],
      ["abc", "def"],
    ]);

    it("takes it as a whole word, which changes no other word, and says so", async () => {
      const { json, warnings } = await checkLaw(bpe(apart), [second], 50);
      assert.equal((json["model"] as Json)["ignore_merges"], true);
      assert.match(warnings.join(), /1 of 5 new tokens .* whole words only: "abcdef"/);
      const { tokens } = reference(json);
      assert.deepEqual(tokens("abcdef"), ["abcdef"]);
      assert.deepEqual(tokens("xabcdef"), ["x", "ab", "cd", "ef"]);
    });

    it("leaves it out of texts where the base has words of its own that it pulls apart", async () => {
      const first = bpe(apart);
      const model = first["model"] as { vocab: Json };
      model.vocab["abce"] = 100;
      const { json, warnings } = await checkLaw(first, [second], 50);
      assert.equal((json["model"] as Json)["ignore_merges"], false);
      assert.match(warnings.join(), /no text leads to them: "abcdef"/);
      assert.deepEqual(reference(json).tokens("abcdef abce"), ["ab", "cd", "ef", "Ġ", "abc", "e"]);
    });
  });

  it("keeps the zoo's tokenizer to the byte's meaning, with tokens added", async () => {
    const text = readFileSync(path.join(root, "zoo/language/base/tokenizer.json"), "utf8");
    const zoo = JSON.parse(text) as Json;
    const { json } = await unite([
      { tokenizer: zoo, seed: 1 },
      { tokenizer: withAdded(zoo, ["<|chat|>"]), seed: 2 },
    ]);
    assert.deepEqual(json["model"], zoo["model"]);
    assert.deepEqual(json["pre_tokenizer"], zoo["pre_tokenizer"]);
    const [before, after] = [reference(zoo), reference(json)];
    const sentence = "Élan vital, naïve façade: straße & 東京 🙂 the end.";
    assert.deepEqual(after.encode(sentence), before.encode(sentence));
    assert.deepEqual(after.encode(`a<|chat|>b`), [...before.encode("a"), 4096, ...before.encode("b")]);
  });
});

describe("the look at a union from outside", () => {
  const base = bpe(learnMerges(ENGLISH, 60));

  it("has nothing to say of a union that keeps the law", async () => {
    const specs = [base, bpe(learnMerges(GERMAN, 60))].map((tokenizer, seed) => ({ tokenizer, seed }));
    const { json, vocabulary, members } = await unite(specs);
    assert.deepEqual(await checkUnion(vocabulary, members, json), []);
  });

  it("finds tokens that texts do not lead to, because words are cut otherwise", async () => {
    const uncut = {
      ...bpe([["a", "1"]]),
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false },
    };
    const { json, vocabulary, members } = await unite([
      { tokenizer: base, seed: 1 },
      { tokenizer: uncut, seed: 2 },
    ]);
    assert.match((await checkUnion(vocabulary, members, json)).join(), /1 of 1 new tokens .* own text any more.*"a1"/);
  });

  it("finds what words do to others that are added as added tokens", async () => {
    const fox = bpe([
      ["f", "o"],
      ["fo", "x"],
    ]);
    const { json, vocabulary, members } = await unite([
      { tokenizer: fox, seed: 1 },
      { tokenizer: bpe([["o", "x"]]), seed: 2 },
    ]);
    assert.deepEqual(await checkUnion(vocabulary, members, json), []);
    const id = vocabulary.tokens.indexOf("ox");
    const greedy = { ...fox, added_tokens: [...(json["added_tokens"] as Json[]), addedToken("ox", id)] };
    const said = (await checkUnion(vocabulary, members, greedy)).join();
    assert.match(said, /1 of 99 old tokens looked at are split in another way than before: "fox"/);
  });

  it("says where the library does not know a tokenizer", async () => {
    const { json, vocabulary, members } = await unite([
      { tokenizer: base, seed: 1 },
      { tokenizer: bpe([["o", "v"]]), seed: 2 },
    ]);
    const strange = { ...json, pre_tokenizer: { type: "Magic" } };
    assert.match((await checkUnion(vocabulary, members, strange)).join(), /could not be checked: .*Magic/);
  });
});

describe("a union of Unigram tokenizers", () => {
  const letters = [..."abcdefghijklmnopqrstuvwxyz▁"].map((letter, i) => [letter, -8 - i / 50] as const);
  const base = unigram([
    ...letters,
    ["▁the", -3],
    ["▁f", -4.2],
    ["ox", -4.6],
    ["es", -4.1],
    ["▁qu", -5.3],
    ["ick", -5.1],
  ]);
  const other = unigram([...letters, ["▁fox", -3.5], ["▁quick", -3.7], ["▁the", -2.9], ["▁foxes", -4], ["ickly", -6]]);

  it("splits every text as the base does, except that neighbours become one new piece", async () => {
    const { json, vocabulary } = await unite([
      { tokenizer: base, seed: 1 },
      { tokenizer: withAdded(other, ["<x>"]), seed: 2 },
    ]);
    const fresh = new Set(vocabulary.ordinary);
    assert.deepEqual([...fresh], ["▁fox", "▁quick", "▁foxes", "ickly"]);
    const [before, after] = [reference(base), reference(json)];
    fc.assert(
      fc.property(
        texts.map((text) => text.replaceAll(/[^a-z ]/g, "")),
        (text) => {
          const parts = after.tokens(text);
          assert.deepEqual(
            takenApart(parts, base, (token) => fresh.has(token)),
            before.tokens(text),
          );
        },
      ),
      { numRuns: 300 },
    );
    assert.deepEqual(after.tokens("the quickly foxes"), ["▁the", "▁qu", "ickly", "▁foxes"]);
  });

  it("encodes every piece of both as they do", async () => {
    const { json } = await unite([
      { tokenizer: base, seed: 1 },
      { tokenizer: other, seed: 2 },
    ]);
    const after = reference(json);
    for (const word of ["the", "fox", "quick", "foxes"])
      assert.deepEqual(after.tokens(word), reference(other).tokens(word));
    for (const word of ["the", "f", "qu"]) assert.deepEqual(after.encode(word), reference(base).encode(word));
  });

  it("gives pieces their places although added tokens lie between", async () => {
    const { json, vocabulary } = await unite([
      { tokenizer: withAdded(base, ["<a>", "<b>"]), seed: 1 },
      { tokenizer: withAdded(other, ["<c>"]), seed: 2 },
      { tokenizer: unigram([...letters, ["▁dog", -4]]), seed: 3 },
    ]);
    const { vocab } = json["model"] as { vocab: [string, number][] };
    for (const [id, [piece]] of vocab.entries()) assert.equal(piece, vocabulary.tokens[id] ?? piece);
    assert.equal(vocab.at(-1)![0], "▁dog");
    assert.deepEqual(reference(json).tokens("dog<b>fox"), ["▁dog", "<b>", "▁fox"]);
  });
});

describe("a union of WordPiece tokenizers", () => {
  const letters = [..."abcdefghijklmnopqrstuvwxyz"].flatMap((letter) => [letter, `##${letter}`]);
  const base = wordPiece([...letters, "un", "##able", "fox", "token"]);
  const other = wordPiece([...letters, "un", "##able", "covid", "##ization", "tokens"]);

  it("encodes every word of both as they do", async () => {
    const { json, warnings } = await unite([
      { tokenizer: base, seed: 1 },
      { tokenizer: other, seed: 2 },
    ]);
    const after = reference(json);
    for (const word of ["fox", "token", "un", "unable"]) {
      assert.deepEqual(after.encode(word), reference(base).encode(word));
    }
    for (const word of ["covid", "tokens", "unization"]) {
      assert.deepEqual(after.tokens(word), reference(other).tokens(word));
    }
    assert.match(warnings.join(), /3 new words join the vocabulary .* longest word that fits/);
  });

  it("cannot be made with a tokenizer of another kind", async () => {
    const mixed = unite([
      { tokenizer: base, seed: 1 },
      { tokenizer: bpe([["a", "b"]]), seed: 2 },
    ]);
    await assert.rejects(mixed, /tokenizers of different kinds cannot be united/);
  });
});
