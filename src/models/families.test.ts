import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { layerOf, roleOf, tiedGroups } from "./families.js";

const llama = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"];
const tiedLlama = [{ primary: "model.embed_tokens.weight", aliases: ["lm_head.weight"] }];
const t5 = ["decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "lm_head.weight", "shared.weight"];
const bert = [
  "bert.embeddings.word_embeddings.weight",
  "bert.embeddings.position_embeddings.weight",
  "cls.predictions.bias",
  "cls.predictions.decoder.bias",
  "cls.predictions.decoder.weight",
];

describe("tied tensors", () => {
  const cases: readonly { title: string; config: Record<string, unknown> | null; names: string[]; groups: unknown }[] =
    [
      {
        title: "Llama that says so",
        config: { model_type: "llama", tie_word_embeddings: true },
        names: llama,
        groups: tiedLlama,
      },
      {
        title: "Llama that says no",
        config: { model_type: "llama", tie_word_embeddings: false },
        names: llama,
        groups: [],
      },
      { title: "Llama by default", config: { model_type: "llama" }, names: llama, groups: [] },
      { title: "Mistral by default", config: { model_type: "mistral" }, names: llama, groups: [] },
      { title: "Gemma by default", config: { model_type: "gemma2" }, names: llama, groups: tiedLlama },
      {
        title: "Gemma that says no",
        config: { model_type: "gemma2", tie_word_embeddings: false },
        names: llama,
        groups: [],
      },
      {
        title: "an unknown family that says so",
        config: { model_type: "new", tie_word_embeddings: true },
        names: llama,
        groups: tiedLlama,
      },
      { title: "an unknown family", config: { model_type: "new" }, names: llama, groups: [] },
      { title: "no config", config: null, names: llama, groups: [] },
      {
        title: "a flag that is no flag",
        config: { model_type: "llama", tie_word_embeddings: "true" },
        names: llama,
        groups: [],
      },
      {
        title: "a head that is not stored",
        config: { tie_word_embeddings: true },
        names: llama.slice(0, 2),
        groups: [],
      },
      {
        title: "GPT-2",
        config: { model_type: "gpt2" },
        names: ["lm_head.weight", "transformer.wte.weight", "transformer.wpe.weight"],
        groups: [{ primary: "transformer.wte.weight", aliases: ["lm_head.weight"] }],
      },
      {
        title: "T5",
        config: { model_type: "t5" },
        names: t5,
        groups: [
          {
            primary: "shared.weight",
            aliases: ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"],
          },
        ],
      },
      {
        title: "T5 v1.1, whose output is its own",
        config: { model_type: "t5", tie_word_embeddings: false },
        names: t5,
        groups: [{ primary: "shared.weight", aliases: ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] }],
      },
      {
        title: "copies without their original, which may be two vocabularies",
        config: { model_type: "marian" },
        names: ["model.decoder.embed_tokens.weight", "model.encoder.embed_tokens.weight", "lm_head.weight"],
        groups: [{ primary: "model.decoder.embed_tokens.weight", aliases: ["lm_head.weight"] }],
      },
      {
        title: "T5 inside another module",
        config: { model_type: "t5", tie_word_embeddings: false },
        names: t5.map((name) => `transformer.${name}`),
        groups: [
          {
            primary: "transformer.shared.weight",
            aliases: ["transformer.encoder.embed_tokens.weight", "transformer.decoder.embed_tokens.weight"],
          },
        ],
      },
      {
        title: "BART",
        config: { model_type: "bart" },
        names: [
          "lm_head.weight",
          "model.decoder.embed_tokens.weight",
          "model.encoder.embed_tokens.weight",
          "model.shared.weight",
        ],
        groups: [
          {
            primary: "model.shared.weight",
            aliases: ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"],
          },
        ],
      },
      {
        title: "BERT",
        config: { model_type: "bert" },
        names: bert,
        groups: [
          { primary: "bert.embeddings.word_embeddings.weight", aliases: ["cls.predictions.decoder.weight"] },
          { primary: "cls.predictions.bias", aliases: ["cls.predictions.decoder.bias"] },
        ],
      },
      {
        title: "RoBERTa",
        config: { model_type: "roberta" },
        names: [
          "lm_head.bias",
          "lm_head.decoder.bias",
          "lm_head.decoder.weight",
          "roberta.embeddings.word_embeddings.weight",
        ],
        groups: [
          { primary: "lm_head.bias", aliases: ["lm_head.decoder.bias"] },
          { primary: "roberta.embeddings.word_embeddings.weight", aliases: ["lm_head.decoder.weight"] },
        ],
      },
      {
        title: "a language model inside another",
        config: { model_type: "llava", text_config: { model_type: "gemma" } },
        names: llama.map((name) => `language_model.${name}`),
        groups: [{ primary: "language_model.model.embed_tokens.weight", aliases: ["language_model.lm_head.weight"] }],
      },
      {
        title: "a language model inside another that says no",
        config: { model_type: "llava", tie_word_embeddings: false, text_config: { tie_word_embeddings: true } },
        names: llama.map((name) => `language_model.${name}`),
        groups: [],
      },
      {
        title: "the newer place of a language model",
        config: { text_config: { tie_word_embeddings: true } },
        names: ["lm_head.weight", "model.language_model.embed_tokens.weight"],
        groups: [{ primary: "model.language_model.embed_tokens.weight", aliases: ["lm_head.weight"] }],
      },
    ];
  for (const { title, config, names, groups } of cases) {
    it(`of ${title}`, () => {
      assert.deepEqual(tiedGroups(config, names), groups);
      assert.deepEqual(tiedGroups(config, names.toReversed()), groups, "in any order");
    });
  }

  it("are never in two groups", () => {
    const all = [...llama, ...t5, ...bert, "model.decoder.embed_tokens.weight", "transformer.wte.weight"];
    const members = tiedGroups({ tie_word_embeddings: true }, all).flatMap(({ primary, aliases }) => [
      primary,
      ...aliases,
    ]);
    assert.equal(new Set(members).size, members.length);
  });
});

describe("the layer of a tensor", () => {
  const cases: readonly [name: string, layer: number | null][] = [
    ["model.layers.31.mlp.down_proj.weight", 31],
    ["model.layers.3.mlp.experts.7.w1.weight", 3],
    ["transformer.h.11.attn.c_attn.weight", 11],
    ["h.0.ln_1.weight", 0],
    ["encoder.block.2.layer.0.SelfAttention.q.weight", 2],
    ["bert.encoder.layer.5.attention.self.query.weight", 5],
    ["vit.encoder.layer.0.layernorm_before.bias", 0],
    ["visual.transformer.resblocks.9.mlp.c_fc.weight", 9],
    ["transformer_blocks.4.attn.to_q.weight", 4],
    ["gpt_neox.layers.12.attention.dense.bias", 12],
    ["model.embed_tokens.weight", null],
    ["lm_head.weight", null],
    ["classifier.0.weight", null],
    ["h.weight", null],
    ["layers.x.weight", null],
    ["layers.99999999999999999999.weight", null],
    ["", null],
  ];
  for (const [name, layer] of cases) it(`${name} is ${layer}`, () => assert.equal(layerOf(name), layer));
});

describe("the role of a tensor", () => {
  const roles = {
    vocabulary: [
      "model.embed_tokens.weight",
      "lm_head.weight",
      "lm_head.bias",
      "language_model.lm_head.weight",
      "transformer.wte.weight",
      "shared.weight",
      "decoder.embed_tokens.weight",
      "bert.embeddings.word_embeddings.weight",
      "cls.predictions.decoder.weight",
      "cls.predictions.bias",
      "roberta.embeddings.word_embeddings.weight",
      "lm_head.decoder.weight",
      "gpt_neox.embed_in.weight",
      "embed_out.weight",
      "vocab_projector.bias",
      "backbone.embeddings.weight",
    ],
    head: [
      "classifier.weight",
      "classifier.out_proj.bias",
      "score.weight",
      "qa_outputs.weight",
      "cls.seq_relationship.weight",
      "pre_classifier.weight",
      "classification_head.dense.weight",
      "head.weight",
      "fc.bias",
    ],
    none: [
      "model.layers.0.self_attn.q_proj.weight",
      "bert.embeddings.position_embeddings.weight",
      "bert.embeddings.token_type_embeddings.weight",
      "vit.embeddings.cls_token",
      "lm_head.dense.weight",
      "lm_head.layer_norm.weight",
      "cls.predictions.transform.dense.weight",
      "model.norm.weight",
      "transformer.h.0.mlp.c_fc.weight",
      "encoder.layer.0.attention.head.weight",
      "visual.fc.weight",
    ],
  };
  for (const [role, names] of Object.entries(roles)) {
    for (const name of names) it(`${name}: ${role}`, () => assert.equal(roleOf(name), role === "none" ? null : role));
  }
});
